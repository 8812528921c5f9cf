"""What the kernel is told of nodes, in the types of the library that speaks with it."""

import stat
from collections.abc import Callable

from pyfuse3 import EntryAttributes, InodeT, ModeT, StatvfsData

from fsmount.answers import Absent, StatFs
from fsmount.inodes import Inode
from fsmount.tree import PREFERRED_READ_BYTES, Attributes

_BLOCK_BYTES = 4096


class Owner:
    """Whom the nodes belong to, and what their mode is masked with."""

    def __init__(self, uid: int, gid: int, umask: int) -> None:
        self.uid = uid
        self.gid = gid
        self.umask = umask

    def entry(self, attributes: Attributes) -> EntryAttributes:
        """Return the attributes of one node."""
        entry = EntryAttributes()
        entry.st_ino = InodeT(attributes.inode)
        # Links have no permissions of their own; others than 0777 would find their way into archives.
        masked = 0 if stat.S_ISLNK(attributes.mode) else self.umask
        entry.st_mode = ModeT(attributes.mode & ~masked)
        entry.st_nlink = attributes.nlink
        entry.st_uid = self.uid
        entry.st_gid = self.gid
        entry.st_size = attributes.size_bytes
        entry.st_blocks = attributes.blocks
        entry.st_blksize = PREFERRED_READ_BYTES
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = attributes.mtime_ns
        entry.entry_timeout = attributes.entry_timeout_s
        entry.attr_timeout = attributes.attr_timeout_s
        return entry


def negative(absent: Absent) -> EntryAttributes:
    """Return the answer that there is no such name."""
    entry = EntryAttributes()
    entry.st_ino = InodeT(0)  # the protocol's "there is none, and remember that"
    entry.entry_timeout = absent.entry_timeout_s
    return entry


def dot(inode: Inode) -> EntryAttributes:
    """Return what a listing says of `.` and `..`: the kernel shows the number, and keeps nothing."""
    entry = EntryAttributes()
    entry.st_ino = InodeT(inode)
    entry.st_mode = ModeT(stat.S_IFDIR)
    return entry


def statfs_data(statfs: StatFs) -> StatvfsData:
    """Return the answer to df: no blocks, since the tree has none of its own."""
    data = StatvfsData()
    data.f_bsize = data.f_frsize = _BLOCK_BYTES
    data.f_files = statfs.files
    data.f_namemax = 255
    return data


class ReusedEntry:
    """Makes the library's attributes of many nodes that differ in number and date alone.

    A listing of a million directories sets two fields of each instead of thirteen; the library copies them
    with every reply.
    """

    def __init__(self, make: Callable[[Attributes], EntryAttributes]) -> None:
        self._make = make
        self._last: Attributes | None = None

    def of(self, attributes: Attributes) -> EntryAttributes:
        """Return the attributes of one node, to be used before the next call."""
        last, self._last = self._last, attributes
        if last is None or not _differ_in_number_and_date_alone(attributes, last):
            self._entry = self._make(attributes)
            return self._entry
        entry = self._entry
        entry.st_ino = InodeT(attributes.inode)
        if attributes.mtime_ns != last.mtime_ns:
            entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = attributes.mtime_ns
        return entry


def _differ_in_number_and_date_alone(one: Attributes, other: Attributes) -> bool:
    _, mode, size_bytes, _, nlink, attr_timeout_s, entry_timeout_s = one
    _, other_mode, other_size, _, other_nlink, other_attr_s, other_entry_s = other
    return (
        mode == other_mode
        and size_bytes == other_size
        and attr_timeout_s == other_attr_s
        and entry_timeout_s == other_entry_s
        and nlink == other_nlink
    )
