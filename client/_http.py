"""The HTTP library, adapted: how its clients are made, and how requests go out through them.

Redirects are not followed: they would carry the key elsewhere.
"""

import functools
import importlib
import ssl
from collections.abc import Callable, Iterator
from typing import TypeVar

import anyio
import httpcore
import httpx

from client._judge import Options
from client._network import WideAsyncBackend, WideBackend
from client._wire import Kind, Request

_CONNECT_TIMEOUT_S = 10.0
# The budget bounds how many requests are under way; the pool need not.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30.0)

_TOO_EARLY = "what came before it went on beyond its end"
_NOWHERES_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n\r\n"

_ONE_REQUEST_EACH = httpx.Limits(max_connections=None, max_keepalive_connections=0)

Http = TypeVar("Http", httpx.AsyncClient, httpx.Client)
Pool = TypeVar("Pool", httpcore.AsyncConnectionPool, httpcore.ConnectionPool)


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
        self._http = _for_each_kind(functools.partial(_async_client, transport))
        # Through the proxy that the environment names for this address; nothing public says which it is.
        url = httpx.URL(self._base_url)
        self._transports = {
            kind: http._transport_for_url(url)  # noqa: SLF001 - see above
            for kind, http in self._http.items()
        }

    async def send(self, request: Request) -> httpx.Response:
        """Return the head of the answer, whatever it says; the caller closes it.

        Errors: `_failures.FAILURES`.
        """
        transport = self._transports[request.kind]
        response = await transport.handle_async_request(self._outgoing(request))
        if _came_too_early(response):
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
        for http in {*self._http.values()}:
            await http.aclose()


class Sender(_Sending):
    """Sends requests from ordinary code; see `AsyncSender`."""

    def __init__(self, options: Options, transport: httpx.BaseTransport | None) -> None:
        super().__init__(options)
        self._http = _for_each_kind(functools.partial(_client, transport))
        url = httpx.URL(self._base_url)
        self._transports = {
            kind: http._transport_for_url(url)  # noqa: SLF001 - see `AsyncSender`
            for kind, http in self._http.items()
        }

    def send(self, request: Request) -> httpx.Response:
        """Return the head of the answer; see `AsyncSender.send`."""
        transport = self._transports[request.kind]
        response = transport.handle_request(self._outgoing(request))
        if _came_too_early(response):
            response.close()
            raise httpx.RemoteProtocolError(_TOO_EARLY)
        return response

    def close(self) -> None:
        """Close all connections."""
        for http in {*self._http.values()}:
            http.close()


def _for_each_kind(make: Callable[[httpx.Limits, ssl.SSLContext], Http]) -> dict[Kind, Http]:
    """Return what sends each kind of request, over connections of its own.

    Contents are written by strangers. Where one goes on beyond its announced end, the rest may be taken for
    the answer to the next request on its connection: that is never one about records, and each deletion has a
    connection for itself alone.
    """
    ssl_context = httpx.create_ssl_context()
    records = make(_LIMITS, ssl_context)
    return {
        "content": make(_LIMITS, ssl_context),
        "metadata": records,
        "listing": records,
        "delete": make(_ONE_REQUEST_EACH, ssl_context),
    }


def _async_client(
    transport: httpx.AsyncBaseTransport | None, limits: httpx.Limits, ssl_context: ssl.SSLContext
) -> httpx.AsyncClient:
    http = httpx.AsyncClient(limits=limits, verify=ssl_context, transport=transport)
    for pool in _pools(http, httpcore.AsyncConnectionPool):
        if not isinstance(pool._network_backend, WideAsyncBackend):  # noqa: SLF001 - see `_pools`
            pool._network_backend = WideAsyncBackend(pool._network_backend)  # noqa: SLF001
    return http


def _client(
    transport: httpx.BaseTransport | None, limits: httpx.Limits, ssl_context: ssl.SSLContext
) -> httpx.Client:
    http = httpx.Client(limits=limits, verify=ssl_context, transport=transport)
    for pool in _pools(http, httpcore.ConnectionPool):
        if not isinstance(pool._network_backend, WideBackend):  # noqa: SLF001 - see `_pools`
            pool._network_backend = WideBackend(pool._network_backend)  # noqa: SLF001
    return http


def _pools(http: httpx.AsyncClient | httpx.Client, kind: type[Pool]) -> Iterator[Pool]:
    """Yield the connection pools in what httpx made, whose networks can be exchanged.

    httpx has no setting for the network below it, nor has httpcore for the size of its reads. Where httpx is
    built otherwise there is none, and reads stay as they are.
    """
    for made in (http._transport, *http._mounts.values()):  # noqa: SLF001 - see above
        pool = getattr(made, "_pool", None)
        if isinstance(pool, kind) and hasattr(pool, "_network_backend"):
            yield pool


def _came_too_early(response: httpx.Response) -> bool:
    """Say whether a head was there before anything was received for its request.

    Where a body goes on beyond its announced end, the HTTP library takes the rest for the answer to the next
    request on that connection. It is content that a stranger may have written, as the confirmation of a
    deletion for one.
    """
    stream = response.extensions.get("network_stream")
    return getattr(stream, "reads_since_write", None) == 0
