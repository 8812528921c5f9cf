"""One FUSE connection as the kernel shows it: who serves it, its limits, whether it is lost, cutting it.

A connection has a number: the minor of the mount's device, and a directory below /sys/fs/fuse/connections.
Nothing here touches a mount, so nothing here can hang with one.
"""

import contextlib
import os
import select
from pathlib import Path

_DEVICE = "/dev/fuse"
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_DEVICES = Path("/sys/class/bdi")
_LIMITS = Path("/proc/sys/fs/fuse")
_PROC = Path("/proc")
FUSE_CONF = Path("/etc/fuse.conf")

MAX_BACKGROUND = 64  # reads that a mount asks the kernel to admit at once; 12 without that
SHARE_OF_KERNEL_TIMEOUT = 0.6  # of the kernel's own limit: beyond that, it aborts the whole mount


def others_are_allowed() -> bool:
    """Say whether mounts that are not root's may be open to others."""
    with contextlib.suppress(OSError):
        lines = FUSE_CONF.read_text(errors="replace").splitlines()
        return any(line.strip() == "user_allow_other" for line in lines)
    return False


def exists(number: int) -> bool:
    """Say whether the kernel still has the connection; False where it does not show them."""
    return (_CONNECTIONS / str(number)).exists()


def set_limit(number: int, name: str, value: int) -> bool:
    """Set one limit of a connection, where that is permitted; say whether it was."""
    return _write(number, name, str(value))


def set_read_ahead(number: int, kib: int) -> bool:
    """Set how much the kernel reads ahead in one request, where that is permitted; say whether it was."""
    return _write_to(_DEVICES / f"0:{number}" / "read_ahead_kb", str(kib))


def abort(number: int) -> bool:
    """Cut a connection: every request on it is answered with an error, whoever waits is free again.

    This is the only way out for a process that waits uninterruptibly for a server which will not answer.
    """
    return _write(number, "abort", "1")


def open_devices() -> list[int]:
    """Return the file descriptors of this process that are connections, mounted or not."""
    return [fd for fd in _descriptors("self") if _is_device("self", fd)]


def is_lost(device: int) -> bool:
    """Say whether the kernel has given up the connection behind one of our descriptors."""
    poll = select.poll()
    poll.register(device, 0)
    return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def servers(number: int) -> list[int]:
    """Return the processes that hold a connection open, as far as we may look into them.

    Older kernels do not say which connection a descriptor belongs to; nothing is found there.
    """
    return [pid for pid in _numbers(_PROC) if _holds(pid, number)]


def request_timeout_s() -> float | None:
    """Return the age at which the kernel takes a request for lost and cuts the whole connection, if any."""
    default_s = _limit("default_request_timeout")
    longest_s = _limit("max_request_timeout")
    return min((limit_s for limit_s in (default_s, longest_s) if limit_s), default=None)


def _holds(pid: int, number: int) -> bool:
    return any(
        _is_device(pid, fd) and _connection_of(pid, fd) == number for fd in _descriptors(pid)
    )


def _descriptors(pid: int | str) -> list[int]:
    return _numbers(_PROC / str(pid) / "fd")


def _is_device(pid: int | str, fd: int) -> bool:
    try:
        return os.readlink(_PROC / str(pid) / "fd" / str(fd)) == _DEVICE
    except OSError:  # closed in between: listing a directory opens one, too
        return False


def _connection_of(pid: int, fd: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "fdinfo" / str(fd)).read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "fuse_connection":
                return int(value)
    return None


def _numbers(directory: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(directory) if name.isdecimal()]
    except OSError:
        return []


def _limit(name: str) -> int:
    try:
        return int((_LIMITS / name).read_text())
    except (OSError, ValueError):
        return 0


def _write(number: int, name: str, value: str) -> bool:
    return _write_to(_CONNECTIONS / str(number) / name, value)


def _write_to(setting: Path, value: str) -> bool:
    try:
        setting.write_text(value)
    except OSError:
        return False
    return True
