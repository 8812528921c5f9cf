"""The floor: a file system that lists so many constant names and does nothing else.

`python -m tests.bench.stub COUNT MOUNTPOINT` serves until it is unmounted.
"""

# ruff: noqa: ARG002 - the signatures are the library's

import os
import stat
import sys

import pyfuse3
import trio

_FIRST = 10  # above the inodes that are taken


class Stub(pyfuse3.Operations):
    """Answers what `ls` asks, with attributes made beforehand."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    @staticmethod
    def _attributes(inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(inode)
        entry.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o500)
        entry.st_nlink = 2
        entry.entry_timeout = entry.attr_timeout = 60.0
        return entry

    async def getattr(self, inode, ctx=None):
        return self._attributes(inode)

    async def lookup(self, parent_inode, name, ctx=None):
        raise pyfuse3.FUSEError(2)

    async def opendir(self, inode, ctx):
        return pyfuse3.FileHandleT(1)

    async def readdir(self, fh, start_id, token):
        for number in range(start_id, self._count):
            name = b"claude_file_01%022d" % number
            if not pyfuse3.readdir_reply(
                token, pyfuse3.FileNameT(name), self._attributes(number + _FIRST), number + 1
            ):
                return

    async def releasedir(self, fh):
        pass


def main() -> None:
    """Mount and serve."""
    count, mountpoint = int(sys.argv[1]), sys.argv[2]
    options = set(pyfuse3.default_options) | {"fsname=stub", "subtype=stub"}
    pyfuse3.init(Stub(count), mountpoint, options)
    print("ready", flush=True)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()
    os._exit(0)


if __name__ == "__main__":
    main()
