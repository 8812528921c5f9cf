"""Sending requests, in two thin shells: wait for the budget, send, judge, wait, repeat.

All decisions are in `_wire` and `_pace`; the two classes differ in how they wait and send, and in nothing
else. Redirects are not followed: they would carry the key elsewhere.
"""

import dataclasses
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import anyio
import httpx

from client._errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    BudgetExhaustedError,
    ComplianceError,
    TruncatedError,
)
from client._pace import Budget, Pacer, Priority, RetryPolicy, Stats
from client._wire import Request, error_of

_CONNECT_TIMEOUT_S = 10.0
_MAX_ERROR_BODY_BYTES = 64 * 1024
_NEVER_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How a client talks to its server; the key is not shown."""

    api_key: str = dataclasses.field(repr=False)
    base_url: str
    timeout_s: float
    max_rpm: int | None
    max_retries: int
    max_wait_s: float | None
    user_agent: str

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request; bodies are wanted as they are stored."""
        return {
            "x-api-key": self.api_key,
            "accept-encoding": "identity",
            "user-agent": self.user_agent,
        }

    @property
    def timeout(self) -> httpx.Timeout:
        """The longest silence, in seconds; connecting is given less."""
        connect_s = min(_CONNECT_TIMEOUT_S, self.timeout_s)
        return httpx.Timeout(self.timeout_s, connect=connect_s, pool=None)


# The budget bounds how many requests are under way; the pool need not.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30.0)


class _Judge:
    """What both shells decide in the same way."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.pacer = Pacer(options.max_rpm)
        self.retries = RetryPolicy(options.max_retries)

    def check_wait(self, request: Request, wait_s: float) -> None:
        """Refuse a wait that is longer than the caller allows."""
        bound = self.options.max_wait_s
        if bound is not None and wait_s > bound:
            raise BudgetExhaustedError(
                f"{request.about}: the request budget is used up for another {wait_s:.0f} s, more than the"
                f" {bound:.0f} s allowed; try again later, or lower the load of other tools",
                wait_s=wait_s,
            )

    def pause_s(
        self, request: Request, error: ComplianceError, headers: Mapping[str, str], attempt: int
    ) -> float:
        """Return how long to wait before the next try; raise `error` when there is none."""
        delay_s = self.retries.delay_s(request, error, headers, attempt)
        bound = self.options.max_wait_s
        if delay_s is None or (bound is not None and delay_s > bound):
            raise error
        return delay_s


class AsyncTransport:
    """Sends requests under trio or asyncio."""

    def __init__(self, options: Options, transport: httpx.AsyncBaseTransport | None) -> None:
        self._judge = _Judge(options)
        self._http = httpx.AsyncClient(
            base_url=options.base_url,
            headers=options.headers,
            timeout=options.timeout,
            limits=_LIMITS,
            transport=transport,
            follow_redirects=False,
            trust_env=True,
        )

    @property
    def stats(self) -> Stats:
        """What was sent so far."""
        return self._judge.pacer.stats

    def budget(self) -> Budget:
        """Return the budget as it is known."""
        return self._judge.pacer.budget(_async_now())

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def fetch(self, request: Request, priority: Priority) -> tuple[bytes, httpx.Headers]:
        """Return body and headers of a 2xx answer.

        Errors: as `open`; TruncatedError when the body breaks off.
        """
        response = await self.open(request, priority)
        try:
            with translated(request, bytes_sent=True):
                return await response.aread(), response.headers
        finally:
            await response.aclose()

    async def open(self, request: Request, priority: Priority) -> httpx.Response:
        """Return a 2xx answer whose body has not been read; the caller closes it.

        Errors: APIError by status, APIConnectionError, APITimeoutError, BudgetExhaustedError.
        """
        attempt = 0
        while True:
            await self._wait_for_turn(request, priority, is_retry=attempt > 0)
            headers: Mapping[str, str] = {}
            try:
                response = await self._send(request)
                if response.is_success:
                    return response
                headers = response.headers
                error: ComplianceError = await self._error_of(request, response)
            except APIConnectionError as failure:
                error = failure
            await anyio.sleep(self._judge.pause_s(request, error, headers, attempt))
            attempt += 1

    async def _wait_for_turn(self, request: Request, priority: Priority, *, is_retry: bool) -> None:
        pacer = self._judge.pacer
        ticket = pacer.join(priority)
        try:
            while wait_s := pacer.admit(ticket, request.kind, _async_now(), is_retry=is_retry):
                self._judge.check_wait(request, pacer.expected_wait_s(_async_now()))
                await anyio.sleep(wait_s)
        finally:
            pacer.leave(ticket)

    async def _send(self, request: Request) -> httpx.Response:
        pacer = self._judge.pacer
        outgoing = self._http.build_request(
            request.method, request.path, headers=dict(request.headers)
        )
        try:
            with translated(request, bytes_sent=False):
                response = await self._http.send(outgoing, stream=True)
        except BaseException:
            pacer.failed()
            raise
        pacer.answered(response.status_code, response.headers, _async_now(), datetime.now(UTC))
        return response

    @staticmethod
    async def _error_of(request: Request, response: httpx.Response) -> APIError:
        body = b""
        try:
            with translated(request, bytes_sent=True):
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MAX_ERROR_BODY_BYTES:
                        break
        except ComplianceError:
            pass  # the status says enough
        finally:
            await response.aclose()
        return error_of(request, response.status_code, response.headers, body)


class Transport:
    """Sends requests from ordinary, also threaded, code."""

    def __init__(self, options: Options, transport: httpx.BaseTransport | None) -> None:
        self._judge = _Judge(options)
        self._lock = threading.Lock()
        self._http = httpx.Client(
            base_url=options.base_url,
            headers=options.headers,
            timeout=options.timeout,
            limits=_LIMITS,
            transport=transport,
            follow_redirects=False,
            trust_env=True,
        )

    @property
    def stats(self) -> Stats:
        """What was sent so far."""
        return self._judge.pacer.stats

    def budget(self) -> Budget:
        """Return the budget as it is known."""
        with self._lock:
            return self._judge.pacer.budget(time.monotonic())

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def fetch(self, request: Request, priority: Priority) -> tuple[bytes, httpx.Headers]:
        """Return body and headers of a 2xx answer; see `AsyncTransport.fetch`."""
        response = self.open(request, priority)
        try:
            with translated(request, bytes_sent=True):
                return response.read(), response.headers
        finally:
            response.close()

    def open(self, request: Request, priority: Priority) -> httpx.Response:
        """Return a 2xx answer whose body has not been read; see `AsyncTransport.open`."""
        attempt = 0
        while True:
            self._wait_for_turn(request, priority, is_retry=attempt > 0)
            headers: Mapping[str, str] = {}
            try:
                response = self._send(request)
                if response.is_success:
                    return response
                headers = response.headers
                error: ComplianceError = self._error_of(request, response)
            except APIConnectionError as failure:
                error = failure
            time.sleep(self._judge.pause_s(request, error, headers, attempt))
            attempt += 1

    def _wait_for_turn(self, request: Request, priority: Priority, *, is_retry: bool) -> None:
        pacer = self._judge.pacer
        with self._lock:
            ticket = pacer.join(priority)
        try:
            while True:
                now = time.monotonic()
                with self._lock:
                    wait_s = pacer.admit(ticket, request.kind, now, is_retry=is_retry)
                    if not wait_s:
                        return
                    expected_s = pacer.expected_wait_s(now)
                self._judge.check_wait(request, expected_s)
                time.sleep(wait_s)
        finally:
            with self._lock:
                pacer.leave(ticket)

    def _send(self, request: Request) -> httpx.Response:
        pacer = self._judge.pacer
        outgoing = self._http.build_request(
            request.method, request.path, headers=dict(request.headers)
        )
        try:
            with translated(request, bytes_sent=False):
                response = self._http.send(outgoing, stream=True)
        except BaseException:
            with self._lock:
                pacer.failed()
            raise
        with self._lock:
            pacer.answered(
                response.status_code, response.headers, time.monotonic(), datetime.now(UTC)
            )
        return response

    @staticmethod
    def _error_of(request: Request, response: httpx.Response) -> APIError:
        body = b""
        try:
            with translated(request, bytes_sent=True):
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_ERROR_BODY_BYTES:
                        break
        except ComplianceError:
            pass  # the status says enough
        finally:
            response.close()
        return error_of(request, response.status_code, response.headers, body)


@contextmanager
def translated(
    request: Request, *, bytes_sent: bool, request_id: str | None = None
) -> Iterator[None]:
    """Turn the HTTP library's errors into ours.

    `bytes_sent` True: an answer has begun, so a break means a truncated body.
    """
    note = f" (request {request_id})" if request_id else ""
    try:
        yield
    except httpx.TimeoutException as error:
        arrived = not isinstance(error, _NEVER_ARRIVED)
        what = "no byte came in time" if arrived else "could not connect in time"
        raise APITimeoutError(f"{request.about}: {what}{note}", bytes_sent=arrived) from error
    except httpx.RemoteProtocolError as error:
        if bytes_sent:
            raise TruncatedError(
                f"{request.about}: the body broke off: {_plain(error)}{note}"
            ) from error
        raise APIConnectionError(f"{request.about}: {_plain(error)}", bytes_sent=True) from error
    except (httpx.TransportError, httpx.StreamError, ssl.SSLError) as error:
        arrived = not isinstance(error, _NEVER_ARRIVED)
        raise APIConnectionError(
            f"{request.about}: the connection failed: {_plain(error)}{note}", bytes_sent=arrived
        ) from error
    except httpx.DecodingError as error:
        raise TruncatedError(f"{request.about}: the body can't be decoded{note}") from error


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _async_now() -> float:
    return anyio.current_time()
