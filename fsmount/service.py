"""The API as a mount uses it: one request for many askers, failures remembered, no storm on a dead host.

Retries and the request budget are the client's business. This module adds what a file system needs on top:
several processes that ask for the same record cause one request, an id that the API does not know is not
asked for again at once, and while the host can't be reached every request fails at once, except for one
probe at a time.
"""

import dataclasses
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import trio

import client
from fsmount.errors import Trouble, UnreachableError, trouble_of
from fsmount.objects import Record
from fsmount.source import ByteStream

_UNKNOWN_ID_MEMORY_S = 60.0  # a typo in a loop must not eat the organization's budget
_FAILURE_MEMORY_S = 5.0  # tools ask the same thing several times in a row
_PROBE_PAUSE_S = 5.0  # how soon a host that was unreachable is tried again
_MEMORY_ENTRIES = 10_000

# How the service met a request, where what it says concerns every other one too.
_MET_WITH: dict[Trouble | None, str] = {
    "refused": "refusing the key",
    "throttled": "reachable, out of requests",
    "busy": "failing",
}


class Files(Protocol):
    """The part of `client.AsyncFiles` that a mount needs."""

    async def get(self, claude_file_id: str) -> Record:
        """Fetch the record of one file."""
        ...

    async def delete(self, claude_file_id: str) -> str | None:
        """Delete one file for ever; return the request id of the confirmation."""
        ...

    def open_stream(
        self,
        claude_file_id: str,
        *,
        offset: int = 0,
        end: int | None = None,
        ask_range: bool = True,
        urgency: client.Urgency | None = None,
    ) -> AbstractAsyncContextManager[ByteStream]:
        """Open the body of one file."""
        ...


class Breaker:
    """Whether to try a request at all; told the time, decides, and never waits.

    Units: seconds of any steady clock.
    """

    def __init__(self) -> None:
        self._next_probe = -math.inf
        self.is_open = False

    def may_try(self, now: float) -> bool:
        """Say whether a request may be sent; while the host is unreachable, that is one probe at a time."""
        if not self.is_open:
            return True
        if now < self._next_probe:
            return False
        self._next_probe = math.inf  # this probe is under way; its outcome sets the next
        return True

    def succeeded(self) -> None:
        """Note that the host answered, whatever it said."""
        self.is_open = False

    def failed(self, now: float) -> None:
        """Note that no connection came about, or that a probe was given up."""
        self.is_open = True
        self._next_probe = now + _PROBE_PAUSE_S

    def abandoned(self, now: float) -> None:
        """Note that a request was cancelled before its outcome was known."""
        if self.is_open:
            self._next_probe = now


@dataclasses.dataclass(slots=True)
class _Flight:
    """One request for a record and what became of it."""

    landed: trio.Event
    record: Record | None = None
    error: Exception | None = None
    forget_at: float = math.inf


class Service:
    """The API behind a mount.

    Errors of all methods: UnreachableError at once while the host can't be reached; else the client's.
    """

    def __init__(self, files: Files, nursery: trio.Nursery) -> None:
        self._files = files
        self._nursery = nursery
        self._breaker = Breaker()
        self._flights: dict[str, _Flight] = {}
        self._met = "reachable"

    @property
    def is_reachable(self) -> bool:
        """Say whether the last attempt to connect succeeded."""
        return not self._breaker.is_open

    @property
    def state(self) -> str:
        """Say in words how the service met the last request."""
        return self._met if self.is_reachable else "unreachable"

    async def get(self, claude_file_id: str) -> Record:
        """Fetch a record; askers at the same time share one request, and a recent failure.

        The request goes on when its askers are killed: its answer is kept for the next one.
        """
        flight = self._flights.get(claude_file_id)
        if flight is None or flight.forget_at <= trio.current_time():
            flight = self._flights[claude_file_id] = _Flight(trio.Event())
            self._nursery.start_soon(self._fetch, claude_file_id, flight)
        await flight.landed.wait()
        if flight.error:
            raise flight.error.with_traceback(None)
        assert flight.record is not None
        return flight.record

    async def ask(self, claude_file_id: str) -> Record:
        """Fetch a record now, whatever is remembered of it."""
        async with self._attempt():
            return await self._files.get(claude_file_id)

    async def delete(self, claude_file_id: str) -> str | None:
        """Delete one file for ever; see `client.AsyncFiles.delete`."""
        async with self._attempt():
            return await self._files.delete(claude_file_id)

    @asynccontextmanager
    async def open_stream(
        self,
        claude_file_id: str,
        *,
        offset: int,
        end: int | None,
        ask_range: bool,
        urgency: client.Urgency | None = None,
    ) -> AsyncIterator[ByteStream]:
        """Open the body of one file; see `client.AsyncFiles.open_stream`."""
        async with AsyncExitStack() as stack:
            async with self._attempt():
                opening = self._files.open_stream(
                    claude_file_id, offset=offset, end=end, ask_range=ask_range, urgency=urgency
                )
                stream = await stack.enter_async_context(opening)
            yield stream

    async def _fetch(self, claude_file_id: str, flight: _Flight) -> None:
        memory_s = 0.0  # the caller keeps the record, so a success need not be remembered
        try:
            flight.record = await self.ask(claude_file_id)
        except client.NotFoundError as error:
            flight.error, memory_s = error, _UNKNOWN_ID_MEMORY_S
        except Exception as error:  # its waiters raise it; nothing may end the nursery
            flight.error, memory_s = error, _FAILURE_MEMORY_S
        flight.forget_at = trio.current_time() + memory_s
        flight.landed.set()
        self._forget_old()

    def _forget_old(self) -> None:
        now = trio.current_time()
        if len(self._flights) > _MEMORY_ENTRIES:
            self._flights = {k: f for k, f in self._flights.items() if f.forget_at > now}

    @asynccontextmanager
    async def _attempt(self) -> AsyncIterator[None]:
        """Let one request through the breaker and tell it the outcome."""
        if not self._breaker.may_try(trio.current_time()):
            raise UnreachableError(
                "the service can't be reached; it is tried again every few seconds."
                " Check the network and --base-url"
            )
        try:
            yield
        except client.APIConnectionError as error:
            self._met = "not answering"
            if error.bytes_sent:
                self._breaker.succeeded()
            else:
                self._breaker.failed(trio.current_time())
            raise
        except (client.ComplianceError, ValueError) as error:
            self._met = _MET_WITH.get(trouble_of(error), "reachable")
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.abandoned(trio.current_time())
            raise
        else:
            self._met = "reachable"
            self._breaker.succeeded()
