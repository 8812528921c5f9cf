"""The request budget: who may go when, decided in plain code that is told the time."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from client._pace import MAX_BLIND, WINDOW_S, Pacer, Priority, Stats, Ticket, Urgency
from client._wire import Kind

WALL = datetime(2026, 1, 1, tzinfo=UTC)


def told(remaining: int, reset_in_s: float = 30, limit: int = 600) -> dict[str, str]:
    """Return the budget headers of an answer."""
    return {
        "anthropic-ratelimit-requests-limit": str(limit),
        "anthropic-ratelimit-requests-remaining": str(remaining),
        "anthropic-ratelimit-requests-reset": (WALL + timedelta(seconds=reset_in_s)).isoformat(),
    }


def send(pacer: Pacer, now: float, priority: Priority = Priority.INTERACTIVE) -> Ticket:
    """Send a request that may go at once."""
    ticket = pacer.join("content", priority)
    assert 0 == pacer.admit(ticket, now)
    return ticket


def wait(pacer: Pacer, now: float) -> float:
    """Return how long a new request would have to wait, and give its place back."""
    ticket = pacer.join("content")
    wait_s = pacer.admit(ticket, now)
    assert wait_s > 0
    pacer.leave(ticket)
    return wait_s


# -- our own bound ---------------------------------------------------------------------------------


def run_out(
    pacer: Pacer, arrivals: list[tuple[float, Priority]]
) -> tuple[list[Ticket], dict[Ticket, float]]:
    """Play arrivals through a pacer, its waiters looking exactly when they are due.

    Return the tickets in the order in which they went, and when each arrived.
    """
    sent: list[Ticket] = []
    arrived: dict[Ticket, float] = {}
    waiting: list[Ticket] = []
    now = 0.0
    pending = sorted(arrivals, key=lambda arrival: arrival[0])
    while pending or waiting:
        while pending and pending[0][0] <= now:
            ticket = pacer.join("metadata", pending[0][1])
            arrived[ticket] = pending.pop(0)[0]
            waiting.append(ticket)
        waits = {ticket: pacer.admit(ticket, now) for ticket in waiting}
        went = [ticket for ticket, wait_s in waits.items() if wait_s == 0]
        for ticket in went:
            waiting.remove(ticket)
            sent.append(ticket)
            pacer.answered(200, {}, now, WALL)
        if went:
            continue
        due = [now + wait_s for wait_s in waits.values()] + [arrival[0] for arrival in pending[:1]]
        now = min(due)
    return sent, arrived


ARRIVALS = st.lists(
    st.tuples(st.floats(0, 300, allow_nan=False), st.sampled_from(Priority)), max_size=60
)


@given(max_rpm=st.integers(1, 10), arrivals=ARRIVALS)
def test_no_window_of_a_minute_holds_more_than_allowed(max_rpm, arrivals):
    """Whatever the arrivals, no 60 seconds see more than max_rpm requests, and all are sent."""
    sent = [ticket.sent_at or 0.0 for ticket in run_out(Pacer(max_rpm), arrivals)[0]]
    assert len(arrivals) == len(sent)
    assert all(b - (a + WINDOW_S) >= 0 for a, b in zip(sent, sent[max_rpm:], strict=False))


@given(max_rpm=st.integers(1, 5), arrivals=ARRIVALS)
def test_a_lower_priority_never_overtakes(max_rpm, arrivals):
    """A request never goes while one of higher priority, or an older one of its own, waits."""
    order, arrived = run_out(Pacer(max_rpm), arrivals)
    for position, ticket in enumerate(order):
        for later in order[position + 1 :]:
            assert arrived[later] > (ticket.sent_at or 0.0) or later.rank > ticket.rank


def test_without_a_bound_of_our_own_all_go():
    """Without max_rpm nothing but the server's word holds requests back."""
    pacer = Pacer()
    for _ in range(2000):
        send(pacer, 0.0)
        pacer.answered(200, {}, 0.0, WALL)
    assert 2000 == pacer.budget(0.0).used_last_minute


def test_the_window_slides():
    """A place is free again one minute after its request, not when a fixed minute begins."""
    pacer = Pacer(2)
    for now in (0.0, 50.0):
        send(pacer, now)
        pacer.answered(200, {}, now, WALL)
    assert 5.0 == wait(pacer, 55.0)
    send(pacer, 60.0)
    pacer.answered(200, {}, 60.0, WALL)
    assert 50.0 == wait(pacer, 60.0)


@pytest.mark.parametrize("max_rpm", [0, -1])
def test_a_bound_below_one_is_refused(max_rpm):
    """A bound that lets nothing through is the caller's mistake."""
    with pytest.raises(ValueError, match="max_rpm"):
        Pacer(max_rpm)


# -- the server's word -----------------------------------------------------------------------------


def test_nothing_is_sent_when_nothing_is_left():
    """At zero left all wait for the reset, and go after it."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, told(0, reset_in_s=30), 0.0, WALL)
    assert 30.0 == wait(pacer, 0.0)
    assert 1.0 == wait(pacer, 29.0)
    send(pacer, 30.0)


def test_what_is_left_counts_down_with_our_own_requests():
    """Requests under way are taken off what the server says is left."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, told(2), 0.0, WALL)
    send(pacer, 1.0)
    assert 1 == pacer.budget(1.0).remaining
    send(pacer, 1.0)
    assert 29.0 == wait(pacer, 1.0)


def test_requests_under_way_are_not_spent_twice():
    """An answer that was on its way before our last request does not give that one back."""
    pacer = Pacer()
    for _ in range(2):
        send(pacer, 0.0)
    pacer.answered(200, told(5), 0.0, WALL)
    assert 4 == pacer.budget(0.0).remaining


@pytest.mark.parametrize("remaining", [0, 1, 300])
def test_what_was_left_of_a_window_that_is_over_is_no_promise(remaining):
    """Others may have used up the new one: as at the beginning, a few requests find that out."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, told(remaining), 0.0, WALL)
    for _ in range(MAX_BLIND):
        send(pacer, 600.0)
    assert math.inf == wait(pacer, 600.0)
    pacer.answered(200, told(500, reset_in_s=30), 601.0, WALL)
    send(pacer, 601.0)


def test_requests_that_hang_from_the_window_before_keep_nobody_waiting():
    """What was sent while the budget was known is no guess about the new one."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, told(100, reset_in_s=30), 0.0, WALL)
    hanging = [send(pacer, 1.0) for _ in range(MAX_BLIND)]
    blind = [send(pacer, 31.0) for _ in range(MAX_BLIND)]
    assert math.inf == wait(pacer, 31.0)
    pacer.failed(hanging[0], arrived=True)
    assert math.inf == wait(pacer, 31.0)
    pacer.failed(blind[0], arrived=True)
    send(pacer, 31.0)


@pytest.mark.parametrize("date", ["Thu, 01 Jan 2026 00:00:00 +99999999999999999999", "x", ""])
def test_an_absurd_date_is_none(date):
    """Whatever a server says of the time, its answer counts."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, told(7) | {"date": date}, 0.0, WALL)
    assert 7 == pacer.budget(0.0).remaining


def test_an_answer_that_was_overtaken_does_not_raise_what_is_left():
    """Of two answers about one window, the lower figure holds while requests are under way."""
    pacer = Pacer()
    for _ in range(3):
        send(pacer, 0.0)
    pacer.answered(200, told(7), 0.0, WALL)
    pacer.answered(200, told(9), 0.0, WALL)
    assert 5 == pacer.budget(0.0).remaining


def test_the_last_answer_of_a_burst_may_be_the_one_that_knows_least():
    """With nothing under way any more, what an overtaken answer says is still no gain."""
    pacer = Pacer()
    for _ in range(3):
        send(pacer, 0.0)
    for remaining in (7, 8, 9):
        pacer.answered(200, told(remaining), 0.0, WALL)
    assert 7 == pacer.budget(0.0).remaining


def test_an_answer_about_an_earlier_window_is_ignored():
    """A late answer from before the reset says nothing about the window that runs."""
    pacer = Pacer()
    for _ in range(2):
        send(pacer, 0.0)
    pacer.answered(200, told(500, reset_in_s=60), 0.0, WALL)
    pacer.answered(200, told(0, reset_in_s=2), 0.0, WALL)
    assert 499 == pacer.budget(0.0).remaining


def test_a_reset_is_measured_on_the_servers_own_clock():
    """A workstation whose clock is an hour off waits as long as any other."""
    for off_by in (timedelta(hours=-1), timedelta(), timedelta(hours=1)):
        pacer = Pacer()
        send(pacer, 0.0)
        headers = {**told(0, reset_in_s=30), "date": format_datetime(WALL, usegmt=True)}
        pacer.answered(200, headers, 0.0, WALL + off_by)
        assert 30.0 == wait(pacer, 0.0)


def test_a_wrong_clock_never_blocks_for_longer_than_a_window():
    """Without a date, a reset that seems hours away is a wrong clock: a window is waited for."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, told(0, reset_in_s=7200), 0.0, WALL)
    assert WINDOW_S == wait(pacer, 0.0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"anthropic-ratelimit-requests-remaining": "0"},
        {**told(0), "anthropic-ratelimit-requests-reset": "soon"},
        {**told(0), "anthropic-ratelimit-requests-remaining": "none"},
        {**told(0), "age": "12"},
    ],
)
def test_headers_that_tell_nothing_hold_nothing_back(headers):
    """Half a budget, nonsense, or a cache's old answer is no budget."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, headers, 0.0, WALL)
    send(pacer, 0.0)


def test_few_go_before_the_budget_is_known():
    """Until the first answer only some requests go; then as many as it allows."""
    pacer = Pacer()
    for _ in range(MAX_BLIND):
        send(pacer, 0.0)
    waiter = pacer.join("metadata")
    assert math.inf == pacer.admit(waiter, 0.0)
    assert [waiter] == pacer.answered(200, told(100), 0.0, WALL)
    assert 0 == pacer.admit(waiter, 0.0)


def test_a_ticket_that_is_raised_keeps_its_age():
    """It goes before all that came later, and not before those of its new kind that came first."""
    pacer = Pacer(max_rpm=1)
    send(pacer, 0.0)
    first, ahead, second = (
        pacer.join("content", priority)
        for priority in (Priority.INTERACTIVE, Priority.READAHEAD, Priority.INTERACTIVE)
    )
    assert [first] == pacer.raise_to(ahead, Priority.INTERACTIVE)
    waiting = [second, ahead, first]
    order = []
    for now in (60.0, 120.0, 180.0):
        sent = [ticket for ticket in waiting if pacer.admit(ticket, now) == 0]
        waiting = [ticket for ticket in waiting if ticket not in sent]
        order += sent
    assert [first, ahead, second] == order


def test_raising_what_has_been_sent_changes_nothing():
    """A request that is under way can't go before others any more."""
    pacer = Pacer()
    ticket = send(pacer, 0.0, Priority.READAHEAD)
    assert [] == pacer.raise_to(ticket, Priority.INTERACTIVE)
    assert Priority.READAHEAD is ticket.priority


def test_an_urgency_only_rises():
    """Who watches it is told of each rise, and of nothing after the watch has ended."""
    urgency = Urgency(Priority.BACKGROUND)
    told: list[Priority] = []
    with urgency.watched(told.append):
        for priority in (Priority.READAHEAD, Priority.BACKGROUND, Priority.INTERACTIVE):
            urgency.raise_to(priority)
    Urgency.raise_to(urgency, Priority.INTERACTIVE)
    assert [Priority.READAHEAD, Priority.INTERACTIVE] == told
    assert Priority.INTERACTIVE is urgency.priority


# -- 429 -------------------------------------------------------------------------------------------


def test_a_429_holds_everybody_back():
    """After a 429 nobody goes for retry-after, whoever met it and whatever the priority."""
    pacer = Pacer()
    send(pacer, 0.0, Priority.BACKGROUND)
    waiters = [pacer.join("content", priority) for priority in reversed(Priority)]
    woken = pacer.answered(429, {"retry-after": "12"}, 0.0, WALL)
    assert {*waiters} == {*woken}
    urgent = waiters[-1]
    assert 12.0 == pacer.admit(urgent, 0.0)
    assert 12.0 == pacer.budget(0.0).blocked_for_s
    assert 0 == pacer.admit(urgent, 12.0)


def test_a_429_without_a_floor_backs_off_doubling():
    """Without retry-after: 1 s doubling to 60 s, and from 1 s again after an answer that is none."""
    pacer = Pacer()
    now = 0.0
    for expected in (1, 2, 4, 8, 16, 32, 60, 60):
        send(pacer, now)
        pacer.answered(429, {}, now, WALL)
        assert expected == wait(pacer, now)
        now += expected
    send(pacer, now)
    pacer.answered(200, {}, now, WALL)
    send(pacer, now)
    pacer.answered(429, {}, now, WALL)
    assert 1 == wait(pacer, now)


def test_429s_of_one_burst_count_once():
    """Requests that were under way when the block began do not double it."""
    pacer = Pacer()
    for _ in range(5):
        send(pacer, 0.0)
    for _ in range(5):
        pacer.answered(429, {}, 0.0, WALL)
    assert 1 == wait(pacer, 0.0)


def test_a_shorter_block_does_not_end_a_longer_one():
    """Of two 429s the later end holds."""
    pacer = Pacer()
    for _ in range(2):
        send(pacer, 0.0)
    pacer.answered(429, {"retry-after": "30"}, 0.0, WALL)
    pacer.answered(429, {"retry-after": "5"}, 0.0, WALL)
    assert 30 == wait(pacer, 0.0)


# -- tickets ---------------------------------------------------------------------------------------


def test_a_ticket_given_back_lets_the_next_one_look():
    """Leaving the queue tells who is first now."""
    pacer = Pacer(1)
    send(pacer, 0.0)
    first, second = pacer.join("content"), pacer.join("content")
    assert math.inf == pacer.admit(second, 1.0)
    assert [second] == pacer.leave(first)
    assert 59.0 == pacer.admit(second, 1.0)


def test_leaving_after_admission_changes_nothing():
    """A ticket that was admitted stays counted."""
    pacer = Pacer()
    pacer.leave(send(pacer, 0.0))
    assert (1, Stats(content=1)) == (pacer.budget(0.0).used_last_minute, pacer.stats)


def test_a_request_that_never_arrived_is_not_counted():
    """Without a connection nothing was sent: budget and figures are as before."""
    pacer = Pacer(5)
    send(pacer, 0.0)
    pacer.answered(200, told(10), 0.0, WALL)
    before = pacer.budget(1.0), pacer.stats
    ticket = pacer.join("metadata", is_retry=True)
    pacer.admit(ticket, 1.0)
    assert before != (pacer.budget(1.0), pacer.stats)
    pacer.failed(ticket, arrived=False)
    assert before == (pacer.budget(1.0), pacer.stats)


def test_a_request_without_an_answer_is_counted():
    """A request that may have arrived is charged, and no longer under way."""
    pacer = Pacer()
    send(pacer, 0.0)
    pacer.answered(200, told(10), 0.0, WALL)
    pacer.failed(send(pacer, 0.0), arrived=True)
    assert (9, Stats(content=2)) == (pacer.budget(0.0).remaining, pacer.stats)


def test_figures_count_by_kind():
    """Every request is in its kind; retries and refusals are counted beside that."""
    pacer = Pacer()
    tries: list[tuple[Kind, bool]] = [("metadata", False), ("delete", False), ("delete", True)]
    for kind, is_retry in tries:
        pacer.admit(pacer.join(kind, is_retry=is_retry), 0.0)
    pacer.answered(429, {}, 0.0, WALL)
    assert Stats(metadata=1, delete=2, retries=1, throttled=1) == pacer.stats


# -- certain waits ---------------------------------------------------------------------------------


@given(
    max_rpm=st.integers(1, 4),
    used=st.integers(0, 4),
    ahead=st.integers(0, 8),
    age=st.floats(0, 59),
)
def test_a_certain_wait_is_never_longer_than_the_wait(max_rpm, used, ahead, age):
    """What is called certain comes true: the ticket goes no earlier, if nobody gives up."""
    pacer = Pacer(max_rpm)
    for _ in range(min(used, max_rpm)):
        send(pacer, 0.0)
        pacer.answered(200, {}, 0.0, WALL)
    queue = [pacer.join("content") for _ in range(ahead + 1)]
    certain_s = pacer.certain_wait_s(queue[-1], age)
    now = age
    while queue:
        wait_s = pacer.admit(queue[0], now)
        now += wait_s
        if wait_s == 0:
            last = queue.pop(0)
            pacer.answered(200, {}, now, WALL)
    assert last.sent_at is not None
    assert certain_s <= last.sent_at - age + 1e-9


def test_those_ahead_count_into_a_certain_wait():
    """A ticket behind others knows that their requests come first."""
    pacer = Pacer(2)
    for now in (0.0, 10.0):
        send(pacer, now)
        pacer.answered(200, {}, now, WALL)
    queue = [pacer.join("content") for _ in range(3)]
    assert [40.0, 50.0, 60.0] == [pacer.certain_wait_s(ticket, 20.0) for ticket in queue]


def test_a_spent_budget_is_certain_only_when_no_answer_is_due():
    """An answer under way may bring news, so until then the reset is not certain."""
    pacer = Pacer()
    for _ in range(2):
        send(pacer, 0.0)
    pacer.answered(200, told(1), 0.0, WALL)
    waiter = pacer.join("content")
    assert (30.0, 0.0) == (pacer.admit(waiter, 0.0), pacer.certain_wait_s(waiter, 0.0))
    pacer.answered(200, told(0), 0.0, WALL)
    assert 30.0 == pacer.certain_wait_s(waiter, 0.0)


# -- everything at once ----------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Arrivals, answers, failures and departures in any order, with waiters that act when woken."""

    @initialize(max_rpm=st.integers(1, 4) | st.none())
    def start(self, max_rpm):
        self.max_rpm = max_rpm
        self.pacer = Pacer(max_rpm)
        self.now = 0.0
        self.waiting: list[Ticket] = []
        self.under_way: list[Ticket] = []
        self.sent: list[float] = []

    def look(self, tickets):
        """Let tickets look, and whoever their admission wakes."""
        todo = list(tickets)
        while todo:
            ticket = todo.pop(0)
            if ticket in self.waiting and self.pacer.admit(ticket, self.now) == 0:
                self.waiting.remove(ticket)
                self.under_way.append(ticket)
                self.sent.append(self.now)
                assert all(ticket.rank < other.rank for other in self.waiting)
                todo += self.pacer.leave(ticket)

    @rule(priority=st.sampled_from(Priority))
    def arrive(self, priority):
        ticket = self.pacer.join("content", priority)
        self.waiting.append(ticket)
        self.look([ticket])

    @rule(seconds=st.floats(0, 90))
    def pass_time(self, seconds):
        self.now += seconds
        self.look(sorted(self.waiting, key=lambda ticket: ticket.rank)[:1])

    @precondition(lambda self: self.under_way)
    @rule(
        status=st.sampled_from([200, 404, 429, 503]),
        headers=st.just({})
        | st.builds(told, st.integers(0, 5), st.floats(0, 60))
        | st.just({"retry-after": "7"}),
        which=st.integers(0, 99),
    )
    def answer(self, status, headers, which):
        self.under_way.pop(which % len(self.under_way))
        wall = WALL  # each answer tells its reset from its own moment
        self.look(self.pacer.answered(status, headers, self.now, wall))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def fail(self, which):
        ticket = self.under_way.pop(which % len(self.under_way))
        self.look(self.pacer.failed(ticket, arrived=True))

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 99))
    def give_up(self, which):
        ticket = self.waiting.pop(which % len(self.waiting))
        self.look(self.pacer.leave(ticket))

    @invariant()
    def hold_the_bound(self):
        if self.max_rpm is not None:
            pairs = zip(self.sent, self.sent[self.max_rpm :], strict=False)
            assert all(b - (a + WINDOW_S) >= 0 for a, b in pairs)

    @invariant()
    def leave_nobody_behind(self):
        """Let the first in the queue wait for a time, or for an answer that is due."""
        if self.waiting:
            first = min(self.waiting, key=lambda ticket: ticket.rank)
            wait_s = self.pacer.admit(first, self.now)
            assert wait_s > 0
            assert wait_s < math.inf or self.under_way

    @invariant()
    def agree_on_figures(self):
        budget = self.pacer.budget(self.now)
        assert len(self.waiting) == budget.waiting
        assert len(self.sent) == self.pacer.stats.content


TestAnyOrder = AnyOrder.TestCase


# -- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"date": format_datetime(WALL - timedelta(seconds=90), usegmt=True)}, 90),
        ({"date": format_datetime(WALL + timedelta(seconds=5), usegmt=True)}, -5),
        ({"date": format_datetime(WALL, usegmt=True), "age": "30"}, None),
        ({"date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_an_answer_tells_how_far_the_clocks_are_apart(headers, expected):
    """Unless it has no date, or a cache kept it for a while."""
    pacer = Pacer()
    send(pacer, 0)
    pacer.answered(200, headers, 0, WALL)
    assert expected == pacer.clock_ahead_s
