"""What a walk still has to read: where each list was left, and which chats and projects wait.

It is kept under the key of one wish: two wishes may go through the same list and keep other chats of it.
Everything happens within the caller's transaction, so that it and what was read stay one.
"""

import dataclasses
import enum
import sqlite3
from collections.abc import Callable

import client
from fsmount.database import storable
from fsmount.places import later_of

THROUGH = ""  # stands for a cursor, of a list whose end this run has seen
_WAITING = (
    "SELECT p.kind, p.number, coalesce(c.chat_id, j.project_id), p.cursor FROM pending p"
    " LEFT JOIN chat c ON p.kind = 0 AND c.number = p.number"
    " LEFT JOIN project j ON p.kind = 1 AND j.number = p.number"
    " WHERE p.scope = ? AND (p.kind, p.number) > (?, ?) ORDER BY p.kind, p.number LIMIT ?"
)
_ONE = "scope = ? AND kind = ? AND number = ?"


class NamedBy(enum.IntEnum):
    """What files are named by."""

    CHAT = 0
    PROJECT = 1


_LISTING_OF: dict[int, Callable[[str], client.Listing]] = {
    NamedBy.CHAT: lambda owner: client.Listing("messages", owner),
    NamedBy.PROJECT: lambda owner: client.Listing("attachments", owner),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Pending:
    """A chat or project that is still to be read, from behind `cursor`; ordered by `place`."""

    place: tuple[NamedBy, int]
    listing: client.Listing
    cursor: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """How much there is still to be read."""

    chats: int = 0
    projects: int = 0


class Agenda:
    """What is left to do for one wish; numbers are rows of tables `chat` and `project`.

    Errors of every method: sqlite3.Error.
    """

    def __init__(self, db: sqlite3.Connection, wish: str) -> None:
        self._db = db
        self._wish = wish

    # -- lists -----------------------------------------------------------------------------------

    def cursor(self, key: str) -> str | None:
        """Return where a list was left; None: at its beginning."""
        query = "SELECT cursor FROM listing WHERE scope = ? AND key = ?"
        row = self._db.execute(query, (self._wish, storable(key))).fetchone()
        return row[0] if row else None

    def put_cursor(self, key: str, cursor: str | None) -> None:
        """Note where to go on with a list."""
        self._db.execute(
            "INSERT INTO listing (scope, key, cursor) VALUES (?, ?, ?)"
            " ON CONFLICT (scope, key) DO UPDATE SET cursor = excluded.cursor",
            (self._wish, storable(key), storable(cursor)),
        )

    def begin_lists_anew(self) -> None:
        """Let the next run go through the lists again whose end this one has seen."""
        self._db.execute(
            "UPDATE listing SET cursor = NULL WHERE scope = ? AND cursor = ?", (self._wish, THROUGH)
        )

    # -- chats and projects ----------------------------------------------------------------------

    def add(self, kind: NamedBy, number: int) -> None:
        """Have a chat or project read; one that waits already goes on where it was."""
        self._db.execute(
            "INSERT INTO pending (scope, kind, number) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (self._wish, kind, number),
        )

    def go_on_behind(self, kind: NamedBy, number: int, cursor: str | None) -> None:
        """Note where to go on with a chat or project; None: at its beginning."""
        self._db.execute(
            f"UPDATE pending SET cursor = ? WHERE {_ONE}",  # noqa: S608 - a constant
            (storable(cursor), self._wish, kind, number),
        )

    def done(self, kind: NamedBy, number: int) -> None:
        """Take off what has been read to its end."""
        self._db.execute(f"DELETE FROM pending WHERE {_ONE}", (self._wish, kind, number))  # noqa: S608

    def put_read_at(self, chat: int, change: str | None) -> None:
        """Note at which change of a chat its reading begins; the later of two."""
        self._db.execute(
            f"UPDATE pending SET read_at = ? WHERE {_ONE}",  # noqa: S608
            (later_of(self.read_at(chat), change), self._wish, NamedBy.CHAT, chat),
        )

    def read_at(self, chat: int) -> str | None:
        """Return at which change of a chat its reading began."""
        query = f"SELECT read_at FROM pending WHERE {_ONE}"  # noqa: S608
        row = self._db.execute(query, (self._wish, NamedBy.CHAT, chat)).fetchone()
        return row[0] if row else None

    def waiting(self, after: tuple[int, int], limit: int) -> list[Pending]:
        """Return what is still to be read, in order, from behind a place."""
        rows = self._db.execute(_WAITING, (self._wish, *after, limit)).fetchall()
        return [
            Pending((NamedBy(kind), number), _LISTING_OF[kind](owner), cursor)
            for kind, number, owner, cursor in rows
        ]

    def left(self) -> Left:
        """Return how much is still to be read."""
        query = "SELECT kind, count(*) FROM pending WHERE scope = ? GROUP BY kind"
        counts = dict(self._db.execute(query, (self._wish,)).fetchall())
        return Left(counts.get(NamedBy.CHAT, 0), counts.get(NamedBy.PROJECT, 0))
