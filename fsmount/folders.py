"""Where files come from, as walks found it: whose chats and which projects name them.

Read-only look-ups, each one indexed, for the views of a mount; `file_list` tells the same as a table.
"""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Literal

from fsmount.database import connect, reported
from fsmount.names import told_apart
from fsmount.rows import has_content, shown_files

Group = Literal["person", "project"]

# `has_files` says that a chat names files at all, and is indexed; what has none that are shown is not there.
_CHAT_IS_SHOWN = (
    "has_files AND EXISTS (SELECT 1 FROM origin o JOIN file f ON f.number = o.file"
    " WHERE o.chat = c.number AND $SHOWN)"
)
_HAS_ATTACHMENT = (
    "EXISTS (SELECT 1 FROM attachment a JOIN file f ON f.number = a.file"
    " WHERE $SHOWN AND a.project = "
)
_GROUPS: dict[Group, str] = {
    "person": (
        "SELECT number, view_name FROM person p WHERE"  # noqa: S608 - of constants alone, like those below
        f" EXISTS (SELECT 1 FROM chat c WHERE person = p.number AND {_CHAT_IS_SHOWN})"
    ),
    "project": (
        "SELECT number, view_name FROM project p WHERE"  # noqa: S608
        f" (EXISTS (SELECT 1 FROM chat c WHERE project = p.number AND {_CHAT_IS_SHOWN})"
        f" OR {_HAS_ATTACHMENT}p.number))"
    ),
}
_HOLDERS: dict[Group, str] = {
    "person": "SELECT person FROM chat WHERE number = ?",
    "project": "SELECT project FROM chat WHERE number = ?",
}
_CHATS = f"SELECT number, view_name, created_at FROM chat c WHERE {_CHAT_IS_SHOWN} AND"  # noqa: S608
# A link leads to the content, or where there is none, or nobody knows yet, to the directory.
_FILE = f"f.number, f.claude_file_id, f.content_name, $SHOWN, {has_content('f')}"
# In the order of time: what comes later never takes the plain name from what was there before.
_IN_ORDER = " GROUP BY f.number ORDER BY since, f.number"
_FILES_OF_CHAT = (
    f"SELECT {_FILE}, min(o.at) AS since FROM origin o JOIN file f ON f.number = o.file"  # noqa: S608
    " WHERE o.chat = ?"
)
_FILES_OF_PROJECT = (
    f"SELECT {_FILE}, a.at AS since FROM attachment a JOIN file f ON f.number = a.file"  # noqa: S608
    " WHERE a.project = ?"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """A person, a project or a chat, as a directory; times in nanoseconds since 1970, 0 when unknown."""

    number: int
    name: bytes
    mtime_ns: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A file where it was named; `target` is relative to the root of the mount."""

    file: int
    name: bytes
    target: bytes
    mtime_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class LinkTarget:
    """Where a link leads, whatever it is called; as in `Link`."""

    target: bytes
    mtime_ns: int


class Folders:
    """The open folders of a case; with `shows_kept`, as in `Catalog`.

    Errors of every method: CaseError when the database can't be read.
    """

    def __init__(self, path: Path, *, shows_kept: bool = False) -> None:
        self._path = path
        self._shown = shown_files("f", shows_kept=shows_kept)
        self._db = connect(path)
        self._last: tuple[object, list[Link]] = (None, [])

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def has_groups(self, group: Group) -> bool:
        """Say whether there is any person, or project, with files that are shown."""
        return bool(self._rows(f"{_GROUPS[group]} LIMIT 1"))

    def groups(self, group: Group, after: int, limit: int) -> list[Folder]:
        """Return people, or projects, that have files, by number."""
        query = f"{_GROUPS[group]} AND number > ? ORDER BY number LIMIT ?"
        return [Folder(*row) for row in self._rows(query, after, limit)]

    def group_named(self, group: Group, name: bytes) -> Folder | None:
        """Return a person, or project, by its name in the views."""
        rows = self._rows(f"{_GROUPS[group]} AND view_name = ?", name)
        return Folder(*rows[0]) if rows else None

    def chats(self, group: Group, number: int, after: int, limit: int) -> list[Folder]:
        """Return the chats of a person, or project, that have files, by number."""
        query = f"{_CHATS} {group} = ? AND number > ? ORDER BY number LIMIT ?"
        return [_chat(row) for row in self._rows(query, number, after, limit)]

    def chat_named(self, group: Group, number: int, name: bytes) -> Folder | None:
        """Return a chat of a person, or project, by its name in the views."""
        rows = self._rows(f"{_CHATS} view_name = ? AND {group} = ?", name, number)
        return _chat(rows[0]) if rows else None

    def chat(self, number: int) -> Folder | None:
        """Return a chat by its number, shown or not."""
        rows = self._rows("SELECT number, view_name, created_at FROM chat WHERE number = ?", number)
        return _chat(rows[0]) if rows else None

    def holder_of_chat(self, group: Group, number: int) -> int | None:
        """Return the person, or project, that a chat belongs to."""
        rows = self._rows(_HOLDERS[group], number)
        return rows[0][0] if rows else None

    def has_attachments(self, project: int) -> bool:
        """Say whether files are attached to a project itself."""
        return bool(self._rows(f"SELECT 1 WHERE {_HAS_ATTACHMENT}?)", project))

    def files_of_chat(self, number: int) -> list[Link]:
        """Return the files that a chat names, in the order of time; names are unique and stay."""
        return self._links(_FILES_OF_CHAT, number)

    def files_of_project(self, number: int) -> list[Link]:
        """Return the files that are attached to a project, likewise."""
        return self._links(_FILES_OF_PROJECT, number)

    def file_of_chat(self, number: int, file: int) -> LinkTarget | None:
        """Return one file that a chat names, without looking at the others; None when it is not shown."""
        return _target(
            self._rows(f"{_FILES_OF_CHAT} AND o.file = ? GROUP BY f.number", number, file)
        )

    def file_of_project(self, number: int, file: int) -> LinkTarget | None:
        """Return one file that is attached to a project, likewise."""
        return _target(self._rows(f"{_FILES_OF_PROJECT} AND a.file = ?", number, file))

    def _rows(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]  # rows of all shapes
        with reported(self._path):
            return self._db.execute(query.replace("$SHOWN", self._shown), values).fetchall()

    def _links(self, query: str, number: int) -> list[Link]:
        """Return named links, those of last time while nothing has changed: each look-up wants them all."""
        key = (query, number, self._rows("PRAGMA data_version"))
        if key != self._last[0]:
            self._last = key, _links(self._rows(query + _IN_ORDER, number))
        return self._last[1]


def _chat(row: tuple[int, bytes, str | None]) -> Folder:
    number, name, created_at = row
    seconds = datetime.fromisoformat(created_at).timestamp() if created_at else 0
    return Folder(number, name, int(seconds) * 10**9)


_FileRow = tuple[int, str, bytes | None, int, int, int | None]


def _links(rows: list[_FileRow]) -> list[Link]:
    """Name what is shown; what is not any more keeps its name from others."""
    links, taken = [], set()
    for row in rows:
        number, claude_file_id, content_name, *_ = row
        plain = content_name or claude_file_id.encode()
        name, seed = plain, claude_file_id
        while name in taken:  # also by a file that bears, on purpose, the name of another one
            name, seed = told_apart(plain, seed), f"{seed}~"
        taken.add(name)
        if to := _target([row]):
            links.append(Link(number, name, to.target, to.mtime_ns))
    return links


def _target(rows: list[_FileRow]) -> LinkTarget | None:
    for _, claude_file_id, content_name, is_shown, is_content, at in rows:
        if is_shown:
            inside = b"/" + content_name if content_name and is_content else b""
            return LinkTarget(claude_file_id.encode() + inside, (at or 0) * 1000)
    return None
