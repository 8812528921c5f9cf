"""Which messages and projects name a file, and whose they are, as walks found it."""

import dataclasses
import sqlite3
from datetime import UTC, datetime

_ORIGINS = (
    "SELECT h.chat_id, h.name, p.user_id, p.email, j.project_id, j.name, o.message_id, o.role, o.at"
    " FROM origin o JOIN chat h ON h.number = o.chat LEFT JOIN person p ON p.number = h.person"
    " LEFT JOIN project j ON j.number = h.project WHERE o.file = ?1"
    " UNION ALL SELECT NULL, NULL, NULL, NULL, j.project_id, j.name, NULL, NULL, a.at"
    " FROM attachment a JOIN project j ON j.number = a.project WHERE a.file = ?1 ORDER BY 9"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """A message, or a project, that names a file.

    Shape: what is not known is None; `chat_id` and what goes with it are None where a project names it.
    """

    chat_id: str | None
    chat_name: str | None
    user_id: str | None
    user_email: str | None
    project_id: str | None
    project_name: str | None
    message_id: str | None
    role: str | None
    named_at: str | None


_ORIGIN_FIELDS = [field.name for field in dataclasses.fields(Origin)]


def origins_of(db: sqlite3.Connection, number: int) -> tuple[Origin, ...]:
    """Return where file `number` was named, the first time first."""
    return tuple(_origin(row) for row in db.execute(_ORIGINS, (number,)))


def _origin(row: tuple) -> Origin:  # type: ignore[type-arg]  # a row of _ORIGINS
    *fields, at = row
    values = dict(zip(_ORIGIN_FIELDS, [*fields, time_text(at)], strict=True))
    return Origin(**values)


def time_text(micros: int | None) -> str | None:
    """Return microseconds since 1970 as RFC 3339, UTC."""
    if micros is None:
        return None
    at = datetime.fromtimestamp(micros // 10**6, UTC).replace(microsecond=micros % 10**6)
    return at.isoformat().replace("+00:00", "Z")
