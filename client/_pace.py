"""When a request may go: decisions that are told the time.

The budget is shared with every other tool of the organization, so there are three bounds: at most `max_rpm`
of our own requests in any 60 seconds; what the server's headers say is left; and a 429, which holds
everybody back, not only the request that met it. Nothing in here sleeps or sends.

Rules:
- Tickets queue by priority, then by age. Only the first may be admitted, so none is ever overtaken by a
  lower one. The first looks at the clock; the others wait to be woken.
- Every method that changes somebody's wait returns the tickets that should look again.
- A request counts from its admission. Only one that never reached the server is taken back.
"""

import bisect
import contextlib
import dataclasses
import enum
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from client._retry import backoff_s
from client._wire import Kind, date_of, number, retry_after_s

WINDOW_S = 60.0
MAX_BLIND = 8  # requests sent while nothing is known of the budget; each might meet a 429
_SAME_RESET_S = 1.5  # HTTP dates are cut to seconds, so one reset seems to move by up to that
_LIMIT = "anthropic-ratelimit-requests-limit"
_REMAINING = "anthropic-ratelimit-requests-remaining"
_RESET = "anthropic-ratelimit-requests-reset"


class Priority(enum.IntEnum):
    """Whose request goes first when the budget is short."""

    INTERACTIVE = 0
    READAHEAD = 1
    BACKGROUND = 2


class Urgency:
    """A priority that can be raised while its request waits, as when somebody comes to wait for it."""

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self._watchers: list[Callable[[Priority], None]] = []

    def raise_to(self, priority: Priority) -> None:
        """Go before others from now on; never behind."""
        if priority < self.priority:
            self.priority = priority
            for tell in tuple(self._watchers):
                tell(priority)

    @contextlib.contextmanager
    def watched(self, tell: Callable[[Priority], None]) -> Iterator[None]:
        """Tell of each rise within the block."""
        self._watchers.append(tell)
        try:
            yield
        finally:
            self._watchers.remove(tell)


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """The request budget at one moment.

    Shape: what the server has not told yet is None. Units: requests, seconds.
    """

    max_rpm: int | None
    limit: int | None
    remaining: int | None
    reset_in_s: float | None
    used_last_minute: int
    waiting: int
    blocked_for_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Stats:
    """How many requests were sent, each counted once; `retries` and `throttled` are among them."""

    metadata: int = 0
    content: int = 0
    delete: int = 0
    listing: int = 0
    retries: int = 0
    throttled: int = 0


@dataclasses.dataclass(slots=True, eq=False)
class Ticket:
    """A place in the queue, and once admitted the request that was sent for it."""

    priority: Priority
    number: int
    kind: Kind
    is_retry: bool
    sent_at: float | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """Lower goes first."""
        return (self.priority, self.number)


class Pacer:
    """Lets requests go at the pace that the budget allows.

    Units: `now` in seconds of one steady clock; `max_rpm` requests in any 60 s, None: no bound of our own.
    A ticket is admitted and then reported by `answered` or `failed`; `leave` is harmless after that.
    """

    def __init__(self, max_rpm: int | None = None) -> None:
        if max_rpm is not None and max_rpm < 1:
            raise ValueError("max_rpm must be at least 1")
        self._max_rpm = max_rpm
        self._queue: list[Ticket] = []
        self._sent: deque[float] = deque()
        self._numbers = 0
        self._in_flight = 0
        self._limit: int | None = None
        self._left: int | None = None
        self._lowest = 0  # of what answers of this window said is left: it only ever falls
        self._is_blind = True
        self._sent_blindly: set[Ticket] = set()  # under way, and sent while nothing was known
        self._reset_at = -math.inf
        self._blocked_until = -math.inf
        self._blocks_in_a_row = 0
        self._counts: dict[Kind, int] = {
            "metadata": 0,
            "content": 0,
            "delete": 0,
            "listing": 0,
        }
        self._retries = 0
        self._throttled = 0
        self.clock_ahead_s: float | None = None  # ours before the server's, as of its latest answer

    def join(
        self,
        kind: Kind,
        priority: Priority = Priority.INTERACTIVE,
        *,
        is_retry: bool = False,
    ) -> Ticket:
        """Queue for one request."""
        self._numbers += 1
        ticket = Ticket(priority, self._numbers, kind, is_retry)
        bisect.insort(self._queue, ticket, key=lambda queued: queued.rank)
        return ticket

    def raise_to(self, ticket: Ticket, priority: Priority) -> Sequence[Ticket]:
        """Let a ticket that still waits go by another priority; return who should look again."""
        if ticket in self._queue:
            self._queue.remove(ticket)
            ticket.priority = priority
            bisect.insort(self._queue, ticket, key=lambda queued: queued.rank)
        return self._queue[:1]

    def leave(self, ticket: Ticket) -> Sequence[Ticket]:
        """Give a place back that is not needed any more; return who should look again."""
        if ticket in self._queue:
            self._queue.remove(ticket)
        return self._queue[:1]

    def admit(self, ticket: Ticket, now: float) -> float:
        """Return 0.0 and count the request as sent, or how many seconds to wait before looking again.

        Infinity means: until woken.
        """
        if self._queue[0] is not ticket:
            return math.inf
        wait_s = self._wait_s(now)
        if wait_s > 0:
            return wait_s
        del self._queue[0]
        ticket.sent_at = now
        if self._is_blind:
            self._sent_blindly.add(ticket)
        self._sent.append(now)
        self._count(ticket, 1)
        return 0.0

    def certain_wait_s(self, ticket: Ticket, now: float) -> float:
        """Return how long the ticket has to wait at the least, whatever answers may still bring."""
        self._forget(now)
        ahead = bisect.bisect_left(self._queue, ticket.rank, key=lambda queued: queued.rank)
        waits = [0.0, self._blocked_until - now]
        if self._max_rpm is not None:
            first_free = len(self._sent) + ahead - self._max_rpm
            if first_free >= len(self._sent):
                waits.append(WINDOW_S)  # one that goes before must have gone, and a window passed
            elif first_free >= 0:
                waits.append(self._sent[first_free] + WINDOW_S - now)
        if self._left is not None and self._left <= ahead and not self._in_flight:
            waits.append(self._reset_at - now)
        return max(waits)

    def answered(
        self, status: int, headers: Mapping[str, str], now: float, wall: datetime
    ) -> Sequence[Ticket]:
        """Take the budget from the head of an answer; return who should look again.

        Shape: `wall` is the time of day, for answers that do not carry their own.
        """
        self._in_flight -= 1
        self._is_blind = False
        self._sent_blindly.clear()
        self._learn_budget(headers, now, wall)
        self._compare_clocks(headers, wall)
        if status != 429:
            self._blocks_in_a_row = 0
            return self._queue[:1]
        self._throttled += 1
        self._block(retry_after_s(headers), now)
        return self._queue[:]

    def failed(self, ticket: Ticket, *, arrived: bool) -> Sequence[Ticket]:
        """Note that a request got no answer; return who should look again."""
        self._sent_blindly.discard(ticket)
        if arrived:
            self._in_flight -= 1
        else:  # it was neither sent nor charged
            self._count(ticket, -1)
            if ticket.sent_at is not None and ticket.sent_at in self._sent:
                self._sent.remove(ticket.sent_at)
        return self._queue[:1]

    def budget(self, now: float) -> Budget:
        """Return the budget as it is known."""
        self._forget(now)
        left = self._left if now < self._reset_at else None
        return Budget(
            max_rpm=self._max_rpm,
            limit=self._limit,
            remaining=None if left is None else max(0, left),
            reset_in_s=None if left is None else self._reset_at - now,
            used_last_minute=len(self._sent),
            waiting=len(self._queue),
            blocked_for_s=max(0.0, self._blocked_until - now),
        )

    @property
    def stats(self) -> Stats:
        """What was sent so far."""
        return Stats(**self._counts, retries=self._retries, throttled=self._throttled)

    def _wait_s(self, now: float) -> float:
        self._forget(now)
        waits = [0.0, self._blocked_until - now]
        if self._max_rpm is not None and len(self._sent) >= self._max_rpm:
            waits.append(self._sent[-self._max_rpm] + WINDOW_S - now)
        if self._left is not None and self._left <= 0:
            waits.append(self._reset_at - now)
        elif self._left is None and self._is_blind and len(self._sent_blindly) >= MAX_BLIND:
            waits.append(math.inf)
        return max(waits)

    def _forget(self, now: float) -> None:
        # `sent + WINDOW_S - now <= 0`, as `_wait_s` has it: in floating point another form may differ.
        while self._sent and self._sent[0] + WINDOW_S - now <= 0:
            self._sent.popleft()
        if self._left is not None and self._reset_at - now <= 0:
            self._left = None  # a new window; its first answers tell what it holds
            self._is_blind = True

    def _count(self, ticket: Ticket, change: int) -> None:
        self._in_flight += change
        self._left = None if self._left is None else self._left - change
        self._counts[ticket.kind] += change
        self._retries += change if ticket.is_retry else 0

    def _block(self, asked_s: float | None, now: float) -> None:
        """Hold everybody back: as long as the server says, else 1 s doubling with each block in a row."""
        self._is_blind = self._left is None
        if asked_s is None:
            if now < self._blocked_until:
                return  # it was sent before the block began, so it says nothing new
            asked_s = backoff_s(self._blocks_in_a_row)
            self._blocks_in_a_row += 1
        self._blocked_until = max(self._blocked_until, now + asked_s)

    def _compare_clocks(self, headers: Mapping[str, str], wall: datetime) -> None:
        theirs = None if number(headers.get("age")) else date_of(headers, "date")
        if theirs is not None:
            self.clock_ahead_s = (_aware(wall) - theirs).total_seconds()

    def _learn_budget(self, headers: Mapping[str, str], now: float, wall: datetime) -> None:
        if number(headers.get("age")):
            return  # a cache's answer: charged to nobody, its budget is yesterday's
        limit = number(headers.get(_LIMIT))
        self._limit = self._limit if limit is None else int(limit)
        remaining = number(headers.get(_REMAINING))
        reset_in_s = _reset_in_s(headers, wall)
        if remaining is None or reset_in_s is None:
            return
        reset_at = now + reset_in_s
        is_same_window = False
        if self._left is not None and now < self._reset_at:
            if reset_at < self._reset_at - _SAME_RESET_S:
                return  # overtaken by an answer about a later window
            is_same_window = reset_at <= self._reset_at + _SAME_RESET_S
        # Answers may overtake each other, so the last to come may know less than one before it.
        lowest = min(self._lowest, int(remaining)) if is_same_window else int(remaining)
        # Requests under way may not be counted in it yet; taking them off errs on the safe side.
        left = lowest - self._in_flight
        if is_same_window and self._in_flight and self._left is not None:
            left = min(left, self._left)
        self._left, self._lowest, self._reset_at = left, lowest, reset_at


def _reset_in_s(headers: Mapping[str, str], wall: datetime) -> float | None:
    """Return how long the server's window still runs, at most a window, whatever the clocks say.

    Both times are the server's where its answer has a date: clocks of workstations are off.
    """
    try:
        reset = datetime.fromisoformat(headers.get(_RESET, ""))
    except ValueError:
        return None
    wall = date_of(headers, "date") or wall  # without a date, our own clock has to do
    return min(WINDOW_S, max(0.0, (_aware(reset) - _aware(wall)).total_seconds()))


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
