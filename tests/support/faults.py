"""Faults by count: the k-th to n-th request that matches gets a wrong, late, short or refused answer.

They sit inside the emulator's gate, so its log shows what really went out. Faults of the connection
itself (resets, ends in the middle of a chunk) are made in `wire.py`.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fsmount.demo.bodies import wait_disconnected
from fsmount.demo.shapes import error_body

Fault = Callable[[ASGIApp, Scope, Receive, Send], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Counted:
    """What strikes some requests for a path: `times` of them (None: all) from the `first` match on.

    `seen` counts the requests that matched, `hits` those that were struck; read them in tests.
    """

    path: re.Pattern[str]
    first: int
    times: int | None
    seen: int = 0
    hits: int = 0

    def strikes(self, path: str) -> bool:
        """Count the request where it matches, and return whether it is struck."""
        if not self.path.search(path):
            return False
        self.seen += 1
        is_due = self.seen >= self.first and (
            self.times is None or self.seen < self.first + self.times
        )
        self.hits += is_due
        return is_due


@dataclass(slots=True)
class Rule(Counted):
    """One fault and the requests it strikes, of one method or (None) any."""

    fault: Fault
    method: str | None


@dataclass(slots=True)
class Faults:
    """The faults in force. Every rule counts all its matches; the first one that is due strikes."""

    _rules: list[Rule] = field(default_factory=list)

    def add(
        self,
        fault: Fault,
        *,
        path: str = "",
        method: str | None = "GET",
        first: int = 1,
        times: int | None = 1,
    ) -> Rule:
        """Add a fault for requests whose path contains the regular expression `path`.

        Counting starts now, with 1. `method` None: any.
        """
        rule = Rule(fault, method, path=re.compile(path), first=first, times=times)
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Let everything work again."""
        self._rules.clear()

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with the faults in front of it."""

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            asked = [r for r in list(self._rules) if r.method in (None, scope["method"])]
            due = [r for r in asked if r.strikes(scope["path"])]
            if due:
                await due[0].fault(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return faulty


# -- answers instead of the right one --------------------------------------------------------------


def answer(
    status: int,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    message: str = "a fault was injected",
    kind: str | None = None,
) -> Fault:
    """Return a fault that answers with this status; the body is the API's error unless given."""
    data = body
    if data is None:
        data = json.dumps(error_body(status, message, kind=kind)).encode()
    shown = {
        "content-type": "application/json",
        "content-length": str(len(data)),
        **(headers or {}),
    }
    raw = [(name.encode(), value.encode()) for name, value in shown.items()]

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": data})

    return strike


def rate_limited(retry_after_s: int | None = 1) -> Fault:
    """Return a 429; without `retry-after` when None."""
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return answer(429, headers=headers, message="too many requests")


def server_error(*, should_retry: bool | None = None) -> Fault:
    """Return a 500; `should_retry` False makes it final."""
    headers = {} if should_retry is None else {"x-should-retry": str(should_retry).lower()}
    return answer(500, headers=headers, message="internal server error")


def acted_then(fault: Fault) -> Fault:
    """Return a fault that does what was asked (deletes, for one) and then answers something else."""

    async def discard(_: Message) -> None:
        pass

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, discard)
        await fault(app, scope, receive, send)

    return strike


# -- late answers and answers without an end -------------------------------------------------------


class _EnoughError(Exception):
    """Ends the application behind a fault that wants no more of its answer."""


def hang() -> Fault:
    """Return a fault that never answers, not even with headers."""

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await wait_disconnected(receive)

    return strike


def delay(seconds: float) -> Fault:
    """Return a fault that answers rightly, but late."""

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(seconds)
        await app(scope, receive, send)

    return strike


def stall_after(body_bytes: int) -> Fault:
    """Return a fault that sends so many bytes of the body, then nothing, and keeps the connection."""

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if await _send_first(body_bytes, app, scope, receive, send):
            await wait_disconnected(receive)

    return strike


def cut_after(body_bytes: int) -> Fault:
    """Return a fault that closes the connection after so many bytes, between two chunks."""

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await _send_first(body_bytes, app, scope, receive, send)

    return strike


async def _send_first(limit: int, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> bool:
    """Pass on the first bytes of a body; True when there were more (or just as many)."""
    sent = 0

    async def send_until_limit(message: Message) -> None:
        nonlocal sent
        if message["type"] == "http.response.start":
            await send(message)
            return
        body = bytes(message.get("body", b""))[: limit - sent]
        sent += len(body)
        if sent >= limit:
            await send({**message, "body": body, "more_body": True})
            raise _EnoughError
        await send({**message, "body": body})

    has_more = False
    try:
        await app(scope, receive, send_until_limit)
    except* _EnoughError:
        has_more = True
    return has_more


# -- wrong headers and wrong bytes -----------------------------------------------------------------


def with_headers(changes: Mapping[str, str | None], *, status: int | None = None) -> Fault:
    """Return a fault that replaces, adds or (None) removes headers, and perhaps the status."""
    lowered = {name.lower().encode(): value for name, value in changes.items()}

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message["headers"] if k.lower() not in lowered]
                added = [(k, v.encode()) for k, v in lowered.items() if v is not None]
                shown = message["status"] if status is None else status
                message = {**message, "headers": kept + added, "status": shown}
            await send(message)

        await app(scope, receive, send_changed)

    return strike


def wrong_md5() -> Fault:
    """Return a fault that announces the hash of other bytes (of none)."""
    return with_headers({"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})


def without_md5() -> Fault:
    """Return a fault that leaves Content-MD5 out."""
    return with_headers({"content-md5": None})


def with_range(asked: str | None) -> Fault:
    """Return a fault in which the service sees another Range header than was sent (None: none)."""

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        if asked is not None:
            headers.append((b"range", asked.encode()))
        await app({**scope, "headers": headers}, receive, send)

    return strike


class _Edit(Protocol):
    """Changes a body that passes in pieces."""

    def feed(self, piece: bytes) -> bytes:
        """Return what goes out for a piece."""

    def finish(self) -> bytes:
        """Return what goes out before the end."""


@dataclass(slots=True)
class _DropTail:
    size: int
    held: bytes = b""

    def feed(self, piece: bytes) -> bytes:
        self.held += piece
        keep = max(0, len(self.held) - self.size)
        out, self.held = self.held[:keep], self.held[keep:]
        return out

    def finish(self) -> bytes:
        return b""


@dataclass(slots=True)
class _FlipByte:
    at: int
    offset: int = 0

    def feed(self, piece: bytes) -> bytes:
        position, self.offset = self.at - self.offset, self.offset + len(piece)
        if not 0 <= position < len(piece):
            return piece
        return piece[:position] + bytes([piece[position] ^ 0xFF]) + piece[position + 1 :]

    def finish(self) -> bytes:
        return b""


@dataclass(slots=True)
class _Append:
    extra: bytes

    def feed(self, piece: bytes) -> bytes:
        return piece

    def finish(self) -> bytes:
        return self.extra


@dataclass(slots=True)
class _Replace:
    """Holds the whole body and sends another."""

    change: Callable[[bytes], bytes]
    held: bytes = b""

    def feed(self, piece: bytes) -> bytes:
        self.held += piece
        return b""

    def finish(self) -> bytes:
        return self.change(self.held)


def _edited(make: Callable[[], _Edit]) -> Fault:
    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        edit = make()

        async def send_edited(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = edit.feed(bytes(message.get("body", b"")))
                if not message.get("more_body", False):
                    body += edit.finish()
                message = {**message, "body": body}
            await send(message)

        # The length of a JSON answer would no longer be right; without it the body goes in chunks.
        without_length = with_headers({"content-length": None})
        await without_length(app, scope, receive, send_edited)

    return strike


def short_by(size: int) -> Fault:
    """Return a fault that leaves out the last bytes but ends the body properly."""
    return _edited(lambda: _DropTail(size))


def flip_byte(at: int) -> Fault:
    """Return a fault that turns over the bits of one byte of the body."""
    return _edited(lambda: _FlipByte(at))


def overlong(extra: bytes = b"surplus") -> Fault:
    """Return a fault that sends bytes behind the end of the file."""
    return _edited(lambda: _Append(extra))


def amended(**fields: object) -> Fault:
    """Return a fault that changes fields of a JSON answer; `...` as value removes one."""

    def change(body: bytes) -> bytes:
        record = {**json.loads(body), **fields}
        return json.dumps({k: v for k, v in record.items() if v is not ...}).encode()

    return _edited(lambda: _Replace(change))


def combined(*faults: Fault) -> Fault:
    """Return all these faults at once; the first one is nearest to the client."""

    async def strike(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        inner = app
        for fault in reversed(faults[1:]):
            inner = _bound(fault, inner)
        await faults[0](inner, scope, receive, send)

    return strike


def _bound(fault: Fault, app: ASGIApp) -> ASGIApp:
    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        await fault(app, scope, receive, send)

    return faulty
