"""Sending requests, in two thin shells: wait for the budget, send, judge, wait, repeat.

All decisions are in `_judge` and below it; the two shells differ in how they wait and send, and in
nothing else.
"""

import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import anyio
import httpx

from client._body import BoundCheck
from client._errors import APIConnectionError, ComplianceError, TruncatedError
from client._failures import FAILURES, unanswered
from client._http import AsyncSender, Sender
from client._judge import Judge, Options
from client._pace import Budget, Priority, Stats, Ticket, Urgency
from client._receiving import AsyncBody, Body
from client._wire import Request, request_id_of

_MAX_ERROR_BYTES = 64 * 1024
_MAX_RECORD_BYTES = 64 << 20

Answer = TypeVar("Answer")


class Fetched(NamedTuple):
    """Head and whole body of an answer."""

    headers: Mapping[str, str]
    body: bytes


class AsyncTransport:
    """Sends requests under trio or asyncio."""

    def __init__(self, options: Options, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._judge = Judge(options)
        self._http = AsyncSender(options, transport)
        self._wakers: dict[Ticket, anyio.Event] = {}

    @property
    def stats(self) -> Stats:
        """What was sent so far."""
        return self._judge.pacer.stats

    @property
    def clock_ahead_s(self) -> float | None:
        """How far our clock is ahead of the server's; None before an answer told."""
        return self._judge.pacer.clock_ahead_s

    def budget(self) -> Budget:
        """Return the budget as it is known."""
        return self._judge.pacer.budget(anyio.current_time())

    async def warm_up(self) -> None:
        """Load what the first request would load; nothing is sent."""
        await self._http.warm_up()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def open(
        self, request: Request, priority: Priority | Urgency, max_retries: int | None = None
    ) -> httpx.Response:
        """Return a successful answer whose body has not been read; the caller closes it.

        Errors: APIError by status, APIConnectionError, APITimeoutError, BudgetExhaustedError.
        """
        return await self._repeat(request, priority, max_retries, self._send)

    async def fetch(
        self, request: Request, priority: Priority, max_retries: int | None = None
    ) -> Fetched:
        """Return a successful answer with its body; errors as for `open`."""
        return await self._repeat(request, priority, max_retries, self._send_and_read)

    async def _repeat(
        self,
        request: Request,
        priority: Priority | Urgency,
        max_retries: int | None,
        attempt_once: Callable[[Request, Ticket], Awaitable[Answer]],
    ) -> Answer:
        attempt = 0
        until = self._judge.until(anyio.current_time())
        while True:
            ticket = await self._turn(request, priority, until, is_retry=attempt > 0)
            try:
                return await attempt_once(request, ticket)
            except ComplianceError as error:
                left_s = until - anyio.current_time()
                pause_s = self._judge.pause_s(request, error, attempt, max_retries, left_s)
                if pause_s is None:
                    raise
            await anyio.sleep(pause_s)
            attempt += 1

    async def _turn(
        self, request: Request, priority: Priority | Urgency, until: float, *, is_retry: bool
    ) -> Ticket:
        """Wait until the budget has room; whoever stops waiting lets the next one look."""
        pacer = self._judge.pacer
        urgency = Urgency(priority) if isinstance(priority, Priority) else priority
        ticket = pacer.join(request.kind, urgency.priority, is_retry=is_retry)
        try:
            with urgency.watched(lambda raised: self._wake(pacer.raise_to(ticket, raised))):
                while wait_s := self._judge.turn_s(ticket, request, anyio.current_time(), until):
                    waker = self._wakers[ticket] = anyio.Event()
                    with anyio.move_on_after(wait_s):
                        await waker.wait()
        finally:
            self._wakers.pop(ticket, None)
            self._wake(pacer.leave(ticket))
        return ticket

    def _wake(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            if waker := self._wakers.get(ticket):
                waker.set()

    async def _send(self, request: Request, ticket: Ticket) -> httpx.Response:
        pacer = self._judge.pacer
        arrived = True  # as far as is known when it is cancelled
        response = None
        try:
            response = await self._http.send(request)
        except FAILURES as error:
            failure = unanswered(error, request.about)
            arrived = failure.bytes_sent
            raise failure from error
        finally:
            if response is None:
                self._wake(pacer.failed(ticket, arrived=arrived))
        status, headers = response.status_code, response.headers
        now, wall = anyio.current_time(), datetime.now(UTC)
        self._wake(pacer.answered(status, headers, now, wall))
        if response.is_success:
            return response
        body = await self._read_error(request, response)
        raise self._judge.error_of(request, status, headers, body)

    async def _send_and_read(self, request: Request, ticket: Ticket) -> Fetched:
        response = await self._send(request, ticket)
        return Fetched(response.headers, await self._read(request, response, _MAX_RECORD_BYTES))

    async def _read_error(self, request: Request, response: httpx.Response) -> bytes:
        try:
            return await self._read(request, response, _MAX_ERROR_BYTES)
        except ComplianceError:
            return b""  # the status says enough

    @staticmethod
    async def _read(request: Request, response: httpx.Response, limit_bytes: int) -> bytes:
        check = BoundCheck(request.about, limit_bytes, request_id_of(response.headers))
        body = AsyncBody(response, request.about, check)
        parts = []
        try:
            while part := await body.receive():
                parts.append(part)
        except TruncatedError as error:
            raise _unanswered_after_all(request, error) from error
        finally:
            await body.aclose()
        return b"".join(parts)


class Clock:
    """How ordinary code tells the time and waits; another one takes its place in tests."""

    def now(self) -> float:
        """Return seconds of a steady clock."""
        return time.monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> None:
        """Wait for the event, at most so long; infinity: for ever."""
        event.wait(None if timeout_s == math.inf else min(timeout_s, threading.TIMEOUT_MAX))


class Transport:
    """Sends requests from ordinary code, also from several threads."""

    def __init__(
        self,
        options: Options,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._judge = Judge(options)
        self._http = Sender(options, transport)
        self._clock = clock or Clock()
        self._lock = threading.Lock()  # held around every use of the pacer and the wakers
        self._wakers: dict[Ticket, threading.Event] = {}

    @property
    def stats(self) -> Stats:
        """What was sent so far."""
        with self._lock:
            return self._judge.pacer.stats

    @property
    def clock_ahead_s(self) -> float | None:
        """How far our clock is ahead of the server's; None before an answer told."""
        with self._lock:
            return self._judge.pacer.clock_ahead_s

    def budget(self) -> Budget:
        """Return the budget as it is known."""
        with self._lock:
            return self._judge.pacer.budget(self._clock.now())

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def open(
        self, request: Request, priority: Priority, max_retries: int | None = None
    ) -> httpx.Response:
        """Return a successful answer whose body has not been read; see `AsyncTransport.open`."""
        return self._repeat(request, priority, max_retries, self._send)

    def fetch(
        self, request: Request, priority: Priority, max_retries: int | None = None
    ) -> Fetched:
        """Return a successful answer with its body; see `AsyncTransport.fetch`."""
        return self._repeat(request, priority, max_retries, self._send_and_read)

    def _repeat(
        self,
        request: Request,
        priority: Priority,
        max_retries: int | None,
        attempt_once: Callable[[Request, Ticket], Answer],
    ) -> Answer:
        attempt = 0
        until = self._judge.until(self._clock.now())
        while True:
            ticket = self._turn(request, priority, until, is_retry=attempt > 0)
            try:
                return attempt_once(request, ticket)
            except ComplianceError as error:
                left_s = until - self._clock.now()
                pause_s = self._judge.pause_s(request, error, attempt, max_retries, left_s)
                if pause_s is None:
                    raise
            self._clock.wait(threading.Event(), pause_s)
            attempt += 1

    def _turn(
        self, request: Request, priority: Priority, until: float, *, is_retry: bool
    ) -> Ticket:
        """Wait until the budget has room; whoever stops waiting lets the next one look."""
        pacer = self._judge.pacer
        with self._lock:
            ticket = pacer.join(request.kind, priority, is_retry=is_retry)
        try:
            while True:
                with self._lock:
                    wait_s = self._judge.turn_s(ticket, request, self._clock.now(), until)
                    if wait_s == 0:
                        return ticket
                    waker = self._wakers[ticket] = threading.Event()
                self._clock.wait(waker, wait_s)
        finally:
            with self._lock:
                self._wakers.pop(ticket, None)
                self._wake(pacer.leave(ticket))

    def _wake(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            if waker := self._wakers.get(ticket):
                waker.set()

    def _send(self, request: Request, ticket: Ticket) -> httpx.Response:
        pacer = self._judge.pacer
        arrived = True  # as far as is known when it is interrupted
        response = None
        try:
            response = self._http.send(request)
        except FAILURES as error:
            failure = unanswered(error, request.about)
            arrived = failure.bytes_sent
            raise failure from error
        finally:
            if response is None:
                with self._lock:
                    self._wake(pacer.failed(ticket, arrived=arrived))
        status, headers = response.status_code, response.headers
        with self._lock:
            now, wall = self._clock.now(), datetime.now(UTC)
            self._wake(pacer.answered(status, headers, now, wall))
        if response.is_success:
            return response
        body = self._read_error(request, response)
        raise self._judge.error_of(request, status, headers, body)

    def _send_and_read(self, request: Request, ticket: Ticket) -> Fetched:
        response = self._send(request, ticket)
        return Fetched(response.headers, self._read(request, response, _MAX_RECORD_BYTES))

    def _read_error(self, request: Request, response: httpx.Response) -> bytes:
        try:
            return self._read(request, response, _MAX_ERROR_BYTES)
        except ComplianceError:
            return b""  # the status says enough

    @staticmethod
    def _read(request: Request, response: httpx.Response, limit_bytes: int) -> bytes:
        check = BoundCheck(request.about, limit_bytes, request_id_of(response.headers))
        body = Body(response, request.about, check)
        parts = []
        try:
            while part := body.receive():
                parts.append(part)
        except TruncatedError as error:
            raise _unanswered_after_all(request, error) from error
        finally:
            body.close()
        return b"".join(parts)


def _unanswered_after_all(request: Request, error: TruncatedError) -> APIConnectionError:
    """Half a record is no answer, but its request has arrived."""
    what = f"{request.about}: the answer broke off"
    return APIConnectionError(what, bytes_sent=True, request_id=error.request_id)
