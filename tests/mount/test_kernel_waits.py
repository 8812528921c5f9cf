"""Waits inside the kernel that could hold the mount process for ever are ended by it.

Small mounts of their own make the moment come about for certain, or nearly so; `fsmount` itself meets it
once in a while.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from fsmount import connection
from fsmount.mountpoint import find_mount
from tests.support.mounts import free, require_fuse, state_of, wait_until

BEGIN = '''
import os, subprocess, sys, threading, time
from pathlib import Path
import trio
from fsmount.attach import Attachment
from fsmount.boundary import Boundary
from fsmount.config import MountSettings, SecretKey
from fsmount.kernel_types import Owner
from fsmount.operations import Operations, correct, serve
from fsmount.signals import unfreezing
from fsmount.tree import directory_attributes

class Tree:
    """Every name is a directory; looking up `hang` takes for ever."""
    def describe(self, inode, name=None): return "x"
    def lookup_nowait(self, parent, name):
        return None if name == b"hang" else self.getattr_nowait(8)
    async def lookup(self, parent, name, caller):
        await trio.sleep_forever()
    def getattr_nowait(self, inode):
        return directory_attributes(inode, 0, writable=False, attr_timeout_s=0, entry_timeout_s=60)

mountpoint = Path(sys.argv[1])
operations = Operations(Owner(0, 0, 0))
operations.attach(Tree(), Boundary(90))
settings = MountSettings(case="c", mountpoint=mountpoint, key=SecretKey("k"))
attachment = Attachment(operations, settings, "c")

def is_in_kernel(function):
    places = [Path(f"/proc/self/task/{task}/wchan") for task in os.listdir("/proc/self/task")]
    return any(function in place.read_text() for place in places)
'''

# The kernel holds the root while it looks a name up there, and telling it about another one waits for that,
# uninterruptibly: a thread that waits so keeps its process from ending.
NOTIFYING = """
clients = subprocess.Popen(["sh", "-c", 'stat "$0/known"; exec stat "$0/hang"', mountpoint])

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, 50)
        await trio.sleep(0.5)
        nursery.start_soon(lambda: trio.to_thread.run_sync(correct, b"known", abandon_on_cancel=True))
        with trio.fail_after(10):
            while not is_in_kernel("fuse_reverse_inval"):
                await trio.sleep(0.05)
        print("waits", flush=True)
        attachment.stop_answering()
        nursery.cancel_scope.cancel()

trio.run(main)
attachment.close()
assert clients.wait(5) != 0
"""

# The library waits for a request and then reads it; if its caller was killed in between, the read waits
# for another one, with the whole event loop. The instrument makes the time in between long.
FREEZING = """
import fsmount.signals
fsmount.signals._UNFREEZE_S = 0.2

class Busy(trio.abc.Instrument):
    def after_io_wait(self, timeout):
        time.sleep(0.4)

gaps = []
async def tick():
    before = time.monotonic()
    while True:
        await trio.sleep(0.1)
        gaps.append(time.monotonic() - before)
        before = time.monotonic()

def clients():
    for _ in range(2):
        with subprocess.Popen(["stat", mountpoint], stdout=-3, stderr=-3) as client:
            time.sleep(0.4)  # the request is noticed by now, and not read yet
            client.kill()
        time.sleep(1.6)  # nobody else asks, so nothing else ends the read

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, 50)
        nursery.start_soon(tick)
        await trio.to_thread.run_sync(clients)
        nursery.cancel_scope.cancel()

with unfreezing():
    trio.run(main, instruments=[Busy()])
attachment.close()
assert max(gaps) < 1.5, gaps
print("waits", flush=True)
"""


@pytest.mark.parametrize("program", [NOTIFYING, FREEZING], ids=["notifying", "freezing"])
def test_the_process_is_not_held_in_the_kernel(tmp_path: Path, program: str):
    """It goes on, and it ends."""
    require_fuse()
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    command = [sys.executable, "-c", BEGIN + program, str(mountpoint)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    number = -1
    try:
        wait_until(lambda: find_mount(mountpoint) or process.poll() is not None, within_s=10)
        mounted = find_mount(mountpoint)
        number = mounted.number if mounted else -1
        wait_until(lambda: state_of(process.pid) in {"Z", ""}, within_s=30)
        stdout, stderr = process.communicate(timeout=5)
        assert (0, True) == (process.returncode, b"waits" in stdout), stderr.decode()
    finally:
        if process.poll() is None:  # nothing else gets it out of there
            connection.abort(number)
        free(mountpoint)
        process.kill()
        process.communicate(timeout=10)
