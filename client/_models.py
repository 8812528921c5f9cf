"""Records of the API as frozen dataclasses.

Unknown stays None, never 0 or "". A record also keeps what it was made from: fields that the API adds
later are in `extra`, and `raw` is the record as it came.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime

from client._errors import InvalidResponseError


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
        fields = _object(record, "file record")
        return cls(
            id=_required_text(fields, "id"),
            created_at=_time(fields, "created_at"),
            filename=_text(fields, "filename"),
            mime_type=_text(fields, "mime_type"),
            size_bytes=_size(fields, "size_bytes"),
            message_ids=_texts(fields, "message_ids"),
            md5=_md5(fields),
            claude_chat_ids=_texts(fields, "claude_chat_ids"),
            extra=_others(fields, cls),
            raw=dict(fields),
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
        fields = _object(record, "generated file record")
        return cls(
            id=_required_text(fields, "id"),
            claude_chat_id=_text(fields, "claude_chat_id"),
            created_at=_time(fields, "created_at"),
            filename=_text(fields, "filename"),
            md5=_md5(fields),
            mime_type=_text(fields, "mime_type"),
            size_bytes=_size(fields, "size_bytes"),
            extra=_others(fields, cls),
            raw=dict(fields),
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
        fields = _object(record, "artifact record")
        return cls(
            id=_required_text(fields, "id"),
            version_id=_text(fields, "version_id"),
            claude_chat_id=_text(fields, "claude_chat_id"),
            title=_text(fields, "title"),
            artifact_type=_text(fields, "artifact_type"),
            created_at=_time(fields, "created_at"),
            md5=_md5(fields),
            size_bytes=_size(fields, "size_bytes"),
            extra=_others(fields, cls),
            raw=dict(fields),
        )


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidResponseError(f"{what} is not a JSON object but {type(value).__name__}")
    return value


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidResponseError(f"field {name} is not text but {type(value).__name__}")


def _required_text(fields: Mapping[str, object], name: str) -> str:
    value = _text(fields, name)
    if not value:
        raise InvalidResponseError(f"the record has no {name}")
    return value


def _texts(fields: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise InvalidResponseError(f"field {name} is not a list of texts")


def _size(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidResponseError(f"field {name} is not a size: {value!r}")


def _md5(fields: Mapping[str, object]) -> str | None:
    value = _text(fields, "md5")
    return value.lower() if value else None


def _time(fields: Mapping[str, object], name: str) -> datetime | None:
    value = _text(fields, name)
    if not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidResponseError(f"field {name} is not a time: {value!r}") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _others(fields: Mapping[str, object], kind: type) -> Mapping[str, object]:
    known = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in fields.items() if name not in known}
