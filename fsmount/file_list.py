"""What a case knows, file by file: names, sizes, hashes, and where each was named. Read-only, in order.

Memory stays small whatever the number of files: rows are taken from the database as they are asked for.
"""

import dataclasses
import fnmatch
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fsmount.database import connect_reading, reported
from fsmount.objects import State, Told, display_name_of, has_content, mime_type_of
from fsmount.origins import Origin, origins_of, time_text
from fsmount.rows import stored_record

_FILES = (
    "SELECT f.number, f.claude_file_id, f.content_name, f.state, f.mtime_ns, f.told, f.record,"
    " c.size_bytes, c.md5, c.sha256, c.verified, c.is_stored"
    " FROM file f LEFT JOIN content c ON c.claude_file_id = f.claude_file_id WHERE f.state <> 0"
)
_OF_USER = (
    " AND f.number IN (SELECT o.file FROM origin o JOIN chat h ON h.number = o.chat"
    " JOIN person p ON p.number = h.person WHERE p.user_id = :user OR lower(p.email) = lower(:user))"
)
_OF_CHAT = (
    " AND f.number IN (SELECT o.file FROM origin o JOIN chat h ON h.number = o.chat"
    " WHERE h.chat_id = :chat)"
)
StateName = Literal["live", "gone", "deleted"]
_STATES: dict[int, StateName] = {State.LIVE: "live", State.GONE: "gone", State.DELETED: "deleted"}


@dataclasses.dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of a case.

    Shape: what is not known is None. `name` is the entry name in the mount, `filename` what people wrote.
    Size and hashes are those of the bytes where the case has seen them, else as recorded; `verified` is
    `yes`, `no` or `mismatch`. Times are RFC 3339, UTC.
    """

    claude_file_id: str
    name: str | None
    filename: str | None
    mime_type: str | None
    size_bytes: int | None
    md5: str | None
    sha256: str | None
    verified: str
    is_stored: bool
    state: StateName
    created_at: str | None
    origins: tuple[Origin, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """Which files are wanted; None admits all.

    Shape: `user` is an id or e-mail address; `name` and `mime` are shell patterns, without regard to case.
    """

    user: str | None = None
    chat: str | None = None
    name: str | None = None
    mime: str | None = None
    min_size_bytes: int | None = None
    since: datetime | None = None

    def admits(self, item: ListedFile) -> bool:
        """Say whether a file fits what is not asked of the database; what is not known does not fit."""
        return (
            _fits(item.mime_type, self.mime)
            and (_fits(item.name, self.name) or _fits(item.filename, self.name))
            and (self.min_size_bytes is None or (item.size_bytes or 0) >= self.min_size_bytes)
            and (self.since is None or _at(item.created_at) >= self.since)
        )


def iter_items(path: Path, wanted: Filter) -> Iterator[ListedFile]:
    """Return the files of a catalog that fit, in the order in which they came to be known.

    Errors: CaseError; at once where there is no catalog.
    """
    return _iter_items(path, connect_reading(path), wanted)


def _iter_items(path: Path, db: sqlite3.Connection, wanted: Filter) -> Iterator[ListedFile]:
    query = _FILES
    query += _OF_USER if wanted.user else ""
    query += _OF_CHAT if wanted.chat else ""
    with closing(db), reported(path):
        named = {"user": wanted.user, "chat": wanted.chat}
        for row in db.execute(f"{query} ORDER BY f.number", named):
            item = _item(db, path, row)
            if wanted.admits(item):
                yield item


def _item(db: sqlite3.Connection, path: Path, row: tuple) -> ListedFile:  # type: ignore[type-arg]  # a row of _FILES
    number, key, name, state, mtime_ns, told, text, *content = row
    size_bytes, md5, sha256, verified, is_stored = content
    record = stored_record(path, key, text)
    is_named = name and (told < Told.ENTRY or (record is not None and has_content(record)))
    return ListedFile(
        claude_file_id=key,
        name=os.fsdecode(name) if is_named else None,
        filename=display_name_of(record) if record else None,
        mime_type=mime_type_of(record) if record else None,
        size_bytes=record.size_bytes if record and size_bytes is None else size_bytes,
        md5=record.md5 if record and md5 is None else md5,
        sha256=sha256,
        verified=verified or "no",
        is_stored=bool(is_stored),
        state=_STATES[state],
        created_at=time_text(mtime_ns // 1000) if mtime_ns else None,
        origins=origins_of(db, number),
    )


def _fits(text: str | None, pattern: str | None) -> bool:
    if pattern is None:
        return True
    return text is not None and fnmatch.fnmatchcase(text.casefold(), pattern.casefold())


def _at(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
