"""People, projects and chats as rows: where files come from, and what those places are called in views.

No two rows of a table share a name. It is settled once there are files to be shown below it; until then a
better one takes its place: a chat or project may be met by its id before an answer says what it is called.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import client
from fsmount.database import storable
from fsmount.names import folder_name, told_apart

Table = Literal["chat", "person", "project"]

_HAS_FILES: dict[Table, str] = {
    "chat": "SELECT 1 FROM chat WHERE number = ?1 AND has_files",
    "person": "SELECT 1 FROM chat WHERE person = ?1 AND has_files",
    "project": (
        "SELECT 1 FROM chat WHERE project = ?1 AND has_files"
        " UNION ALL SELECT 1 FROM attachment WHERE project = ?1"
    ),
}


class Places:
    """Adds and updates places, within the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put_chat(self, chat: client.Chat) -> int:
        """Add or update a chat and return its number.

        What an answer does not tell stays as it was. So does a later change that was told before: answers
        overtake each other.
        """
        chat_id = storable(chat.id)
        row = self._db.execute(
            "SELECT number, updated_at, name, created_at FROM chat WHERE chat_id = ?", (chat_id,)
        ).fetchone()
        number, known_change, known_name, known_start = row or (0, None, None, None)
        person = self.put_person(chat.user_id, chat.user_email) if chat.user_id else None
        project = self.put_project(chat.project_id, None) if chat.project_id else None
        if known_change is not None and known_change == chat.updated_at:
            return int(number)
        values = (
            storable(chat.name),
            person,
            project,
            storable(chat.organization_uuid or chat.organization_id),
            chat.created_at and chat.created_at.isoformat(),
            later_of(known_change, storable(chat.updated_at)),
            chat.is_deleted,
        )
        if row is None:
            return self._insert(
                "INSERT INTO chat (name, person, project, organization, created_at, updated_at, is_deleted,"
                " chat_id, view_name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, chat_id, self._free_name("chat", _title_of(chat), chat.id)),
            )
        self._db.execute(
            "UPDATE chat SET name = coalesce(?, name), person = coalesce(?, person),"
            " project = coalesce(?, project), organization = coalesce(?, organization),"
            " created_at = coalesce(?, created_at), updated_at = coalesce(?, updated_at),"
            " is_deleted = is_deleted OR ? WHERE number = ?",
            (*values, number),
        )
        if known_name is None and known_start is None and (chat.name or chat.created_at):
            self._rename("chat", number, _title_of(chat), chat.id)
        return int(number)

    def put_person(self, user_id: str, email: str | None) -> int:
        """Add a person, or an e-mail address that was not known, and return the number."""
        row = self._db.execute(
            "SELECT number, email FROM person WHERE user_id = ?", (storable(user_id),)
        ).fetchone()
        if row is None:
            name = self._free_name("person", email or user_id, user_id)
            return self._insert(
                "INSERT INTO person (user_id, email, view_name) VALUES (?, ?, ?)",
                (storable(user_id), storable(email), name),
            )
        number, known = row
        if email and known is None:
            self._db.execute(
                "UPDATE person SET email = ? WHERE number = ?", (storable(email), number)
            )
            self._rename("person", number, email, user_id)
        return int(number)

    def put_project(self, project_id: str, name: str | None) -> int:
        """Add a project, or a name that was not known, and return the number."""
        row = self._db.execute(
            "SELECT number, name FROM project WHERE project_id = ?", (storable(project_id),)
        ).fetchone()
        if row is None:
            view_name = self._free_name("project", name or project_id, project_id)
            return self._insert(
                "INSERT INTO project (project_id, name, view_name) VALUES (?, ?, ?)",
                (storable(project_id), storable(name), view_name),
            )
        number, known = row
        if name and known is None:
            self._db.execute(
                "UPDATE project SET name = ? WHERE number = ?", (storable(name), number)
            )
            self._rename("project", number, name, project_id)
        return int(number)

    def _insert(self, statement: str, values: Sequence[object]) -> int:
        number = self._db.execute(statement, tuple(values)).lastrowid
        assert number is not None
        return number

    def _rename(self, table: Table, number: int, text: str, seed: str) -> None:
        """Give a row the name that is known now, unless somebody may have seen it by the one it has."""
        if self._db.execute(f"{_HAS_FILES[table]} LIMIT 1", (number,)).fetchone():
            return
        name = self._free_name(table, text, seed, number)
        self._db.execute(f"UPDATE {table} SET view_name = ? WHERE number = ?", (name, number))  # noqa: S608

    def _free_name(self, table: Table, text: str, seed: str, own: int = 0) -> bytes:
        """Return a name for a view that no other row of the table has."""
        taken = f"SELECT 1 FROM {table} WHERE view_name = ? AND number <> ?"  # noqa: S608
        plain = name = folder_name(text)
        while self._db.execute(taken, (name, own)).fetchone():
            # Who names chats may know what marks look like; each round has another one.
            name, seed = told_apart(plain, seed), f"{seed}~"
        return name


def _title_of(chat: client.Chat) -> str:
    at = f"{chat.created_at:%Y-%m-%d}" if chat.created_at else "undated"
    return f"{at} {chat.name or 'untitled'}"


def later_of(one: str | None, other: str | None) -> str | None:
    """Return the later of two times as the API writes them; the other one where that can't be told."""
    if one is None or other is None:
        return other or one
    try:
        return one if _time(one) > _time(other) else other
    except ValueError:
        return other


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
