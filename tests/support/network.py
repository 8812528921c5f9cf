"""A network below the HTTP library whose servers answer as scripted, byte by byte; no socket, no wait.

The client's real HTTP stack runs on it, so a test says what comes over the wire and when it breaks.
"""

# ruff: noqa: ARG002 - the signatures are the library's

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import anyio
import httpcore
import httpx
from anyio.lowlevel import checkpoint

import client

KEY = "sk-ant-api01-test-key-that-must-not-leak"
FILE_ID = "claude_file_01Test"


@dataclasses.dataclass(frozen=True, slots=True)
class Break:
    """What happens instead of more bytes."""

    kind: str


RESET = Break("reset")  # the connection breaks
END = Break("end")  # the server closes its side
STALL = Break("stall")  # nothing comes, until the client gives up
REFUSE = Break("refuse")  # stands for a whole answer: no connection is made

Step = bytes | Break
Answer = Sequence[Step] | bytes | Break


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    at: float = 0.0

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")


class Network:
    """Gives the scripted answers in order, one for each request; `handler` makes them where given."""

    def __init__(
        self, answers: Iterable[Answer] = (), handler: Callable[[Sent], Answer] | None = None
    ) -> None:
        self._answers = list(answers)
        self._handler = handler
        self.sent: list[Sent] = []
        self.open_connections = 0
        self.connections = 0

    def connect(self) -> "Wire":
        """Return a new connection, or refuse it where that is next."""
        if self._answers and self._answers[0] is REFUSE:
            del self._answers[0]
            raise httpcore.ConnectError("connection refused")
        self.connections += 1
        self.open_connections += 1
        return Wire(self)

    def answer(self, request: Sent) -> list[Step]:
        """Return what comes back for a request."""
        self.sent.append(request)
        answer = self._handler(request) if self._handler else self._answers.pop(0)
        return [answer] if isinstance(answer, bytes | Break) else list(answer)

    def async_client(self, **options: Any) -> client.AsyncComplianceClient:
        """Return a client on this network."""
        transport = httpx.AsyncHTTPTransport(verify=False)
        transport._pool._network_backend = AsyncBackend(self)
        return client.AsyncComplianceClient(KEY, transport=transport, **_plain(options))

    def client(self, **options: Any) -> client.ComplianceClient:
        """Return a client for ordinary code on this network."""
        transport = httpx.HTTPTransport(verify=False)
        transport._pool._network_backend = Backend(self)
        return client.ComplianceClient(KEY, transport=transport, **_plain(options))


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {"base_url": "http://api.test", **options}


class Wire:
    """One connection: takes requests apart, and hands out their answers."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._incoming = b""
        self._steps: list[Step] = []
        self.is_open = True

    def write(self, data: bytes, now: float) -> None:
        """Take bytes of a request; requests have no body here."""
        self._incoming += data
        while b"\r\n\r\n" in self._incoming:
            head, self._incoming = self._incoming.split(b"\r\n\r\n", 1)
            first, *lines = head.decode("ascii").split("\r\n")
            method, path, _ = first.split(" ")
            fields = (line.split(": ", 1) for line in lines)
            request = Sent(method, path, {name.lower(): value for name, value in fields}, now)
            self._steps += self._network.answer(request)

    def next_step(self, max_bytes: int) -> Step:
        """Return the next bytes or break; the end and a stall stay for ever."""
        if not self.is_open:
            raise httpcore.ReadError("the connection was closed")
        if not self._steps:
            return STALL
        step = self._steps[0]
        if isinstance(step, Break):
            return step
        self._steps[:1] = [step[max_bytes:]] if len(step) > max_bytes else []
        return step[:max_bytes]

    def close(self) -> None:
        """Close it, for the count."""
        self._network.open_connections -= self.is_open
        self.is_open = False

    def extra(self, info: str) -> Any:
        """Say whether an idle connection was closed by the server, which shows as readable."""
        return bool(self._steps) if info == "is_readable" else None


def _broken(step: Break) -> bytes:
    if step is END:
        return b""
    if step is STALL:
        raise httpcore.ReadTimeout
    raise httpcore.ReadError("connection reset by peer")


class AsyncStream(httpcore.AsyncNetworkStream):
    """A scripted connection."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await checkpoint()
        step = self._wire.next_step(max_bytes)
        if isinstance(step, bytes):
            return step
        if step is STALL:
            await (anyio.sleep_forever() if timeout is None else anyio.sleep(timeout))
        return _broken(step)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await checkpoint()
        self._wire.write(buffer, anyio.current_time())

    async def aclose(self) -> None:
        self._wire.close()
        await checkpoint()

    def get_extra_info(self, info: str) -> Any:
        return self._wire.extra(info)


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """Makes scripted connections."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        await checkpoint()
        return AsyncStream(self._network.connect())


class Stream(httpcore.NetworkStream):
    """A scripted connection for ordinary code; a stall ends at once."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        step = self._wire.next_step(max_bytes)
        return step if isinstance(step, bytes) else _broken(step)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wire.write(buffer, 0.0)

    def close(self) -> None:
        self._wire.close()

    def get_extra_info(self, info: str) -> Any:
        return self._wire.extra(info)


class Backend(httpcore.NetworkBackend):
    """Makes scripted connections for ordinary code."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return Stream(self._network.connect())


# -- answers ---------------------------------------------------------------------------------------


def head(status: int, headers: dict[str, str]) -> bytes:
    """Return the head of an answer."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nrequest-id: req_1\r\n{lines}\r\n".encode()


def document(body: object, status: int = 200, **headers: str) -> bytes:
    """Return an answer with a JSON body; underscores in header names stand for dashes."""
    data = json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return head(status, {"content-length": str(len(data)), **fields}) + data


def record(file_id: str = FILE_ID, **fields: object) -> bytes:
    """Return an answer with the record of a file."""
    return document({"id": file_id, **fields})


def failure(status: int, message: str = "no", *, kind: str = "an_error", **headers: str) -> bytes:
    """Return an error answer as the API documents it."""
    return document({"error": {"type": kind, "message": message}}, status, **headers)


def chunked(*pieces: bytes, status: int = 200, end: bool = True, **headers: str) -> list[bytes]:
    """Return an answer with a chunked body, piece by piece; without `end` its last chunk is missing."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    last = [b"0\r\n\r\n"] if end else []
    return [head(status, {"transfer-encoding": "chunked", **fields}), *chunks, *last]
