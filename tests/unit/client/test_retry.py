"""Which failures are tried again, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import client
from client import _wire as wire
from client._retry import MAX_BACKOFF_S, RetryPolicy, backoff_s

GET = wire.get_record(wire.FILES, "f")
CONTENT = wire.get_content(wire.FILES, "f")
DELETE = wire.delete_object(wire.FILES, "f")
MIDDLE = RetryPolicy(draw=lambda: 0.5)  # no jitter


def status(code: int, **headers: str) -> client.APIError:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.error_of(GET, code, fields, b"")


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 409, 416, 418, 501])
@pytest.mark.parametrize("request_", [GET, CONTENT, DELETE])
def test_what_will_not_change_is_not_tried_again(request_, code):
    """A refusal stays one however often it is asked for."""
    assert MIDDLE.delay_s(request_, status(code), 0) is None


@pytest.mark.parametrize("code", [500, 502, 503, 504, 529])
@pytest.mark.parametrize("request_", [GET, CONTENT])
def test_what_may_pass_is_tried_again_after_1_s_doubling(request_, code):
    """A failing server is given 1, 2, 4 and 8 seconds."""
    delays = [MIDDLE.delay_s(request_, status(code), attempt) for attempt in range(5)]
    assert [1.0, 2.0, 4.0, 8.0, None] == delays


@pytest.mark.parametrize("code", [429, 500, 503, 529])
def test_x_should_retry_false_is_final(code):
    """A failure that the server calls deterministic is not tried again."""
    assert MIDDLE.delay_s(GET, status(code, x_should_retry="false"), 0) is None


@pytest.mark.parametrize("request_", [GET, CONTENT, DELETE])
def test_a_429_is_tried_again_when_the_pacer_lets_it(request_):
    """A 429 was not carried out; the block for everybody is its wait."""
    assert 0.0 == MIDDLE.delay_s(request_, status(429, retry_after="9"), 0)
    assert MIDDLE.delay_s(request_, status(429), 4) is None


@pytest.mark.parametrize(
    "error",
    [
        client.APIConnectionError("x", bytes_sent=False),
        client.APIConnectionError("x", bytes_sent=True),
        client.APITimeoutError("x", bytes_sent=True),
    ],
)
def test_a_lost_connection_is_tried_again(error):
    """Reading twice does no harm."""
    assert 1.0 == MIDDLE.delay_s(GET, error, 0)


@pytest.mark.parametrize(
    "error",
    [
        client.InvalidResponseError("x"),
        client.ContentMismatchError("x"),
        client.TruncatedError("x"),
        client.FileTooLargeError("x", limit_bytes=1),
        client.BudgetExhaustedError("x", wait_s=1),
    ],
)
def test_what_was_judged_is_not_tried_again(error):
    """An answer that does not add up, or a wait that is too long, goes to the caller."""
    assert MIDDLE.delay_s(GET, error, 0) is None


@pytest.mark.parametrize("code", [500, 502, 503, 504, 529])
def test_a_deletion_that_may_have_been_done_is_not_repeated(code):
    """After a 5xx or a break the file may be gone: the caller is told instead."""
    assert MIDDLE.delay_s(DELETE, status(code), 0) is None
    for kind in (client.APIConnectionError, client.APITimeoutError):
        assert MIDDLE.delay_s(DELETE, kind("x", bytes_sent=True), 0) is None
        assert 1.0 == MIDDLE.delay_s(DELETE, kind("x", bytes_sent=False), 0)


def test_a_servers_own_floor_counts_for_5xx_too():
    """A 503 that names a time is not asked before it."""
    assert 20.0 == MIDDLE.delay_s(GET, status(503, retry_after="20"), 0)
    assert 1.0 == MIDDLE.delay_s(GET, status(503, retry_after="0"), 0)


def test_one_call_may_have_its_own_bound():
    """The bound of a call outranks the client's."""
    assert MIDDLE.delay_s(GET, status(503), 0, max_retries=0) is None
    assert 16.0 == MIDDLE.delay_s(GET, status(503), 4, max_retries=5)


@given(attempt=st.integers(0, 10_000), draw=st.floats(0, 1, exclude_max=True))
def test_a_delay_is_its_backoff_give_or_take_a_quarter(attempt, draw):
    """Jitter keeps within a quarter, and the backoff within 1 to 60 seconds."""
    policy = RetryPolicy(max_retries=10_001, draw=lambda: draw)
    delay_s = policy.delay_s(GET, status(503), attempt)
    assert 1.0 <= backoff_s(attempt) <= MAX_BACKOFF_S
    assert delay_s is not None
    assert 0.75 * backoff_s(attempt) <= delay_s <= 1.25 * backoff_s(attempt)
