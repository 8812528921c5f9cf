"""Decisions about streams: what is asked for, what is waited for, how far a stream may run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount.readahead import (
    MIB,
    Flow,
    Pattern,
    Policy,
    Ranges,
    Request,
    Want,
    limit_of,
    next_request,
)
from fsmount.spool import Extents

POLICY = Policy()
WINDOW = POLICY.first_window_bytes


def want(start: int, size: int = 4096, window: int | None = WINDOW) -> Want:
    return Want(start, start + size, window)


def test_the_first_request_is_for_everything_from_the_start():
    """A reader at the start gets one stream without an end, that also tells whether ranges work."""
    assert Request(0, None) == next_request(POLICY, Extents(), [], want(0), Ranges.UNKNOWN)


def test_present_bytes_cost_no_request():
    """Nothing is asked for that is here."""
    present = Extents([(0, 8192)])
    assert next_request(POLICY, present, [], want(4096), Ranges.HONOURED) is None


@pytest.mark.parametrize("flows", [[], [Flow(5, None)]])
def test_without_ranges_there_is_one_stream_from_the_start(flows: list[Flow]):
    """A far reader waits for the one stream; without one, it starts at 0, never at an offset."""
    request = next_request(POLICY, Extents(), flows, want(500 * MIB), Ranges.IGNORED)
    assert (None if flows else Request(0, None)) == request


def test_a_stream_that_is_past_what_is_needed_is_not_waited_for():
    """Ranges worked, and one answer was not what was asked for: streams far away bring nothing for it."""
    far = [Flow(600 * MIB, None)]
    request = next_request(POLICY, Extents(), far, want(500 * MIB), Ranges.IGNORED)
    assert Request(0, None) == request
    both = [*far, Flow(0, None)]
    assert next_request(POLICY, Extents(), both, want(500 * MIB), Ranges.IGNORED) is None


def test_a_far_reader_gets_a_bounded_window_where_ranges_work():
    """A lone far read asks for a window around it, aligned, and no more."""
    request = next_request(POLICY, Extents(), [Flow(0, None)], want(100 * MIB + 5), Ranges.HONOURED)
    assert Request(100 * MIB, 101 * MIB) == request


def test_a_window_stops_where_bytes_are_present():
    """No byte is fetched twice where it can be avoided."""
    present = Extents([(10 * MIB + 4096 * 8, 11 * MIB)])
    request = next_request(POLICY, present, [], want(10 * MIB), Ranges.HONOURED)
    assert Request(10 * MIB, 10 * MIB + 4096 * 8) == request


def test_a_near_reader_waits_for_the_stream():
    """A gap smaller than a request is worth is waited for."""
    flows = [Flow(20 * MIB, None)]
    near = want(20 * MIB + POLICY.near_bytes)
    assert next_request(POLICY, Extents(), flows, near, Ranges.HONOURED) is None
    far = want(20 * MIB + POLICY.near_bytes + 1)
    assert next_request(POLICY, Extents(), flows, far, Ranges.HONOURED) is not None


def test_the_first_request_is_from_the_start_for_a_far_reader_too():
    """Only an answer with the whole carries a digest of the whole."""
    assert Request(0, None) == next_request(POLICY, Extents(), [], want(900 * MIB), Ranges.UNKNOWN)


def test_nothing_is_asked_while_an_answer_is_outstanding():
    """The first answer tells whether ranges work: until then a second request would be a guess."""
    flows = [Flow(None, None)]
    assert next_request(POLICY, Extents(), flows, want(900 * MIB), Ranges.UNKNOWN) is None


def test_a_pattern_grows_its_window_until_it_reads_on():
    """Reading on from a far place turns small windows into a stream without an end."""
    pattern = Pattern(POLICY)
    windows = []
    for offset, size in [(100 * MIB, 4096), (100 * MIB + 4096, 9 * MIB), (7, 1)]:
        pattern.note(offset, size)
        windows.append(pattern.window_bytes)
    assert [WINDOW, None, WINDOW] == windows


def test_read_ahead_is_bounded_beyond_the_furthest_reader():
    """A stream goes as far as the furthest reader and the read-ahead, and stops there."""
    flow = Flow(0, None)
    limit = limit_of(POLICY, flow, [], [100, 4 * MIB], Ranges.IGNORED)
    assert 4 * MIB + POLICY.read_ahead_bytes == limit


def test_readers_elsewhere_do_not_pull_a_stream_where_ranges_work():
    """Another reader's far position is served by another stream."""
    flow = Flow(0, None)
    assert POLICY.read_ahead_bytes == limit_of(POLICY, flow, [], [0, 500 * MIB], Ranges.HONOURED)
    assert 508 * MIB == limit_of(POLICY, flow, [], [0, 500 * MIB], Ranges.IGNORED)


def test_a_stream_of_a_window_runs_to_its_end():
    """A window was sized for its reader; it is not parked half-way."""
    assert limit_of(POLICY, Flow(0, MIB), [], [], Ranges.HONOURED) is None


extents = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40)).map(
        lambda pair: (pair[0] * MIB // 4, (pair[0] + pair[1]) * MIB // 4)
    ),
    max_size=6,
).map(Extents)
flow = st.builds(
    lambda pos, length: Flow(pos * MIB // 4, None if length is None else (pos + length) * MIB // 4),
    st.integers(0, 300),
    st.none() | st.integers(1, 8),
)


@given(
    present=extents,
    flows=st.lists(flow, max_size=3),
    start=st.integers(0, 100 * MIB),
    size=st.integers(1, MIB),
    window=st.none() | st.just(WINDOW),
    ranges=st.sampled_from(Ranges),
)
def test_whoever_waits_is_served(present, flows, start, size, window, ranges):
    """Every want is here, asked for at or before its first missing byte, or on a stream that may go there."""
    wanted = Want(start, start + size, window)
    need = present.first_missing(start)
    request = next_request(POLICY, present, flows, wanted, ranges)
    if need >= start + size:
        assert request is None
    elif request is not None:
        assert request.start <= need
        assert request.end is None or need < request.end
        assert not present.overlap(request.start, need).total_bytes or ranges is not Ranges.HONOURED
    elif ranges is not Ranges.HONOURED:
        assert flows  # it is on its way, or its end makes room for the next
    else:
        on_the_way = [
            f
            for f in flows
            if f.pos is not None and f.pos <= need and (f.stop is None or need < f.stop)
        ]
        limits = [limit_of(POLICY, f, [wanted], [], ranges) for f in on_the_way]
        assert any(limit is None or limit > need for limit in limits)
