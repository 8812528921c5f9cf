"""What every request passes before it is answered: log, request id, key, budget, scopes, latency.

An ASGI layer around the endpoints; it knows no endpoint itself.
"""

import itertools
import math
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import trio
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .behaviour import Behaviour, Grant, RequestBudget, needed_scopes
from .model import tagged_id
from .requestlog import LoggedRequest, RequestLog
from .shapes import RefusedError, error_answer


class Connection(Protocol):
    """The transport below a request, as far as counting needs to know it."""

    is_broken: bool
    bytes_handed: int


class Gate:
    """Admits requests to `app`, or answers them with 401, 403, 405 or 429."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Mapping[str, frozenset[str]],
        behaviour: Behaviour,
        budget: RequestBudget,
        log: RequestLog,
    ) -> None:
        self._app = app
        self._keys = keys
        self._behaviour = behaviour
        self._budget = budget
        self._log = log
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is served")
        request = Request(scope)
        entry = LoggedRequest(
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            request.headers.get("range"),
            request_id=tagged_id("req", str(next(self._numbers))).replace("_01", "_011", 1),
        )
        self._log.begin(entry)
        try:
            counting = _CountingSend(send, entry, scope.get("state", {}).get("connection"))
            await self._answer(request, entry, receive, counting)
        finally:
            self._log.end(entry)

    async def _answer(
        self, request: Request, entry: LoggedRequest, receive: Receive, send: "_CountingSend"
    ) -> None:
        scope = request.scope
        if self._behaviour.latency_s:
            await trio.sleep(self._behaviour.latency_s)
        try:
            scopes = self._authenticate(request)
            grant = self._budget.spend(trio.current_time())
            send.headers |= _budget_headers(grant)
            _check(grant, scopes, entry)
        except RefusedError as error:
            await error_answer(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _authenticate(self, request: Request) -> frozenset[str]:
        """Return the scopes of the key; a request without a known key costs no budget."""
        bearer = request.headers.get("authorization", "")
        key = request.headers.get("x-api-key") or bearer.removeprefix("Bearer ")
        if key not in self._keys:
            raise RefusedError(401, "invalid x-api-key")
        return self._keys[key]


class _CountingSend:
    """Adds the request id and further headers to an answer and counts what goes out."""

    def __init__(self, send: Send, entry: LoggedRequest, connection: Connection | None) -> None:
        self._send = send
        self._entry = entry
        self._connection = connection
        self.headers: dict[str, str] = {"request-id": entry.request_id}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._entry.status = message["status"]
            self._add_headers(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            # Noted first: whoever has seen the end of an answer finds it complete in the log.
            self._entry.is_complete = True
            self._entry.bytes_sent += len(message.get("body", b""))
            await self._send(message)
            return
        body = message.get("body", b"")
        before = self._connection.bytes_handed if self._connection else 0
        await self._send(message)
        # The server swallows the error of a broken connection, so it is asked for here.
        is_broken = self._connection is not None and self._connection.is_broken
        handed = self._connection.bytes_handed - before if self._connection else 0
        self._entry.bytes_sent += min(len(body), handed) if is_broken else len(body)

    def _add_headers(self, message: MutableMapping[str, object]) -> None:
        raw = message.get("headers")
        present = list(raw) if isinstance(raw, list) else []
        names = {name.lower() for name, _ in present}
        message["headers"] = present + [
            (name.encode(), value.encode())
            for name, value in self.headers.items()
            if name.encode() not in names
        ]


def _check(grant: Grant, scopes: frozenset[str], entry: LoggedRequest) -> None:
    """Refuse what exceeds the budget, then what the key may not do, then what is no method here."""
    if not grant.is_granted:
        retry_after = str(max(1, math.ceil(grant.resets_in_s)))
        message = f"This organization is limited to {grant.limit} requests per minute."
        raise RefusedError(429, message, headers={"retry-after": retry_after})
    if missing := needed_scopes(entry.method, entry.path) - scopes:
        got, needed = ", ".join(sorted(scopes)), ", ".join(sorted(missing))
        raise RefusedError(403, f"Missing required scopes. Got: [{got}] Needed: [{needed}]")
    if entry.method not in ("GET", "DELETE"):
        raise RefusedError(405, f"Method {entry.method} is not allowed here.")


def _budget_headers(grant: Grant) -> dict[str, str]:
    reset = datetime.now(UTC) + timedelta(seconds=grant.resets_in_s)
    # Whole seconds, rounded up: a client that waits until then meets the new window.
    shown = (reset + timedelta(microseconds=999_999)).replace(microsecond=0)
    return {
        "anthropic-ratelimit-requests-limit": str(grant.limit),
        "anthropic-ratelimit-requests-remaining": str(grant.remaining),
        "anthropic-ratelimit-requests-reset": shown.isoformat().replace("+00:00", "Z"),
    }
