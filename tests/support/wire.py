"""A TCP proxy in front of the emulator that breaks connections: in the middle of a chunk, or by reset.

It reads just enough HTTP to know which request an answer belongs to and how many bytes of its body have
passed; what it lets through, it passes on as it came. Wrong answers are made in `faults.py`.
"""

import array
import contextlib
import fcntl
import re
import socket
import struct
import termios
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import trio

from .faults import Counted

End = Literal["fin", "rst", "stall"]

_READ_BYTES = 64 * 1024

# How often the kernel is asked whether the client has everything, before a reset discards the rest.
_DRAIN_POLL_S = 0.002
_DRAIN_LIMIT_S = 2.0


@dataclass(slots=True)
class Cut(Counted):
    """Ends the answers to some requests: after `body_bytes` of the body, or before any byte (None)."""

    end: End
    body_bytes: int | None


@dataclass(slots=True)
class Cuts:
    """The cuts in force."""

    _cuts: list[Cut] = field(default_factory=list)

    def add(
        self,
        end: End,
        body_bytes: int | None,
        *,
        path: str = "/content$",
        first: int = 1,
        times: int | None = 1,
    ) -> Cut:
        """Cut answers to requests whose path contains the regular expression `path`.

        "fin" closes (mid-chunk, where the bytes end inside one), "rst" resets, "stall" sends nothing
        more and keeps the connection.
        """
        cut = Cut(end, body_bytes, path=re.compile(path), first=first, times=times)
        self._cuts.append(cut)
        return cut

    def clear(self) -> None:
        """Cut nothing any more."""
        self._cuts.clear()

    def due(self, path: str) -> Cut | None:
        """Return the cut for a request; every cut counts it."""
        struck = [cut for cut in list(self._cuts) if cut.strikes(path)]
        return struck[0] if struck else None


async def serve_proxy(
    upstream_port: int,
    cuts: Cuts,
    *,
    port: int = 0,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the proxy on loopback until cancelled; tells its port."""

    async def handle(client: trio.SocketStream) -> None:
        async with client:
            try:
                upstream = await trio.open_tcp_stream("127.0.0.1", upstream_port)
            except OSError:
                return  # the emulator is down: a proxy in front of it closes too
            async with upstream:
                await _Relay(client, upstream, cuts).run()

    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        task_status.started(listeners[0].socket.getsockname()[1])


class _Relay:
    """One connection from the client and its counterpart to the emulator."""

    def __init__(self, client: trio.SocketStream, upstream: trio.SocketStream, cuts: Cuts) -> None:
        self._client = client
        self._upstream = upstream
        self._cuts = cuts
        # What is to become of the answers that are still to come, in the order of their requests.
        self._pending: deque[Cut | None] = deque()

    async def run(self) -> None:
        """Pass bytes both ways until either side ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_requests, nursery.cancel_scope)
            # When the client has gone, closing both sides is the answer.
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._pass_answers()
            nursery.cancel_scope.cancel()

    async def _pass_requests(self, cancel_scope: trio.CancelScope) -> None:
        head = b""
        # A broken connection ends like one that the client closed.
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await self._client.receive_some(_READ_BYTES):
                head += data
                while (end := head.find(b"\r\n\r\n")) >= 0:
                    path = head.split(b" ", 2)[1].decode().partition("?")[0]
                    self._pending.append(self._cuts.due(path))
                    head = head[end + 4 :]  # no request of this API has a body
                await self._upstream.send_all(data)
        cancel_scope.cancel()

    async def _pass_answers(self) -> None:
        meter = BodyMeter()
        while data := await self._upstream.receive_some(_READ_BYTES):
            while data:
                if meter.is_at_start and self._pending and self._pending[0] is not None:
                    meter.stop_after(self._pending[0].body_bytes)
                taken = meter.feed(data)
                await self._client.send_all(data[:taken])
                data = data[taken:]
                if meter.is_stopped:
                    cut = self._pending[0]
                    assert cut is not None
                    await self._end(cut.end)
                    return
                if meter.is_finished:
                    self._pending.popleft()
                    meter = BodyMeter()

    async def _end(self, end: End) -> None:
        if end == "stall":
            await trio.sleep_forever()  # until the client closes: that cancels this task
        if end == "rst":
            await _wait_delivered(self._client)
            linger = struct.pack("ii", 1, 0)
            self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._client.socket.close()


class BodyMeter:
    """Follows one HTTP answer byte by byte: where its body begins and ends, and how much has passed."""

    def __init__(self) -> None:
        self._head = b""
        self._line = b""
        self._limit: int | None = None
        self._stops_before_head = False
        self._is_chunked = False
        self._remaining = 0
        self._state: Literal["head", "size", "data", "crlf", "trailer", "body"] = "head"
        self.body_bytes = 0
        self.is_finished = False
        self.is_stopped = False

    @property
    def is_at_start(self) -> bool:
        """Return whether nothing of this answer has passed yet."""
        return self._state == "head" and not self._head

    def stop_after(self, body_bytes: int | None) -> None:
        """Stop once so many bytes of the body have passed; None: before the first byte of the head."""
        self._limit = body_bytes
        self._stops_before_head = body_bytes is None

    def feed(self, data: bytes) -> int:
        """Return how many of these bytes belong to this answer and may pass."""
        if self._stops_before_head:
            self.is_stopped = True
            return 0
        taken = 0
        while taken < len(data) and not (self.is_finished or self.is_stopped):
            taken += self._step(data[taken:])
        return taken

    def _step(self, data: bytes) -> int:
        if self._state == "head":
            return self._take_head(data)
        if self._state in ("data", "body"):
            return self._take_body(data)
        return self._take_line(data)

    def _take_head(self, data: bytes) -> int:
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return len(data)
        self._head = self._head[: end + 4].lower()
        self._is_chunked = b"\r\ntransfer-encoding: chunked" in self._head
        length = re.search(rb"\r\ncontent-length: *(\d+)", self._head)
        self._remaining = int(length[1]) if length else 0
        self._state = "size" if self._is_chunked else "body"
        self.is_finished = self._state == "body" and self._remaining == 0
        self._check_limit()
        return len(self._head) - before

    def _take_body(self, data: bytes) -> int:
        taken = min(len(data), self._remaining)
        if self._limit is not None:
            taken = min(taken, self._limit - self.body_bytes)
        self._remaining -= taken
        self.body_bytes += taken
        if self._remaining == 0:
            self.is_finished = self._state == "body"
            self._state = "crlf" if self._state == "data" else self._state
        self._check_limit()
        return taken

    def _take_line(self, data: bytes) -> int:
        end = data.find(b"\n")
        taken = len(data) if end < 0 else end + 1
        self._line += data[:taken]
        if end >= 0:
            line, self._line = self._line.strip(), b""
            self._end_line(line)
        return taken

    def _end_line(self, line: bytes) -> None:
        if self._state == "crlf":
            self._state = "size"
        elif self._state == "size":
            self._remaining = int(line.partition(b";")[0], 16)
            self._state = "data" if self._remaining else "trailer"
        elif not line:
            self.is_finished = True

    def _check_limit(self) -> None:
        self.is_stopped = self._limit is not None and self.body_bytes >= self._limit


async def _wait_delivered(stream: trio.SocketStream) -> None:
    """Wait until the client's kernel has all bytes: a reset throws away what is still under way."""
    unsent = array.array("i", [0])
    with trio.move_on_after(_DRAIN_LIMIT_S):
        while True:
            fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, unsent)
            if unsent[0] == 0:
                return
            await trio.sleep(_DRAIN_POLL_S)
