"""Progress: words that can be trusted, on a terminal and off it, and a task's errors as they are."""

import sys
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import client
from fsmount.errors import CollectError
from fsmount.progress import Pace, State, duration, line_of, shown, what_holds


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Return a clock that jumps at once: nothing here uses threads."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (100 * 3600, "100 h 0 min"),
    ],
)
def test_a_duration_is_told_in_two_units(seconds, expected):
    """Seconds up to a minute, then minutes and seconds, then hours and minutes."""
    assert expected == duration(seconds)


@pytest.mark.parametrize(
    ("state", "pace", "expected"),
    [
        (State(0, None, "chats"), [], "0 chats"),
        (State(1200, 20000, "chats"), ["12/s"], "1,200 of 20,000 chats, 12/s"),
        (
            State(1, 2, "chats", ("5 files", "3 requests"), "budget exhausted, 23 s"),
            [],
            "1 of 2 chats, 5 files, 3 requests, waiting: budget exhausted, 23 s",
        ),
    ],
)
def test_a_line_has_what_is_done_and_why_it_waits(state, pace, expected):
    """Counts first, then facts, pace, and what it waits for."""
    assert expected == line_of(state, pace)


@pytest.mark.parametrize(
    ("state", "seconds", "expected"),
    [
        (State(100, 200, "chats"), 0.5, []),
        (State(0, 200, "chats"), 10, []),
        (State(100, 200, "chats"), 10, ["10/s", "10 s left"]),
        (State(5, 10, "chats"), 10, ["30/min", "10 s left"]),
        (State(100, None, "chats"), 10, ["10/s"]),
        (State(100, 100, "chats"), 10, ["10/s"]),
    ],
)
def test_the_pace_is_told_once_there_is_one(state, seconds, expected):
    """Nothing is made up in the first second, nor of how long what is not counted takes."""
    pace = Pace(1000.0)
    assert [] == pace.words(State(0, None, "chats"), 1000.0)
    assert expected == pace.words(state, 1000.0 + seconds)


def test_what_an_earlier_run_did_is_no_pace():
    """A run that goes on tells its own pace, not that of what was there."""
    pace = Pace(0.0)
    assert [] == pace.words(State(5000, 6000, "chats"), 0.0)
    assert [] == pace.words(State(5000, 6000, "chats"), 10.0)
    assert ["10/s", "1 min 30 s left"] == pace.words(State(5100, 6000, "chats"), 10.0)


@given(done=st.integers(0, 10**6), total=st.none() | st.integers(0, 10**6), now=st.floats(0, 10**6))
def test_any_moment_can_be_told(done, total, now):
    """No division by nothing, no negative time."""
    pace = Pace(0.0)
    pace.words(State(0, None, "chats"), 0.0)
    state = State(done, total, "chats")
    assert "-" not in line_of(state, pace.words(state, now))


# -- while a task runs ---------------------------------------------------------------------------------


async def test_off_a_terminal_a_line_is_written_now_and_then(autojump_clock, capsys):
    """Every five seconds, and at the end: a short task has one line."""
    done = 0
    async with shown(lambda: State(done, 9, "chats")):
        await trio.sleep(11)
        done = 9
    lines = capsys.readouterr().err.splitlines()
    assert ["0 of 9 chats"] * 2 == lines[:2]
    assert 3 == len(lines)
    assert lines[2].startswith("9 of 9 chats")


async def test_on_a_terminal_there_is_a_bar(autojump_clock, capsys, monkeypatch):
    """It is drawn over itself; the last moment stays."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    done = 0
    async with shown(lambda: State(done, 9, "chats", waiting="[budget]")):
        await trio.sleep(1)
        done = 9
    assert "9 of 9 chats, waiting: [budget]" in capsys.readouterr().err


@pytest.mark.parametrize("is_terminal", [False, True])
async def test_errors_of_the_task_are_not_wrapped(autojump_clock, monkeypatch, is_terminal):
    """Whoever catches an error of the task finds it, not a group; and what was done is shown."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)

    async def fail() -> None:
        async with shown(lambda: State(0, 9, "chats")):
            await trio.sleep(1)
            raise CollectError("the service is away")

    with pytest.raises(CollectError, match="away"):
        await fail()


async def test_a_task_can_be_cancelled(autojump_clock):
    """The end of the scope is the end of the task, without an error."""
    with trio.move_on_after(3) as scope:
        async with shown(lambda: State(0, 9, "chats")):
            await trio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"waiting": 0, "remaining": 0, "blocked_for_s": 9.0}, None),
        ({}, None),
        ({"blocked_for_s": 72.3, "remaining": 0}, "the service asked to, for 1 min 12 s"),
        ({"remaining": 0}, "the organization's requests are used up, for 30 s"),
        ({"used_last_minute": 300}, "300 requests a minute, as --max-rpm says"),
        ({"used_last_minute": 300, "max_rpm": None}, None),
    ],
)
def test_what_requests_wait_for_is_told(changes, says):
    """As the budget has it: the service's word first, then what is left, then our own bound."""
    told = {
        "max_rpm": 300,
        "limit": 600,
        "remaining": 100,
        "reset_in_s": 30.0,
        "used_last_minute": 10,
        "waiting": 1,
        "blocked_for_s": 0.0,
    }
    budget: Any = told | changes
    assert says == what_holds(client.Budget(**budget))
