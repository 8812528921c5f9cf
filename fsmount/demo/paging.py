"""Reads query parameters, and hands out and takes back the tokens by which lists go on.

A token names a place and the list it belongs to. It is opaque and never an id of the list: a client
that builds one itself, or carries one over to another list or order, is refused.
"""

import base64
import binascii
import json
from collections.abc import Collection
from datetime import UTC, datetime

from starlette.requests import Request

from .shapes import RefusedError


class Query:
    """The query of one request. Unknown parameters and repeated single ones are refused (400)."""

    def __init__(self, request: Request, known: Collection[str]) -> None:
        self._parameters = request.query_params
        for name in self._parameters:
            if name not in known:
                raise RefusedError(400, f"{name}: unknown parameter")
            if not name.endswith("[]") and len(self._parameters.getlist(name)) > 1:
                raise RefusedError(400, f"{name}: given more than once")

    def text(self, name: str) -> str | None:
        """Return a single parameter."""
        return self._parameters.get(name)

    def several(self, name: str) -> list[str]:
        """Return a parameter that may be repeated."""
        return self._parameters.getlist(name)

    def limit(self, default: int | None, maximum: int) -> int | None:
        """Return how many entries are wanted: 1 to `maximum`."""
        raw = self._parameters.get("limit")
        if raw is None:
            return default
        if not raw.isascii() or not raw.isdigit() or not 1 <= int(raw) <= maximum:
            raise RefusedError(400, f"limit: must be an integer from 1 to {maximum}")
        return int(raw)

    def moment(self, name: str) -> datetime | None:
        """Return an RFC 3339 time with its zone."""
        raw = self._parameters.get(name)
        if raw is None:
            return None
        try:
            moment = datetime.fromisoformat(raw)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise RefusedError(400, f"{name}: must be an RFC 3339 time with a zone")
        return moment.astimezone(UTC)

    def bounds(self, field: str) -> "Bounds":
        """Return the four bounds of a time."""
        return Bounds(*(self.moment(f"{field}.{edge}") for edge in ("gte", "gt", "lte", "lt")))


class Bounds:
    """An interval of times."""

    def __init__(
        self, gte: datetime | None, gt: datetime | None, lte: datetime | None, lt: datetime | None
    ) -> None:
        self._gte, self._gt, self._lte, self._lt = gte, gt, lte, lt

    @property
    def is_open(self) -> bool:
        """Return whether nothing is bounded."""
        return (self._gte, self._gt, self._lte, self._lt) == (None,) * 4

    def admit(self, moment: datetime) -> bool:
        """Return whether the time lies inside."""
        return (
            (self._gte is None or moment >= self._gte)
            and (self._gt is None or moment > self._gt)
            and (self._lte is None or moment <= self._lte)
            and (self._lt is None or moment < self._lt)
        )


def make_token(listing: str, *place: str) -> str:
    """Return the token for a place in a list."""
    data = json.dumps([listing, *place]).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_token(name: str, listing: str, token: str) -> list[str]:
    """Return the place a token stands for.

    Errors: RefusedError (400) for one that was made up or belongs to another list or order.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise RefusedError(400, f"{name}: not a valid cursor")
    if found[:1] != [listing]:
        raise RefusedError(400, f"{name}: this cursor belongs to another list or order")
    return [str(item) for item in found[1:]]
