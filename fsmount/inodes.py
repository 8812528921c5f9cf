"""Inode numbers and open handles.

An inode number is worked out from the catalog's number of a file, so it is the same in every mount of a
case and nothing has to be remembered per node that the kernel knows.
"""

import dataclasses
import enum
from typing import Generic, NewType, TypeVar

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


_KINDS = tuple(Kind)  # looking one up here takes a fifth of the time


def inode_of(number: int, kind: Kind) -> Inode:
    """Return the inode of one node of file `number`, which counts from 1."""
    if number < 1:
        raise ValueError(f"file numbers count from 1, not {number}")
    return Inode(number * _NODES_PER_FILE + kind)


def directory_inode(number: int) -> Inode:
    """Return the inode of the directory of file `number`, as `inode_of` does; for long listings."""
    return Inode(number * _NODES_PER_FILE)


def split(inode: Inode) -> tuple[int, Kind]:
    """Return the file number and the kind of node; the opposite of `inode_of`.

    Errors: ValueError for the fixed inodes and for numbers that are never given out.
    """
    number, kind = divmod(inode, _NODES_PER_FILE)
    if number < 1:
        raise ValueError(f"inode {inode} belongs to no file")
    return number, _KINDS[kind] if kind < len(_KINDS) else Kind(kind)  # which refuses it


class ViewKind(enum.IntEnum):
    """Which node of the views an inode is; see `browse`."""

    BY_USER = 0
    BY_PROJECT = 1
    PERSON = 2
    PROJECT = 3
    CHAT_OF_PERSON = 4
    CHAT_OF_PROJECT = 5
    ATTACHMENTS = 6
    LINK_OF_PERSON = 7
    LINK_OF_PROJECT = 8
    LINK_OF_ATTACHMENT = 9


@dataclasses.dataclass(frozen=True, slots=True)
class ViewNode:
    """A node of the views.

    `number` is that of the person, project or chat it belongs to, `file` that of a link's target.
    """

    kind: ViewKind
    number: int = 0
    file: int = 0


# Bit 62 sets the views apart from files, then come 4 bits of kind, 27 of the number (134 million chats) and
# 31 of the file (2 billion); bit 63 stays clear, for programs that read inode numbers as signed.
_VIEW_BIT = 1 << 62
_KIND_SHIFT = 58
_FILE_BITS = 31
_NUMBER_BITS = 27


def inode_of_view(node: ViewNode) -> Inode:
    """Return the inode of a node of the views."""
    if node.number >> _NUMBER_BITS or node.file >> _FILE_BITS:
        raise ValueError(f"more chats or files than inode numbers have room for: {node}")
    return Inode(_VIEW_BIT | node.kind << _KIND_SHIFT | node.number << _FILE_BITS | node.file)


def view_node(inode: Inode) -> ViewNode | None:
    """Return which node of the views an inode is; None for all others."""
    if not inode & _VIEW_BIT:
        return None
    kind = inode >> _KIND_SHIFT & 0xF
    number = inode >> _FILE_BITS & (1 << _NUMBER_BITS) - 1
    return ViewNode(ViewKind(kind), number, inode & (1 << _FILE_BITS) - 1)


def is_given_out(inode: Inode) -> bool:
    """Say whether an inode number is of the kind that nodes have; one that comes from outside may be any."""
    if inode in (ROOT, HIDDEN_DIR, STATUS):
        return True
    try:
        return view_node(inode) is not None or split(inode) is not None
    except ValueError:
        return False


def directory_of(inode: Inode) -> Inode:
    """Return the directory that a node is in; not for nodes of the views."""
    if inode == STATUS:
        return HIDDEN_DIR
    if inode in (ROOT, HIDDEN_DIR):
        return ROOT
    number, kind = split(inode)
    return ROOT if kind is Kind.DIRECTORY else inode_of(number, Kind.DIRECTORY)


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
