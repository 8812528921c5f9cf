"""Sending: waits, retries, and the budget as requests meet it."""

import contextlib
import math
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest
import trio
import trio.testing

import client
from client import _network
from client._pace import MAX_BLIND
from client._transport import Clock
from tests.support.network import (
    END,
    FILE_ID,
    REFUSE,
    RESET,
    STALL,
    AsyncBackend,
    Network,
    Sent,
    chunked,
    document,
    failure,
    head,
    record,
)

MD5_OF_ABC = "kAFQmDzST7DWlj99KOF/cg=="


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def spent(reset_in_s: float = 20) -> bytes:
    """Return a record whose head says that nothing is left of the budget."""
    return document(
        {"id": FILE_ID},
        date=format_datetime(NOW, usegmt=True),
        anthropic_ratelimit_requests_limit="600",
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset=(NOW + timedelta(seconds=reset_in_s)).isoformat(),
    )


# -- retries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        failure(500),
        failure(502),
        failure(503),
        failure(504),
        failure(529),
        REFUSE,
        RESET,
        END,
        STALL,
        [head(200, {"content-length": "50"}), b'{"id"', END],
        [head(200, {"content-length": "50"}), b'{"id"', RESET],
    ],
)
def test_trouble_that_passes_is_waited_out(patient_front, trouble):
    """A transient failure, also one within a record, is followed by another try 1 s later."""
    network = Network([trouble, trouble, record()])

    async def work(api):
        started = api.now()
        await api.files.get(FILE_ID)
        return api.now() - started, api.client.stats

    waited_s, stats = patient_front.run(network, work, timeout=0.001)
    assert 0.75 + 1.5 <= waited_s <= 1.25 + 2.5 + 0.01
    assert len(network.sent) == stats.metadata
    assert (0 if trouble is REFUSE else 2) == stats.retries - (trouble is REFUSE)


def test_tries_end(patient_front):
    """After four retries the last error is the caller's."""
    network = Network([failure(503)] * 6)

    async def work(api):
        with pytest.raises(client.ServiceUnavailableError):
            await api.files.get(FILE_ID)
        assert client.Stats(metadata=5, retries=4) == api.client.stats

    patient_front.run(network, work)


def test_a_final_failure_is_not_tried_again(front):
    """x-should-retry: false ends it at once."""
    network = Network([failure(500, x_should_retry="false")])

    async def work(api):
        with pytest.raises(client.InternalServerError):
            await api.files.get(FILE_ID)

    front.run(network, work)


def test_a_redirect_is_an_error_and_not_followed(front):
    """The key never goes where an answer points to."""
    network = Network([[head(302, {"location": "http://elsewhere.test/", "content-length": "0"})]])

    async def work(api):
        with pytest.raises(client.APIError, match="302"):
            await api.files.get(FILE_ID)

    front.run(network, work)
    assert 1 == len(network.sent)


def test_a_retry_that_would_wait_too_long_is_not_made(patient_front):
    """max_wait_s bounds the pause before a retry: the error comes at once instead."""
    network = Network([failure(503, retry_after="30"), record()])

    async def work(api):
        started = api.now()
        with pytest.raises(client.ServiceUnavailableError):
            await api.files.get(FILE_ID)
        return api.now() - started

    assert 0 == patient_front.run(network, work, max_wait_s=5)


def test_all_waits_of_a_call_count_together(patient_front):
    """With max_wait_s, pauses of 1 and 2 s leave no room for one of 4 within 5 s."""
    network = Network([REFUSE] * 5)

    async def work(api):
        started = api.now()
        with pytest.raises(client.APIConnectionError):
            await api.files.get(FILE_ID)
        return api.now() - started

    assert 2.25 <= patient_front.run(network, work, max_wait_s=5) <= 3.75


def test_a_broken_error_body_hides_no_status(patient_front):
    """An error whose body is cut, endless or silent is still told by its status."""
    network = Network(
        [
            [head(404, {"content-length": "50"}), b"{", END],
            [head(404, {"content-length": "50"}), b"{", STALL],
            chunked(b"x" * 100_000, b"x" * 100_000, status=404),
        ]
    )

    async def work(api):
        for _ in range(3):
            with pytest.raises(client.NotFoundError, match="HTTP status 404"):
                await api.files.get(FILE_ID)

    patient_front.run(network, work)
    assert 0 == network.open_connections


def test_no_connection_is_told_from_no_answer(front):
    """bytes_sent says whether the server may have seen the request; only what was sent is counted."""
    network = Network([REFUSE, RESET])

    async def work(api):
        with pytest.raises(client.APIConnectionError, match="could not connect") as caught:
            await api.files.get(FILE_ID, max_retries=0)
        assert not caught.value.bytes_sent
        assert client.Stats() == api.client.stats
        with pytest.raises(client.APIConnectionError, match="the connection failed") as caught:
            await api.files.get(FILE_ID, max_retries=0)
        assert caught.value.bytes_sent
        assert client.Stats(metadata=1) == api.client.stats

    front.run(network, work)


# -- budget ----------------------------------------------------------------------------------------


def test_a_429_is_waited_out_as_long_as_asked(patient_front):
    """retry-after is a floor, kept to the second."""
    network = Network([failure(429, retry_after="17"), record()])

    async def work(api):
        started = api.now()
        await api.files.get(FILE_ID)
        assert client.Stats(metadata=2, retries=1, throttled=1) == api.client.stats
        return api.now() - started

    assert 17 == patient_front.run(network, work)


def test_a_spent_budget_is_waited_for(patient_front):
    """When the last answer left nothing, the next request goes after the reset."""
    network = Network([spent(20), record()])

    async def work(api):
        started = api.now()
        await api.files.get(FILE_ID)
        assert (600, 0) == (api.client.budget.limit, api.client.budget.remaining)
        await api.files.get(FILE_ID)
        return api.now() - started

    assert 20 == patient_front.run(network, work)


def test_our_own_bound_is_kept(patient_front):
    """max_rpm requests go at once, the next a minute after the first."""
    network = Network([record()] * 5)

    async def work(api):
        times = []
        for _ in range(5):
            await api.files.get(FILE_ID)
            times.append(api.now())
        return [time - times[0] for time in times]

    assert [0, 0, 60, 60, 120] == patient_front.run(network, work, max_rpm=2)


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (failure(429, retry_after="30"), {}),
        (spent(30), {}),
        (record(), {"max_rpm": 1}),
    ],
)
def test_a_wait_that_is_too_long_is_refused_at_once(patient_front, answer, options):
    """With max_wait_s nobody waits in vain: the error comes before the wait, and says how long."""
    network = Network([answer, record()])

    async def work(api):
        started = api.now()
        with contextlib.suppress(client.RateLimitError):
            await api.files.get(FILE_ID, max_retries=0)
        with pytest.raises(client.BudgetExhaustedError, match=FILE_ID) as caught:
            await api.files.get(FILE_ID)
        assert caught.value.wait_s in {30, 60}
        assert 0 == api.client.budget.waiting
        return api.now() - started

    assert 0 == patient_front.run(network, work, max_wait_s=10, **options)
    assert 1 == len(network.sent)


def test_a_wait_that_is_short_enough_is_made(patient_front):
    """max_wait_s is no reason to refuse a shorter wait."""
    network = Network([failure(429, retry_after="9"), record()])
    patient_front.run(network, lambda api: api.files.get(FILE_ID), max_wait_s=10)
    assert 2 == len(network.sent)


# -- many at once, async ---------------------------------------------------------------------------


async def test_waiters_go_in_order_of_priority(autojump_clock):
    """When room comes, interactive requests go before background ones that waited for longer."""
    network = Network(handler=lambda sent: record(sent.path.rsplit("/", 1)[1]))
    async with network.async_client(max_rpm=1) as api, trio.open_nursery() as nursery:
        await api.files.get("first")
        for number, priority in enumerate([2, 1, 0, 2, 1, 0]):
            nursery.start_soon(
                lambda n, p: api.files.get(f"p{p}-{n}", priority=client.Priority(p)),
                number,
                priority,
            )
            await trio.testing.wait_all_tasks_blocked()
        assert 6 == api.budget.waiting
    names = [sent.path.rsplit("/", 1)[1] for sent in network.sent]
    assert ["first", "p0-2", "p0-5", "p1-1", "p1-4", "p2-0", "p2-3"] == names
    times = [sent.at - network.sent[0].at for sent in network.sent]
    assert [60 * position for position in range(7)] == pytest.approx(times)


async def test_what_somebody_comes_to_wait_for_goes_before_what_nobody_does(autojump_clock):
    """A content that is fetched ahead is opened by its reader while its request waits for the budget."""
    network = Network(
        handler=lambda sent: (
            chunked(b"x") if sent.path.endswith("/content") else record(sent.path.rsplit("/", 1)[1])
        )
    )
    urgencies = [client.Urgency(client.Priority.READAHEAD) for _ in range(4)]
    async with network.async_client(max_rpm=1) as api, trio.open_nursery() as nursery:

        async def fetch(number: int) -> None:
            options: Any = {"priority": urgencies[number], "ask_range": False}
            async with api.files.open_stream(f"f{number}", **options) as stream:
                assert b"x" == await stream.receive()

        await api.files.get("first")
        for number in range(4):
            nursery.start_soon(fetch, number)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(api.files.get, "later")
        await trio.sleep(1)
        urgencies[2].raise_to(client.Priority.INTERACTIVE)
        await trio.sleep(90)
        urgencies[3].raise_to(client.Priority.INTERACTIVE)
    names = [sent.path.split("/files/")[1].removesuffix("/content") for sent in network.sent]
    assert ["first", "f2", "f3", "later", "f0", "f1"] == names


async def test_a_429_holds_back_requests_that_did_not_meet_it(autojump_clock):
    """One 429 stops a whole client, streams and deletions too, until it may go on."""

    def answer(sent: Sent):
        if 1 == len(network.sent):
            return failure(429, retry_after="30")
        return chunked(b"{}") if sent.path.endswith("/content") else record()

    network = Network(handler=answer)
    async with network.async_client() as api, trio.open_nursery() as nursery:
        nursery.start_soon(api.files.get, FILE_ID)
        await trio.sleep(1)
        assert 29 == api.budget.blocked_for_s
        nursery.start_soon(api.files.get, FILE_ID)
        nursery.start_soon(api.files.download, FILE_ID)
    times = [sent.at - network.sent[0].at for sent in network.sent]
    assert [0, 30, 30, 30, 30] == times


async def test_a_429_reaches_those_who_wait_already(autojump_clock):
    """A waiter learns of a block that is too long for it when the block begins, not when its turn comes."""

    def answer(sent: Sent):
        return failure(429, retry_after="300") if "slow" in sent.path else record("other")

    network = Network(handler=answer)
    async with (
        network.async_client(max_rpm=1, max_wait_s=70) as api,
        trio.open_nursery() as nursery,
    ):
        started = trio.current_time()

        async def refused(file_id):
            with pytest.raises(client.BudgetExhaustedError):
                await api.files.get(file_id)
            assert trio.current_time() - started < 61

        await api.files.get("other")
        nursery.start_soon(refused, "slow")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(refused, "next")


async def test_a_cancelled_waiter_gives_its_place_back(autojump_clock):
    """Who stops waiting takes no budget, and the next one goes in its place."""
    network = Network(handler=lambda sent: record(sent.path.rsplit("/", 1)[1]))
    async with network.async_client(max_rpm=1) as api, trio.open_nursery() as nursery:
        await api.files.get("first")
        with trio.move_on_after(10):
            await api.files.get("cancelled")
        assert 0 == api.budget.waiting
        impatient = trio.CancelScope()

        async def wait_impatiently():
            with impatient:
                await api.files.get("impatient")

        nursery.start_soon(wait_impatiently)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(api.files.get, "second")
        await trio.testing.wait_all_tasks_blocked()
        impatient.cancel()
    assert [("first", 0), ("second", 60)] == [
        (sent.path.rsplit("/", 1)[1], round(sent.at - network.sent[0].at)) for sent in network.sent
    ]


async def test_a_cancelled_request_counts_and_frees_its_connection(autojump_clock):
    """A request that was under way may have been charged; its connection is closed at once."""
    network = Network([STALL, record()])
    async with network.async_client() as api:
        with trio.move_on_after(5):
            await api.files.get(FILE_ID)
        assert 0 == network.open_connections
        await api.files.get(FILE_ID)
        assert client.Stats(metadata=2) == api.stats


async def test_a_request_without_an_answer_lets_the_next_one_go(autojump_clock):
    """While nothing is known of the budget, a failed request makes room as an answer does."""
    network = Network([*[STALL] * MAX_BLIND, record()])

    async def get_in_vain():
        with pytest.raises(client.APITimeoutError):
            await api.files.get(FILE_ID, max_retries=0)

    async with network.async_client(timeout=5) as api, trio.open_nursery() as nursery:
        for _ in range(MAX_BLIND):
            nursery.start_soon(get_in_vain)
        await trio.testing.wait_all_tasks_blocked()
        await api.files.get(FILE_ID)
        assert 5 == network.sent[-1].at - network.sent[0].at


async def test_waiting_costs_no_turning(autojump_clock):
    """Two hundred waiters wake as often as they go, and not in between."""
    looks = 0
    network = Network(handler=lambda sent: record(sent.path.rsplit("/", 1)[1]))
    async with network.async_client(max_rpm=50) as api:
        pacer = api._transport._judge.pacer
        admit = pacer.admit

        def counted(ticket, now):
            nonlocal looks
            looks += 1
            return admit(ticket, now)

        pacer.admit = counted  # type: ignore[method-assign]  # to count the looks
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(api.files.get, f"f{number}")
    assert 200 == len(network.sent)
    assert looks < 200 * 4


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_budget_waits_work_under_either_loop(backend):
    """Waiters wake each other and time out alike under trio and asyncio."""
    network = Network(handler=lambda sent: record(sent.path.rsplit("/", 1)[1]))

    async def main():
        async with network.async_client(max_rpm=2) as api:
            with anyio.move_on_after(0.5):
                async with anyio.create_task_group() as group:
                    for number in range(5):
                        group.start_soon(api.files.get, f"f{number}")
            assert 0 == api.budget.waiting
            assert 2 == api.budget.used_last_minute

    anyio.run(main, backend=backend)
    assert 2 == len(network.sent)


# -- many at once, threads -------------------------------------------------------------------------


def test_threads_share_one_budget():
    """Threads of one client wake each other; their requests go by priority."""
    network = Network(handler=lambda sent: record(sent.path.rsplit("/", 1)[1]))
    with network.client(max_rpm=1) as api:
        clock = api._transport._clock = HeldClock()
        api.files.get("first")
        threads = []
        for name, priority in (("slow", 2), ("quick", 0)):
            thread = threading.Thread(
                target=api.files.get,
                args=(name,),
                kwargs={"priority": client.Priority(priority)},
                daemon=True,
            )
            thread.start()
            threads.append(thread)
            clock.wait_for(lambda: api.budget.waiting == len(threads))
        clock.advance(60)
        clock.wait_for(lambda: len(network.sent) == 2)
        clock.advance(60)
        for thread in threads:
            thread.join(5)
    assert ["first", "quick", "slow"] == [sent.path.rsplit("/", 1)[1] for sent in network.sent]


class HeldClock(Clock):
    """Stands still until told; waiters look again every time it moves."""

    def __init__(self) -> None:
        self._time = 0.0
        self._moved = threading.Condition()

    def now(self) -> float:
        return self._time

    def wait(self, event: threading.Event, timeout_s: float) -> None:
        until = self._time + timeout_s
        while not event.is_set() and self._time < until:
            with self._moved:
                self._moved.wait(0.001)

    def advance(self, seconds: float) -> None:
        with self._moved:
            self._time += seconds
            self._moved.notify_all()

    def wait_for(self, condition) -> None:
        deadline = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < deadline
            with self._moved:
                self._moved.wait(0.001)


def test_the_real_clock_waits_and_is_woken():
    """A wait ends at its time, or when it is woken; for ever means until woken."""
    clock, event = Clock(), threading.Event()
    started = clock.now()
    clock.wait(event, 0.002)
    assert clock.now() - started >= 0.002
    event.set()
    clock.wait(event, math.inf)
    clock.wait(event, 1e300)


# -- the network below -----------------------------------------------------------------------------


def test_reads_are_wide_where_nothing_was_injected():
    """Both clients read more at a time than the library asks for, through proxies too."""
    for make in (client.AsyncComplianceClient, client.ComplianceClient):
        sender: Any = make("k", base_url="http://api.test")._transport._http
        pool = sender._transports["content"]._pool
        assert isinstance(pool._network_backend, _network.WideAsyncBackend | _network.WideBackend)


async def test_contents_records_and_deletions_do_not_share_connections():
    """What comes late of a stranger's content, after the next request has gone out, answers none of them."""
    network = Network(handler=lambda sent: ANSWERS[sent.method, sent.path.endswith("/content")])
    async with client.AsyncComplianceClient("k", base_url="http://api.test") as api:
        sender: Any = api._transport._http
        for transport in sender._transports.values():
            transport._pool._network_backend = _network.WideAsyncBackend(AsyncBackend(network))
        for _ in range(2):
            assert b"abc" == await api.files.download(FILE_ID)
            assert FILE_ID == (await api.files.get(FILE_ID)).id
        assert 2 == network.connections
        for _ in range(2):
            await api.files.delete(FILE_ID)
        assert (4, 2) == (network.connections, network.open_connections)


ANSWERS = {
    ("GET", True): chunked(b"abc", content_md5=MD5_OF_ABC)[0] + b"3\r\nabc\r\n0\r\n\r\n",
    ("GET", False): document({"id": FILE_ID}),
    ("DELETE", False): document({"id": FILE_ID, "type": "claude_file_deleted"}),
}


def test_a_read_brings_more_than_the_library_asks_for():
    """A body that is there comes in pieces of READ_BYTES, not of 64 KiB."""
    body = b"x" * (3 * _network.READ_BYTES)
    network = Network([[head(200, {"content-length": str(len(body))}), body]])

    async def main():
        async with network.async_client() as api, api.files.open_stream(FILE_ID) as stream:
            assert _network.READ_BYTES == len(await stream.receive())

    anyio.run(main, backend="trio")


async def test_an_injected_transport_is_used_as_it_is():
    """Any transport of the library serves, also one whose answers are in memory already."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/content"):
            return httpx.Response(200, content=b"abc", headers={"content-md5": MD5_OF_ABC})
        return httpx.Response(200, json={"id": "f1"})

    with client.ComplianceClient("k", transport=httpx.MockTransport(answer)) as api:
        assert client.File("f1") == api.files.get("f1")
        assert [b"ab", b"c"] == list(api.files.download_stream("f1", chunk_size=2))
    async with client.AsyncComplianceClient("k", transport=httpx.MockTransport(answer)) as waiting:
        assert client.File("f1") == await waiting.files.get("f1")
        assert b"abc" == await waiting.files.download("f1")
        async with waiting.files.open_stream("f1") as stream:
            assert (b"abc", b"") == (await stream.receive(), await stream.receive())


def test_a_warm_client_loads_nothing_for_its_first_request():
    """What anyio needs for the event loop is there by the time the client is entered."""
    script = (
        "import sys, trio, client\n"
        "async def main():\n"
        "    async with client.AsyncComplianceClient('key', base_url='http://127.0.0.1:9'):\n"
        "        print('anyio._backends._trio' in sys.modules)\n"
        "trio.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert "True\n" == done.stdout


async def test_warming_up_sends_nothing():
    """Neither over the network nor out of the budget."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"sent: {request.url}")

    api = client.AsyncComplianceClient("k", transport=httpx.MockTransport(answer))
    async with api:
        await api.warm_up()
        assert client.Stats() == api.stats
