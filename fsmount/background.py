"""Going to the background: mount, fork, leave the session; the parent returns when the mount answers.

In this order: systemd's automount expects the mount from its own process group, so leaving the session
comes after mounting; and no thread may be running at the fork.
"""

import os
import stat
import sys
from pathlib import Path
from typing import NoReturn

_READY = b"\x00"


class Readiness:
    """The child's end of the pipe on which the parent waits."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def ready(self) -> None:
        """Tell the parent that the mount answers; it returns then."""
        self._send(_READY)

    def failed(self, message: str) -> None:
        """Tell the parent what went wrong; it prints that and exits with 1."""
        self._send(message.encode(errors="replace"))

    def _send(self, data: bytes) -> None:
        if self._fd is not None:
            os.write(self._fd, data)
            os.close(self._fd)
            self._fd = None


def fork_to_background(mountpoint: Path, log_path: Path) -> Readiness:
    """Return in a child that has its own session; the parent waits for it and never returns.

    The child's messages go on to the journal, or to the file that stderr is. A terminal or a pipe is left
    (whoever reads the pipe waits for its end): messages go to `log_path` then.
    """
    read_fd, write_fd = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os.close(write_fd)
        _wait_for_child(read_fd, mountpoint)
    os.close(read_fd)
    os.setsid()
    os.chdir("/")
    _leave_terminal(log_path)
    return Readiness(write_fd)


def _wait_for_child(read_fd: int, mountpoint: Path) -> NoReturn:
    message = b""
    while part := os.read(read_fd, 65536):
        message += part
    if message == _READY:
        os.statvfs(mountpoint)  # the proof that it answers, from a process that may wait for it
        os._exit(0)
    text = message.decode(errors="replace") or "the mount process ended before it was ready"
    os.write(2, f"fsmount: {text}\n".encode())
    os._exit(1)


def _leave_terminal(log_path: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if not _is_lasting(2):
        log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 2)
        os.close(log)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _is_lasting(fd: int) -> bool:
    """Say whether messages may go on to where they go: the journal or a file."""
    status = os.fstat(fd)
    is_journal = os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return is_journal or stat.S_ISREG(status.st_mode)
