"""What lists name: chats, people, projects, and the files that messages and projects mention.

An entry of a list says less than the record of the object itself, and what it does not say is not made up.
Nothing in here sends; `_walk` knows which lists there are.
"""

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from client._errors import InvalidResponseError
from client._models import Fields


class Family(enum.Enum):
    """Which kind of object carries bytes; the value is what its ids begin with."""

    FILE = "claude_file_"
    GENERATED = "claude_gen_file_"
    ARTIFACT = "claude_artifact_version_"


@dataclasses.dataclass(frozen=True, slots=True)
class Chat:
    """A chat as lists name it.

    Shape: `updated_at` is the text as it came, to be compared with itself; times are aware or None, `name`
    None or "" where the chat has none. The person is None once the account is gone.
    """

    id: str
    name: str | None = None
    created_at: datetime | None = None
    updated_at: str | None = None
    is_deleted: bool = False
    organization_uuid: str | None = None
    organization_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    user_email: str | None = None

    @classmethod
    def from_dict(cls, entry: object) -> "Chat":
        """Make a chat from a decoded entry.

        Errors: InvalidResponseError when it can't be one; so have the other classes.
        """
        fields = Fields(entry, "chat")
        person = _person_of(fields)
        return cls(
            id=fields.required_text("id"),
            name=fields.text("name"),
            created_at=fields.told_time("created_at"),
            updated_at=fields.text("updated_at"),
            is_deleted=fields.text("deleted_at") is not None,
            organization_uuid=fields.text("organization_uuid"),
            organization_id=fields.text("organization_id"),
            project_id=fields.text("project_id"),
            user_id=person.required_text("id") if person else None,
            user_email=person.text("email_address") if person else None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """A member of an organization."""

    id: str
    email: str | None = None

    @classmethod
    def from_dict(cls, entry: object) -> "User":
        """Make a user from a decoded entry."""
        fields = Fields(entry, "user")
        email = fields.text("email") or fields.text("email_address")
        return cls(fields.required_text("id"), email)


@dataclasses.dataclass(frozen=True, slots=True)
class Project:
    """A project as lists name it."""

    id: str
    name: str | None = None
    user_id: str | None = None
    user_email: str | None = None

    @classmethod
    def from_dict(cls, entry: object) -> "Project":
        """Make a project from a decoded entry."""
        fields = Fields(entry, "project")
        person = _person_of(fields)
        return cls(
            id=fields.required_text("id"),
            name=fields.text("name"),
            user_id=person.required_text("id") if person else None,
            user_email=person.text("email_address") if person else None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Mention:
    """A file that a message or a project names.

    Shape: `id` is what the object is asked for with; `record` is the entry as it came. `message_id` and
    `role` are None where a project names it; `at` is when the message was written, or the file attached.
    """

    family: Family
    id: str
    record: Mapping[str, object]
    message_id: str | None = None
    role: str | None = None
    at: datetime | None = None


Entry = Chat | User | Project | Mention | str


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One answer of a list.

    Shape: `entries` are of the list's own kind: mentions for messages and attachments, UUIDs for
    organizations; `cursor` is where
    the list goes on from behind this page, None where the page is empty; `chat` is whose messages these are.
    `passed_over` counts entries that are no files: a project's text documents.
    """

    entries: Sequence[Entry]
    cursor: str | None
    has_more: bool
    chat: Chat | None = None
    passed_over: int = 0


def mentions_of(message: object) -> Iterator[Mention]:
    """Yield the files of all kinds that one message names."""
    fields = Fields(message, "message")
    lists = (
        (Family.FILE, "files", "id"),
        (Family.GENERATED, "generated_files", "id"),
        (Family.ARTIFACT, "artifacts", "version_id"),
    )
    for family, name, id_field in lists:
        entries = fields.raw.get(name)
        if not entries:
            continue
        at = fields.told_time("created_at")
        for entry in _list(entries, f"message {fields.required_text('id')}", name):
            named = Fields(entry, f"{name} entry")
            yield Mention(
                family,
                named.required_text(id_field),
                named.raw,
                fields.required_text("id"),
                fields.text("role"),
                at,
            )


def attachment_of(entry: object) -> Mention | None:
    """Return the file that one attachment of a project is; None for a text document."""
    fields = Fields(entry, "attachment")
    if fields.required_text("type") != "project_file":
        return None
    # What makes it an entry of this list is no part of the file's record.
    record = {name: value for name, value in fields.raw.items() if name != "type"}
    return Mention(
        Family.FILE, fields.required_text("id"), record, at=fields.told_time("created_at")
    )


def _person_of(fields: Fields) -> Fields | None:
    """Return the user that an entry names; None where there is none, or one without an id."""
    user = fields.raw.get("user")
    is_nobody = user is None or (isinstance(user, Mapping) and user.get("id") is None)
    return None if is_nobody else Fields(user, "user")


def entries_of(document: Mapping[str, object], name: str) -> Sequence[object]:
    """Return the entries of a decoded answer.

    Errors: InvalidResponseError; an answer without its list is none, not an empty one.
    """
    return _list(document.get(name), "the answer", name)


def _list(value: object, what: str, name: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise InvalidResponseError(f"{what}: {name} is no list")
    return value
