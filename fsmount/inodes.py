"""Inode numbers and open handles.

An inode number is worked out from the catalog's number of a file, so it is the same in every mount of a
case and nothing has to be remembered per node that the kernel knows.
"""

import enum
from typing import Generic, NewType, TypeVar

FileId = NewType("FileId", str)
Inode = NewType("Inode", int)
Handle = NewType("Handle", int)

T = TypeVar("T")

ROOT = Inode(1)  # the kernel's own number for the root
HIDDEN_DIR = Inode(2)
STATUS = Inode(3)

_NODES_PER_FILE = 4  # directory, content, meta.json, and one to spare


class Kind(enum.IntEnum):
    """Which of a file's nodes an inode is."""

    DIRECTORY = 0
    CONTENT = 1
    META = 2


def inode_of(number: int, kind: Kind) -> Inode:
    """Return the inode of one node of file `number`, which counts from 1."""
    if number < 1:
        raise ValueError(f"file numbers count from 1, not {number}")
    return Inode(number * _NODES_PER_FILE + kind)


def split(inode: Inode) -> tuple[int, Kind]:
    """Return the file number and the kind of node; the opposite of `inode_of`.

    Errors: ValueError for the fixed inodes and for numbers that are never given out.
    """
    number, kind = divmod(inode, _NODES_PER_FILE)
    if number < 1:
        raise ValueError(f"inode {inode} belongs to no file")
    return number, Kind(kind)


class HandleTable(Generic[T]):
    """Open handles; a number is not given out again while the mount lives."""

    def __init__(self) -> None:
        self._open: dict[Handle, T] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._open)

    def open(self, thing: T) -> Handle:
        """Give a handle to `thing`."""
        handle = Handle(self._next)
        self._next += 1
        self._open[handle] = thing
        return handle

    def get(self, handle: Handle) -> T:
        """Return what the handle stands for.

        Errors: KeyError for a handle that is not open.
        """
        return self._open[handle]

    def release(self, handle: Handle) -> T:
        """Take the handle back and return what it stood for.

        Errors: KeyError for a handle that is not open.
        """
        return self._open.pop(handle)
