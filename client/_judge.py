"""What both transports decide in the same way: whose turn it is, what a failure means, how long to pause.

One judge is one client's view of the budget and of its server. Nothing in here sleeps or sends.
"""

import dataclasses
import math
from collections.abc import Mapping

from client._errors import APIError, BudgetExhaustedError, ComplianceError
from client._pace import Pacer, Ticket
from client._retry import RetryPolicy
from client._wire import Request, error_of


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How a client talks to its server; the key is not shown.

    Units: seconds; `max_rpm` requests a minute.
    """

    api_key: str = dataclasses.field(repr=False)
    base_url: str
    timeout_s: float
    max_rpm: int | None
    max_retries: int
    max_wait_s: float | None
    user_agent: str


class Judge:
    """The pacer and the retry policy of one client, and the longest wait it allows."""

    def __init__(self, options: Options) -> None:
        self.pacer = Pacer(options.max_rpm)
        self._retries = RetryPolicy(options.max_retries)
        self._max_wait_s = math.inf if options.max_wait_s is None else options.max_wait_s
        self._api_key = options.api_key.encode()

    def until(self, now: float) -> float:
        """Return until when a call that begins now may wait, for the budget and before retries."""
        return now + self._max_wait_s

    def turn_s(self, ticket: Ticket, request: Request, now: float, until: float) -> float:
        """Return 0.0 when the request goes now, or how long to wait for that unless woken.

        Errors: BudgetExhaustedError as soon as it is certain that the wait is longer than allowed.
        """
        wait_s = self.pacer.admit(ticket, now)
        if wait_s == 0 or until == math.inf:
            return wait_s
        certain_s = self.pacer.certain_wait_s(ticket, now)
        if now >= until or now + certain_s > until:
            raise BudgetExhaustedError(
                f"{request.about}: the request budget is used up, for another {certain_s:.0f} s or more; only"
                f" {self._max_wait_s:g} s of waiting are allowed. Try later, or slow other tools down",
                wait_s=certain_s,
            )
        return min(wait_s, until - now)

    def pause_s(
        self,
        request: Request,
        error: ComplianceError,
        attempt: int,
        max_retries: int | None,
        left_s: float,
    ) -> float | None:
        """Return how long to wait before the next try; None when there is none in the time that is left."""
        delay_s = self._retries.delay_s(request, error, attempt, max_retries)
        return None if delay_s is None or delay_s > left_s else delay_s

    def error_of(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> APIError:
        """Return the error that an answer stands for; a server that repeats the key is not repeated."""
        return error_of(request, status, headers, body.replace(self._api_key, b"[key]"))
