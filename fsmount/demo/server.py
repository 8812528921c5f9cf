"""Serves the emulator on a loopback port and ends at once when it is cancelled.

Hypercorn speaks HTTP on each connection. The listening is done here, because Hypercorn shields its
sends from cancellation: a client that has stopped reading would keep its own server from ever ending.
"""

import logging
import socket

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

_log = logging.getLogger(__name__)


class _TrackedStream(trio.abc.HalfCloseableStream):
    """A connection that counts what the kernel took (trio's own stream can't be extended)."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket
        self.bytes_handed = 0
        self.is_broken = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, counting piece by piece: a send that fails has sent its first part."""
        rest = memoryview(data)
        try:
            while rest:
                sent = await self.socket.send(rest)
                self.bytes_handed += sent
                rest = rest[sent:]
        except (OSError, trio.ClosedResourceError) as error:
            self.is_broken = True
            raise trio.BrokenResourceError(f"connection broken: {error}") from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def serve(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    send_buffer_bytes: int | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; tells the base URL when it listens.

    `send_buffer_bytes` bounds what the kernel takes ahead of the client's reading (per connection;
    the default grows to some MiB), so that tests can count closely what a reader pulled.
    Errors: OSError when the port is taken.
    """
    config = _config()
    context = WorkerContext(None)
    # Starlette types messages as mappings where Hypercorn has a class for each kind.
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]
    streams: set[_TrackedStream] = set()

    async def handle(accepted: trio.SocketStream) -> None:
        stream = _TrackedStream(accepted)
        streams.add(stream)
        state = ConnectionState({"connection": stream})
        try:
            # Its annotation says TLS; the class itself asks which of the two it was given.
            await TCPServer(wrapped, config, context, state, stream)  # type: ignore[arg-type]
        except Exception:
            _log.exception("A connection of the emulator failed")
        finally:
            streams.discard(stream)
            stream.socket.close()

    listeners = await trio.open_tcp_listeners(port, host=host)
    if send_buffer_bytes is not None:
        for listener in listeners:
            listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    bound = listeners[0].socket.getsockname()[1]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handle, listeners)
            task_status.started(f"http://{host}:{bound}")
            nursery.start_soon(_close_when_cancelled, streams)
    finally:
        for listener in listeners:
            listener.socket.close()


async def _close_when_cancelled(streams: set[_TrackedStream]) -> None:
    """Close every connection on cancellation: that is what wakes a shielded send."""
    try:
        await trio.sleep_forever()
    finally:
        for stream in streams:
            stream.socket.close()


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = _log
    config.include_server_header = False
    # Idle connections outlive the pauses of a test; a real server closes them when it likes.
    config.keep_alive_timeout = 30
    return config
