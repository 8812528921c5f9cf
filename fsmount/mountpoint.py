"""Mountpoints: may something be mounted here, is there a dead mount in the way, take a mount away.

What is mounted where is read from /proc/self/mountinfo, never by touching a mount: a dead or hanging one
would hang its visitor.
"""

import contextlib
import ctypes
import dataclasses
import errno
import logging
import os
import subprocess
import time
from pathlib import Path

from fsmount.errors import MountError

log = logging.getLogger(__name__)

FS_TYPE = "fuse.fsmount"
_MNT_DETACH = 2
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_GONE_WAIT_S = 20.0
_POLL_S = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Mounted:
    """One line of the mount table; `minor` is the number of its FUSE connection."""

    path: str
    fs_type: str
    source: str
    minor: int


def mounts() -> list[Mounted]:
    """Return what is mounted, in the order of mounting."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        return [_parse(line) for line in table]


def find_mount(path: Path) -> Mounted | None:
    """Return the topmost mount on exactly this path."""
    wanted = os.path.abspath(path)
    return next((mount for mount in reversed(mounts()) if mount.path == wanted), None)


def prepare(mountpoint: Path) -> None:
    """Make sure that a mountpoint can be used; clear a dead mount of ours out of the way.

    Errors: MountError, saying what to do.
    """
    try:
        entries = os.listdir(mountpoint)
    except FileNotFoundError:
        raise MountError(
            f"the mountpoint {mountpoint} does not exist; make it: mkdir {mountpoint}"
        ) from None
    except NotADirectoryError:
        raise MountError(
            f"the mountpoint {mountpoint} is not a directory; name one that is empty"
        ) from None
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise MountError(
                f"the mountpoint {mountpoint} can't be used: {error.strerror}"
            ) from error
        _clear_dead(mountpoint)
        prepare(mountpoint)
        return
    mounted = find_mount(mountpoint)
    if mounted:
        raise MountError(
            f"{mounted.source} ({mounted.fs_type}) is mounted on {mountpoint} already;"
            f" unmount it first: {_unmount_hint(mounted, mountpoint)}"
        )
    if entries:
        raise MountError(f"the mountpoint {mountpoint} is not empty; name an empty directory")


def check_outside(mountpoint: Path, **needed: Path | None) -> None:
    """Refuse a mountpoint over what the mount itself needs: it would wait for itself.

    Errors: MountError.
    """
    inside = os.path.realpath(mountpoint)
    for what, path in needed.items():
        if path is not None and os.path.realpath(path).startswith((inside + os.sep, inside + "\0")):
            raise MountError(
                f"the {what.replace('_', ' ')} {path} lies under the mountpoint {mountpoint};"
                " keep it elsewhere"
            )


def unmount(mountpoint: Path) -> None:
    """Take a mount of ours away, also a dead, hanging or busy one, and wait until its process has ended.

    Errors: MountError when nothing of ours is mounted there, or it can't be unmounted.
    """
    mounted = find_mount(mountpoint)
    if mounted is None:
        raise MountError(f"nothing is mounted on {mountpoint}")
    if mounted.fs_type != FS_TYPE:
        raise MountError(
            f"what is mounted on {mountpoint} is {mounted.fs_type}, not a mount of fsmount"
        )
    detach(mountpoint)
    _wait_gone(mounted)


def detach(mountpoint: Path) -> None:
    """Unmount lazily: programs with open files keep them, new ones find the plain directory.

    Errors: MountError.
    """
    path = os.path.abspath(mountpoint)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        return
    if ctypes.get_errno() != errno.EPERM:
        raise MountError(f"{path} can't be unmounted: {os.strerror(ctypes.get_errno())}")
    command = ["fusermount3", "-u", "-z", "--", path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MountError(f"{path} can't be unmounted: {error}") from error
    if done.returncode:
        raise MountError(f"{path} can't be unmounted: {' '.join(done.stderr.split())}")


def connection_setting(mounted: Mounted, name: str, value: int) -> bool:
    """Set one number of a FUSE connection, where that is permitted; say whether it was."""
    try:
        (_CONNECTIONS / str(mounted.minor) / name).write_text(str(value))
    except OSError:
        return False
    return True


def _clear_dead(mountpoint: Path) -> None:
    mounted = find_mount(mountpoint)
    if mounted is None or mounted.fs_type != FS_TYPE:
        raise MountError(
            f"a dead mount ({mounted.fs_type if mounted else 'unknown'}) is on {mountpoint};"
            f" unmount it first: fusermount3 -uz {mountpoint}"
        )
    detach(mountpoint)
    log.warning("cleared the dead mount of %s from %s", mounted.source, mountpoint)


def _wait_gone(mounted: Mounted) -> None:
    """Wait until the kernel has let the connection go, which happens when its process has ended."""
    connection = _CONNECTIONS / str(mounted.minor)
    deadline = time.monotonic() + _GONE_WAIT_S
    while connection.exists() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    with contextlib.suppress(OSError):
        if connection.exists():
            log.warning(
                "programs still have files open in the mount; it ends with the last of them"
            )


def _unmount_hint(mounted: Mounted, mountpoint: Path) -> str:
    return f"fsmount unmount {mountpoint}" if mounted.fs_type == FS_TYPE else f"umount {mountpoint}"


def _parse(line: str) -> Mounted:
    fields = line.split(" ")
    fs_type, source = fields[fields.index("-") + 1 :][:2]
    minor = int(fields[2].partition(":")[2])
    return Mounted(_unescaped(fields[4]), fs_type, _unescaped(source), minor)


def _unescaped(text: str) -> str:
    """Undo the octal escapes of the mount table."""
    for escape, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(escape, character)
    return text
