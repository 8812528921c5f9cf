"""When a request may go, and whether a failed one goes again: decisions that are told the time.

The budget is shared with every other tool of the organization, so there are three bounds: at most `max_rpm`
of our own requests in any 60 seconds; what the server's headers say is left; and a 429, which holds
everybody back, not only the request that met it. Nothing in here sleeps or sends.
"""

import dataclasses
import enum
import random
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from client import _errors as errors
from client._wire import Kind, Request

WINDOW_S = 60.0
MAX_BACKOFF_S = 60.0
_TURN_S = 0.005  # how soon to look again when it is somebody else's turn
_IN_FLIGHT_S = 0.05  # how soon to look again when an answer may bring news of the budget


class Priority(enum.IntEnum):
    """Whose request goes first when the budget is short."""

    INTERACTIVE = 0
    READAHEAD = 1
    BACKGROUND = 2


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
    """How many requests were sent, each counted once."""

    metadata: int = 0
    content: int = 0
    delete: int = 0
    retries: int = 0
    throttled: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """A place in the queue for the budget."""

    priority: Priority
    number: int

    @property
    def rank(self) -> tuple[int, int]:
        """Lower goes first."""
        return (self.priority, self.number)


class Pacer:
    """Lets requests go at the pace that the budget allows.

    Units: `now` in seconds of one steady clock. A ticket is either admitted (and then must be reported by
    `answered` or `failed`) or given back by `leave`.
    """

    def __init__(self, max_rpm: int | None = None) -> None:
        if max_rpm is not None and max_rpm < 1:
            raise ValueError("max_rpm must be at least 1")
        self._max_rpm = max_rpm
        self._sent: deque[float] = deque()
        self._queue: list[Ticket] = []
        self._numbers = 0
        self._in_flight = 0
        self._limit: int | None = None
        self._left: int | None = None
        self._reset_at = 0.0
        self._blocked_until = 0.0
        self._throttled_in_a_row = 0
        self._counts: dict[Kind, int] = {"metadata": 0, "content": 0, "delete": 0}
        self._retries = 0
        self._throttled = 0

    def join(self, priority: Priority) -> Ticket:
        """Queue for one request."""
        self._numbers += 1
        ticket = Ticket(priority, self._numbers)
        self._queue.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a place back that is not needed any more."""
        if ticket in self._queue:
            self._queue.remove(ticket)

    def admit(self, ticket: Ticket, kind: Kind, now: float, *, is_retry: bool = False) -> float:
        """Return 0.0 and count the request as sent, or how many seconds to wait before asking again."""
        wait_s = self.wait_s(now)
        if wait_s > 0:
            return wait_s
        if min(self._queue, key=lambda queued: queued.rank) != ticket:
            return _TURN_S
        self._queue.remove(ticket)
        self._sent.append(now)
        self._in_flight += 1
        if self._left is not None:
            self._left -= 1
        self._counts[kind] += 1
        self._retries += is_retry
        return 0.0

    def wait_s(self, now: float) -> float:
        """Return how long nobody may send, as far as is known now."""
        while self._sent and self._sent[0] <= now - WINDOW_S:
            self._sent.popleft()
        waits = [self._blocked_until - now]
        if self._max_rpm is not None and len(self._sent) >= self._max_rpm:
            waits.append(self._sent[-self._max_rpm] + WINDOW_S - now)
        if self._left is not None and self._left <= 0:
            if now >= self._reset_at:
                self._left = None  # a new window; its first answer tells what it holds
            elif self._in_flight:
                waits.append(min(_IN_FLIGHT_S, self._reset_at - now))
            else:
                waits.append(self._reset_at - now)
        return max(0.0, *waits)

    def expected_wait_s(self, now: float) -> float:
        """Return the wait that is certain: a block, a full window, a budget known to be used up."""
        wait_s = self.wait_s(now)
        is_spent = self._left is not None and self._left <= 0 and self._in_flight == 0
        return max(wait_s, self._reset_at - now) if is_spent else wait_s

    def answered(self, status: int, headers: Mapping[str, str], now: float, wall: datetime) -> None:
        """Take the budget from the head of an answer."""
        self._in_flight -= 1
        self._learn_budget(headers, now, wall)
        if status != 429:
            self._throttled_in_a_row = 0
            return
        self._throttled += 1
        self._throttled_in_a_row += 1
        wait_s = _number(headers.get("retry-after"))
        if wait_s is None:
            wait_s = backoff_s(self._throttled_in_a_row - 1)
        self._blocked_until = max(self._blocked_until, now + wait_s)

    def failed(self) -> None:
        """Note that a request got no answer."""
        self._in_flight -= 1

    def budget(self, now: float) -> Budget:
        """Return the budget as it is known."""
        self.wait_s(now)
        return Budget(
            max_rpm=self._max_rpm,
            limit=self._limit,
            remaining=None if self._left is None else max(0, self._left),
            reset_in_s=None if self._left is None else max(0.0, self._reset_at - now),
            used_last_minute=len(self._sent),
            waiting=len(self._queue),
            blocked_for_s=max(0.0, self._blocked_until - now),
        )

    @property
    def stats(self) -> Stats:
        """What was sent so far."""
        return Stats(**self._counts, retries=self._retries, throttled=self._throttled)

    def _learn_budget(self, headers: Mapping[str, str], now: float, wall: datetime) -> None:
        remaining = _number(headers.get("anthropic-ratelimit-requests-remaining"))
        reset = _time(headers.get("anthropic-ratelimit-requests-reset"))
        limit = _number(headers.get("anthropic-ratelimit-requests-limit"))
        self._limit = self._limit if limit is None else int(limit)
        if remaining is None or reset is None:
            return
        # Requests under way may not be counted in `remaining` yet; taking them off errs on the safe side.
        self._left = int(remaining) - self._in_flight
        # A clock that is off must not hold requests back for longer than a window.
        self._reset_at = now + min(WINDOW_S, max(0.0, (reset - wall).total_seconds()))


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Whether and when a failed request goes again.

    Shape: `draw` returns a number in [0, 1), for the jitter that keeps clients from coming in step.
    """

    max_retries: int = 4
    draw: Callable[[], float] = random.random

    def delay_s(
        self,
        request: Request,
        error: errors.ComplianceError,
        headers: Mapping[str, str],
        attempt: int,
    ) -> float | None:
        """Return how long to wait before try `attempt` + 1 (the first was 0); None: not again."""
        if attempt >= self.max_retries or not _is_transient(error, headers):
            return None
        if isinstance(error, errors.RateLimitError):
            return 0.0  # the pacer holds everybody back for as long as the server asked
        if request.method == "DELETE" and not _never_arrived(error):
            return None  # it may have been carried out
        return backoff_s(attempt) * (0.75 + self.draw() / 2)


def backoff_s(attempt: int) -> float:
    """Return 1 s for attempt 0, doubling up to 60 s."""
    return min(MAX_BACKOFF_S, 2.0 ** min(attempt, 10))


def _is_transient(error: errors.ComplianceError, headers: Mapping[str, str]) -> bool:
    if isinstance(error, errors.APIError):
        if headers.get("x-should-retry", "").strip().lower() == "false":
            return False
        return isinstance(
            error,
            errors.RateLimitError
            | errors.InternalServerError
            | errors.ServiceUnavailableError
            | errors.OverloadedError,
        )
    return isinstance(error, errors.APIConnectionError)


def _never_arrived(error: errors.ComplianceError) -> bool:
    return isinstance(error, errors.APIConnectionError) and not error.bytes_sent


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _time(text: str | None) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
