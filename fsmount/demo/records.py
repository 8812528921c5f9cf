"""How chats, messages, projects, people and activities look as JSON. No decisions, no HTTP."""

import uuid
from datetime import datetime

from .model import (
    Chat,
    Document,
    Message,
    Organization,
    Project,
    Source,
    StoredFile,
    User,
    tagged_id,
    timestamp,
)
from .shapes import Record

_LISTED_FIELDS = ("id", "created_at", "filename", "md5", "mime_type", "size_bytes")
_OLDER_FIELDS = ("id", "created_at", "filename")
_GENERATED_FIELDS = ("id", "filename", "mime_type", "md5", "size_bytes")
_ARTIFACT_FIELDS = ("id", "version_id", "title", "artifact_type")


def chat_record(source: Source, chat: Chat) -> Record:
    """Return a chat as lists and the head of the messages show it."""
    return {
        "id": chat.id,
        "name": chat.name,
        "created_at": timestamp(chat.created_at),
        "updated_at": timestamp(chat.updated_at),
        "deleted_at": _time_or_none(chat.deleted_at),
        "href": f"https://claude.ai/chat/{uuid.uuid5(uuid.NAMESPACE_URL, chat.id)}",
        "model": "claude-opus-5",
        "organization_id": tagged_id("org", chat.organization_uuid),
        "organization_uuid": chat.organization_uuid,
        "project_id": chat.project_id,
        "user": _creator(source, chat.user_id),
    }


def message_record(source: Source, message: Message) -> Record:
    """Return a message; lists of files are null where there are none."""
    return {
        "id": message.id,
        "role": message.role,
        "created_at": timestamp(message.created_at),
        "content": [{"type": "text", "text": message.text}],
        "files": _references(source, message.file_ids, _LISTED_FIELDS),
        "generated_files": _references(source, message.generated_ids, _GENERATED_FIELDS),
        "artifacts": _references(source, message.artifact_ids, _ARTIFACT_FIELDS),
    }


def project_record(source: Source, project: Project) -> Record:
    """Return a project as lists show it."""
    return {
        "id": project.id,
        "name": project.name,
        "created_at": timestamp(project.created_at),
        "updated_at": timestamp(project.created_at),
        "is_private": True,
        "organization_id": tagged_id("org", project.organization_uuid),
        "organization_uuid": project.organization_uuid,
        "user": _creator(source, project.user_id),
    }


def project_detail(source: Source, project: Project) -> Record:
    """Return a project with what only its own page tells."""
    chats = (source.find_chat(chat_id) for _, chat_id in source.chat_keys("created_at"))
    return {
        **project_record(source, project),
        "description": "",
        "instructions": "",
        "chats_count": sum(chat is not None and chat.project_id == project.id for chat in chats),
        "attachments_count": len(project.file_ids) + len(project.documents),
    }


def attached_file(stored: StoredFile) -> Record:
    """Return a file as the attachments of a project show it."""
    return {"type": "project_file", **_pick(stored, _LISTED_FIELDS)}


def attached_document(document: Document) -> Record:
    """Return a text document as the attachments of a project show it."""
    return {
        "type": "project_doc",
        "id": document.id,
        "created_at": timestamp(document.created_at),
        "updated_at": None,
        "filename": document.filename,
        "mime_type": "text/plain",
    }


def document_record(source: Source, document: Document) -> Record:
    """Return a text document with its text."""
    project = source.projects[document.project_id]
    return {
        "id": document.id,
        "filename": document.filename,
        "content": document.text,
        "created_at": timestamp(document.created_at),
        "user": _creator(source, project.user_id),
    }


def organization_record(organization: Organization) -> Record:
    """Return an organization."""
    return {
        "uuid": organization.uuid,
        "name": organization.name,
        "created_at": timestamp(organization.created_at),
    }


def user_record(user: User) -> Record:
    """Return a member of an organization."""
    return {
        "id": user.id,
        "full_name": user.full_name,
        "email": user.email,
        "created_at": timestamp(user.created_at),
        "organization_role": "user",
    }


def upload_record(source: Source, moment: datetime, file_id: str, user_id: str) -> Record:
    """Return the activity of an upload: the file's id, but not its name."""
    user = source.users[user_id]
    return {
        "id": tagged_id("activity", f"upload:{file_id}"),
        "created_at": timestamp(moment),
        "type": "claude_file_uploaded",
        "organization_id": tagged_id("org", user.organization_uuid),
        "organization_uuid": user.organization_uuid,
        "actor": {"type": "user_actor", "user_id": user.id, "email_address": user.email},
        "claude_file_id": file_id,
    }


def _creator(source: Source, user_id: str) -> Record | None:
    user = source.users.get(user_id)
    return None if user is None else {"id": user.id, "email_address": user.email}


def _references(
    source: Source, ids: tuple[str, ...], fields: tuple[str, ...]
) -> list[Record] | None:
    listed = (source.find_listed(file_id) for file_id in ids)
    return [_pick(stored, fields) for stored in listed if stored is not None] or None


def _pick(stored: StoredFile, fields: tuple[str, ...]) -> Record:
    shown = _OLDER_FIELDS if stored.is_older else fields
    return {name: stored.record[name] for name in shown if name in stored.record}


def _time_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
