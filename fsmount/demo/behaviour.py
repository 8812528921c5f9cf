"""How the emulator behaves beyond what it serves: speed, ranges, the request budget, who may do what.

All of it may be changed while the emulator runs. Nothing here knows HTTP or waits.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

READ_USER_DATA = "read:compliance_user_data"
DELETE_USER_DATA = "delete:compliance_user_data"
READ_ORG_DATA = "read:compliance_org_data"
READ_ACTIVITIES = "read:compliance_activities"

READ_SCOPES = frozenset({READ_USER_DATA, READ_ORG_DATA, READ_ACTIVITIES})

# Obviously made up, so that nobody hunts for a leaked secret when one turns up in a log.
READ_KEY = "sk-ant-api01-demo-read-not-a-real-key"
DELETE_KEY = "sk-ant-api01-demo-delete-not-a-real-key"
USER_DATA_KEY = "sk-ant-api01-demo-user-data-only-not-a-real-key"

KEYS: Mapping[str, frozenset[str]] = {
    READ_KEY: READ_SCOPES,
    DELETE_KEY: READ_SCOPES | {DELETE_USER_DATA},
    USER_DATA_KEY: frozenset({READ_USER_DATA}),
}


@dataclass(slots=True)
class Behaviour:
    """Knobs that tests and benchmarks turn; the defaults are what the documentation says.

    Units: seconds; `bytes_per_s` bounds each body by itself (None: as fast as it goes).
    `honour_range`: off, `Range` is ignored, as nothing documents it. `range_md5`: what Content-MD5 of
    a partial answer vouches for: the whole file (as a caching proxy passes it on), the part, or absent.
    `window_s` is the length of the budget's window, a minute with the real service.
    """

    honour_range: bool = False
    range_md5: Literal["whole", "part", "absent"] = "whole"
    latency_s: float = 0.0
    bytes_per_s: float | None = None
    # 256 KiB chunks are where the server's cost per chunk stops to show (measured with curl).
    chunk_size: int = 256 * 1024
    requests_per_minute: int = 600
    window_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What the budget says about one request: may it go, and what to announce.

    Units: `resets_in_s` seconds from now until the window starts anew.
    """

    is_granted: bool
    limit: int
    remaining: int
    resets_in_s: float


class RequestBudget:
    """The requests per minute of the whole organization, counted in fixed windows.

    Is told the monotonic time. The window starts with the first request that falls in none.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._started_at = float("-inf")
        self._spent = 0

    def spend(self, now: float, requests: int = 1) -> Grant:
        """Spend units, as one request or as everybody else's tools do (`requests` at once)."""
        limit, window_s = self._behaviour.requests_per_minute, self._behaviour.window_s
        if now - self._started_at >= window_s:
            self._started_at, self._spent = now, 0
        is_granted = self._spent < limit
        if is_granted:
            self._spent += requests
        resets_in_s = self._started_at + window_s - now
        return Grant(is_granted, limit, max(0, limit - self._spent), resets_in_s)

    def reset(self) -> None:
        """Start with a fresh window."""
        self._started_at = float("-inf")


# First match decides; a path that matches none is an unknown endpoint.
_SCOPES: tuple[tuple[str, re.Pattern[str], frozenset[str]], ...] = (
    ("DELETE", re.compile(r"/v1/compliance/apps/"), frozenset({READ_USER_DATA, DELETE_USER_DATA})),
    ("GET", re.compile(r"/v1/compliance/apps/"), frozenset({READ_USER_DATA})),
    ("GET", re.compile(r"/v1/compliance/organizations/[^/]+/users$"), frozenset({READ_USER_DATA})),
    ("GET", re.compile(r"/v1/compliance/organizations$"), frozenset({READ_ORG_DATA})),
    ("GET", re.compile(r"/v1/compliance/activities$"), frozenset({READ_ACTIVITIES})),
)


def needed_scopes(method: str, path: str) -> frozenset[str]:
    """Return the scopes a key must have for this request."""
    return next(
        (scopes for verb, known, scopes in _SCOPES if verb == method and known.match(path)),
        frozenset(),
    )
