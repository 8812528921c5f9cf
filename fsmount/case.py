"""The case: the directory that holds the catalog, the acquired content and the custody log.

One mount at a time holds a case, by a lock whose file says who; reading beside it is allowed.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from fsmount.actor import user_name
from fsmount.errors import CaseError, CaseLockedError, UsageError

FORMAT = 1
_MARKER = "case.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def case_path(name_or_path: str, environ: Mapping[str, str]) -> Path:
    """Return the directory of a case: a path if there is a slash in it, else a name in the data home.

    Errors: UsageError for what can be neither.
    """
    if "/" in name_or_path:
        return Path(os.path.abspath(os.path.expanduser(name_or_path)))
    if not _NAME.fullmatch(name_or_path):
        raise UsageError(
            f"{name_or_path!r} is no case name: letters, digits, dot, dash and underscore, or a path with a /"
        )
    return _cases_home(environ) / name_or_path


def case_names(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the cases in the data home, sorted."""
    home = _cases_home(environ)
    with contextlib.suppress(OSError):  # there are none yet, or they are somebody else's
        return sorted(name for name in os.listdir(home) if (home / name / _MARKER).exists())
    return []


def _cases_home(environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_DATA_HOME") or os.path.join(
        environ.get("HOME", "/root"), ".local/share"
    )
    return Path(home) / "fsmount" / "cases"


class Case:
    """An opened case directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.catalog_path = path / "catalog.sqlite3"
        self.content_dir = path / "content"
        self.spool_dir = path / "spool"
        self.custody_path = path / "custody.jsonl"
        self._lock_path = path / "lock"
        self._collecting_path = path / "collecting"

    @property
    def name(self) -> str:
        """What the case is called in the mount table and in messages."""
        return self.path.name

    @property
    def created_at(self) -> str:
        """When the case was made, RFC 3339; with its name, this tells cases apart."""
        document = json.loads((self.path / _MARKER).read_bytes())
        return str(document.get("created_at", ""))

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> "Case":
        """Open a case, making it on first use.

        Errors: CaseError when the place is not a case, can't be used, or is of a newer format.
        """
        case = cls(path)
        with case._reported():
            case._open(create=create)
        return case

    def lock(self, purpose: str) -> "CaseLock":
        """Hold the case for one mount; the lock ends with the process, however it ends.

        Errors: CaseLockedError, saying who holds it.
        """
        return self._lock(self._lock_path, purpose, "is in use", "unmount it there first")

    def lock_for_collecting(self) -> "CaseLock":
        """Hold the case for one walk, which may go on beside a mount; errors likewise."""
        path = self._collecting_path
        return self._lock(path, "collecting", "is being collected", "wait for that to end")

    def _lock(self, path: Path, purpose: str, state: str, remedy: str) -> "CaseLock":
        with self._reported():
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 4096, 0)
                os.close(fd)
                raise CaseLockedError(
                    f"case {self.name!r} {state}: {_holder_text(holder)}; {remedy}"
                ) from None
            lock = CaseLock(fd)
            try:
                lock.describe(purpose)
            except OSError:
                lock.release()
                raise
            return lock

    def find_holder(self) -> str | None:
        """Return who holds the case, in words; None when nobody does."""
        try:
            fd = os.open(self._lock_path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder_text(os.pread(fd, 4096, 0))
        finally:
            os.close(fd)
        return None

    def clear_spool(self) -> int:
        """Remove what earlier mounts left unfinished; return how many bytes that were."""
        removed = 0
        for leftover in self.spool_dir.iterdir():
            removed += leftover.stat().st_blocks * 512
            leftover.unlink()
        return removed

    @property
    def free_bytes(self) -> int:
        """How much room the case's disk has."""
        return shutil.disk_usage(self.path).free

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CaseError(
                f"the case directory {self.path} can't be used: {error.strerror or error};"
                " check the path, its permissions and the room on its disk"
            ) from error

    def _open(self, *, create: bool) -> None:
        marker = self.path / _MARKER
        if not marker.exists():
            if not create:
                raise CaseError(f"there is no case at {self.path}")
            self._create(marker)
        _check_format(marker)
        for directory in (self.content_dir, self.spool_dir):
            directory.mkdir(mode=0o700, exist_ok=True)

    def _create(self, marker: Path) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = marker.with_suffix(".new")  # an attempt on a full disk leaves it behind
        strangers = [name for name in os.listdir(self.path) if name not in {"lock", temporary.name}]
        if strangers:
            raise CaseError(
                f"{self.path} is not a case and not empty (it holds {min(strangers)!r});"
                " name a new directory for the case"
            )
        os.chmod(self.path, 0o700)
        document = {"format": FORMAT, "created_at": datetime.now(UTC).isoformat()}
        temporary.write_text(json.dumps(document) + "\n")
        os.replace(temporary, marker)


class CaseLock:
    """A held lock; a fork shares it, and it ends when the last holder is gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def describe(self, purpose: str) -> None:
        """Write down who holds the case: call it again after a fork."""
        holder = {
            "pid": os.getpid(),
            "user": user_name(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "purpose": purpose,
        }
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(holder).encode(), 0)

    def release(self) -> None:
        """Give the case free."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _check_format(marker: Path) -> None:
    try:
        document = json.loads(marker.read_bytes())
        written = int(document["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise CaseError(f"{marker} is damaged; restore it from a copy of the case") from error
    if written > FORMAT:
        raise CaseError(
            f"the case {marker.parent} was written by a newer version of fsmount (format {written}, this one"
            f" knows {FORMAT}); use that version"
        )


def _holder_text(content: bytes) -> str:
    try:
        holder = json.loads(content)
        return (
            f"{holder['purpose']} by {holder['user']} (pid {holder['pid']} on {holder['host']})"
            f" since {holder['since']}"
        )
    except (ValueError, KeyError, TypeError):
        return "by another process"
