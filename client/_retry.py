"""Whether and when a failed request goes again. Nothing in here sleeps or sends."""

import dataclasses
import random
from collections.abc import Callable

from client import _errors as errors
from client._wire import Request

MAX_BACKOFF_S = 60.0
_CONNECT_RETRIES = (
    2  # a host that can't be reached is told within seconds; asking again costs no budget
)


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
        attempt: int,
        max_retries: int | None = None,
    ) -> float | None:
        """Return how long to wait before try `attempt` + 1 (the first was 0); None: not again."""
        most = self.max_retries if max_retries is None else max_retries
        if _never_arrived(error):
            most = min(most, _CONNECT_RETRIES)
        if attempt >= most or not _is_transient(error):
            return None
        if isinstance(error, errors.RateLimitError):
            return 0.0  # the pacer holds everybody back for as long as the server asked
        if request.method == "DELETE" and not _never_arrived(error):
            return None  # it may have been carried out
        floor_s = error.retry_after_s if isinstance(error, errors.APIError) else None
        return max(floor_s or 0.0, backoff_s(attempt) * (0.75 + self.draw() / 2))


def backoff_s(attempt: int) -> float:
    """Return 1 s for attempt 0, doubling up to 60 s."""
    return min(MAX_BACKOFF_S, 2.0 ** min(attempt, 10))


def _is_transient(error: errors.ComplianceError) -> bool:
    if isinstance(error, errors.APIError):
        return not error.is_final and isinstance(
            error,
            errors.RateLimitError
            | errors.InternalServerError
            | errors.ServiceUnavailableError
            | errors.OverloadedError,
        )
    return isinstance(error, errors.APIConnectionError)


def _never_arrived(error: errors.ComplianceError) -> bool:
    return isinstance(error, errors.APIConnectionError) and not error.bytes_sent
