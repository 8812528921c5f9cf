"""The endpoints that lead to files: chats, messages, projects, organizations, users, activities."""

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .model import Chat, Document, Order, Project, Source, tagged_id
from .paging import Query, make_token, read_token
from .records import (
    attached_document,
    attached_file,
    chat_record,
    document_record,
    message_record,
    organization_record,
    project_detail,
    project_record,
    upload_record,
    user_record,
)
from .shapes import Record, RefusedError, json_answer, not_found

_APPS = "/v1/compliance/apps"
_CURSORS = ("limit", "after_id", "before_id")
_CREATED = tuple(f"created_at.{edge}" for edge in ("gte", "gt", "lte", "lt"))
_UPDATED = tuple(f"updated_at.{edge}" for edge in ("gte", "gt", "lte", "lt"))

Key = tuple[datetime, str]
T = TypeVar("T")


class ChatEndpoints:
    """Chats, oldest first by either time, and their messages."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"{_APPS}/chats", self._list),
            Route(f"{_APPS}/chats/{{id}}/messages", self._messages),
            Route(f"{_APPS}/chats/{{id}}", self._delete, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        filters = ("user_ids[]", "organization_ids[]", "project_ids[]", "order_by")
        query = Query(request, {*_CURSORS, *filters, *_CREATED, *_UPDATED})
        order = _chat_order(query)
        limit = query.limit(100, 1000)
        assert limit is not None
        wanted = self._filter(query, order)
        keys = self._source.chat_keys(order)
        listing = f"chats:{order}"
        page, has_more = _cursor_page(query, listing, keys, wanted, limit)
        return json_answer(
            {
                "data": [chat_record(self._source, chat) for _, chat in page],
                "has_more": has_more,
                "first_id": _token(listing, page[0][0]) if page else None,
                "last_id": _token(listing, page[-1][0]) if page else None,
            }
        )

    def _filter(self, query: Query, order: Order) -> Callable[[Key], Chat | None]:
        """Return what tells for a key which chat it is, or None where the query excludes it."""
        users, organizations, projects = (
            frozenset(query.several(f"{name}_ids[]"))
            for name in ("user", "organization", "project")
        )
        bounds = query.bounds(order)

        def wanted(key: Key) -> Chat | None:
            chat = self._source.find_chat(key[1]) if bounds.admit(key[0]) else None
            if chat is None:
                return None
            ours = {chat.organization_uuid, tagged_id("org", chat.organization_uuid)}
            fits = (
                (not users or chat.user_id in users)
                and (not organizations or bool(organizations & ours))
                and (not projects or chat.project_id in projects)
            )
            return chat if fits else None

        return wanted

    async def _messages(self, request: Request) -> Response:
        query = Query(request, _CURSORS)
        chat = self._find(request)
        if chat.deleted_at is not None:
            raise not_found("Chat", chat.id)
        messages = self._source.find_messages(chat.id)
        by_key = {(message.created_at, message.id): message for message in messages}
        limit = query.limit(None, 1000)
        listing = f"messages:{chat.id}"
        page, has_more = _cursor_page(
            query, listing, list(by_key), by_key.get, len(messages) if limit is None else limit
        )
        return json_answer(
            {
                **chat_record(self._source, chat),
                "chat_messages": [message_record(self._source, message) for _, message in page],
                "has_more": has_more,
                "first_id": _token(listing, page[0][0]) if page else None,
                "last_id": _token(listing, page[-1][0]) if page else None,
            }
        )

    async def _delete(self, request: Request) -> Response:
        chat = self._find(request)
        if not self._source.delete_chat(chat.id):
            raise not_found("Chat", chat.id)
        return json_answer({"id": chat.id, "type": "claude_chat_deleted"})

    def _find(self, request: Request) -> Chat:
        asked = str(request.path_params["id"])
        chat = self._source.find_chat(asked)
        if chat is None:
            raise not_found("Chat", asked)
        return chat


class ProjectEndpoints:
    """Projects, what is attached to them, and the text of their documents."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"{_APPS}/projects", self._list),
            Route(f"{_APPS}/projects/documents/{{id}}", self._document),
            Route(f"{_APPS}/projects/{{id}}", self._detail),
            Route(f"{_APPS}/projects/{{id}}/attachments", self._attachments),
        ]

    async def _list(self, request: Request) -> Response:
        query = Query(request, {"limit", "page", "user_ids[]", "organization_ids[]", *_CREATED})
        users, bounds = query.several("user_ids[]"), query.bounds("created_at")
        organizations = query.several("organization_ids[]")
        projects = [
            project_record(self._source, project)
            for project in self._source.projects.values()
            if (not users or project.user_id in users)
            and (not organizations or project.organization_uuid in organizations)
            and bounds.admit(project.created_at)
        ]
        return _token_page(query, "projects", projects, default=20, maximum=100)

    async def _detail(self, request: Request) -> Response:
        return json_answer(project_detail(self._source, self._find(request)))

    async def _attachments(self, request: Request) -> Response:
        query = Query(request, ("limit", "page"))
        project = self._find(request)
        listed = (self._source.find_listed(file_id) for file_id in project.file_ids)
        entries = [attached_file(stored) for stored in listed if stored is not None]
        entries += [attached_document(document) for document in project.documents]
        listing = f"attachments:{project.id}"
        return _token_page(query, listing, entries, default=20, maximum=100)

    async def _document(self, request: Request) -> Response:
        asked = str(request.path_params["id"])
        found = next((made for made in self._documents() if made.id == asked), None)
        if found is None:
            raise not_found("Document", asked)
        return json_answer(document_record(self._source, found))

    def _documents(self) -> Iterator[Document]:
        return itertools.chain.from_iterable(
            project.documents for project in self._source.projects.values()
        )

    def _find(self, request: Request) -> Project:
        asked = str(request.path_params["id"])
        project = self._source.projects.get(asked)
        if project is None:
            raise not_found("Project", asked)
        return project


class OrganizationEndpoints:
    """Organizations, their members, and the feed of what happened."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/compliance/organizations", self._list),
            Route("/v1/compliance/organizations/{uuid}/users", self._users),
            Route("/v1/compliance/activities", self._activities),
        ]

    async def _list(self, request: Request) -> Response:
        query = Query(request, ("limit", "page"))
        records = [organization_record(item) for item in self._source.organizations]
        return _token_page(query, "organizations", records, default=1000, maximum=1000)

    async def _users(self, request: Request) -> Response:
        query = Query(request, ("limit", "page"))
        asked = str(request.path_params["uuid"])
        if asked not in {item.uuid for item in self._source.organizations}:
            raise not_found("Organization", asked)
        users = self._source.users.values()
        records = [user_record(user) for user in users if user.organization_uuid == asked]
        return _token_page(query, f"users:{asked}", records, default=500, maximum=1000)

    async def _activities(self, request: Request) -> Response:
        filters = ("activity_types[]", "organization_ids[]", "actor_ids[]")
        query = Query(request, {*_CURSORS, *filters, *_CREATED})
        limit = query.limit(100, 5000)
        assert limit is not None
        page, has_more = self._activity_page(query, limit)
        ids = [str(record["id"]) for record in page]
        return json_answer(
            {
                "data": page,
                "has_more": has_more,
                "first_id": make_token("activities", ids[0]) if ids else None,
                "last_id": make_token("activities", ids[-1]) if ids else None,
            }
        )

    def _activity_page(self, query: Query, limit: int) -> tuple[list[Record], bool]:
        """Return the entries behind `after_id`, or the last ones in front of `before_id`."""
        after, before = _exclusive(query)
        found = self._wanted_activities(query)
        if after is not None:
            (place,) = read_token("after_id", "activities", after)
            found = _behind(found, place)
        if before is not None:
            (place,) = read_token("before_id", "activities", before)
            older = list(itertools.takewhile(lambda record: record["id"] != place, found))
            return older[-limit:], len(older) > limit
        page = list(itertools.islice(found, limit + 1))
        return page[:limit], len(page) > limit

    def _wanted_activities(self, query: Query) -> Iterator[Record]:
        types, actors = query.several("activity_types[]"), query.several("actor_ids[]")
        organizations, bounds = query.several("organization_ids[]"), query.bounds("created_at")
        if types and "claude_file_uploaded" not in types:
            return
        for moment, file_id, user_id in self._source.uploads():
            user = self._source.users[user_id]
            if (
                bounds.admit(moment)
                and (not actors or user_id in actors)
                and (not organizations or user.organization_uuid in organizations)
            ):
                yield upload_record(self._source, moment, file_id, user_id)


def _chat_order(query: Query) -> Order:
    """Return the order of a list of chats, refusing what the service does not combine."""
    users, asked = query.several("user_ids[]"), query.text("order_by")
    if asked not in (None, "created_at", "updated_at"):
        raise RefusedError(400, "order_by: must be created_at or updated_at")
    order: Order = "updated_at" if asked == "updated_at" else "created_at"
    other: Order = "created_at" if order == "updated_at" else "updated_at"
    refusals = (
        (len(users) > 10, "user_ids[]: at most 10"),
        (bool(query.several("project_ids[]")) and not users, "project_ids[]: needs user_ids[]"),
        (bool(users) and asked == "updated_at", "order_by: updated_at does not go with user_ids[]"),
        (not users and query.text("before_id") is not None, "before_id: needs user_ids[]"),
        (not query.bounds(other).is_open, f"{other}: bounds must be on the order's time, {order}"),
    )
    for is_refused, message in refusals:
        if is_refused:
            raise RefusedError(400, message)
    return order


def _cursor_page(
    query: Query,
    listing: str,
    keys: Sequence[Key],
    find: Callable[[Key], T | None],
    limit: int,
) -> tuple[list[tuple[Key, T]], bool]:
    """Return the entries behind `after_id` or in front of `before_id`, and whether there are more."""
    after, before = _exclusive(query)
    if before is not None:
        stop = bisect.bisect_left(keys, _place("before_id", listing, before))
        found = list(itertools.islice(_found(keys, range(stop - 1, -1, -1), find), limit + 1))
        return found[:limit][::-1], len(found) > limit
    start = 0 if after is None else bisect.bisect_right(keys, _place("after_id", listing, after))
    found = list(itertools.islice(_found(keys, range(start, len(keys)), find), limit + 1))
    return found[:limit], len(found) > limit


def _found(
    keys: Sequence[Key], positions: range, find: Callable[[Key], T | None]
) -> Iterator[tuple[Key, T]]:
    for position in positions:
        found = find(keys[position])
        if found is not None:
            yield keys[position], found


def _token(listing: str, key: Key) -> str:
    return make_token(listing, key[0].isoformat(), key[1])


def _place(name: str, listing: str, token: str) -> Key:
    moment, place = read_token(name, listing, token)
    return datetime.fromisoformat(moment), place


def _exclusive(query: Query) -> tuple[str | None, str | None]:
    after, before = query.text("after_id"), query.text("before_id")
    if after is not None and before is not None:
        raise RefusedError(400, "after_id and before_id exclude each other")
    return after, before


def _behind(records: Iterator[Record], place: str) -> Iterator[Record]:
    return itertools.islice(
        itertools.dropwhile(lambda record: record["id"] != place, records), 1, None
    )


def _token_page(
    query: Query, listing: str, records: Sequence[Record], *, default: int, maximum: int
) -> Response:
    """Return a page of a list that goes on by `page` and `next_page`."""
    limit, token = query.limit(default, maximum), query.text("page")
    assert limit is not None
    start = 0 if token is None else int(read_token("page", listing, token)[0])
    stop = start + limit
    has_more = stop < len(records)
    return json_answer(
        {
            "data": list(records[start:stop]),
            "has_more": has_more,
            "next_page": make_token(listing, str(stop)) if has_more else None,
        }
    )
