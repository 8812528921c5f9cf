"""Going to the background: mount, fork, leave the session; the parent returns when the mount answers.

In this order: systemd's automount expects the mount from its own process group, so leaving the session
comes after mounting; and no thread may be running at the fork.
"""

import contextlib
import os
import signal
import stat
import sys
from pathlib import Path
from typing import NoReturn

from fsmount.errors import FsmountError
from fsmount.mountpoint import detach, find_mount, look
from fsmount.signals import handle, wanted_end_signals

_READY = b"\x00"


class Readiness:
    """The child's end of the pipe on which the parent waits."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def ready(self) -> None:
        """Tell the parent that the mount answers; it returns then."""
        self._send(_READY)

    def failed(self, message: str) -> bool:
        """Tell the parent what went wrong, for it to print; say whether there was one to tell."""
        return self._send(message.encode(errors="replace"))

    def _send(self, data: bytes) -> bool:
        if self._fd is None:
            return False
        fd, self._fd = self._fd, None
        with contextlib.suppress(OSError):  # the parent was killed; the mount is good all the same
            os.write(fd, data)
        os.close(fd)
        return True


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
    if os.fork():  # twice: systemd stops a process in order only once it is a child of its own
        os._exit(0)
    os.close(read_fd)
    os.write(write_fd, b"%d\n" % os.getpid())
    os.setsid()
    os.chdir("/")
    readiness = Readiness(write_fd)
    try:
        _leave_terminal(log_path)
    except OSError as error:
        readiness.failed(f"{log_path} can't be written: {error.strerror}")
        raise
    return readiness


def _wait_for_child(read_fd: int, mountpoint: Path) -> NoReturn:
    """Wait until the child is ready or gone, and exit; the mount is the child's, whatever goes wrong here."""
    code = 1
    try:
        code = _outcome(read_fd, mountpoint)
    finally:
        os._exit(code)


def _outcome(read_fd: int, mountpoint: Path) -> int:
    with os.fdopen(read_fd, "rb") as said:
        child = int(said.readline() or 0)

        def pass_on(number: int, _frame: object) -> None:  # whoever wants us to end means the mount
            _kill(child, number)
            os._exit(128 + number)

        handle(wanted_end_signals(), pass_on)
        message = said.read()
    if message == _READY:
        if look(mountpoint) == 0:
            return 0
        _kill(child, signal.SIGTERM)
        message = f"the mount on {mountpoint} does not answer, so it was ended".encode()
    elif not message:
        message = b"the mount process ended before it was ready"
        _clear(mountpoint)
    os.write(2, b"fsmount: " + message + b"\n")
    return 1


def _kill(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if child:  # 0 when it was gone before it said who it is
            os.kill(child, number)


def _clear(mountpoint: Path) -> None:
    """Take away what a child that was killed left mounted."""
    with contextlib.suppress(FsmountError):
        if find_mount(mountpoint):
            detach(mountpoint)


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
