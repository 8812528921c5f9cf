"""A mount over the SDK as one writes it in an afternoon: the whole file is downloaded when it is opened.

`python -m tests.bench.naive URL KEY MOUNTPOINT` serves until it is unmounted.
"""

# ruff: noqa: ARG002 - the signatures are the library's

import os
import stat
import sys
import tempfile

import pyfuse3
import trio
from claude_compliance_sdk import ComplianceClient


class Naive(pyfuse3.Operations):
    def __init__(self, client) -> None:
        super().__init__()
        self.client = client
        messages = (m for c in client.chats.iter() for m in client.chats.iter_messages(c.id))
        self.records = [record for m in messages for record in m.files or []]
        self.numbers = {record["id"].encode(): n for n, record in enumerate(self.records)}

    def attributes(self, inode):  # 1: the root; even: a directory; odd: the file in the one before
        entry = pyfuse3.EntryAttributes()
        is_file = inode > 1 and inode % 2
        entry.st_ino = inode
        entry.st_mode = stat.S_IFREG | 0o400 if is_file else stat.S_IFDIR | 0o500
        entry.st_size = self.records[inode // 2 - 1]["size_bytes"] if is_file else 0
        return entry

    def name_of(self, inode):
        return self.records[inode // 2 - 1]["filename"].encode()

    async def getattr(self, inode, ctx=None):
        return self.attributes(inode)

    async def lookup(self, parent_inode, name, ctx=None):
        if parent_inode == 1 and name in self.numbers:
            return self.attributes(2 * self.numbers[name] + 2)
        if parent_inode > 1 and name == self.name_of(parent_inode):
            return self.attributes(parent_inode + 1)
        raise pyfuse3.FUSEError(2)

    async def opendir(self, inode, ctx):
        return inode

    async def readdir(self, fh, start_id, token):
        names = list(self.numbers) if fh == 1 else [self.name_of(fh)]
        for at in range(start_id, len(names)):
            entry = self.attributes(2 * at + 2 if fh == 1 else fh + 1)
            if not pyfuse3.readdir_reply(token, names[at], entry, at + 1):
                return

    async def open(self, inode, flags, ctx):
        file_id = self.records[inode // 2 - 1]["id"]
        fd, path = tempfile.mkstemp()
        await trio.to_thread.run_sync(self.client.files.download_to_file, file_id, path)
        os.close(fd)
        fd = os.open(path, os.O_RDONLY)
        os.unlink(path)
        return pyfuse3.FileInfo(fh=fd)

    async def read(self, fh, off, size):
        return os.pread(fh, size, off)

    async def release(self, fh):
        os.close(fh)


def main() -> None:
    """Walk all chats, then mount and serve."""
    url, key, mountpoint = sys.argv[1:]
    client = ComplianceClient(key, base_url=url, rate_limit_rpm=10**9)
    options = set(pyfuse3.default_options) | {"fsname=naive", "subtype=naive", "ro"}
    pyfuse3.init(Naive(client), mountpoint, options)
    trio.run(pyfuse3.main)
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
