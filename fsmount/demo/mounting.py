"""Runs `fsmount mount` as a user would, in a process of its own, and ends it again.

Everything that touches the mount runs in a thread or another process: the emulator lives on this event
loop, so waiting here for a file would wait for ourselves.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

# Starting Python and mounting takes half a second; a busy machine gets time, a stuck one an end.
_MOUNT_LIMIT_S = 20.0
_UNMOUNT_LIMIT_S = 10.0
_POLL_S = 0.05

# A dead mount's last line may still be in the pipe; a child of it may hold the pipe open for ever.
_LAST_WORDS_LIMIT_S = 1.0

# What the mount says before it gives up fits in a few lines.
_KEPT_LINES = 20


class DemoError(Exception):
    """The demonstration can't go on; the message is one line for a person."""


def mount_command(
    case: Path, mountpoint: Path, *, base_url: str, key_file: Path, ids_file: Path
) -> list[str]:
    """Return the command line that mounts in the foreground."""
    paths = ["--key-file", str(key_file), "--ids-file", str(ids_file)]
    mount = [sys.executable, "-m", "fsmount", "mount", str(case), str(mountpoint)]
    return [*mount, "--base-url", base_url, *paths, "-f"]


class Mount:
    """A running mount and the last lines it wrote to its standard error."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._has_said_all = trio.Event()

    async def collect(self) -> None:
        """Keep what the mount says, until it closes its end."""
        assert self.process.stderr is not None
        rest = b""
        async for data in self.process.stderr:
            *lines, rest = (rest + data).split(b"\n")
            self._said.extend(line.decode(errors="replace") for line in lines if line.strip())
        if rest.strip():
            self._said.append(rest.decode(errors="replace"))
        self._has_said_all.set()

    async def wait_mounted(self, mountpoint: Path) -> None:
        """Wait until something is mounted there.

        Errors: DemoError when the process ends before, or takes too long.
        """
        with trio.move_on_after(_MOUNT_LIMIT_S):
            while self.process.poll() is None:
                if await is_mounted(mountpoint):
                    return
                await trio.sleep(_POLL_S)
            raise DemoError(f"mounting failed: {await self._last_words()}")
        raise DemoError(f"the mount did not come up within {_MOUNT_LIMIT_S:.0f} s")

    async def wait_ended(self) -> None:
        """Wait until somebody unmounts.

        Errors: DemoError when it ended in another way.
        """
        if await self.process.wait() != 0:
            raise DemoError(f"the mount ended: {await self._last_words()}")

    async def _last_words(self) -> str:
        with trio.move_on_after(_LAST_WORDS_LIMIT_S):
            await self._has_said_all.wait()
        return self._said[-1] if self._said else f"exit code {self.process.returncode}"


@asynccontextmanager
async def mounted(command: Sequence[str], mountpoint: Path) -> AsyncIterator[Mount]:
    """Mount inside the context and unmount at its end, whatever happened.

    Errors: DemoError when the mount does not come up; its own last line says why.
    """
    async with trio.open_nursery() as nursery:
        # A session of its own: Ctrl-C is for us, and we end the mount in order.
        process = await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
        mount = Mount(process)
        nursery.start_soon(mount.collect)
        try:
            await mount.wait_mounted(mountpoint)
            yield mount
        finally:
            with trio.CancelScope(shield=True):
                await _end(process, mountpoint)
            nursery.cancel_scope.cancel()


async def is_mounted(mountpoint: Path) -> bool:
    """Return whether something is mounted there."""
    return await trio.to_thread.run_sync(os.path.ismount, mountpoint, abandon_on_cancel=True)


def _environment() -> dict[str, str]:
    """Return our environment without settings that would point the mount elsewhere."""
    foreign = ("FSMOUNT_", "ANTHROPIC_", "CREDENTIALS_DIRECTORY")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


async def _end(process: trio.Process, mountpoint: Path) -> None:
    """Unmount by SIGTERM, as the contract of the mount says; by force where that does not help."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(_UNMOUNT_LIMIT_S):
            await process.wait()
    with trio.move_on_after(_UNMOUNT_LIMIT_S):
        if process.poll() is None or await is_mounted(mountpoint):
            with contextlib.suppress(OSError):
                await trio.run_process(["fusermount3", "-uz", str(mountpoint)], check=False)
    if process.poll() is None:
        process.kill()
        await process.wait()
