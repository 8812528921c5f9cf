"""A mount whose handlers raise anything at all goes on answering."""

import os
import subprocess
import sys
import time
from pathlib import Path

from fsmount.mountpoint import detach, find_mount
from tests.support.mounts import require_fuse, run

PROGRAM = '''
"""Mounts a file system that raises, for each name looked up, the exception of that name."""
import builtins, pathlib, sys
import pyfuse3, trio
import client, fsmount.errors
from fsmount.boundary import Boundary
from fsmount.kernel_types import Owner
from fsmount.operations import Operations, serve
from fsmount.answers import Absent, StatFs
from fsmount.tree import directory_attributes

class Raising:
    directories = property(lambda self: self)
    def describe(self, inode, name=None): return "x"
    def lookup_nowait(self, parent, name):
        return self.plant(name[4:]) if name.startswith(b"now-") else None
    async def lookup(self, parent, name, caller):
        return self.plant(name)
    def plant(self, name):
        if name == b"absent":
            return Absent(1.0)
        if name == b"wrong-type":
            return 42
        kind = name.decode()
        for module in (builtins, client, fsmount.errors):
            if hasattr(module, kind):
                kind = getattr(module, kind)
                break
        try:
            error = kind("planted")
        except TypeError:
            try:
                error = kind(500, None, "planted", None)
            except TypeError:
                error = ValueError(name)
        raise error
    def getattr_nowait(self, inode):
        return directory_attributes(inode, 0, writable=False, attr_timeout_s=0, entry_timeout_s=0)
    def opendir_nowait(self, inode): raise RuntimeError("opendir")
    def statfs(self): raise LookupError("statfs")
    def getxattr(self, inode, name): raise OSError("getxattr")
    def listxattr(self, inode): raise ArithmeticError("listxattr")

operations = Operations(Owner(0, 0, 0))
operations.attach(Raising(), Boundary(5))
pyfuse3.init(operations, sys.argv[1], {"fsname=raising", "subtype=fsmount", "default_permissions"})
print("up", flush=True)
try:
    trio.run(serve, 50)
finally:
    pyfuse3.close()
'''

KINDS = [
    *(
        "ValueError",
        "TypeError",
        "KeyError",
        "OSError",
        "MemoryError",
        "RecursionError",
        "StopIteration",
    ),
    *(
        "AssertionError",
        "ExceptionGroup",
        "TimeoutError",
        "UnicodeError",
        "EOFError",
        "NotImplementedError",
    ),
    *(
        "NotFoundError",
        "PermissionDeniedError",
        "APIError",
        "APIConnectionError",
        "InvalidResponseError",
    ),
    *(
        "AbsentError",
        "ContentError",
        "MismatchError",
        "CustodyError",
        "DeadlineError",
        "wrong-type",
    ),
    *("StopAsyncIteration", "absent"),
]


def test_no_exception_of_a_handler_ends_the_mount(tmp_path: Path):
    """Each kind raised in a handler is an errno for its caller, and the next request is answered."""
    require_fuse()
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(mountpoint)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert process.stdout is not None
        assert b"up\n" == process.stdout.readline()
        for kind in KINDS:
            for name in (kind, f"now-{kind}"):
                done = run(["stat", mountpoint / name], timeout_s=10)
                assert 1 == done.returncode
                assert b"endpoint" not in done.stderr, f"{name} ended the mount"
                assert b"abort" not in done.stderr, f"{name} ended the mount"
        for command in (["ls"], ["df"], ["getfattr", "-d"], ["mkdir", "-p"]):
            run(
                [*command, mountpoint / "" if command != ["mkdir", "-p"] else mountpoint / "a"],
                timeout_s=10,
            )
        assert os.stat(mountpoint)
        assert process.poll() is None
    finally:
        detach(mountpoint)
        process.kill()
        process.communicate(timeout=10)
        deadline = time.monotonic() + 5
        while find_mount(mountpoint) and time.monotonic() < deadline:
            time.sleep(0.05)
