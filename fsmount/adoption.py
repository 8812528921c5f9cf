"""Taking finished bodies into the case: in groups, into the store, into the journal, within the bound.

A body counts as taken in once the store has it on its disk and in its rows. Until then it answers for itself.
"""

import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import trio

from fsmount.body import Body
from fsmount.content_rows import StoredContent
from fsmount.custody import Event
from fsmount.disk import Disk
from fsmount.errors import CaseError
from fsmount.store import ContentStore, FinishedSpool

log = logging.getLogger(__name__)

AppendMany = Callable[[Sequence[Event]], object]  # to the custody log: all of them or none

_GATHER_S = 0.2  # finished files are taken in in groups: a wait for the disk each would cost more


@dataclasses.dataclass(slots=True)
class ContentCounters:
    """What has happened since the mount began."""

    downloads: int = 0
    acquired: int = 0
    acquired_bytes: int = 0
    mismatches: int = 0
    evicted: int = 0


class Adoption:
    """The way of finished bodies into the store.

    `on_settled` is told of a body that nobody has open when it was taken in, or when that failed; `in_use`
    says which files may not be evicted. Units: `cache_bytes` in bytes, None: without bound.
    """

    def __init__(
        self,
        store: ContentStore,
        disk: Disk,
        nursery: trio.Nursery,
        journal: AppendMany,
        counters: ContentCounters,
        *,
        cache_bytes: int | None,
        on_settled: Callable[[Body], None],
        in_use: Callable[[], frozenset[str]],
    ) -> None:
        self._store = store
        self._disk = disk
        self._nursery = nursery
        self._journal = journal
        self._counters = counters
        self._cache_bytes = cache_bytes
        self._on_settled = on_settled
        self._in_use = in_use
        self._finished: list[Body] = []
        self._adopting = trio.Lock()

    def take(self, body: Body) -> None:
        """Take a complete body into the case, in the background."""
        self._finished.append(body)
        if len(self._finished) == 1:
            self._nursery.start_soon(self._adopt_in_background)

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Take nothing in for the time of the block; what was being taken in is in the store by then."""
        async with self._adopting:
            yield

    def leave_out(self, body: Body) -> None:
        """Never take a body in: its file has been deleted."""
        self._finished = [other for other in self._finished if other is not body]

    async def finish(self, bodies: Iterable[Body]) -> None:
        """Take in what is ready, then those whose last hash is still on its way; at the end of a mount.

        Fetching again what readers have whole would cost a request.
        """
        await self._adopt_all()
        for body in bodies:
            if body.download and body.is_on_its_way and body not in self._finished:
                try:
                    await body.download.finish_digest()
                except Exception as error:
                    log.error("%s: not taken into the case: %s", body.claude_file_id, error)
        await self._adopt_all()

    async def _adopt_in_background(self) -> None:
        await trio.sleep(_GATHER_S)
        await self._adopt_all()

    async def _adopt_all(self) -> None:
        """Take what is finished into the case; what goes wrong is told, and ends nothing else."""
        try:
            await self._adopt_finished()
        except (CaseError, OSError) as error:
            log.error("acquired content can't be taken into the case: %s", error)
        except Exception:
            log.exception("acquired content can't be taken into the case, please report it")

    async def _adopt_finished(self) -> None:
        async with self._adopting:
            batch, self._finished = self._finished, []
            stored: frozenset[str] = frozenset()
            try:
                spools = [_finished_spool(body) for body in batch]
                if spools:
                    adopted = await self._disk.run(lambda: self._store.adopt(spools))
                    stored = frozenset(row.claude_file_id for row in adopted.rows)
                    _tell_failures(adopted.failures)
                    self._note_acquired(adopted.rows)
            except trio.Cancelled:  # before a thread was free: the end of the mount tries again
                self._finished = batch + self._finished
                batch = []
                raise
            finally:
                for body in batch:
                    body.settle(is_adopted=body.claude_file_id in stored)
                    if not body.opens:
                        self._on_settled(body)
            await self._evict()

    def _note_acquired(self, rows: Sequence[StoredContent]) -> None:
        self._counters.acquired += len(rows)
        self._counters.acquired_bytes += sum(row.size_bytes or 0 for row in rows)
        self._journal([("acquired", _facts_of(row)) for row in rows])

    async def _evict(self) -> None:
        bound = self._cache_bytes
        if bound is None or self._store.total_bytes <= bound:
            return
        in_use = self._in_use()
        evicted = await self._disk.run(lambda: self._store.evict(bound, in_use.__contains__))
        self._counters.evicted += len(evicted)
        if evicted:
            self._journal([("evicted", {"claude_file_id": key}) for key in evicted])


def _tell_failures(failures: Mapping[str, OSError]) -> None:
    for claude_file_id, error in failures.items():
        log.error("%s: acquired, but not taken into the case: %s", claude_file_id, error)


def _finished_spool(body: Body) -> FinishedSpool:
    assert body.download is not None
    assert body.verdict is not None
    assert body.sha256 is not None
    verdict = body.verdict
    return FinishedSpool(
        claude_file_id=body.claude_file_id,
        place=body.download.spool.place,
        size_bytes=verdict.size_bytes,
        md5=verdict.md5,
        sha256=body.sha256,
        verified="yes" if verdict.is_verified else "no",
        how=verdict.how,
        request_id=body.download.request_id,
    )


def _facts_of(row: StoredContent) -> Mapping[str, object]:
    return {
        "claude_file_id": row.claude_file_id,
        "size_bytes": row.size_bytes,
        "md5": row.md5,
        "sha256": row.sha256,
        "request_id": row.request_id,
        "verified": row.how,
    }
