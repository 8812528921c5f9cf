"""Which files the case knows, and their records.

A file's number counts up and is never used again: it is the file's place in listings and the root of its
inode numbers. Its content name is settled with its first record and never changes.

Look-ups are indexed point queries on pages that the operating system holds in memory (10 to 20 µs), so
the event loop makes them itself: handing one to a thread costs several times as much. Writes wait for the
disk and for other processes, so they run in a thread, one at a time.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import trio

from fsmount.database import connect, data_version, reported, transaction
from fsmount.foresight import Order, Place
from fsmount.objects import Record, State, Told, content_name_of, has_content, id_of
from fsmount.recent import Recent
from fsmount.rows import may_have_content, shown_files, stored_record
from fsmount.tree import mtime_ns_of

_BATCH_ROWS = 10_000

_ORDERS = {
    Order.LISTED: ("number", ""),
    Order.SORTED: ("claude_file_id", ""),
    Order.SORTED_WITHOUT_CASE: ("claude_file_id", "COLLATE NOCASE"),
}
_TOLD, _STATES = tuple(Told), tuple(State)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of the catalog.

    Shape: `record` None until something is known of it, and `told` says how much that is; `content_name`
    None until it is settled, and for a file without content. `is_shown` depends on what the catalog was
    opened for.
    """

    number: int
    claude_file_id: str
    record: Record | None
    told: Told
    content_name: bytes | None
    mtime_ns: int
    state: State
    is_shown: bool

    @property
    def is_settled(self) -> bool:
        """Say whether enough is known to show what the directory holds."""
        return self.told >= Told.ENTRY

    @property
    def has_content(self) -> bool:
        """Say whether there is something to download, as far as is known."""
        return self.record is not None and has_content(self.record)


# One line of the root's listing: number, id, date in nanoseconds since 1970, whether anything more is known.
Listed = tuple[int, str, int, int]


class Catalog:
    """An open catalog.

    With `shows_kept`, files that are gone from the service but kept in the case are shown too.
    Errors of every method: CaseError when the database can't be read or written.
    """

    def __init__(self, path: Path, *, shows_kept: bool = False) -> None:
        self._path = path
        is_shown = shown_files("file", shows_kept=shows_kept)
        columns = f"number, claude_file_id, record, told, content_name, mtime_ns, state, {is_shown}"
        # Put together from the constants above alone.
        self._by_id = f"SELECT {columns} FROM file WHERE claude_file_id = ?"  # noqa: S608
        self._by_number = f"SELECT {columns} FROM file WHERE number = ?"  # noqa: S608
        self._page = (
            "SELECT number, claude_file_id, mtime_ns, told > 0"  # noqa: S608
            f" FROM file WHERE number > ? AND {is_shown} ORDER BY number LIMIT ?"
        )
        self._reader = connect(path)
        self._writer = connect(path)
        self._one_writer = trio.CapacityLimiter(1)
        self._recent = Recent(self._look_up, self.version)

    def close(self) -> None:
        """Close the database."""
        self._reader.close()
        self._writer.close()

    # -- reading ---------------------------------------------------------------------------------

    def find(self, claude_file_id: str) -> Entry | None:
        """Return a file by its id, shown or not."""
        return self._recent.get(claude_file_id)

    def find_number(self, number: int) -> Entry | None:
        """Return a file by its number, shown or not."""
        return self._recent.get(number)

    def version(self) -> int:
        """Return a number that is another one after every change, whoever made it."""
        # SQLite counts for a connection what others have committed: the reader's own writes there are none.
        with reported(self._path):
            return data_version(self._reader)

    def page(self, after: int, limit: int) -> list[Listed]:
        """Return the next `limit` shown files whose number is greater than `after`, in order."""
        with reported(self._path):
            rows: list[Listed] = self._reader.execute(self._page, (after, limit)).fetchall()
        return rows

    def following(self, order: Order, place: Place, limit: int) -> list[Place]:
        """Return shown files that follow a place in an order; not those that are known to have no content."""
        column, collation = _ORDERS[order]
        value = place.number if order is Order.LISTED else place.claude_file_id
        query = (
            "SELECT number, claude_file_id FROM file"  # noqa: S608 - of constants alone
            f" WHERE {column} > ? {collation} AND state = 1 AND {may_have_content('file')}"
            f" ORDER BY {column} {collation} LIMIT ?"
        )
        with reported(self._path):
            rows = self._reader.execute(query, (value, limit)).fetchall()
        return [Place(number, key) for number, key in rows]

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

    async def put_record(self, record: Record) -> Entry:
        """Add or update one file with its record, and show it."""
        await self._write(lambda: self._upsert([record]))
        entry = self.find(id_of(record))
        assert entry is not None
        return entry

    async def show(self, claude_file_id: str) -> None:
        """Show a file that an answer named and nobody had asked for."""
        await self.add_ids([claude_file_id])

    async def put_records(self, records: Iterable[Record]) -> None:
        """Add or update many files."""
        for batch in _batches(records, _BATCH_ROWS):
            await self._write(functools.partial(self._upsert, batch))

    async def mark_gone(self, claude_file_id: str) -> bool:
        """Stop showing a file that the API does not know; say whether it was shown until now."""
        return await self._write(lambda: self._set_state(claude_file_id, State.GONE))

    async def mark_deleted(self, claude_file_id: str) -> None:
        """Stop showing a file that was deleted through this tool."""
        await self._write(lambda: self._set_state(claude_file_id, State.DELETED))

    # -- rows ------------------------------------------------------------------------------------

    def _look_up(self, key: str | int) -> Entry | None:
        query = self._by_number if isinstance(key, int) else self._by_id
        with reported(self._path):
            row = self._reader.execute(query, (key,)).fetchone()
        return self._entry(row) if row else None

    def _entry(self, row: tuple[int, str, str | None, int, bytes | None, int, int, int]) -> Entry:
        number, claude_file_id, text, told, name, mtime_ns, state, is_shown = row
        return Entry(
            number,
            claude_file_id,
            stored_record(self._path, claude_file_id, text),
            _TOLD[told],
            name,
            mtime_ns,
            _STATES[state],
            bool(is_shown),
        )

    def _insert_ids(self, ids: list[str]) -> int:
        with transaction(self._writer):
            before = self._writer.total_changes
            self._writer.executemany(
                "INSERT INTO file (claude_file_id) VALUES (?)"
                " ON CONFLICT (claude_file_id) DO UPDATE SET state = 1 WHERE state = 0",
                ((claude_file_id,) for claude_file_id in ids),
            )
            # Each row counts twice, for itself and for the tally that its trigger keeps.
            return (self._writer.total_changes - before) // 2

    def _upsert(self, records: list[Record]) -> None:
        with transaction(self._writer):
            self._writer.executemany(
                "INSERT INTO file (claude_file_id, state, mtime_ns, content_name, record, told)"
                " VALUES (?, 1, ?, ?, ?, 3) ON CONFLICT (claude_file_id) DO UPDATE SET"
                " state = CASE state WHEN 3 THEN 3 ELSE 1 END, "
                " mtime_ns = CASE excluded.mtime_ns WHEN 0 THEN mtime_ns ELSE excluded.mtime_ns END,"
                " content_name = coalesce(content_name, excluded.content_name),"
                " record = excluded.record, told = 3",
                (_row_of(record) for record in records),
            )

    def _set_state(self, claude_file_id: str, state: State) -> bool:
        """Say whether it was another; what was deleted stays so."""
        with transaction(self._writer):
            changed = self._writer.execute(
                "UPDATE file SET state = ? WHERE claude_file_id = ? AND state NOT IN (?, ?)",
                (state, claude_file_id, state, State.DELETED),
            )
            return changed.rowcount > 0

    async def _write(self, work: Callable[[], T]) -> T:
        def run() -> T:
            try:
                with reported(self._path):
                    return work()
            finally:
                self._recent.forget()

        return await trio.to_thread.run_sync(run, limiter=self._one_writer)


def _row_of(record: Record) -> tuple[str, int, bytes | None, str]:
    name = content_name_of(record, Told.RECORD)
    text = json.dumps(record.raw, separators=(",", ":"))
    return id_of(record), mtime_ns_of(record.created_at), name, text


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch
