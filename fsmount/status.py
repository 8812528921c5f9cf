"""What the mount is doing: a JSON document that `fsmount status` and people read, and a line for services."""

import dataclasses
import json
from collections.abc import Callable

import client
import fsmount
from fsmount import ahead
from fsmount.answers import MountCounters
from fsmount.catalog import Catalog
from fsmount.content import Contents
from fsmount.service import Service

_LISTED_STREAMS = 20  # the document has a bounded size


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """Renders the document from the mount's parts.

    `requests` is None in an offline mount. Times are RFC 3339, sizes bytes.
    """

    case: str
    mounted_at: str
    catalog: Catalog
    contents: Contents
    service: Service | None
    requests: Callable[[], tuple[client.Stats, client.Budget]] | None
    counters: Callable[[], MountCounters]
    ahead: ahead.AheadCounters | None

    def render(self) -> bytes:
        """Return the document as UTF-8 JSON."""
        content = dataclasses.asdict(self.contents.counters)
        streaming = self.contents.streaming_ids
        document: dict[str, object] = {
            "fsmount": fsmount.__version__,
            "case": self.case,
            "mounted_at": self.mounted_at,
            "files": self.catalog.count(),
            "open_files": self.contents.open_count,
            "streaming": {"count": len(streaming), "ids": streaming[:_LISTED_STREAMS]},
            "stored_bytes": self.contents.stored_bytes,
            "content": content,
            "readers": dataclasses.asdict(self.counters()),
            "ahead": self._ahead(),
            "service": self._service(),
        }
        return json.dumps(document, indent=2).encode() + b"\n"

    def line(self) -> str:
        """Return the same in short, for a status line."""
        files, streaming = self.catalog.count(), len(self.contents.streaming_ids)
        return (
            f"case {self.case} is mounted (files: {files}, open: {self.contents.open_count},"
            f" downloads: {streaming}); the service is {self._service()['state']}"
        )

    def _ahead(self) -> dict[str, int] | None:
        """Return what was fetched before anybody opened it; `unread` was not opened until now."""
        if self.ahead is None:
            return None
        return {**dataclasses.asdict(self.ahead), "unread": self.ahead.unread}

    def _service(self) -> dict[str, object]:
        if self.service is None or self.requests is None:
            return {"state": "offline"}
        stats, budget = self.requests()
        return {
            "state": self.service.state,
            "requests": dataclasses.asdict(stats),
            "budget": dataclasses.asdict(budget),
        }
