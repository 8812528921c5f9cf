"""The knobs, the log and the gate: what tests and benchmarks lean on."""

import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from fsmount.demo.behaviour import Behaviour, RequestBudget, needed_scopes
from fsmount.demo.contents import PatternContent
from tests.support.emulator import RunningEmulator

FILES = "/v1/compliance/apps/chats/files"


def test_the_log_tells_kinds_apart(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Records, bytes, deletions and the rest are counted by themselves, with what they cost."""
    file_id = emulator.corpus.add_file(b"hello")
    http.get(f"{FILES}/{file_id}")
    http.get(f"{FILES}/{file_id}/content", headers={"range": "bytes=1-"})
    http.delete(f"{FILES}/{file_id}")
    http.get("/v1/compliance/apps/chats?limit=5")
    log = emulator.log
    assert {"metadata": 1, "content": 1, "delete": 1, "other": 1} == log.counts()
    (content,) = log.entries("content")
    assert ("bytes=1-", 200, 5, True) == (
        content.range,
        content.status,
        content.bytes_sent,
        content.is_complete,
    )
    (listing,) = log.entries("other")
    assert ("GET", "/v1/compliance/apps/chats", "limit=5") == (
        listing.method,
        listing.path,
        listing.query,
    )
    assert 403 == log.entries("delete")[0].status
    log.wait_idle()
    log.reset()
    assert 0 == log.count()


def test_every_answer_has_a_request_id(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Each answer, errors included, carries an id of its own; the log knows it."""
    answers = [http.get(f"{FILES}/claude_file_01x"), http.get("/nowhere"), http.head(FILES)]
    answers.append(httpx.get(emulator.url, headers={"x-api-key": "wrong"}))
    shown = [answer.headers["request-id"] for answer in answers]
    assert [entry.request_id for entry in emulator.log.entries()] == shown
    assert len(shown) == len(set(shown))
    assert [404, 404, 405, 401] == [answer.status_code for answer in answers]


def test_bearer_is_accepted(emulator: RunningEmulator) -> None:
    """The key may come as a bearer token as well."""
    headers = {"authorization": f"Bearer {emulator.read_key}"}
    assert 200 == httpx.get(f"{emulator.url}/v1/compliance/apps/chats", headers=headers).status_code


def test_unknown_parameters_are_refused(http: httpx.Client) -> None:
    """A misspelt parameter is a 400, not a longer list."""
    assert 400 == http.get("/v1/compliance/apps/chats?user_id=1").status_code
    assert 400 == http.get("/v1/compliance/apps/chats?limit=1&limit=2").status_code


def test_the_budget_is_announced(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Limit, what is left, and an RFC 3339 time of reset stand in every authenticated answer."""
    emulator.behaviour.requests_per_minute = 10
    emulator.budget.spend(time.monotonic(), requests=0)
    first = http.get("/v1/compliance/apps/chats").headers
    second = http.get("/v1/compliance/apps/chats").headers
    prefix = "anthropic-ratelimit-requests"
    assert ("10", "9") == (first[f"{prefix}-limit"], first[f"{prefix}-remaining"])
    assert "8" == second[f"{prefix}-remaining"]
    reset = datetime.fromisoformat(first[f"{prefix}-reset"])
    assert 58 < (reset - datetime.now(UTC)).total_seconds() <= 61


def test_a_window_is_fixed() -> None:
    """Units come back all at once, a window after the first request that opened it."""
    budget = RequestBudget(Behaviour(requests_per_minute=2))
    grants = [budget.spend(now) for now in (100.0, 130.0, 140.0, 159.9, 160.0)]
    assert [True, True, False, False, True] == [grant.is_granted for grant in grants]
    assert [1, 0, 0, 0, 1] == [grant.remaining for grant in grants]
    assert 20.0 == grants[2].resets_in_s


def test_others_spend_the_same_budget() -> None:
    """The budget belongs to the whole organization: other tools take from it too."""
    budget = RequestBudget(Behaviour(requests_per_minute=10))
    budget.spend(0.0, requests=9)
    assert 0 == budget.spend(1.0).remaining
    assert not budget.spend(2.0).is_granted
    budget.reset()
    assert 9 == budget.spend(3.0).remaining


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("GET", f"{FILES}/x", {"read:compliance_user_data"}),
        ("DELETE", f"{FILES}/x", {"read:compliance_user_data", "delete:compliance_user_data"}),
        ("GET", "/v1/compliance/organizations", {"read:compliance_org_data"}),
        ("GET", "/v1/compliance/organizations/u/users", {"read:compliance_user_data"}),
        ("GET", "/v1/compliance/activities", {"read:compliance_activities"}),
        ("GET", "/elsewhere", set()),
    ],
)
def test_scopes(method: str, path: str, scopes: set[str]) -> None:
    """Every endpoint needs its documented scopes."""
    assert scopes == set(needed_scopes(method, path))


def test_a_pace_is_kept(emulator: RunningEmulator, http: httpx.Client) -> None:
    """A body takes the time that its size and the pace give, without drifting."""
    emulator.behaviour.bytes_per_s = 1_000_000
    file_id = emulator.corpus.add_file(bytes(200_000))
    began = time.monotonic()
    http.get(f"{FILES}/{file_id}/content")
    assert 0.19 < time.monotonic() - began < 0.5


def test_latency_comes_before_the_answer(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Latency delays each answer once."""
    emulator.behaviour.latency_s = 0.05
    began = time.monotonic()
    http.get("/v1/compliance/apps/chats")
    assert 0.05 <= time.monotonic() - began


def test_a_client_that_left_costs_nothing_more() -> None:
    """When the client closes, production stops; what was handed over is counted, no more."""

    async def read_a_little(running: RunningEmulator, path: str) -> int:
        port = urlsplit(running.url).port
        assert port is not None
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            head = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {running.read_key}\r\n\r\n"
            await stream.send_all(head.encode())
            got = 0
            while got < 1_000_000:
                got += len(await stream.receive_some(65_536))
            return got

    with RunningEmulator(send_buffer_bytes=128 * 1024) as running:
        file_id = running.corpus.add_file(PatternContent(64 << 20))
        got = trio.run(read_a_little, running, f"{FILES}/{file_id}/content")
        running.log.wait_idle()
        (entry,) = running.log.entries()
        assert not entry.is_complete
        # The rest is what the two kernels' buffers took ahead of the reader.
        assert got - 1000 <= entry.bytes_sent < got + (4 << 20)


def test_waiting_has_a_limit(emulator: RunningEmulator) -> None:
    """Waiting for requests that never come ends with what did come."""
    with pytest.raises(TimeoutError, match="0 of 1 requests"):
        emulator.log.wait_for(1, timeout_s=0.01)
