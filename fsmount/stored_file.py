"""Stored bytes on the disk: where they lie, getting them there, and whether they are still those on record.

A file that was not touched since it was recorded has the change time that was recorded with it; a copy of a
case has others, and so has a file that somebody wrote to. Only the hash tells those apart.
"""

import contextlib
import ctypes
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

_BLOCK_BYTES = 1 << 20
_LIBC = ctypes.CDLL(None, use_errno=True)
_SET_ASIDE = "altered"  # beside the directory of the content


def place_of(claude_file_id: str) -> str:
    """Return where a file's bytes are kept; spread over directories, ids begin alike and end apart."""
    return f"{claude_file_id[-2:].lower()}/{claude_file_id}"


class StoppedError(Exception):
    """A file was not read to its end, since nobody wants to know any more."""


def difference(
    fd: int, size_bytes: int | None, sha256: str | None, may_go_on: Callable[[], bool]
) -> str | None:
    """Return in what an open file differs from what was recorded, None when in nothing; reads all of it.

    Errors: OSError; StoppedError.
    """
    found_bytes = os.fstat(fd).st_size
    if found_bytes != size_bytes:
        return f"it has {found_bytes} bytes, recorded are {size_bytes}"
    digest, offset = hashlib.sha256(usedforsecurity=False), 0
    while block := os.pread(fd, _BLOCK_BYTES, offset):
        if not may_go_on():
            raise StoppedError
        digest.update(block)
        offset += len(block)
    if digest.hexdigest() != sha256:
        return f"its SHA-256 is {digest.hexdigest()}, recorded is {sha256}"
    return None


def is_same_file(path: Path, found: os.stat_result | None) -> bool:
    """Say whether a path still leads to the file that was looked at, unchanged; None: to none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return found is None
    return (
        found is not None
        and os.path.samestat(status, found)
        and (status.st_ctime_ns, status.st_size) == (found.st_ctime_ns, found.st_size)
    )


def set_aside(path: Path, content_dir: Path) -> Path | None:
    """Take altered bytes out of the way and keep them, since they are evidence too; None where that fails."""
    target = content_dir.parent / _SET_ASIDE / f"{path.name}.{time.time_ns()}"
    with contextlib.suppress(OSError):
        target.parent.mkdir(mode=0o700, exist_ok=True)
        return path.rename(target)
    return None


def remove_set_aside(claude_file_id: str, content_dir: Path) -> None:
    """Remove what was set aside of a file, which has been deleted for ever."""
    for path in (content_dir.parent / _SET_ASIDE).glob(f"{claude_file_id}.*"):
        path.unlink(missing_ok=True)


def sync_file_system(path: Path) -> None:
    """Wait until everything on the file system of a path is on its disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(fd)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
