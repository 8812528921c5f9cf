"""Larger reads from the network than the HTTP library asks for, counted. Knows sockets, nothing of HTTP.

httpcore reads 64 KiB at a time and offers no setting for it, but lets its network be replaced; so these
wrappers pass every call on, raise the size of a read, and count the reads since something was sent.

Measured over loopback (1 GiB in chunks of 256 KiB, trio, CPython 3.11, glibc, medians of 5), MB/s by size of
a read: 64 KiB 1920, 96 KiB 2290, 192 KiB 2400, 256 KiB 4260, 512 KiB 880. The first GiB or two of a process
take longer at 256 KiB, until malloc has learnt to keep buffers of that size instead of unmapping them.
"""

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

READ_BYTES = 256 * 1024


class WideAsyncStream(httpcore.AsyncNetworkStream):
    """A connection that reads at least `READ_BYTES` at a time."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self.reads_since_write = 0
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what is there, up to the larger of the two sizes."""
        self.reads_since_write += 1
        return await self._stream.read(max(max_bytes, READ_BYTES), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        self.reads_since_write = 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return the encrypted connection."""
        return WideAsyncStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the library's signature
        """Return what the library wants to know of the socket."""
        return self._stream.get_extra_info(info)


class WideAsyncBackend(httpcore.AsyncNetworkBackend):
    """Makes connections that read more at a time."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection."""
        return WideAsyncStream(
            await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def sleep(self, seconds: float) -> None:
        """Wait between the library's own tries to connect, of which we ask for none."""
        await self._backend.sleep(seconds)


class WideStream(httpcore.NetworkStream):
    """A connection that reads at least `READ_BYTES` at a time, for ordinary code."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self.reads_since_write = 0
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what is there, up to the larger of the two sizes."""
        self.reads_since_write += 1
        return self._stream.read(max(max_bytes, READ_BYTES), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        self.reads_since_write = 0
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Return the encrypted connection."""
        return WideStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the library's signature
        """Return what the library wants to know of the socket."""
        return self._stream.get_extra_info(info)


class WideBackend(httpcore.NetworkBackend):
    """Makes connections that read more at a time, for ordinary code."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Return a connection."""
        return WideStream(
            self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    def sleep(self, seconds: float) -> None:
        """Wait between the library's own tries to connect, of which we ask for none."""
        self._backend.sleep(seconds)
