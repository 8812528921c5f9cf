"""The API as a mount uses it: shared requests, remembered failures, no storm on a dead host."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import client
from fsmount.errors import UnreachableError
from fsmount.service import Breaker, Service
from tests.support.scripted import ScriptedSource

A = "claude_file_01a"


class Files(ScriptedSource):
    """A service that answers, or fails, as it is told."""

    def __init__(self) -> None:
        super().__init__(b"body")
        self.asked = 0
        self.failure: Exception | None = None
        self.takes_s = 0.0

    async def get(self, claude_file_id: str) -> client.File:
        self.asked += 1
        await trio.sleep(self.takes_s)
        if self.failure:
            raise self.failure
        return client.File(claude_file_id)

    async def delete(self, claude_file_id: str) -> None:
        await self.get(claude_file_id)


@contextlib.asynccontextmanager
async def service_of(files: Files) -> AsyncIterator[Service]:
    async with trio.open_nursery() as nursery:
        yield Service(files, nursery)
        nursery.cancel_scope.cancel()


async def test_askers_at_the_same_time_share_one_request(autojump_clock):
    """Also when the first of them is killed in between."""
    files = Files()
    files.takes_s = 10
    async with service_of(files) as service:
        with trio.move_on_after(1):
            await service.get(A)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(service.get, A)
    assert 1 == files.asked


@pytest.mark.parametrize(
    ("failure", "memory_s"),
    [
        (client.NotFoundError(404, "not_found_error", "gone", "req"), 60),
        (client.PermissionDeniedError(403, "permission_error", "scope", "req"), 5),
        (ZeroDivisionError("a bug"), 5),
    ],
)
async def test_a_failure_is_remembered_for_a_while(autojump_clock, failure, memory_s):
    """Whoever asks again soon gets the same answer without a request."""
    files = Files()
    files.failure = failure
    async with service_of(files) as service:
        for _ in range(3):
            with pytest.raises(type(failure)):
                await service.get(A)
        assert 1 == files.asked
        files.failure = None
        await trio.sleep(memory_s)
        assert A == (await service.get(A)).id


async def test_a_dead_host_is_asked_by_one_probe_at_a_time(autojump_clock):
    """While nothing can be reached, everybody else fails at once; the first success opens up again."""
    files = Files()
    files.failure = client.APIConnectionError("refused", bytes_sent=False)
    async with service_of(files) as service:
        with pytest.raises(client.APIConnectionError):
            await service.ask(A)
        assert not service.is_reachable
        for _ in range(10):
            with pytest.raises(UnreachableError):
                await service.ask(A)
        assert 1 == files.asked
        await trio.sleep(5)
        files.failure, files.takes_s = None, 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.ask, A)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(UnreachableError):
                await service.delete(A)
        assert 2 == files.asked
        await service.delete(A)
        assert 3 == files.asked


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (client.AuthenticationError(401, None, None, "req"), "refusing the key"),
        (client.PermissionDeniedError(403, None, None, "req"), "refusing the key"),
        (client.InternalServerError(500, None, None, "req"), "failing"),
        (client.RateLimitError(429, None, None, "req"), "reachable, out of requests"),
        (client.NotFoundError(404, None, None, "req"), "reachable"),
        (client.APITimeoutError("no", bytes_sent=True), "not answering"),
        (client.APIConnectionError("no", bytes_sent=False), "unreachable"),
    ],
)
async def test_how_the_service_met_the_last_request_is_told(autojump_clock, error, state):
    """Who looks at the status sees what to do, and that it is over once something is answered again."""
    files = Files()
    async with service_of(files) as service:
        assert "reachable" == service.state
        files.failure = error
        with pytest.raises(type(error)):
            await service.ask(A)
        assert state == service.state
        files.failure = None
        await trio.sleep(6)
        await service.ask(A)
        assert "reachable" == service.state


async def test_a_probe_that_is_given_up_does_not_block_the_next(autojump_clock):
    """A killed prober leaves the way free."""
    files = Files()
    files.failure = client.APIConnectionError("refused", bytes_sent=False)
    async with service_of(files) as service:
        with pytest.raises(client.APIConnectionError):
            await service.ask(A)
        await trio.sleep(5)
        files.failure, files.takes_s = None, 60
        with trio.move_on_after(1):
            await service.ask(A)
        files.takes_s = 0
        assert A == (await service.ask(A)).id


async def test_a_slow_file_is_not_a_dead_host(autojump_clock):
    """A timeout after the request was sent says nothing about the others."""
    files = Files()
    files.failure = client.APITimeoutError("late", bytes_sent=True)
    async with service_of(files) as service:
        with pytest.raises(client.APITimeoutError):
            await service.ask(A)
        assert service.is_reachable


@pytest.mark.parametrize("refusal", [None, client.ConflictError(409, None, "busy", "req")])
async def test_a_stream_counts_by_whether_it_could_be_opened(autojump_clock, refusal):
    """Any answer shows that the host is there."""
    files = Files()
    async with service_of(files) as service:
        with contextlib.suppress(client.ConflictError):
            async with service.open_stream(A, offset=0, end=None, ask_range=True) as stream:
                assert b"body" == await stream.receive()
                if refusal:
                    raise refusal
        assert service.is_reachable


@given(
    st.lists(st.tuples(st.sampled_from(["try", "fail", "succeed", "abandon"]), st.floats(0, 10)))
)
def test_the_breaker_never_locks_itself_in(steps):
    """Whatever happened, some seconds after the last outcome a request may be tried."""
    breaker = Breaker()
    now = 0.0
    under_way = 0
    for step, pause in steps:
        now += pause
        if step == "try":
            under_way += breaker.may_try(now)
        elif under_way:
            under_way -= 1
            {"fail": breaker.failed, "abandon": breaker.abandoned}.get(
                step, lambda _now: breaker.succeeded()
            )(now)
    while under_way:
        under_way -= 1
        breaker.failed(now)
    assert breaker.may_try(now + 60)
