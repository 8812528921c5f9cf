"""What was asked of the emulator: one record per request, readable from any thread while it runs."""

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["metadata", "content", "delete", "other"]

_FILE_PATH = re.compile(
    r"/v1/compliance/apps/(?:chats/(?:generated-)?files|artifacts)/[^/]+(?P<content>/content)?$"
)


@dataclass(slots=True)
class LoggedRequest:
    """One request, from the moment it arrived; grows while it is being answered.

    Shape: `status` is None until the answer has begun. `key` is a label, never the key itself.
    Units: `started_at` and `ended_at` on the monotonic clock; `bytes_sent` body bytes handed to the
    transport (None of them twice, and none that a broken connection refused).
    """

    method: str
    path: str
    query: str
    range: str | None
    started_at: float = field(default_factory=time.monotonic)
    status: int | None = None
    bytes_sent: int = 0
    ended_at: float | None = None
    request_id: str = ""
    is_complete: bool = False

    @property
    def kind(self) -> Kind:
        """Return which kind of request it is: file record, file bytes, deletion, or anything else."""
        if self.method == "DELETE":
            return "delete"
        match = _FILE_PATH.fullmatch(self.path)
        if match is None or self.method != "GET":
            return "other"
        return "content" if match["content"] else "metadata"


class RequestLog:
    """The requests since the start or the last reset, in order of arrival."""

    def __init__(self) -> None:
        self._entries: list[LoggedRequest] = []
        self._changed = threading.Condition()

    def begin(self, entry: LoggedRequest) -> None:
        """Add a request that has just arrived."""
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def end(self, entry: LoggedRequest) -> None:
        """Note that nothing more will be sent for this request."""
        with self._changed:
            entry.ended_at = time.monotonic()
            self._changed.notify_all()

    def entries(self, kind: Kind | None = None) -> list[LoggedRequest]:
        """Return the requests, of one kind or all."""
        with self._changed:
            return [entry for entry in self._entries if kind in (None, entry.kind)]

    def count(self, kind: Kind | None = None) -> int:
        """Return how many requests arrived, of one kind or all."""
        return len(self.entries(kind))

    def counts(self) -> dict[Kind, int]:
        """Return the number of requests of every kind that occurred."""
        counts: dict[Kind, int] = {}
        for entry in self.entries():
            counts[entry.kind] = counts.get(entry.kind, 0) + 1
        return counts

    def bytes_sent(self, kind: Kind | None = None) -> int:
        """Return the body bytes of these requests."""
        return sum(entry.bytes_sent for entry in self.entries(kind))

    def wait_for(self, count: int, kind: Kind | None = None, *, timeout_s: float = 5.0) -> None:
        """Wait until so many requests have arrived.

        Errors: TimeoutError, naming how many did.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._count(kind) >= count, timeout_s):
                raise TimeoutError(f"{self._count(kind)} of {count} requests within {timeout_s} s")

    def wait_idle(self, *, timeout_s: float = 5.0) -> None:
        """Wait until no request is being answered any more, so that byte counts are final.

        Errors: TimeoutError, naming the requests that go on.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open(), timeout_s):
                raise TimeoutError(f"still answering {[entry.path for entry in self._open()]}")

    def reset(self) -> None:
        """Forget all requests."""
        with self._changed:
            self._entries.clear()

    def _count(self, kind: Kind | None) -> int:
        return sum(kind in (None, entry.kind) for entry in self._entries)

    def _open(self) -> list[LoggedRequest]:
        return [entry for entry in self._entries if entry.ended_at is None]
