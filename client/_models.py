"""Records of the API as frozen dataclasses.

Unknown stays None, never 0 or "". A record also keeps what it was made from: fields that the API adds
later are in `extra`, and `raw` is the record as it came. A field of a kind that it can't have refuses the
record: guessing at evidence is worse than not having it.
"""

import dataclasses
import functools
from collections.abc import Mapping
from datetime import UTC, datetime

from client._errors import InvalidResponseError

_MAX_SIZE_BYTES = 2**63 - 1  # what files and databases can hold


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file that was uploaded to a chat or a project.

    Shape: `mime_type` None means that there is no content to download; `size_bytes` and `md5` are None for
    older files. `md5` is lowercase hex as recorded at upload; a response's Content-MD5 outranks it.
    Units: `size_bytes` in bytes of the downloadable variant; `created_at` aware, None when not given.
    """

    id: str
    created_at: datetime | None = None
    filename: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    message_ids: tuple[str, ...] = ()
    md5: str | None = None
    claude_chat_ids: tuple[str, ...] = ()
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)
    raw: Mapping[str, object] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_dict(cls, record: object) -> "File":
        """Make a file from a decoded JSON record.

        Errors: InvalidResponseError when it can't be a record of a file.
        """
        fields = Fields(record, "file")
        return cls(
            id=fields.required_text("id"),
            created_at=fields.time("created_at"),
            filename=fields.text("filename"),
            mime_type=fields.text("mime_type"),
            size_bytes=fields.size("size_bytes"),
            message_ids=fields.texts("message_ids"),
            md5=fields.md5(),
            claude_chat_ids=fields.texts("claude_chat_ids"),
            extra=fields.others(cls),
            raw=fields.raw,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class GeneratedFile:
    """A file that was made in a chat, by a tool; it can't be deleted through the API.

    Shape and units as for `File`.
    """

    id: str
    claude_chat_id: str | None = None
    created_at: datetime | None = None
    filename: str | None = None
    md5: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)
    raw: Mapping[str, object] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_dict(cls, record: object) -> "GeneratedFile":
        """Make a generated file from a decoded JSON record; errors as for `File.from_dict`."""
        fields = Fields(record, "generated file")
        return cls(
            id=fields.required_text("id"),
            claude_chat_id=fields.text("claude_chat_id"),
            created_at=fields.time("created_at"),
            filename=fields.text("filename"),
            md5=fields.md5(),
            mime_type=fields.text("mime_type"),
            size_bytes=fields.size("size_bytes"),
            extra=fields.others(cls),
            raw=fields.raw,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Artifact:
    """One version of an artifact; its content is UTF-8 text.

    Shape and units as for `File`; `version_id` is what the API is asked with.
    """

    id: str
    version_id: str | None = None
    claude_chat_id: str | None = None
    title: str | None = None
    artifact_type: str | None = None
    created_at: datetime | None = None
    md5: str | None = None
    size_bytes: int | None = None
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)
    raw: Mapping[str, object] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_dict(cls, record: object) -> "Artifact":
        """Make an artifact from a decoded JSON record; errors as for `File.from_dict`."""
        fields = Fields(record, "artifact")
        return cls(
            id=fields.required_text("id"),
            version_id=fields.text("version_id"),
            claude_chat_id=fields.text("claude_chat_id"),
            title=fields.text("title"),
            artifact_type=fields.text("artifact_type"),
            created_at=fields.time("created_at"),
            md5=fields.md5(),
            size_bytes=fields.size("size_bytes"),
            extra=fields.others(cls),
            raw=fields.raw,
        )


class Fields:
    """Reads the fields of one record; a refusal says which record and which field."""

    def __init__(self, record: object, what: str, id_field: str = "id") -> None:
        if not isinstance(record, Mapping):
            raise InvalidResponseError(
                f"the {what} record is no JSON object but {type(record).__name__}"
            )
        self.raw: Mapping[str, object] = dict(record)
        self._about = f"{what} record"
        self._about = f"{what} {self.required_text(id_field)!r:.200}"

    def text(self, name: str) -> str | None:
        """Return a text, None where there is none."""
        value = self.raw.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self._refusal(name, "no text")

    def required_text(self, name: str) -> str:
        """Return a text that has to be there."""
        value = self.text(name)
        if not value:
            raise self._refusal(name, "missing")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, empty where there is none."""
        value = self.raw.get(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise self._refusal(name, "no list")
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) != len(value):
            raise self._refusal(name, "no list of texts")
        return texts

    def size(self, name: str) -> int | None:
        """Return a number of bytes."""
        value = self.raw.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SIZE_BYTES:
            return value
        raise self._refusal(name, "no size")

    def md5(self) -> str | None:
        """Return the digest in lower case."""
        value = self.text("md5")
        return value.lower() if value else None

    def time(self, name: str) -> datetime | None:
        """Return a time, aware and in UTC."""
        value = self.text(name)
        if not value:
            return None
        try:
            parsed = datetime.fromisoformat(value)
            return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise self._refusal(name, "no time") from error

    def told_time(self, name: str) -> datetime | None:
        """Return a time where it is one, else None: for lists, where an odd date must not hide an entry."""
        try:
            return self.time(name)
        except InvalidResponseError:
            return None

    def others(self, kind: type) -> Mapping[str, object]:
        """Return the fields that a class does not list."""
        known = _listed_in(kind)
        return {name: value for name, value in self.raw.items() if name not in known}

    def _refusal(self, name: str, what: str) -> InvalidResponseError:
        value = "" if name not in self.raw else f": {self.raw[name]!r:.100}"
        return InvalidResponseError(f"{self._about}: field {name} is {what}{value}")


@functools.cache
def _listed_in(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind)) - {"extra", "raw"}
