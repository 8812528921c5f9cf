"""A corpus in memory, built step by step and changed while it is served.

What the types mean is said in `model.py`; JSON and HTTP are kept out of here.
"""

import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from .contents import BytesContent, Content
from .model import (
    Chat,
    Document,
    Message,
    Order,
    Organization,
    Project,
    StoredFile,
    User,
    tagged_id,
    timestamp,
)

# Everything in a corpus happens after this instant, one step after the other.
_EPOCH = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)
_STEP = timedelta(seconds=61, microseconds=1007)


class Corpus:
    """A corpus in memory that tests and the demonstration build step by step.

    Times are the corpus's own: each addition happens a minute after the one before it.
    """

    def __init__(self) -> None:
        self.organizations: list[Organization] = []
        self.users: dict[str, User] = {}
        self.projects: dict[str, Project] = {}
        self.files: dict[str, StoredFile] = {}
        self._chats: dict[str, Chat] = {}
        self._messages: dict[str, list[Message]] = {}
        self._listed: dict[str, StoredFile] = {}
        self._uploads: list[tuple[datetime, str, str]] = []
        self._keys: dict[Order, list[tuple[datetime, str]]] = {}
        self._steps = 0

    # -- building ------------------------------------------------------------------------------

    def add_organization(self, name: str) -> str:
        """Add an organization; returns its UUID."""
        moment = self._next_moment()
        org_uuid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"organization:{len(self.organizations)}"))
        self.organizations.append(Organization(org_uuid, name, moment))
        return org_uuid

    def add_user(self, email: str, full_name: str, *, organization: str | None = None) -> str:
        """Add a user (of the first organization unless told otherwise); returns the id."""
        user_id = tagged_id("user", str(len(self.users)))
        org_uuid = organization or self._first_organization()
        self.users[user_id] = User(user_id, email, full_name, self._next_moment(), org_uuid)
        return user_id

    def add_project(
        self,
        name: str,
        *,
        user: str | None = None,
        files: Iterable[str] = (),
        documents: Mapping[str, str] | None = None,
    ) -> str:
        """Add a project with attached files and text documents (name to text); returns the id."""
        owner = self.users[user or self._first_user()]
        project_id = tagged_id("claude_proj", str(len(self.projects)))
        made = tuple(
            Document(
                tagged_id("claude_proj_doc", f"{project_id}:{filename}"),
                project_id,
                filename,
                text,
                self._next_moment(),
            )
            for filename, text in (documents or {}).items()
        )
        self.projects[project_id] = Project(
            project_id,
            name,
            self._next_moment(),
            owner.organization_uuid,
            owner.id,
            tuple(files),
            made,
        )
        return project_id

    def add_chat(
        self, name: str = "", *, user: str | None = None, project: str | None = None
    ) -> str:
        """Add a chat without messages; returns the id."""
        owner = self.users[user or self._first_user()]
        chat_id = tagged_id("claude_chat", str(len(self._chats)))
        moment = self._next_moment()
        self._chats[chat_id] = Chat(
            chat_id, name, moment, moment, owner.organization_uuid, owner.id, project
        )
        self._messages[chat_id] = []
        self._keys.clear()
        return chat_id

    def add_message(
        self,
        chat_id: str,
        text: str = "",
        *,
        role: Literal["user", "assistant"] = "user",
        files: Iterable[str] = (),
        generated: Iterable[str] = (),
        artifacts: Iterable[str] = (),
    ) -> str:
        """Add a message; the chat counts as updated and the files point back to both. Returns the id."""
        moment = self._next_moment()
        messages = self._messages[chat_id]
        message_id = tagged_id("claude_chat_msg", f"{chat_id}:{len(messages)}")
        message = Message(
            message_id, role, moment, text, tuple(files), tuple(generated), tuple(artifacts)
        )
        messages.append(message)
        self._replace_chat(chat_id, updated_at=moment)
        for file_id in message.file_ids:
            self._link(file_id, chat_id, message_id)
        for file_id in (*message.generated_ids, *message.artifact_ids):
            self._amend(file_id, claude_chat_id=chat_id)
        return message_id

    def add_file(
        self,
        content: bytes | Content | None,
        *,
        filename: str | None = "file.bin",
        mime_type: str | None = "application/octet-stream",
        is_older: bool = False,
        **overrides: object,
    ) -> str:
        """Add a file; returns its id. `overrides` replace or add fields of the record (`size_bytes=None`).

        Without content the file has nothing to download: `mime_type`, `size_bytes`, `md5` are null.
        """
        record = self._new_record("claude_file", content, filename, mime_type)
        record |= {"message_ids": [], "claude_chat_ids": []} | overrides
        return self._store(record, content, is_older=is_older)

    def add_generated_file(
        self, content: bytes | Content, *, filename: str, mime_type: str, **overrides: object
    ) -> str:
        """Add a file that the assistant made; returns its id."""
        record = self._new_record("claude_gen_file", content, filename, mime_type)
        return self._store(record | {"claude_chat_id": None} | overrides, content)

    def add_artifact(self, text: str, *, title: str, artifact_type: str = "text/markdown") -> str:
        """Add one version of an artifact; returns the version's id."""
        content = BytesContent(text.encode())
        number = str(len(self._listed))
        record: dict[str, object] = {
            "id": tagged_id("claude_artifact", number),
            "version_id": tagged_id("claude_artifact_version", number),
            "claude_chat_id": None,
            "title": title,
            "artifact_type": artifact_type,
            "created_at": timestamp(self._next_moment()),
            "md5": content.md5.hex(),
            "size_bytes": content.size_bytes,
        }
        return self._store(record, content)

    # -- being asked and changed over the API ----------------------------------------------------

    def chat_keys(self, order: Order) -> Sequence[tuple[datetime, str]]:
        """Return (time, chat id) of every chat, ascending."""
        keys = self._keys.get(order)
        if keys is None:
            keys = sorted((getattr(chat, order), chat.id) for chat in list(self._chats.values()))
            self._keys[order] = keys
        return keys

    def find_chat(self, chat_id: str) -> Chat | None:
        """Return one chat, deleted ones included."""
        return self._chats.get(chat_id)

    def find_messages(self, chat_id: str) -> Sequence[Message]:
        """Return a chat's messages, oldest first; none for a deleted chat."""
        return self._messages.get(chat_id, ())

    def find_file(self, file_id: str) -> StoredFile | None:
        """Return a file, generated file or artifact that exists."""
        return self.files.get(file_id)

    def find_listed(self, file_id: str) -> StoredFile | None:
        """Return a file as messages name it, also after it was deleted."""
        return self._listed.get(file_id)

    def uploads(self) -> Iterable[tuple[datetime, str, str]]:
        """Yield (time, file id, user id) of every upload ever made, newest first."""
        return reversed(self._uploads.copy())

    def delete_file(self, file_id: str) -> bool:
        """Delete a file; messages go on naming it, which nothing in the documentation excludes."""
        return self.files.pop(file_id, None) is not None

    def delete_chat(self, chat_id: str) -> bool:
        """Delete a chat and the files that hang on no other; False when there is none."""
        chat = self._chats.get(chat_id)
        if chat is None or chat.deleted_at is not None:
            return False
        moment = self._next_moment()
        for message in self._messages.pop(chat_id, []):
            for file_id in (*message.file_ids, *message.generated_ids, *message.artifact_ids):
                if not self._chats_of(file_id) - {chat_id}:
                    self.files.pop(file_id, None)
        self._replace_chat(chat_id, name="", updated_at=moment, deleted_at=moment)
        return True

    # -- inside ----------------------------------------------------------------------------------

    def _next_moment(self) -> datetime:
        self._steps += 1
        return _EPOCH + self._steps * _STEP

    def _first_organization(self) -> str:
        return (
            self.organizations[0].uuid if self.organizations else self.add_organization("Example")
        )

    def _first_user(self) -> str:
        return next(iter(self.users), None) or self.add_user("first@example.com", "First User")

    def _new_record(
        self, prefix: str, content: bytes | Content | None, filename: str | None, mime: str | None
    ) -> dict[str, object]:
        held = _as_content(content)
        return {
            "id": tagged_id(prefix, str(len(self._listed))),
            "created_at": timestamp(self._next_moment()),
            "filename": filename,
            "mime_type": mime if held else None,
            "size_bytes": held.size_bytes if held else None,
            "md5": held.md5.hex() if held else None,
        }

    def _store(
        self, record: dict[str, object], content: bytes | Content | None, *, is_older: bool = False
    ) -> str:
        stored = StoredFile(record, _as_content(content), is_older)
        self.files[stored.id] = self._listed[stored.id] = stored
        if stored.id.startswith("claude_file_"):
            moment = _EPOCH + self._steps * _STEP
            self._uploads.append((moment, stored.id, self._first_user()))
        return stored.id

    def _amend(self, file_id: str, **fields: object) -> None:
        stored = self._listed[file_id]
        changed = dataclasses.replace(stored, record={**stored.record, **fields})
        self._listed[file_id] = changed
        if file_id in self.files:
            self.files[file_id] = changed

    def _link(self, file_id: str, chat_id: str, message_id: str) -> None:
        record = self._listed[file_id].record
        messages = [*_strings(record.get("message_ids")), message_id]
        chats = dict.fromkeys([*_strings(record.get("claude_chat_ids")), chat_id])
        self._amend(file_id, message_ids=messages, claude_chat_ids=list(chats))

    def _chats_of(self, file_id: str) -> set[str]:
        record = self._listed[file_id].record
        return {*_strings(record.get("claude_chat_ids")), *_strings([record.get("claude_chat_id")])}

    def _replace_chat(self, chat_id: str, **fields: object) -> None:
        chat = self._chats[chat_id]
        self._chats[chat_id] = dataclasses.replace(chat, **fields)  # type: ignore[arg-type]  # fields by name
        self._keys.clear()


def _as_content(content: bytes | Content | None) -> Content | None:
    return BytesContent(content) if isinstance(content, bytes) else content


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
