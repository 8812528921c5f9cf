"""What a case holds, read from its database beside whoever mounts it.

For the tools that go through a whole case: nothing is written, and a million files are read a page at a
time, so that no long look keeps the mount's own writes from being tidied away.
"""

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from fsmount.content_rows import CONTENT_COLUMNS, StoredContent, stored_content
from fsmount.database import connect_reading, reported
from fsmount.objects import Record, Told, has_content
from fsmount.origins import Origin, origins_of
from fsmount.rows import may_have_content, stored_record

_PAGE_ROWS = 500

_CONTENT = ", ".join(f"c.{column}" for column in CONTENT_COLUMNS)
_FILE = (
    f"SELECT f.number, f.claude_file_id, f.mtime_ns, f.content_name, f.told, f.record, {_CONTENT}"  # noqa: S608
    " FROM file AS f LEFT JOIN content AS c ON c.claude_file_id = f.claude_file_id"
)
_LISTED = f"{_FILE} WHERE f.number > ? AND f.state = 1 ORDER BY f.number LIMIT ?"
_ONE = f"{_FILE} WHERE f.claude_file_id = ? AND f.state = 1"
_STORED = (
    f"SELECT {_CONTENT} FROM content AS c"  # noqa: S608
    " WHERE c.claude_file_id > ? AND c.is_stored = 1 ORDER BY c.claude_file_id LIMIT ?"
)
_STORED_ONE = f"SELECT {_CONTENT} FROM content AS c WHERE c.claude_file_id = ?"  # noqa: S608
_COUNTS = (
    "SELECT count(*), sum(f.told < 2), sum(c.is_stored = 1 AND c.verified = 'yes'),"  # noqa: S608
    " sum(c.is_stored = 1 AND c.verified <> 'yes'),"
    f" sum({may_have_content('f')} AND coalesce(c.is_stored, 0) = 0)"
    " FROM file AS f LEFT JOIN content AS c ON c.claude_file_id = f.claude_file_id WHERE f.state = 1"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One file that the case shows.

    Shape: `record` None until enough is known to say what the file is; `content_name` None as long, and for
    a file without content; `content` None while nothing is known of it. Units: `mtime_ns` since 1970, UTC.
    """

    number: int
    claude_file_id: str
    mtime_ns: int
    content_name: bytes | None
    record: Record | None
    content: StoredContent | None


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """How many files the case shows, and how far it has them.

    `unverified` are stored, but no digest vouched for them; `not_stored` leaves out the files that have no
    content.
    """

    files: int
    without_record: int
    verified: int
    unverified: int
    not_stored: int


class Inventory:
    """The database of one case, open for reading; usable from one thread.

    Errors of every method: CaseError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect_reading(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    @property
    def schema_version(self) -> int:
        """Which form of the database this is."""
        return int(self._rows("PRAGMA user_version")[0][0])

    @property
    def is_marked_running(self) -> bool:
        """Say whether the last mount is still at work, or has not said good-bye."""
        return bool(self._rows("SELECT value FROM tally WHERE name = 'is_running'")[0][0])

    def counts(self) -> Counts:
        """Count the files; that goes through all of them."""
        with reported(self._path):
            row = self._connection.execute(_COUNTS).fetchone()
        return Counts(*(number or 0 for number in row))

    def items(self) -> Iterator[Item]:
        """Yield the files that the case shows, in the order of its listing."""
        after = 0
        while rows := self._rows(_LISTED, after, _PAGE_ROWS):
            yield from map(self._item, rows)
            after = rows[-1][0]

    def find(self, claude_file_id: str) -> Item | None:
        """Return one file, if the case shows it."""
        rows = self._rows(_ONE, claude_file_id)
        return self._item(rows[0]) if rows else None

    def stored(self) -> Iterator[StoredContent]:
        """Yield what is known of every file whose bytes are stored, shown or not, in the order of ids."""
        after = ""
        while rows := self._rows(_STORED, after, _PAGE_ROWS):
            yield from map(stored_content, rows)
            after = rows[-1][0]

    def find_content(self, claude_file_id: str) -> StoredContent | None:
        """Return what is known of one file's bytes, stored or not."""
        rows = self._rows(_STORED_ONE, claude_file_id)
        return stored_content(rows[0]) if rows else None

    def origins(self, number: int) -> tuple[Origin, ...]:
        """Return where file `number` was named."""
        with reported(self._path):
            return origins_of(self._connection, number)

    def _rows(self, query: str, *values: object) -> list[Sequence[Any]]:
        with reported(self._path):
            return self._connection.execute(query, values).fetchall()

    def _item(self, row: Sequence[Any]) -> Item:
        number, claude_file_id, mtime_ns, content_name, told, text, *content = row
        record = stored_record(self._path, claude_file_id, text) if told >= Told.ENTRY else None
        return Item(
            number,
            claude_file_id,
            mtime_ns,
            content_name if record and has_content(record) else None,
            record,
            None if content[0] is None else stored_content(content),
        )
