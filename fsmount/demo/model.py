"""What an organization holds, in plain types: people, projects, chats, messages and files.

`Source` is what the application asks a corpus for, so that a corpus of a million files can be worked
out instead of held. JSON and HTTP are kept out of here.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from .contents import Content

Order = Literal["created_at", "updated_at"]

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Organization:
    """One organization below the parent organization."""

    uuid: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """A member of an organization."""

    id: str
    email: str
    full_name: str
    created_at: datetime
    organization_uuid: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text document of a project; not a file, and reached over another endpoint."""

    id: str
    project_id: str
    filename: str
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    """A project with its files and documents, in the order they were attached."""

    id: str
    name: str
    created_at: datetime
    organization_uuid: str
    user_id: str
    file_ids: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat without its messages. A deleted chat stays listed, without a name."""

    id: str
    name: str
    created_at: datetime
    updated_at: datetime
    organization_uuid: str
    user_id: str
    project_id: str | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message and the ids of what hangs on it."""

    id: str
    role: Literal["user", "assistant"]
    created_at: datetime
    text: str
    file_ids: tuple[str, ...] = ()
    generated_ids: tuple[str, ...] = ()
    artifact_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of any kind: its record exactly as served, and its bytes.

    Shape: `record` may say other things than `content` does (a wrong size, an upload-time hash):
    the service does not promise that they agree. `content` is None where nothing can be downloaded.
    `is_older`: messages name it without `md5`, `mime_type` and `size_bytes`.
    """

    record: Mapping[str, object]
    content: Content | None
    is_older: bool = False

    @property
    def id(self) -> str:
        """Return the id under which the file is asked for."""
        return str(self.record.get("version_id") or self.record["id"])


class Source(Protocol):
    """What the application asks a corpus for. Everything is asked by id or by position, never all at once."""

    @property
    def organizations(self) -> Sequence[Organization]:
        """Return the organizations in order of creation."""

    @property
    def users(self) -> Mapping[str, User]:
        """Return all users by id, in order of creation."""

    @property
    def projects(self) -> Mapping[str, Project]:
        """Return all projects by id, in order of creation."""

    def chat_keys(self, order: Order) -> Sequence[tuple[datetime, str]]:
        """Return (time, chat id) of every chat, ascending."""

    def find_chat(self, chat_id: str) -> Chat | None:
        """Return one chat, deleted ones included."""

    def find_messages(self, chat_id: str) -> Sequence[Message]:
        """Return a chat's messages, oldest first; none for a deleted chat."""

    def find_file(self, file_id: str) -> StoredFile | None:
        """Return a file, generated file or artifact that exists."""

    def find_listed(self, file_id: str) -> StoredFile | None:
        """Return a file as messages name it, also after it was deleted."""

    def uploads(self) -> Iterable[tuple[datetime, str, str]]:
        """Yield (time, file id, user id) of every upload ever made, newest first."""

    def delete_file(self, file_id: str) -> bool:
        """Delete a file; False when there is none."""

    def delete_chat(self, chat_id: str) -> bool:
        """Delete a chat and the files that hang on no other; False when there is none."""


def tagged_id(prefix: str, seed: str) -> str:
    """Return an id of the service's form, the same for the same seed (`claude_file_01` and 22 letters)."""
    number = int.from_bytes(hashlib.sha256(f"{prefix}:{seed}".encode("utf-8", "replace")).digest())
    letters = []
    for _ in range(22):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return f"{prefix}_01{''.join(letters)}"


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC, as every record shows times."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
