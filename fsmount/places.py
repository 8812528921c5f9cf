"""People, projects and chats as rows: where files come from, and what those places are called in views.

A name is settled when its row is made, and no two rows of a table share one.
"""

import sqlite3
from collections.abc import Sequence

import client
from fsmount.names import folder_name, told_apart


class Places:
    """Adds and updates places, within the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put_chat(self, chat: client.Chat) -> int:
        """Add or update a chat and return its number; what an answer does not tell stays as it was."""
        row = self._db.execute(
            "SELECT number, updated_at FROM chat WHERE chat_id = ?", (chat.id,)
        ).fetchone()
        person = self.put_person(chat.user_id, chat.user_email) if chat.user_id else None
        project = self.put_project(chat.project_id, None) if chat.project_id else None
        values = (
            chat.name,
            person,
            project,
            chat.organization_uuid or chat.organization_id,
            chat.created_at and chat.created_at.isoformat(),
            chat.updated_at,
            chat.is_deleted,
        )
        if row is None:
            at = f"{chat.created_at:%Y-%m-%d}" if chat.created_at else "undated"
            name = self._free_name("chat", f"{at} {chat.name or 'untitled'}", chat.id)
            return self._insert(
                "INSERT INTO chat (name, person, project, organization, created_at, updated_at, is_deleted,"
                " chat_id, view_name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, chat.id, name),
            )
        number, known_change = row
        if known_change is None or known_change != chat.updated_at:
            self._db.execute(
                "UPDATE chat SET name = coalesce(?, name), person = coalesce(?, person),"
                " project = coalesce(?, project), organization = coalesce(?, organization),"
                " created_at = coalesce(?, created_at), updated_at = coalesce(?, updated_at),"
                " is_deleted = is_deleted OR ? WHERE number = ?",
                (*values, number),
            )
        return int(number)

    def put_person(self, user_id: str, email: str | None) -> int:
        """Add a person, or an e-mail address that was not known, and return the number."""
        row = self._db.execute(
            "SELECT number, email FROM person WHERE user_id = ?", (user_id,)
        ).fetchone()
        if row is None:
            name = self._free_name("person", email or user_id, user_id)
            return self._insert(
                "INSERT INTO person (user_id, email, view_name) VALUES (?, ?, ?)",
                (user_id, email, name),
            )
        if email and row[1] is None:
            self._db.execute("UPDATE person SET email = ? WHERE number = ?", (email, row[0]))
        return int(row[0])

    def put_project(self, project_id: str, name: str | None) -> int:
        """Add a project, or a name that was not known, and return the number."""
        row = self._db.execute(
            "SELECT number, name FROM project WHERE project_id = ?", (project_id,)
        ).fetchone()
        if row is None:
            view_name = self._free_name("project", name or project_id, project_id)
            return self._insert(
                "INSERT INTO project (project_id, name, view_name) VALUES (?, ?, ?)",
                (project_id, name, view_name),
            )
        if name and row[1] is None:
            self._db.execute("UPDATE project SET name = ? WHERE number = ?", (name, row[0]))
        return int(row[0])

    def _insert(self, statement: str, values: Sequence[object]) -> int:
        number = self._db.execute(statement, tuple(values)).lastrowid
        assert number is not None
        return number

    def _free_name(self, table: str, text: str, seed: str) -> bytes:
        """Return a name for a view that no other row of the table has."""
        name = folder_name(text)
        # The table's name is one of three words above.
        taken = f"SELECT 1 FROM {table} WHERE view_name = ?"  # noqa: S608
        return told_apart(name, seed) if self._db.execute(taken, (name,)).fetchone() else name
