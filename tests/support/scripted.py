"""A service whose answers are scripted byte by byte, for the content engine without network or kernel."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import trio

import client

FaultKind = Literal["none", "reset", "cut", "flip", "short", "stall", "hang", "lie", "refuse"]


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer; `at` counts bytes of that answer's body."""

    kind: FaultKind
    at: int = 0
    error: Callable[[], Exception] | None = None


NO_FAULT = Fault("none")


@dataclasses.dataclass(slots=True)
class Answer:
    """One answer in progress: what `client.ContentStream` is to a download."""

    start: int
    end: int | None
    honoured_range: bool
    total: int | None
    content_md5: str | None
    request_id: str | None
    body: bytes
    fault: Fault
    chunk_bytes: int
    on_sent: Callable[[int], None]
    position: int = 0

    async def receive(self) -> bytes:
        """Return the next chunk as scripted."""
        await trio.lowlevel.checkpoint()
        fault = self.fault
        left = len(self.body) - self.position
        if fault.kind in {"reset", "cut", "stall"}:
            left = min(left, fault.at - self.position)
            if left <= 0:
                return await self._break_off()
        chunk = self.body[self.position : self.position + min(left, self.chunk_bytes)]
        if fault.kind == "flip" and self.position <= fault.at < self.position + len(chunk):
            changed = bytearray(chunk)
            changed[fault.at - self.position] ^= 0xFF
            chunk = bytes(changed)
        self.position += len(chunk)
        self.on_sent(len(chunk))
        return chunk

    async def _break_off(self) -> bytes:
        if self.fault.kind == "stall":
            await trio.sleep(30)
            raise client.APITimeoutError("no byte came for 30 s", bytes_sent=True)
        if self.fault.kind == "cut":
            raise client.TruncatedError("the body ended early")
        raise client.APIConnectionError("connection reset by peer", bytes_sent=True)


class ScriptedSource:
    """Serves one body; the k-th request meets the k-th fault, later ones none.

    Shape: `requests` lists (offset, end) as asked; `sent_bytes` counts what was handed out.
    """

    def __init__(
        self,
        body: bytes,
        *,
        honours_range: bool = False,
        faults: Sequence[Fault] = (),
        content_md5: str | None = "right",
        chunk_bytes: int = 1000,
        connect_s: float = 0.0,
    ) -> None:
        self.body = body
        self.honours_range = honours_range
        self.faults = list(faults)
        self.content_md5 = hashlib.md5(body).hexdigest() if content_md5 == "right" else content_md5
        self.chunk_bytes = chunk_bytes
        self.connect_s = connect_s
        self.requests: list[tuple[int, int | None]] = []
        self.sent_bytes = 0
        self.open_streams = 0

    @asynccontextmanager
    async def open_stream(
        self,
        claude_file_id: str,
        *,
        offset: int = 0,
        end: int | None = None,
        ask_range: bool = True,
        urgency: client.Urgency | None = None,
    ) -> AsyncIterator[Answer]:
        """Answer one request for the body as scripted."""
        del claude_file_id, urgency
        number = len(self.requests)
        fault = self.faults[number] if number < len(self.faults) else NO_FAULT
        self.requests.append((offset, end))
        await trio.sleep(self.connect_s)
        if fault.kind == "refuse" and fault.error:
            raise fault.error()
        if fault.kind == "hang":
            await trio.sleep(30)
            raise client.APITimeoutError("no answer within 30 s", bytes_sent=True)
        if fault.kind == "lie":
            raise client.InvalidResponseError("Content-Range is not what was asked for")
        if self.honours_range and ask_range and offset >= len(self.body) > 0:
            raise client.RangeNotSatisfiableError(416, None, "beyond the end", "req_416")
        self.open_streams += 1
        try:
            yield self._answer(offset, end, fault, ranged=self.honours_range and ask_range)
        finally:
            self.open_streams -= 1

    def _answer(self, offset: int, end: int | None, fault: Fault, *, ranged: bool) -> Answer:
        total = len(self.body)
        start, stop = (offset, min(end or total, total)) if ranged else (0, total)
        body = self.body[start:stop]
        is_whole = (start, stop) == (0, total)
        if fault.kind == "short":
            body = body[: max(0, len(body) - fault.at)]
        return Answer(
            start=start,
            end=stop if ranged else None,
            honoured_range=ranged,
            total=total if ranged else None,
            content_md5=self.content_md5 if is_whole else None,
            request_id=f"req_{len(self.requests)}",
            body=body,
            fault=fault,
            chunk_bytes=self.chunk_bytes,
            on_sent=self._count,
        )

    def _count(self, size: int) -> None:
        self.sent_bytes += size
