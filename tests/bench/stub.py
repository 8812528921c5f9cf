"""The floor: a file system of constants, which shows what the kernel and the library cost by themselves.

`python -m tests.bench.stub DIRECTORIES SIZE MOUNTPOINT` serves until it is unmounted: so many directories,
each with one file of SIZE bytes and a small one, like the two that fsmount shows.
"""

# ruff: noqa: ARG002 - the signatures are the library's

import os
import stat
import sys
from pathlib import Path

import pyfuse3
import trio

from fsmount import connection
from fsmount.mountpoint import find_mount

FILE_NAME = b"content"
_SMALL_NAME = b"meta.json"
_SMALL_BYTES = 400
_PREFIX = b"claude_file_01"
_FIRST = 12  # directory n has the inode FIRST + 3 n, its files the two that follow
_READ_AHEAD_KIB = 512  # as fsmount has it
_MAX_BACKGROUND = 64  # likewise


class Stub(pyfuse3.Operations):
    """Answers what `ls` and `cat` ask, working attributes out from inodes."""

    supports_dot_lookup = False

    def __init__(self, count: int, size_bytes: int) -> None:
        super().__init__()
        self._count = count
        self._size_bytes = size_bytes
        self._answers: dict[int, bytes] = {}  # made once, so that nothing is copied

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        kind = inode % 3 if inode >= _FIRST else 0
        entry.st_ino = pyfuse3.InodeT(inode)
        entry.st_mode = pyfuse3.ModeT(stat.S_IFREG | 0o400 if kind else stat.S_IFDIR | 0o500)
        entry.st_size = (0, self._size_bytes, _SMALL_BYTES)[kind]
        entry.st_nlink = 1 if kind else 2
        entry.entry_timeout = entry.attr_timeout = 60.0
        return entry

    async def getattr(self, inode, ctx=None):
        return self._attributes(inode)

    async def lookup(self, parent_inode, name, ctx=None):
        if parent_inode == pyfuse3.ROOT_INODE and name.startswith(_PREFIX):
            return self._attributes(_FIRST + 3 * int(name[len(_PREFIX) :]))
        if parent_inode >= _FIRST and name in (FILE_NAME, _SMALL_NAME):
            return self._attributes(parent_inode + (1 if name == FILE_NAME else 2))
        raise pyfuse3.FUSEError(2)

    async def opendir(self, inode, ctx):
        return pyfuse3.FileHandleT(inode)

    async def readdir(self, fh, start_id, token):
        if fh >= _FIRST:
            for at, name in list(enumerate((FILE_NAME, _SMALL_NAME), 1))[start_id:]:
                pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), self._attributes(fh + at), at)
            return
        for number in range(start_id, self._count):
            name = b"%b%022d" % (_PREFIX, number)
            attributes = self._attributes(_FIRST + 3 * number)
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), attributes, number + 1):
                return

    async def releasedir(self, fh):
        pass

    async def open(self, inode, flags, ctx):
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh, off, size):
        left = max(0, int(self._attributes(fh).st_size) - off)
        wanted = min(size, left)
        return self._answers.get(wanted) or self._answers.setdefault(wanted, bytes(wanted))

    async def release(self, fh):
        pass


async def _serve(mountpoint: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        await trio.to_thread.run_sync(os.stat, mountpoint)  # answered: limits are negotiated by now
        mounted = find_mount(mountpoint)
        assert mounted is not None
        connection.set_limit(mounted.number, "max_background", _MAX_BACKGROUND)
        connection.set_read_ahead(mounted.number, _READ_AHEAD_KIB)


def main() -> None:
    """Mount and serve."""
    count, size_bytes, mountpoint = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    options = set(pyfuse3.default_options) | {"fsname=stub", "subtype=stub"}
    pyfuse3.init(Stub(count, size_bytes), mountpoint, options)
    try:
        trio.run(_serve, Path(mountpoint))
    finally:
        pyfuse3.close(unmount=False)
    os._exit(0)


if __name__ == "__main__":
    main()
