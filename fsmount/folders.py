"""Where files come from, as walks found it: whose chats and which projects name them.

Read-only look-ups, each one indexed, for the views of a mount; `file_list` tells the same as a table.
"""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Literal

from fsmount.database import connect, reported
from fsmount.names import told_apart
from fsmount.objects import State

Group = Literal["person", "project"]

_GROUPS: dict[Group, str] = {
    "person": (
        "SELECT number, view_name FROM person p WHERE"
        " EXISTS (SELECT 1 FROM chat WHERE person = p.number AND has_files)"
    ),
    "project": (
        "SELECT number, view_name FROM project p WHERE"
        " (EXISTS (SELECT 1 FROM chat WHERE project = p.number AND has_files)"
        " OR EXISTS (SELECT 1 FROM attachment WHERE project = p.number))"
    ),
}
_HOLDERS: dict[Group, str] = {
    "person": "SELECT person FROM chat WHERE number = ?",
    "project": "SELECT project FROM chat WHERE number = ?",
}
_CHATS = "SELECT number, view_name, created_at FROM chat WHERE has_files AND"
# A link leads to the content, or where there is none, or nobody knows yet, to the directory.
_FILE = (
    "f.number, f.claude_file_id, f.content_name, f.state, f.told >= 2 AND"
    " (json_extract(f.record, '$.mime_type') IS NOT NULL OR f.claude_file_id GLOB 'claude_artifact_*')"
)
# In the order of time: what comes later never takes the plain name from what was there before.
_FILES_OF_CHAT = (
    f"SELECT {_FILE}, min(o.at) AS since FROM origin o JOIN file f ON f.number = o.file"  # noqa: S608
    " WHERE o.chat = ? GROUP BY f.number ORDER BY since, f.number"
)
_FILES_OF_PROJECT = (
    f"SELECT {_FILE}, a.at AS since FROM attachment a JOIN file f ON f.number = a.file"  # noqa: S608
    " WHERE a.project = ? ORDER BY since, f.number"
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


class Folders:
    """The open folders of a case.

    Errors of every method: CaseError when the database can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = connect(path)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def has_groups(self, group: Group) -> bool:
        """Say whether there is any person, or project, with files."""
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
        """Return a chat by its number."""
        rows = self._rows(f"{_CHATS} number = ?", number)
        return _chat(rows[0]) if rows else None

    def holder_of_chat(self, group: Group, number: int) -> int | None:
        """Return the person, or project, that a chat belongs to."""
        rows = self._rows(_HOLDERS[group], number)
        return rows[0][0] if rows else None

    def has_attachments(self, project: int) -> bool:
        """Say whether files are attached to a project itself."""
        return bool(self._rows("SELECT 1 FROM attachment WHERE project = ? LIMIT 1", project))

    def files_of_chat(self, number: int) -> list[Link]:
        """Return the files that a chat names, in the order of time; names are unique and stay."""
        return _links(self._rows(_FILES_OF_CHAT, number))

    def files_of_project(self, number: int) -> list[Link]:
        """Return the files that are attached to a project, likewise."""
        return _links(self._rows(_FILES_OF_PROJECT, number))

    def _rows(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]  # rows of all shapes
        with reported(self._path):
            return self._db.execute(query, values).fetchall()


def _chat(row: tuple[int, bytes, str | None]) -> Folder:
    number, name, created_at = row
    seconds = datetime.fromisoformat(created_at).timestamp() if created_at else 0
    return Folder(number, name, int(seconds) * 10**9)


def _links(rows: list[tuple[int, str, bytes | None, int, int, int | None]]) -> list[Link]:
    """Name what is shown; what is not any more keeps its name from others."""
    links, taken = [], set()
    for number, claude_file_id, content_name, state, has_content, at in rows:
        plain = content_name or claude_file_id.encode()
        name = told_apart(plain, claude_file_id) if plain in taken else plain
        taken.add(name)
        if state == State.LIVE:
            inside = b"/" + content_name if content_name and has_content else b""
            target = claude_file_id.encode() + inside
            links.append(Link(number, name, target, (at or 0) * 1000))
    return links
