"""An organization held in memory: its lists of people, chats, messages, projects and attachments.

It answers paths as the API documents them, from decoded JSON to decoded JSON, so that a walk is tested
against the documentation and not against its own idea of a request. Nothing is sent.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import trio

import client
from client._walk import read_page
from client._wire import error_of

START = datetime(2026, 1, 1, tzinfo=UTC)
Fields = dict[str, object]

_BOUND = re.compile(r"(created_at|updated_at)\.(gte|gt|lte|lt)")
_COMPARE: Mapping[str, Callable[[datetime, datetime], bool]] = {
    "gte": lambda one, other: one >= other,
    "gt": lambda one, other: one > other,
    "lte": lambda one, other: one <= other,
    "lt": lambda one, other: one < other,
}


def at(minutes: float) -> str:
    """Return a time so many minutes after the beginning of this organization, as the API writes it."""
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def file_entry(name: str, **fields: object) -> Fields:
    """Return an uploaded file as a message names it."""
    return {
        "id": f"claude_file_{name}",
        "created_at": at(0),
        "filename": f"{name}.txt",
        "mime_type": "text/plain",
        "size_bytes": 5,
        "md5": None,
    } | fields


def generated_entry(name: str) -> Fields:
    """Return a generated file as a message names it."""
    return {
        "id": f"claude_gen_file_{name}",
        "filename": f"{name}.png",
        "mime_type": "image/png",
        "md5": None,
        "size_bytes": 7,
    }


def artifact_entry(name: str) -> Fields:
    """Return a version of an artifact as a message names it."""
    return {
        "id": f"claude_artifact_{name}",
        "version_id": f"claude_artifact_version_{name}",
        "title": name,
        "artifact_type": "text/markdown",
    }


class RefusedRequestError(Exception):
    """The service refuses the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(slots=True)
class Organization:
    """The lists of one organization; `most` is how many entries a page has at the very most.

    Shape: `asked` has the target of every request in order. Times of chats are minutes (see `at`).
    """

    most: int = 1000
    chats: dict[str, Fields] = dataclasses.field(default_factory=dict)
    messages: dict[str, list[Fields]] = dataclasses.field(default_factory=dict)
    projects: dict[str, Fields] = dataclasses.field(default_factory=dict)
    attachments: dict[str, list[Fields]] = dataclasses.field(default_factory=dict)
    members: dict[str, list[Fields]] = dataclasses.field(default_factory=dict)
    asked: list[str] = dataclasses.field(default_factory=list)

    # -- what there is ---------------------------------------------------------------------------

    @classmethod
    def of_one_file(cls, entry: Fields) -> "Organization":
        """Return one with a chat, `claude_chat_1`, whose only message names one file."""
        made = cls()
        made.add_message(made.add_chat("1"), files=[entry])
        return made

    def add_chat(
        self,
        name: str,
        *,
        created: float = 0,
        updated: float | None = None,
        user: str = "alice",
        project: str | None = None,
        **fields: object,
    ) -> str:
        """Add a chat without messages and return its id."""
        chat_id = f"claude_chat_{name}"
        base: Fields = {
            "id": chat_id,
            "name": name,
            "created_at": at(created),
            "updated_at": at(created if updated is None else updated),
            "deleted_at": None,
            "organization_uuid": "org-1",
            "project_id": project,
            "user": {"id": f"user_{user}", "email_address": f"{user}@example.com"},
        }
        self.chats[chat_id] = base | fields
        self.messages[chat_id] = []
        return chat_id

    def add_message(
        self,
        chat_id: str,
        *,
        minutes: float = 0,
        files: Sequence[Fields] = (),
        generated: Sequence[Fields] = (),
        artifacts: Sequence[Fields] = (),
    ) -> str:
        """Add a message and return its id; the chat is not changed by it."""
        message_id = f"msg_{chat_id}_{len(self.messages[chat_id])}"
        self.messages[chat_id].append(
            {
                "id": message_id,
                "role": "user",
                "created_at": at(minutes),
                "content": [],
                "files": list(files) or None,
                "generated_files": list(generated) or None,
                "artifacts": list(artifacts) or None,
            }
        )
        return message_id

    def add_project(self, name: str, *, attachments: Sequence[Fields] = ()) -> str:
        """Add a project with what is attached to it, and return its id."""
        project_id = f"claude_proj_{name}"
        self.projects[project_id] = {"id": project_id, "name": name}
        self.attachments[project_id] = [{"type": "project_file"} | one for one in attachments]
        return project_id

    def add_member(self, name: str, organization: str = "org-1") -> str:
        """Add a member of an organization and return the user id."""
        self.members.setdefault(organization, []).append(
            {"id": f"user_{name}", "email": f"{name}@example.com"}
        )
        return f"user_{name}"

    # -- answers ---------------------------------------------------------------------------------

    def answer(self, target: str) -> Fields:
        """Return the document that answers a request.

        Errors: RefusedRequestError.
        """
        self.asked.append(target)
        parts = urlsplit(target)
        query = parse_qsl(parts.query, keep_blank_values=True)
        match unquote(parts.path).removeprefix("/v1/compliance/").split("/"):
            case ["organizations"]:
                return self._tokened([{"uuid": one} for one in self.members], query)
            case ["organizations", uuid, "users"]:
                return self._tokened(self.members.get(uuid, []), query)
            case ["apps", "projects"]:
                return self._tokened(list(self.projects.values()), query)
            case ["apps", "projects", project_id, "attachments"]:
                return self._tokened(_known(self.attachments, project_id), query)
            case ["apps", "chats"]:
                return self._listed_chats(query)
            case ["apps", "chats", chat_id, "messages"]:
                chat = _known(self.chats, chat_id)
                numbered = [(f"m{n}", one) for n, one in enumerate(self.messages[chat_id])]
                return chat | self._after(numbered, query, "chat_messages", "")
        raise RefusedRequestError(404, f"no such path: {parts.path}")

    def _listed_chats(self, query: list[tuple[str, str]]) -> Fields:
        narrowing = [(name, value) for name, value in query if name not in ("limit", "after_id")]
        key = "updated_at" if ("order_by", "updated_at") in narrowing else "created_at"
        users = [value for name, value in narrowing if name == "user_ids[]"]
        projects = [value for name, value in narrowing if name == "project_ids[]"]
        organizations = [value for name, value in narrowing if name == "organization_ids[]"]
        if len(users) > 10 or (projects and not users) or (users and key == "updated_at"):
            raise RefusedRequestError(400, "these parameters do not go together")
        chosen = sorted(
            (_time(chat, key), chat_id)
            for chat_id, chat in self.chats.items()
            if all(_admits(chat, name, value) for name, value in narrowing)
            and (not users or _user_of(chat) in users)
            and (not projects or chat["project_id"] in projects)
            and (not organizations or chat["organization_uuid"] in organizations)
        )
        numbered = [(f"{moment.isoformat()}|{one}", self.chats[one]) for moment, one in chosen]
        return self._after(numbered, query, "data", key[0])

    def _after(
        self,
        numbered: Sequence[tuple[str, Fields]],
        query: list[tuple[str, str]],
        name: str,
        mark: str,
    ) -> Fields:
        """Return the entries behind a cursor; `mark` binds cursors to what the list is sorted by."""
        after = dict(query).get("after_id")
        if after is not None and not after.startswith(f"c{mark}:"):
            raise RefusedRequestError(400, "the cursor is of another list")
        places = [(place if mark else place.rjust(9), entry) for place, entry in numbered]
        behind = [one for one in places if after is None or f"c{mark}:{one[0]}" > after]
        page = behind[: self._limit(query)]
        return {
            name: [entry for _, entry in page],
            "has_more": len(behind) > len(page),
            "first_id": f"c{mark}:{page[0][0]}" if page else None,
            "last_id": f"c{mark}:{page[-1][0]}" if page else None,
        }

    def _tokened(self, entries: Sequence[Fields], query: list[tuple[str, str]]) -> Fields:
        start = int(dict(query).get("page", "p0")[1:])
        end = start + self._limit(query)
        next_page = f"p{end}" if end < len(entries) else None
        return {"data": list(entries[start:end]), "next_page": next_page}

    def _limit(self, query: list[tuple[str, str]]) -> int:
        return min(int(dict(query)["limit"]), self.most)


T = TypeVar("T")


def _known(things: Mapping[str, T], key: str) -> T:
    if key not in things:
        raise RefusedRequestError(404, f"there is no {key}")
    return things[key]


def _time(chat: Fields, key: str) -> datetime:
    return datetime.fromisoformat(str(chat[key]))


def _user_of(chat: Fields) -> object:
    user = chat["user"]
    return user["id"] if isinstance(user, dict) else None


def _admits(chat: Fields, name: str, value: str) -> bool:
    if bound := _BOUND.fullmatch(name):
        return _COMPARE[bound[2]](_time(chat, bound[1]), datetime.fromisoformat(value))
    if name in ("user_ids[]", "project_ids[]", "organization_ids[]"):
        return True
    if (name, value) == ("order_by", "updated_at"):
        return True
    raise RefusedRequestError(400, f"unknown parameter {name}")


def page_of(organization: Organization, step: client.Step) -> client.Page:
    """Return what the organization answers to a step.

    Errors: the client's, as its transport would raise them.
    """
    request = step.request
    try:
        document = organization.answer(request.path)
    except RefusedRequestError as refused:
        body = json.dumps({"error": {"type": "refused", "message": str(refused)}}).encode()
        raise error_of(request, refused.status, {}, body) from refused
    return read_page(step, {"request-id": "req_1"}, json.dumps(document).encode())


class OrganizationPages:
    """Answers a collector's steps from an organization, after `trouble` has had a look at them.

    Shape: `steps` are those that were asked for, `failed` those that met trouble; `on_answer` is told before
    an answer is given back.
    Units: `latency_s` seconds of trio's clock until an answer is made, `return_s` until it is there.
    """

    def __init__(
        self,
        organization: Organization,
        *,
        trouble: Callable[[client.Step], Exception | None] = lambda _: None,
        on_answer: Callable[[client.Step], None] = lambda _: None,
        latency_s: float = 0.1,
        return_s: Callable[[client.Step], float] = lambda _: 0.0,
    ) -> None:
        self.organization = organization
        self.trouble = trouble
        self.on_answer = on_answer
        self.latency_s = latency_s
        self.return_s = return_s
        self.steps: list[client.Step] = []
        self.failed: list[client.Step] = []

    async def get(self, step: client.Step) -> client.Page:
        """Answer one step."""
        self.steps.append(step)
        await trio.sleep(self.latency_s)
        if error := self.trouble(step):
            self.failed.append(step)
            raise error
        page = page_of(self.organization, step)
        if (return_s := self.return_s(step)) > 0:
            await trio.sleep(return_s)
        self.on_answer(step)
        return page
