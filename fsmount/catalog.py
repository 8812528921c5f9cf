"""Which files the case knows, and their records.

A file's number counts up and is never used again: it is the file's place in listings and the root of its
inode numbers. Its content name is settled with its first record and never changes.

Look-ups are indexed point queries on pages that the operating system holds in memory (10 to 20 µs), so
the event loop makes them itself: handing one to a thread costs several times as much. Writes wait for the
disk and for other processes, so they run in a thread, one at a time.
"""

import dataclasses
import enum
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import trio

import client
from fsmount.database import connect, reported, transaction
from fsmount.errors import CaseError
from fsmount.names import content_name
from fsmount.tree import mtime_ns_of

_BATCH_ROWS = 10_000

_BY_ID = (
    "SELECT number, claude_file_id, record, content_name, state FROM file WHERE claude_file_id = ?"
)
_BY_NUMBER = "SELECT number, claude_file_id, record, content_name, state FROM file WHERE number = ?"

T = TypeVar("T")


class State(enum.IntEnum):
    """Whether a file is shown."""

    LIVE = 1
    GONE = 2  # the API did not know it any more; it may be asked for again
    DELETED = 3  # deleted through this tool


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of the catalog.

    Shape: `record` None until it has been fetched; `content_name` None as long, and
    for a file without content.
    """

    number: int
    claude_file_id: str
    record: client.File | None
    content_name: bytes | None
    state: State

    @property
    def is_live(self) -> bool:
        """Say whether the file is shown."""
        return self.state is State.LIVE

    @property
    def has_content(self) -> bool:
        """Say whether there is something to download, as far as is known."""
        return self.record is not None and self.record.mime_type is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """One line of the root's listing."""

    number: int
    claude_file_id: str
    mtime_ns: int
    has_record: bool


class Catalog:
    """An open catalog.

    Errors of every method: CaseError when the database can't be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = connect(path)
        self._writer = connect(path)
        self._one_writer = trio.CapacityLimiter(1)

    def close(self) -> None:
        """Close the database."""
        self._reader.close()
        self._writer.close()

    # -- reading ---------------------------------------------------------------------------------

    def find(self, claude_file_id: str) -> Entry | None:
        """Return a file by its id, shown or not."""
        return self._find(_BY_ID, claude_file_id)

    def find_number(self, number: int) -> Entry | None:
        """Return a file by its number, shown or not."""
        return self._find(_BY_NUMBER, number)

    def page(self, after: int, limit: int) -> list[Listed]:
        """Return the next `limit` shown files whose number is greater than `after`, in order."""
        with reported(self._path):
            rows = self._reader.execute(
                "SELECT number, claude_file_id, mtime_ns, record IS NOT NULL"
                " FROM file WHERE number > ? AND state = 1 ORDER BY number LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Listed(number, key, mtime, bool(known)) for number, key, mtime, known in rows]

    def count(self) -> int:
        """Return how many files are shown; kept up to date by the database, not counted."""
        with reported(self._path):
            row = self._reader.execute(
                "SELECT value FROM tally WHERE name = 'live_files'"
            ).fetchone()
        return int(row[0])

    # -- writing ---------------------------------------------------------------------------------

    async def add_ids(self, ids: Iterable[str]) -> int:
        """Add files of which only the id is known; return how many were new."""
        added = 0
        for batch in _batches(ids, _BATCH_ROWS):
            added += await self._write(functools.partial(self._insert_ids, batch))
        return added

    async def put_record(self, record: client.File) -> Entry:
        """Add or update one file with its record, and show it."""
        await self._write(lambda: self._upsert([record]))
        entry = self.find(record.id)
        assert entry is not None
        return entry

    async def put_records(self, records: Iterable[client.File]) -> None:
        """Add or update many files."""
        for batch in _batches(records, _BATCH_ROWS):
            await self._write(functools.partial(self._upsert, batch))

    async def mark_gone(self, claude_file_id: str) -> None:
        """Stop showing a file that the API does not know."""
        await self._write(lambda: self._set_state(claude_file_id, State.GONE))

    async def mark_deleted(self, claude_file_id: str) -> None:
        """Stop showing a file that was deleted through this tool."""
        await self._write(lambda: self._set_state(claude_file_id, State.DELETED))

    # -- rows ------------------------------------------------------------------------------------

    def _find(self, query: str, key: str | int) -> Entry | None:
        with reported(self._path):
            row = self._reader.execute(query, (key,)).fetchone()
        return self._entry(row) if row else None

    def _entry(self, row: tuple[int, str, str | None, bytes | None, int]) -> Entry:
        number, claude_file_id, text, name, state = row
        try:
            record = client.File.from_dict(json.loads(text)) if text else None
        except (ValueError, client.InvalidResponseError) as error:
            raise CaseError(
                f"the catalog {self._path} holds a damaged record of {claude_file_id}: {error};"
                " restore the catalog from a copy"
            ) from error
        return Entry(number, claude_file_id, record, name, State(state))

    def _insert_ids(self, ids: list[str]) -> int:
        with transaction(self._writer):
            before = self._writer.total_changes
            self._writer.executemany(
                "INSERT INTO file (claude_file_id) VALUES (?) ON CONFLICT DO NOTHING",
                ((claude_file_id,) for claude_file_id in ids),
            )
            # Each new row counts twice, for itself and for the tally that its trigger keeps.
            return (self._writer.total_changes - before) // 2

    def _upsert(self, records: list[client.File]) -> None:
        with transaction(self._writer):
            self._writer.executemany(
                "INSERT INTO file (claude_file_id, state, mtime_ns, content_name, record)"
                " VALUES (?, 1, ?, ?, ?) ON CONFLICT (claude_file_id) DO UPDATE SET"
                " state = CASE state WHEN 3 THEN 3 ELSE 1 END, mtime_ns = excluded.mtime_ns,"
                " content_name = coalesce(content_name, excluded.content_name),"
                " record = excluded.record",
                (_row_of(record) for record in records),
            )

    def _set_state(self, claude_file_id: str, state: State) -> None:
        with transaction(self._writer):
            self._writer.execute(
                "UPDATE file SET state = ? WHERE claude_file_id = ?", (state, claude_file_id)
            )

    async def _write(self, work: Callable[[], T]) -> T:
        def run() -> T:
            with reported(self._path):
                return work()

        return await trio.to_thread.run_sync(run, limiter=self._one_writer)


def _row_of(record: client.File) -> tuple[str, int, bytes | None, str]:
    has_content = record.mime_type is not None
    name = content_name(record.filename, record.mime_type) if has_content else None
    text = json.dumps(record.raw, separators=(",", ":"))
    return record.id, mtime_ns_of(record.created_at), name, text


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch
