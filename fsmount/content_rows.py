"""What the case knows of one file's content, as a row of its database."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

Verified = Literal["yes", "no", "mismatch"]


@dataclasses.dataclass(frozen=True, slots=True)
class StoredContent:
    """What the case knows of one file's content.

    Shape: None is unknown; `how` says what vouched for the bytes; times are RFC 3339. `changed_ns` is the
    change time of the stored file when its bytes were last known to be right.
    """

    claude_file_id: str
    size_bytes: int | None
    md5: str | None
    sha256: str | None
    verified: Verified
    how: str
    request_id: str | None
    acquired_at: str | None
    is_stored: bool
    changed_ns: int | None = None


CONTENT_COLUMNS = tuple(field.name for field in dataclasses.fields(StoredContent))


def stored_content(row: Sequence[Any]) -> StoredContent:
    """Make a record of the values of `CONTENT_COLUMNS`."""
    fields = dict(zip(CONTENT_COLUMNS, row, strict=True))
    return StoredContent(**{**fields, "is_stored": bool(fields["is_stored"])})
