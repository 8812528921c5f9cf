"""Mountpoints: may something be mounted here, is there a dead mount in the way, take a mount away.

What is mounted where is read from /proc/self/mountinfo. A mount that hangs would hang its visitor, beyond
the reach of `kill -9`, so the rare look at one is taken by another process, with a time limit.
"""

import contextlib
import ctypes
import dataclasses
import errno
import logging
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from fsmount import connection
from fsmount.errors import MountError

log = logging.getLogger(__name__)

FS_TYPE = "fuse.fsmount"
_AUTOMOUNTER = "autofs"
_MNT_DETACH = 2
_DEAD = frozenset({errno.ENOTCONN, errno.ECONNABORTED})
_ESCAPE = re.compile(r"\\([0-7]{3})")
_LOOK = (
    "import os, sys\ntry: os.statvfs(sys.argv[1])\nexcept OSError as error: sys.exit(error.errno)\n"
)
_READ = (
    "import sys\ntry: data = open(sys.argv[1], 'rb').read(1 << 20)\n"
    "except OSError as error: sys.exit(error.errno)\nsys.stdout.buffer.write(data)\n"
)
_LOOK_S = 5.0
_LAZY_S = 5.0  # programs with files open may finish for so long after an unmount
_END_S = 20.0  # for the serving process to end then; its own clean end is shorter
_POLL_S = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Mounted:
    """One line of the mount table; `number` is that of its FUSE connection."""

    path: str
    fs_type: str
    source: str
    number: int


def resolve(path: Path) -> Path:
    """Return a mountpoint as the mount table has it: absolute, without links; does not touch a mount."""
    for _ in range(40):  # as many links as the kernel follows
        directory, name = os.path.split(os.path.abspath(path))
        path = Path(os.path.realpath(directory)) / name
        if find_mount(path) or not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
    return path


def mounts() -> list[Mounted]:
    """Return what is mounted, in the order of mounting."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        return [_parse(line) for line in table]


def find_mount(path: Path) -> Mounted | None:
    """Return the topmost mount on exactly this path, which is as `resolve` returns it."""
    wanted = os.path.abspath(path)
    return next((mount for mount in reversed(mounts()) if mount.path == wanted), None)


def look(path: Path, limit_s: float = _LOOK_S) -> int | None:
    """Ask a file system whether it answers: 0, its errno, or None when it did not within the limit."""
    return _visit(_LOOK, path, limit_s)[0]


def read(path: Path, limit_s: float = _LOOK_S) -> tuple[int | None, bytes]:
    """Read a small file that may lie in a hanging mount; return what `look` does, and the bytes."""
    return _visit(_READ, path, limit_s)


def is_dead(answer: int | None) -> bool:
    """Say whether an answer of `look` or `read` is that of a mount without a process behind it."""
    return answer in _DEAD


def _visit(script: str, path: Path, limit_s: float) -> tuple[int | None, bytes]:
    """Run a short script that may wait for ever; return its exit code and what it wrote."""
    command = [sys.executable, "-I", "-S", "-c", script, os.fspath(path)]
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=null, stdout=subprocess.PIPE, stderr=null)
    try:
        written, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is freed when the mount ends
            process.wait(1)
        assert process.stdout is not None
        process.stdout.close()
        return None, b""
    return process.returncode, written


def prepare(mountpoint: Path) -> None:
    """Make sure that a mountpoint can be used; clear a dead mount of ours out of the way.

    Errors: MountError, saying what to do.
    """
    while mounted := find_mount(mountpoint):
        if mounted.fs_type == _AUTOMOUNTER:  # it waits for exactly this mount
            break
        if not clear_dead(mountpoint):
            raise MountError(
                f"{mounted.source} ({mounted.fs_type}) is mounted on {mountpoint} already;"
                f" unmount it first: {_unmount_hint(mounted)}"
            )
    if _entries(mountpoint):
        raise MountError(f"the mountpoint {mountpoint} is not empty; name an empty directory")


def clear_dead(mountpoint: Path) -> bool:
    """Take away a mount of ours whose process is gone; leave any other alone. Say whether there was one.

    Errors: MountError.
    """
    mountpoint = resolve(mountpoint)
    mounted = find_mount(mountpoint)
    if mounted is None or mounted.fs_type != FS_TYPE or not is_dead(look(mountpoint)):
        return False
    detach(mountpoint)
    log.warning("cleared the dead mount of %s from %s", mounted.source, mountpoint)
    return True


def check_outside(mountpoint: Path, **needed: Path | None) -> None:
    """Refuse a mountpoint over what the mount itself needs: it would wait for itself.

    Errors: MountError.
    """
    covered = Path(os.path.realpath(mountpoint))
    for what, path in needed.items():
        if path is not None and Path(os.path.realpath(path)).is_relative_to(covered):
            raise MountError(
                f"the {what.replace('_', ' ')} {path} would be hidden by a mount on {mountpoint};"
                " name another directory for one of them"
            )


def unmount(mountpoint: Path) -> None:
    """Take a mount of ours away, also a dead, hanging or busy one, and wait until its process has ended.

    Programs with files open get a few seconds to finish.
    Errors: MountError when nothing of ours is mounted there, or it can't be unmounted.
    """
    mountpoint = resolve(mountpoint)
    mounted = find_mount(mountpoint)
    if mounted is None:
        raise MountError(f"nothing is mounted on {mountpoint}")
    if mounted.fs_type != FS_TYPE:
        raise MountError(
            f"what is mounted on {mountpoint} is {mounted.fs_type}, not a mount of fsmount;"
            f" to unmount it all the same: {_unmount_hint(mounted)}"
        )
    processes = _open_processes(connection.servers(mounted.number))
    was_dead = not processes and is_dead(look(mountpoint))
    try:
        detach(mountpoint)
        if not was_dead:
            _end(mounted, processes)
    finally:
        for pidfd in processes.values():
            os.close(pidfd)


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


def _entries(mountpoint: Path) -> list[str]:
    try:
        return os.listdir(mountpoint)
    except FileNotFoundError:
        problem = f"does not exist; make it: mkdir {mountpoint}"
    except NotADirectoryError:
        problem = "is not a directory; name one that is empty"
    except OSError as error:
        problem = f"can't be used: {error.strerror}"
    raise MountError(f"the mountpoint {mountpoint} {problem}")


def _end(mounted: Mounted, processes: dict[int, int]) -> None:
    """Wait for the processes behind a mount that is out of the tree; ask them to end, if it takes long."""
    if _wait_ended(mounted, processes.values(), _LAZY_S):
        return
    for pid, pidfd in processes.items():
        log.info("the mount is still in use, or hangs; asking its process %d to end", pid)
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    if not _wait_ended(mounted, processes.values(), _END_S):
        connection.abort(mounted.number)  # at least nobody waits for it any longer
        pids = ", ".join(map(str, processes)) or "unknown"
        log.warning("the process behind the mount (%s) did not end; look at it, or kill it", pids)


def _open_processes(pids: Iterable[int]) -> dict[int, int]:
    """Return a descriptor for each process, so that it can't be mistaken for another one later."""
    processes = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            processes[pid] = os.pidfd_open(pid)
    return processes


def _wait_ended(mounted: Mounted, pidfds: Iterable[int], limit_s: float) -> bool:
    """Wait for the end of the processes, or, where none is known, of the connection."""
    deadline = time.monotonic() + limit_s
    running = set(pidfds)
    is_known = bool(running)
    while running if is_known else connection.exists(mounted.number):
        if time.monotonic() > deadline:
            return False
        ended, _, _ = select.select(running, (), (), _POLL_S)
        running.difference_update(ended)
    return True


def _unmount_hint(mounted: Mounted) -> str:
    if mounted.fs_type == FS_TYPE:
        return f"fsmount unmount {mounted.path}"
    command = "fusermount3 -uz" if mounted.fs_type.startswith("fuse") else "umount"
    return f"{command} {mounted.path}"


def _parse(line: str) -> Mounted:
    fields = line.split(" ")
    fs_type, source = fields[fields.index("-") + 1 :][:2]
    number = int(fields[2].partition(":")[2])
    return Mounted(_unescaped(fields[4]), _unescaped(fs_type), _unescaped(source), number)


def _unescaped(text: str) -> str:
    """Undo the octal escapes of the mount table; they stand for ASCII characters only."""
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), text)
