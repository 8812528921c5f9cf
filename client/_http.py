"""The HTTP library, adapted: how its clients are made, what its failures mean, bodies read honestly.

Redirects are not followed: they would carry the key elsewhere. Bodies are taken as they come, undecoded.
"""

import contextlib
import importlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import anyio
import httpcore
import httpx

from client._body import Check
from client._errors import APIConnectionError, APITimeoutError, ComplianceError, TruncatedError
from client._judge import Options
from client._network import WideAsyncBackend, WideBackend
from client._wire import Request

_CONNECT_TIMEOUT_S = 10.0
_DRAIN_STEPS = 10_000
_NEVER_ARRIVED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
# The budget bounds how many requests are under way; the pool need not.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30.0)

_TOO_EARLY = "what came before it went on beyond its end"
_NOWHERES_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n\r\n"

Pool = TypeVar("Pool", httpcore.AsyncConnectionPool, httpcore.ConnectionPool)

FAILURES = (httpx.TransportError, ssl.SSLError, OSError)


class _Sending:
    """What is the same for every request, for both kinds.

    Requests go straight to the library's transport. Its client around that would keep cookies, follow
    redirects and look for passwords, none of which is wanted here, for a quarter of a request's cost.
    """

    def __init__(self, options: Options) -> None:
        # Bodies are wanted as they are stored.
        self._headers = [
            ("x-api-key", options.api_key),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
            ("user-agent", options.user_agent),
        ]
        self._base_url = options.base_url.rstrip("/")
        # The longest silence; connecting is given less.
        connect_s = min(_CONNECT_TIMEOUT_S, options.timeout_s)
        timeout = httpx.Timeout(options.timeout_s, connect=connect_s, pool=None)
        self._extensions = {"timeout": timeout.as_dict()}

    def _outgoing(self, request: Request) -> httpx.Request:
        return httpx.Request(
            request.method,
            self._base_url + request.path,
            headers=[*self._headers, *request.headers.items()],
            extensions=self._extensions,
        )


class AsyncSender(_Sending):
    """Sends requests under trio or asyncio; proxies and certificates come from the environment, as usual."""

    def __init__(self, options: Options, transport: httpx.AsyncBaseTransport | None) -> None:
        super().__init__(options)
        self._http = httpx.AsyncClient(limits=_LIMITS, transport=transport)
        for pool in _pools(self._http, httpcore.AsyncConnectionPool):
            pool._network_backend = WideAsyncBackend(pool._network_backend)  # noqa: SLF001 - see `_pools`
        # Through the proxy that the environment names for this address; nothing public says which it is.
        url = httpx.URL(self._base_url)
        self._transport = self._http._transport_for_url(url)  # noqa: SLF001 - see above

    async def send(self, request: Request) -> httpx.Response:
        """Return the head of the answer, whatever it says; the caller closes it.

        Errors: `FAILURES`.
        """
        response = await self._transport.handle_async_request(self._outgoing(request))
        if came_too_early(response):
            await response.aclose()
            raise httpx.RemoteProtocolError(_TOO_EARLY)
        return response

    async def warm_up(self) -> None:
        """Send a request to nowhere, by way of everything that a real one would have to load first."""
        await anyio.lowlevel.checkpoint()
        importlib.import_module("encodings.idna")  # looked for when a host's address is
        pool = httpcore.AsyncConnectionPool(
            network_backend=httpcore.AsyncMockBackend([_NOWHERES_ANSWER])
        )
        async with httpx.AsyncHTTPTransport(verify=False) as transport:  # certificates are loaded
            if isinstance(getattr(transport, "_pool", None), httpcore.AsyncConnectionPool):
                transport._pool = pool  # noqa: SLF001 - see `_pools`
                request = httpx.Request("GET", "http://nowhere.invalid/", headers=self._headers[1:])
                response = await transport.handle_async_request(request)
                await response.aread()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


class Sender(_Sending):
    """Sends requests from ordinary code; see `AsyncSender`."""

    def __init__(self, options: Options, transport: httpx.BaseTransport | None) -> None:
        super().__init__(options)
        self._http = httpx.Client(limits=_LIMITS, transport=transport)
        for pool in _pools(self._http, httpcore.ConnectionPool):
            pool._network_backend = WideBackend(pool._network_backend)  # noqa: SLF001 - see `_pools`
        # Through the proxy that the environment names for this address; nothing public says which it is.
        url = httpx.URL(self._base_url)
        self._transport = self._http._transport_for_url(url)  # noqa: SLF001 - see above

    def send(self, request: Request) -> httpx.Response:
        """Return the head of the answer; see `AsyncSender.send`."""
        response = self._transport.handle_request(self._outgoing(request))
        if came_too_early(response):
            response.close()
            raise httpx.RemoteProtocolError(_TOO_EARLY)
        return response

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


def _pools(http: httpx.AsyncClient | httpx.Client, kind: type[Pool]) -> Iterator[Pool]:
    """Yield the connection pools in what httpx made, whose networks can be exchanged.

    httpx has no setting for the network below it, nor has httpcore for the size of its reads. Where httpx is
    built otherwise there is none, and reads stay as they are.
    """
    for made in (http._transport, *http._mounts.values()):  # noqa: SLF001 - see above
        pool = getattr(made, "_pool", None)
        if isinstance(pool, kind) and hasattr(pool, "_network_backend"):
            yield pool


def came_too_early(response: httpx.Response) -> bool:
    """Say whether a head was there before anything was received for its request.

    Where a body goes on beyond its announced end, the HTTP library takes the rest for the answer to the next
    request on that connection. It is content that a stranger may have written, as the confirmation of a
    deletion for one.
    """
    stream = response.extensions.get("network_stream")
    return getattr(stream, "reads_since_write", None) == 0


def unanswered(error: Exception, about: str) -> APIConnectionError:
    """Return our error for a request that got no answer; it says whether the request may have arrived."""
    arrived = not isinstance(error, _NEVER_ARRIVED)
    if isinstance(error, httpx.TimeoutException):
        what = "no answer came in time" if arrived else "could not connect in time"
        return APITimeoutError(f"{about}: {what}", bytes_sent=arrived)
    what = "the connection failed" if arrived else "could not connect"
    return APIConnectionError(f"{about}: {what}: {_plain(error)}", bytes_sent=arrived)


def interrupted(error: Exception, about: str, request_id: str | None) -> ComplianceError:
    """Return our error for a body that broke off."""
    if isinstance(error, httpx.TimeoutException):
        what = f"{about}: no more bytes of the answer came in time"
        return APITimeoutError(what, bytes_sent=True, request_id=request_id)
    if isinstance(error, httpx.RemoteProtocolError):
        what = f"{about}: the body broke off: {_plain(error)}"
        return TruncatedError(what, request_id=request_id)
    what = f"{about}: the connection failed within the answer: {_plain(error)}"
    return APIConnectionError(what, bytes_sent=True, request_id=request_id)


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _Reading:
    """What is known of a body being read, for both kinds."""

    def __init__(self, response: httpx.Response, about: str, check: Check) -> None:
        self.request_id: str | None = response.headers.get("request-id")
        self._response = response
        self._about = about
        self._check = check
        self._has_ended = False
        self._is_broken = False

    def _require_unbroken(self) -> None:
        # The library's iterators just end when they are used again after a failure or a cancellation; that
        # must never look like the end of the body.
        if self._is_broken:
            what = f"{self._about}: the body was given up before its end"
            raise TruncatedError(what, request_id=self.request_id)


class AsyncBody(_Reading):
    """The body of one response, checked while it comes.

    Units: `chunk_size` in bytes, the most that `receive` returns; None: as it comes from the wire.
    """

    def __init__(
        self, response: httpx.Response, about: str, check: Check, chunk_size: int | None = None
    ) -> None:
        super().__init__(response, about, check)
        self._chunks: AsyncIterator[bytes]
        # An injected transport may answer from memory; the library has "streamed" that body already.
        if response.is_stream_consumed:
            self._chunks = response.aiter_bytes(chunk_size)
        elif chunk_size is None and isinstance(response.stream, httpx.AsyncByteStream):
            self._chunks = aiter(response.stream)  # as it comes, without one more layer
        else:
            self._chunks = response.aiter_raw(chunk_size)

    async def receive(self) -> bytes:
        """Return the next bytes; b"" after a proper end that passed its check, and only then.

        Errors: of the check; TruncatedError, APITimeoutError, APIConnectionError. Once one was raised, or
        the call was cancelled, it is TruncatedError for ever.
        """
        self._require_unbroken()
        try:
            async for chunk in self._chunks:
                if chunk:
                    self._check.take(chunk)
                    return chunk
            self._check.finish()
        except FAILURES as error:
            self._is_broken = True
            raise interrupted(error, self._about, self.request_id) from error
        except BaseException:
            self._is_broken = True
            raise
        self._has_ended = True
        return b""

    async def aclose(self) -> None:
        """Close the connection at once; what is left of the body is not waited for."""
        self._is_broken = self._is_broken or not self._has_ended
        with anyio.CancelScope(shield=True):  # closing never waits for the peer
            await self._response.aclose()
            # The library's iterators are nested async generators; dropped half-way, each would need a task
            # and under trio a warning to be finished. On a closed connection they run to their end at once.
            with contextlib.suppress(Exception):
                for _ in range(_DRAIN_STEPS):
                    await anext(self._chunks)


class Body(_Reading):
    """The body of one response, checked while it comes, for ordinary code; see `AsyncBody`."""

    def __init__(
        self, response: httpx.Response, about: str, check: Check, chunk_size: int | None = None
    ) -> None:
        super().__init__(response, about, check)
        is_read = response.is_stream_consumed
        self._chunks = (response.iter_bytes if is_read else response.iter_raw)(chunk_size)

    def receive(self) -> bytes:
        """Return the next bytes; b"" after a proper end only; see `AsyncBody.receive`."""
        self._require_unbroken()
        try:
            for chunk in self._chunks:
                if chunk:
                    self._check.take(chunk)
                    return chunk
            self._check.finish()
        except FAILURES as error:
            self._is_broken = True
            raise interrupted(error, self._about, self.request_id) from error
        except BaseException:
            self._is_broken = True
            raise
        self._has_ended = True
        return b""

    def close(self) -> None:
        """Close the connection at once; what is left of the body is not waited for."""
        self._is_broken = self._is_broken or not self._has_ended
        self._response.close()
