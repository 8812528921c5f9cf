"""Read-ahead across files: what a walk will open next is fetched while it reads what is there.

`foresight` says which files, `content` fetches them, behind everybody who waits for a file. What
is fetched goes into the case like anything else, so nothing is fetched twice; what nobody opened is counted.
"""

import dataclasses
import logging

import trio

import client
from fsmount.catalog import Catalog, Entry
from fsmount.content import Contents
from fsmount.errors import FsmountError
from fsmount.foresight import Foresight, Place

log = logging.getLogger(__name__)

_SMALL_BYTES = 4 << 20  # a larger file is worth its own request, and its reader's time
_REMEMBERED = 10_000  # fetched files that nobody has opened yet


@dataclasses.dataclass(slots=True)
class AheadCounters:
    """What was fetched ahead since the mount began, and how much of it was opened."""

    fetched: int = 0
    read: int = 0
    under_way: int = 0

    @property
    def unread(self) -> int:
        """How many were fetched and not opened, until now."""
        return self.fetched - self.read


class Ahead:
    """Fetches ahead of the walks through one mount."""

    def __init__(self, catalog: Catalog, contents: Contents, nursery: trio.Nursery) -> None:
        self.counters = AheadCounters()
        self._catalog = catalog
        self._contents = contents
        self._nursery = nursery
        self._foresight = Foresight(catalog.following)
        self._unread: dict[str, bool] = {}  # by id: whether it is here

    def note_open(self, entry: Entry) -> None:
        """Take into account that a file is being opened, and start what should be had ahead of it."""
        was_fetched = self._unread.pop(entry.claude_file_id, None)
        if was_fetched:
            self.counters.read += 1
        is_new = was_fetched is None and not self._contents.is_stored(entry.claude_file_id)
        place = Place(entry.number, entry.claude_file_id)
        for upcoming in self._foresight.note(place, may_begin=is_new):
            if upcoming.claude_file_id not in self._unread:
                self._start(upcoming)

    def _start(self, place: Place) -> None:
        entry = self._catalog.find_number(place.number)
        if entry is None or not (entry.is_shown and self._is_worth_it(entry)):
            return
        self._unread[place.claude_file_id] = False
        if len(self._unread) > _REMEMBERED:
            del self._unread[next(iter(self._unread))]
        self.counters.under_way += 1
        self._nursery.start_soon(self._fetch, entry)

    def _is_worth_it(self, entry: Entry) -> bool:
        size_bytes = entry.record.size_bytes if entry.record else None
        is_small = size_bytes is not None and 0 < size_bytes <= _SMALL_BYTES
        key = entry.claude_file_id  # what a reader has open is not ahead of it
        return is_small and not (self._contents.is_stored(key) or self._contents.is_open(key))

    async def _fetch(self, entry: Entry) -> None:
        """Fetch one file; what goes wrong is for its reader to meet, if there will be one."""
        key = entry.claude_file_id
        assert entry.record is not None
        try:
            await self._contents.fetch_ahead(key, entry.record.size_bytes, entry.record.md5)
        except (client.ComplianceError, FsmountError, OSError) as error:
            log.debug("%s: not fetched ahead: %s", key, error)
            self._unread.pop(key, None)
        except Exception:
            log.exception("%s: not fetched ahead, please report it", key)
            self._unread.pop(key, None)
        else:
            self.counters.fetched += 1
            if key in self._unread:
                self._unread[key] = True
            else:  # it was opened while it was on its way
                self.counters.read += 1
        finally:
            self.counters.under_way -= 1
