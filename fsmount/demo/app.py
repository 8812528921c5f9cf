"""The emulator: an ASGI application that answers like the Compliance API.

Where the documentation is silent it takes the answer that is harder on a client. It imports neither the
client nor the file system, so that it can't share their mistakes.
"""

from collections.abc import Awaitable, Callable, Mapping

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .behaviour import KEYS, Behaviour, RequestBudget
from .bodies import (
    ContentAnswer,
    Span,
    UnsatisfiableRangeError,
    content_headers,
    partial_headers,
    span_of,
)
from .contents import Content
from .gate import Gate
from .listings import ChatEndpoints, OrganizationEndpoints, ProjectEndpoints
from .model import Source, StoredFile
from .requestlog import RequestLog
from .shapes import RefusedError, error_answer, json_answer, not_found

_APPS = "/v1/compliance/apps"

# Hashing more than this for the first time would hold up every other request; it goes to a thread.
_HASH_INLINE_BYTES = 4 << 20

Endpoint = Callable[[Request], Awaitable[Response]]


class Emulator:
    """The Compliance API over a corpus.

    `behaviour`, `log`, `budget` and the corpus may be used while it runs. `around` wraps the endpoints
    inside the gate (tests put faults there), so that what it answers is logged and counted as well.
    """

    def __init__(
        self,
        corpus: Source,
        *,
        keys: Mapping[str, frozenset[str]] = KEYS,
        behaviour: Behaviour | None = None,
        around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        self.corpus = corpus
        self.behaviour = behaviour or Behaviour()
        self.budget = RequestBudget(self.behaviour)
        self.log = RequestLog()
        files = FileEndpoints(corpus, self.behaviour)
        endpoints = Starlette(
            routes=[
                *files.routes(),
                *ChatEndpoints(corpus).routes(),
                *ProjectEndpoints(corpus).routes(),
                *OrganizationEndpoints(corpus).routes(),
            ],
            exception_handlers={RefusedError: _refused, HTTPException: _refused},
        )
        self._gate = Gate(
            around(endpoints),
            keys=keys,
            behaviour=self.behaviour,
            budget=self.budget,
            log=self.log,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._gate(scope, receive, send)


class FileEndpoints:
    """Files, generated files and artifacts: their records, bytes and deletion."""

    def __init__(self, corpus: Source, behaviour: Behaviour) -> None:
        self._corpus = corpus
        self._behaviour = behaviour

    def routes(self) -> list[Route]:
        """Return the routes of all three kinds; only uploaded files can be deleted."""
        kinds = (
            (f"{_APPS}/chats/files", "claude_file_", "File"),
            (f"{_APPS}/chats/generated-files", "claude_gen_file_", "Generated file"),
            (f"{_APPS}/artifacts", "claude_artifact_version_", "Artifact version"),
        )
        routes = [Route(f"{_APPS}/chats/files/{{id}}", self._delete, methods=["DELETE"])]
        for path, prefix, noun in kinds:
            routes += [
                Route(f"{path}/{{id}}", self._record_endpoint(prefix, noun)),
                Route(f"{path}/{{id}}/content", self._content_endpoint(prefix, noun)),
            ]
        return routes

    def _record_endpoint(self, prefix: str, noun: str) -> Endpoint:
        async def get_record(request: Request) -> Response:
            return json_answer(self._find(request, prefix, noun).record)

        return get_record

    def _content_endpoint(self, prefix: str, noun: str) -> Endpoint:
        async def get_content(request: Request) -> Response:
            stored = self._find(request, prefix, noun)
            if stored.content is None or stored.record.get("mime_type", "") is None:
                raise not_found(f"{noun} content", stored.id)
            if stored.content.size_bytes > _HASH_INLINE_BYTES:
                await trio.to_thread.run_sync(getattr, stored.content, "md5")
            return self._serve(stored, stored.content, request.headers.get("range"))

        return get_content

    async def _delete(self, request: Request) -> Response:
        stored = self._find(request, "claude_file_", "File")
        self._corpus.delete_file(stored.id)
        return json_answer({"id": stored.id, "type": "claude_file_deleted"})

    def _serve(self, stored: StoredFile, content: Content, asked: str | None) -> ContentAnswer:
        mime_type = stored.record.get("mime_type", "text/plain; charset=utf-8")
        name = stored.record.get("filename", stored.record.get("title"))
        headers = content_headers(
            content,
            name if isinstance(name, str) else None,
            mime_type if isinstance(mime_type, str) else None,
        )
        span = None
        if self._behaviour.honour_range:
            span = _span(asked, content)
        if span is not None:
            changes = partial_headers(content, span, self._behaviour)
            merged = {**headers, **changes}
            headers = {name: value for name, value in merged.items() if value is not None}
        return ContentAnswer(content, self._behaviour, headers, span=span)

    def _find(self, request: Request, prefix: str, noun: str) -> StoredFile:
        asked = str(request.path_params["id"])
        if not asked.startswith(prefix):
            raise RefusedError(400, f"Invalid id: expected one that starts with {prefix}")
        stored = self._corpus.find_file(asked)
        if stored is None:
            raise not_found(noun, asked)
        return stored


def _span(asked: str | None, content: Content) -> Span | None:
    try:
        return span_of(asked, content.size_bytes)
    except UnsatisfiableRangeError:
        headers = {"content-range": f"bytes */{content.size_bytes}"}
        raise RefusedError(416, "Requested range is not satisfiable.", headers=headers) from None


async def _refused(_: Request, error: Exception) -> Response:
    """Return the answer of a refusal, or of what Starlette itself refuses (404, 405)."""
    if isinstance(error, HTTPException):
        error = RefusedError(error.status_code, error.detail)
    assert isinstance(error, RefusedError)
    return error_answer(error)
