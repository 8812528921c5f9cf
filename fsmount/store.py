"""The content store: which files' bytes are kept in the case, and what is known of them.

A row that says "stored" always has its bytes: a finished spool is in its place and on the disk before the
row is written. What is known of a file's content (size, hashes) stays when its bytes are evicted.

Plain code without waiting: `find` is a point query for the event loop; everything that touches the disk
more than that is called from a thread.
"""

import contextlib
import dataclasses
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from fsmount.content_rows import CONTENT_COLUMNS, StoredContent, stored_content
from fsmount.database import connect, data_version, reported, transaction
from fsmount.errors import CaseError, LostError, UncheckedError
from fsmount.nowait import open_nowait
from fsmount.recent import Recent
from fsmount.stored_file import (
    difference,
    is_same_file,
    place_of,
    remove_set_aside,
    set_aside,
    sync,
    sync_file_system,
)

# Not INSERT OR REPLACE: that would pass by the triggers that keep the tally.
_ADOPT = (
    "INSERT INTO content (claude_file_id, size_bytes, md5, sha256, verified, how, request_id,"
    " acquired_at, is_stored, changed_ns, used_at) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
    " ON CONFLICT DO UPDATE SET size_bytes = excluded.size_bytes, md5 = excluded.md5,"
    " sha256 = excluded.sha256, verified = excluded.verified, how = excluded.how,"
    " request_id = excluded.request_id, acquired_at = excluded.acquired_at,"
    " is_stored = excluded.is_stored, changed_ns = excluded.changed_ns, used_at = excluded.used_at"
)
_EVICTION_BATCH = 100
_SYNCED_SINGLY = 8
_MOST_UNWRITTEN = 1000
_UNKNOWN_FOR_NS = 60 * 10**9


_FIND = f"SELECT {', '.join(CONTENT_COLUMNS)} FROM content WHERE claude_file_id = ?"  # noqa: S608


@dataclasses.dataclass(frozen=True, slots=True)
class FinishedSpool:
    """A complete body on its way into the store; `place` puts it where it belongs."""

    claude_file_id: str
    place: Callable[[Path], object]
    size_bytes: int
    md5: str
    sha256: str
    verified: Literal["yes", "no"]
    how: str
    request_id: str | None


class Adopted(NamedTuple):
    """What became of a group: the rows of what is stored now, and by id what kept the others out."""

    rows: Sequence[StoredContent]
    failures: Mapping[str, OSError]


@dataclasses.dataclass(frozen=True, slots=True)
class Discarded:
    """Bytes that were removed because nothing vouched for them, or no row knew them."""

    claude_file_id: str
    size_bytes: int


def content_path(content_dir: Path, claude_file_id: str) -> Path:
    """Return where a file's bytes are kept; spread over directories, ids begin alike and end apart."""
    return content_dir / place_of(claude_file_id)


class ContentStore:
    """The open store of one case.

    Errors of every method: CaseError from the database, OSError from the disk.
    """

    def __init__(self, database: Path, content_dir: Path) -> None:
        self._path = database
        self._content_dir = content_dir
        self._content_root = os.fspath(content_dir)
        self._reader = connect(database)
        self._writer = connect(database)
        self._writing = threading.Lock()
        self._used: dict[str, int] = {}
        self._right_ns: dict[str, int] = {}  # change times of files that were found right
        self._recent = Recent(self._look_up, lambda: data_version(self._reader))

    def close(self) -> None:
        """Write down what was used last, and close the database."""
        with contextlib.suppress(sqlite3.Error):
            self._write_memory()
        self._reader.close()
        self._writer.close()

    # -- reading ---------------------------------------------------------------------------------

    def find(self, claude_file_id: str) -> StoredContent | None:
        """Return what is known of a file's content."""
        return self._recent.get(claude_file_id)

    def _look_up(self, claude_file_id: str) -> StoredContent | None:
        with reported(self._path):
            row = self._reader.execute(_FIND, (claude_file_id,)).fetchone()
        return stored_content(row) if row else None

    @property
    def total_bytes(self) -> int:
        """How many bytes are stored; kept up to date by the database."""
        with reported(self._path):
            row = self._reader.execute(
                "SELECT value FROM tally WHERE name = 'stored_bytes'"
            ).fetchone()
        return int(row[0])

    def content_path(self, claude_file_id: str) -> Path:
        """Return where a file's bytes are kept."""
        return content_path(self._content_dir, claude_file_id)

    def open_content(self, claude_file_id: str) -> int | None:
        """Open stored bytes for reading; None when none are stored.

        Errors: UncheckedError when their file was changed, so that `check_content` has to look at them first.
        """
        row = self._look_up(claude_file_id)
        while row and row.is_stored:
            fd = self._open_file(row)
            if fd is not None and self._is_unchanged(fd, row):
                return fd
            if fd is not None:
                os.close(fd)
            before, row = row, self._look_up(claude_file_id)
            if row == before:  # else it was evicted or stored anew meanwhile
                raise UncheckedError(claude_file_id)
        return None

    def check_content(self, claude_file_id: str, may_go_on: Callable[[], bool]) -> None:
        """Read all stored bytes of a file whose change time is not the recorded one; for a thread of its own.

        Errors: LostError when they are not what was recorded. They count as not stored from then on, and what
        is there instead is set aside. StoppedError; OSError, when they can't be read.
        """
        row = self._look_up(claude_file_id)
        if row is None or not row.is_stored:
            return
        fd = self._open_file(row)
        if fd is None:
            self._give_up(row, None, "it is not there any more")
            return
        try:
            found = os.fstat(fd)
            trouble = difference(fd, row.size_bytes, row.sha256, may_go_on)
            if trouble:
                self._give_up(row, found, trouble)
            else:
                self._right_ns[claude_file_id] = found.st_ctime_ns
        finally:
            os.close(fd)
        if len(self._right_ns) > _MOST_UNWRITTEN:
            with contextlib.suppress(CaseError), self._transaction():
                pass  # writes them down; else they are looked at again

    def _open_file(self, row: StoredContent) -> int | None:
        try:
            return os.open(self.content_path(row.claude_file_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _is_unchanged(self, fd: int, row: StoredContent) -> bool:
        status = os.fstat(fd)
        right_ns = self._right_ns.get(row.claude_file_id, row.changed_ns)
        return status.st_size == row.size_bytes and status.st_ctime_ns == right_ns

    def _give_up(self, row: StoredContent, found: os.stat_result | None, trouble: str) -> None:
        """Let a file count as not stored, unless somebody has changed row or file while it was looked at."""
        path = self.content_path(row.claude_file_id)
        with self._transaction():
            now = self._writer.execute(_FIND, (row.claude_file_id,)).fetchone()
            if now is None or stored_content(now) != row or not is_same_file(path, found):
                return
            self._writer.execute(
                "UPDATE content SET is_stored = 0 WHERE claude_file_id = ?", (row.claude_file_id,)
            )
        kept = None
        if found and is_same_file(path, found):  # only now: what is set aside must count as lost
            kept = set_aside(path, self._content_dir)
        raise LostError(f"{trouble}; what is there is kept as {kept}" if kept else trouble)

    def open_nowait(self, row: StoredContent) -> int | None:
        """Open stored bytes if that takes no waiting; None also where `open_content` is to decide."""
        try:
            path = f"{self._content_root}/{place_of(row.claude_file_id)}"
            fd = open_nowait(path) if row.is_stored else None
        except FileNotFoundError:
            return None
        if fd is not None and not self._is_unchanged(fd, row):
            os.close(fd)
            return None
        return fd

    # -- writing ---------------------------------------------------------------------------------

    def adopt(self, finished: Sequence[FinishedSpool]) -> Adopted:
        """Take complete bodies into the store, as one group.

        Each body is on the disk and in its place before the rows say so. One that can't be placed, as on a
        full disk, keeps no other out.
        """
        now = datetime.now(UTC).isoformat()
        rows: list[StoredContent] = []
        failures: dict[str, OSError] = {}
        for spool in finished:
            try:
                rows.append(self._placed(spool, now))
            except OSError as error:
                failures[spool.claude_file_id] = error
        try:
            self._sync([self.content_path(row.claude_file_id) for row in rows])
            with self._transaction():
                self._writer.executemany(
                    _ADOPT,
                    ((*dataclasses.astuple(row), time.time_ns()) for row in rows),
                )
        except BaseException:
            for row in rows:
                with contextlib.suppress(CaseError, OSError):  # in doubt they stay
                    self.remove_unknown(row.claude_file_id)
            raise
        return Adopted(rows, failures)

    def _placed(self, spool: FinishedSpool, now: str) -> StoredContent:
        self._move_in(spool)
        self._right_ns.pop(spool.claude_file_id, None)
        return StoredContent(
            spool.claude_file_id,
            spool.size_bytes,
            spool.md5,
            spool.sha256,
            spool.verified,
            spool.how,
            spool.request_id,
            now,
            is_stored=True,
            changed_ns=self.content_path(spool.claude_file_id).stat().st_ctime_ns,
        )

    def note_mismatch(self, claude_file_id: str) -> None:
        """Record that what the service sends for this file does not have the hash that it should."""
        with self._transaction():
            self._writer.execute(
                "INSERT INTO content (claude_file_id, verified, how) VALUES (?, 'mismatch', 'none')"
                " ON CONFLICT DO UPDATE SET verified = 'mismatch' WHERE NOT is_stored",
                (claude_file_id,),
            )

    def discard(self, claude_file_id: str) -> None:
        """Remove a file's bytes and all that is known of them; the row goes last, as a reminder."""
        self.content_path(claude_file_id).unlink(missing_ok=True)
        remove_set_aside(claude_file_id, self._content_dir)
        with self._transaction():
            self._writer.execute("DELETE FROM content WHERE claude_file_id = ?", (claude_file_id,))

    def touch(self, claude_file_id: str) -> None:
        """Note that a file was used just now; written down with the next change."""
        self._used[claude_file_id] = time.time_ns()

    def evict(self, limit_bytes: int, is_in_use: Callable[[str], bool]) -> list[str]:
        """Remove stored bytes, the oldest-used first, until no more than `limit_bytes` are left."""
        with self._transaction():
            pass  # writes down what was used since
        evicted: list[str] = []
        passed_over = 0
        while (excess := self.total_bytes - limit_bytes) > 0:
            with reported(self._path):
                oldest = self._writer.execute(
                    "SELECT claude_file_id, size_bytes FROM content WHERE is_stored = 1"
                    " ORDER BY used_at LIMIT ? OFFSET ?",
                    (_EVICTION_BATCH, passed_over),
                ).fetchall()
            if not oldest:
                break
            chosen: list[str] = []
            for claude_file_id, size_bytes in oldest:
                if excess <= 0:
                    break
                if is_in_use(claude_file_id):
                    passed_over += 1
                else:
                    chosen.append(claude_file_id)
                    excess -= size_bytes
            self._remove_bytes(chosen)
            evicted += chosen
        return evicted

    def release(self, ids: Sequence[str]) -> None:
        """Remove the stored bytes of some files; what is known of them stays."""
        self._remove_bytes(ids)

    # -- unclean ends ----------------------------------------------------------------------------

    @property
    def is_marked_running(self) -> bool:
        """Say whether the last mount has not said good-bye."""
        with reported(self._path):
            row = self._reader.execute(
                "SELECT value FROM tally WHERE name = 'is_running'"
            ).fetchone()
        return bool(row[0])

    def mark_running(self, *, running: bool) -> None:
        """Note that a mount is at work, or has ended well."""
        with self._transaction():
            self._writer.execute(
                "UPDATE tally SET value = ? WHERE name = 'is_running'", (int(running),)
            )

    def discard_unverified(self) -> list[Discarded]:
        """Remove stored bytes that no digest vouched for; for after an unclean end."""
        with reported(self._path):
            rows = self._reader.execute(
                "SELECT claude_file_id, size_bytes FROM content WHERE is_stored AND verified <> 'yes'"
            ).fetchall()
        self._remove_bytes([claude_file_id for claude_file_id, _ in rows])
        return [Discarded(claude_file_id, size_bytes) for claude_file_id, size_bytes in rows]

    def find_unknown(self, since_ns: int) -> list[Discarded]:
        """Return bytes that no row calls stored and that came since then, in nanoseconds since 1970.

        What has come just now may belong to an export beside this process, and is left out.
        """
        latest_ns = time.time_ns() - _UNKNOWN_FOR_NS
        unknown: list[Discarded] = []
        for path in self._content_dir.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # an export beside this process evicts
                status = path.lstat()
                is_candidate = (
                    stat.S_ISREG(status.st_mode) and since_ns <= status.st_ctime_ns < latest_ns
                )
                if is_candidate and not self._is_stored(path.name):
                    unknown.append(Discarded(path.name, status.st_size))
        return unknown

    def remove_unknown(self, claude_file_id: str) -> None:
        """Remove bytes that no row calls stored."""
        if not self._is_stored(claude_file_id):
            self.content_path(claude_file_id).unlink(missing_ok=True)

    def _is_stored(self, claude_file_id: str) -> bool:
        """Say what the database says now, whoever wrote it."""
        with self._writing, reported(self._path):
            row = self._writer.execute(_FIND, (claude_file_id,)).fetchone()
        return row is not None and stored_content(row).is_stored

    # -- pieces ----------------------------------------------------------------------------------

    def _move_in(self, spool: FinishedSpool) -> None:
        target = self.content_path(spool.claude_file_id)
        try:
            spool.place(target)
        except FileNotFoundError:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            spool.place(target)

    def _sync(self, paths: Sequence[Path]) -> None:
        """Wait until files and their names are on the disk.

        Of many files, syncing the whole file system is one wait instead of two for each.
        """
        if len(paths) > _SYNCED_SINGLY:
            sync_file_system(self._content_dir)
            return
        for path in [*paths, *{path.parent for path in paths}]:
            sync(path)

    def _remove_bytes(self, ids: Sequence[str]) -> None:
        with self._transaction():
            self._writer.executemany(
                "UPDATE content SET is_stored = 0 WHERE claude_file_id = ?", ((key,) for key in ids)
            )
        for claude_file_id in ids:
            self.content_path(claude_file_id).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        used: dict[str, int] = {}
        right: dict[str, int] = {}
        try:
            with self._writing, reported(self._path), transaction(self._writer):
                yield
                used, right = self._write_memory()
        finally:
            self._recent.forget()
        for memory, written in ((self._used, used), (self._right_ns, right)):
            for key, value in written.items():
                if memory.get(key) == value:  # else there is news since
                    memory.pop(key, None)

    def _write_memory(self) -> tuple[dict[str, int], dict[str, int]]:
        """Write down when files were used last, and found right; return what was written."""
        used, right = dict(self._used), dict(self._right_ns)
        for column, values in (("used_at", used), ("changed_ns", right)):
            self._writer.executemany(
                f"UPDATE content SET {column} = ? WHERE claude_file_id = ?",  # noqa: S608
                ((value, claude_file_id) for claude_file_id, value in values.items()),
            )
        return used, right
