"""Sends the bytes of a file as the service does: chunked, with a hash and a name, at a given pace.

Which file is asked for, and by whom, is decided elsewhere.
"""

import base64
import hashlib
import math
import re
from dataclasses import dataclass
from urllib.parse import quote

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .behaviour import Behaviour
from .contents import Content

# A paced body goes out in pieces of this duration: short enough to look like a steady stream.
_PIECE_S = 0.02

# At most this much is read at a time for hashing a part.
_HASH_SLICE_BYTES = 1 << 20

_SINGLE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a file that is sent: `start` inclusive, `stop` exclusive."""

    start: int
    stop: int


class UnsatisfiableRangeError(Exception):
    """The range asked for lies behind the end."""


def span_of(header: str | None, size_bytes: int) -> Span | None:
    """Return the one range that a Range header asks for; None: send the whole (RFC 9110, 14.2).

    Errors: UnsatisfiableRangeError.
    """
    match = _SINGLE_RANGE.fullmatch(header.strip()) if header else None
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size_bytes - int(last)), size_bytes
    else:
        start, stop = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
        if last and int(last) < int(first):
            return None
    if start >= size_bytes or (not first and int(last) == 0):
        raise UnsatisfiableRangeError
    return Span(start, stop)


def content_headers(
    content: Content, filename: str | None, mime_type: str | None
) -> dict[str, str]:
    """Return the headers that describe a whole file."""
    disposition = "attachment"
    if filename is not None:
        # Names may hold lone surrogates (they come from JSON); their bytes are percent-encoded too.
        disposition += f"; filename*=utf-8''{quote(filename, safe='', errors='surrogatepass')}"
    return {
        "content-type": mime_type or "application/octet-stream",
        "content-disposition": disposition,
        "content-md5": base64.b64encode(content.md5).decode(),
    }


def partial_headers(content: Content, span: Span, behaviour: Behaviour) -> dict[str, str | None]:
    """Return what changes in the headers for a part; None removes one."""
    changes: dict[str, str | None] = {
        "content-range": f"bytes {span.start}-{span.stop - 1}/{content.size_bytes}",
        "accept-ranges": "bytes",
    }
    if behaviour.range_md5 == "absent":
        changes["content-md5"] = None
    elif behaviour.range_md5 == "part":
        changes["content-md5"] = base64.b64encode(_md5_of_part(content, span)).decode()
    return changes


class ContentAnswer(Response):
    """An answer that sends a span of a file and stops at once when the client has gone.

    The length is never announced: h11 then frames the body in chunks, which is what the service does.
    """

    def __init__(
        self,
        content: Content,
        behaviour: Behaviour,
        headers: dict[str, str],
        *,
        span: Span | None = None,
    ) -> None:
        # Response.__init__ is left out: it would announce the length of a body it holds.
        self.status_code = 206 if span else 200
        self.background = None
        self.raw_headers = [
            (name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
        self._content = content
        self._behaviour = behaviour
        self._span = span or Span(0, content.size_bytes)

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send headers and body."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_disconnect, receive, nursery.cancel_scope)
            await self._send_body(send)
            nursery.cancel_scope.cancel()

    async def _send_body(self, send: Send) -> None:
        offset, pace = self._span.start, None
        since_s, since_offset = trio.current_time(), offset
        while offset < self._span.stop:
            # Looked at before every piece: a test may change the pace in the middle of a body.
            if pace != (pace := self._behaviour.bytes_per_s):
                since_s, since_offset = trio.current_time(), offset
            size = min(self._piece_size(pace), self._span.stop - offset)
            piece = self._content.read(offset, size)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            offset += len(piece)
            if pace:
                # Counted from the start of this pace, so that late wake-ups don't add up.
                await trio.sleep_until(since_s + (offset - since_offset) / pace)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _piece_size(self, pace: float | None) -> int:
        size = self._behaviour.chunk_size
        return size if pace is None else max(1, min(size, math.ceil(pace * _PIECE_S)))


async def wait_disconnected(receive: Receive) -> None:
    """Return once the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel_on_disconnect(receive: Receive, cancel_scope: trio.CancelScope) -> None:
    await wait_disconnected(receive)
    cancel_scope.cancel()


def _md5_of_part(content: Content, span: Span) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for offset in range(span.start, span.stop, _HASH_SLICE_BYTES):
        digest.update(content.read(offset, min(_HASH_SLICE_BYTES, span.stop - offset)))
    return digest.digest()
