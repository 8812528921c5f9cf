"""Builds the file system of a case from its parts, and takes it down again.

Everything that lives as long as the mount is made here, in one order, and ended in the opposite one.
"""

import dataclasses
import functools
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import UTC, datetime

import trio

import client
from fsmount.actor import actor
from fsmount.aftermath import clean_up, deletions
from fsmount.ahead import Ahead
from fsmount.answers import Rules, Stale
from fsmount.browse import Views
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.config import MountSettings
from fsmount.content import Contents
from fsmount.custody import CustodyLog
from fsmount.deletion import Deleter, Readers
from fsmount.doubts import Doubts
from fsmount.endpoints import Endpoints
from fsmount.filesystem import Filesystem
from fsmount.folders import Folders
from fsmount.inodes import Kind, inode_of
from fsmount.service import Service
from fsmount.status import Status
from fsmount.store import ContentStore

log = logging.getLogger(__name__)

_CLOSE_S = 10.0


@dataclasses.dataclass(slots=True)
class Built:
    """A file system and what a mount needs beside it.

    `stale` receives what the kernel should be told to ask for again. `describe` says in a line what the
    mount is doing.
    """

    filesystem: Filesystem
    contents: Contents
    stale: "trio.MemoryReceiveChannel[Stale]"
    describe: Callable[[], str]


@asynccontextmanager
async def open_filesystem(
    settings: MountSettings, case: Case, *, timeout_s: float, ids: Sequence[str] = ()
) -> AsyncIterator[Built]:
    """Lend the file system of a case for the time of a mount.

    Errors: CaseError, CustodyError.
    """
    with ExitStack() as stack:
        journal = stack.enter_context(closing(CustodyLog(case.custody_path)))
        catalog = stack.enter_context(
            closing(Catalog(case.catalog_path, shows_kept=settings.offline))
        )
        folders = stack.enter_context(
            closing(Folders(case.catalog_path, shows_kept=settings.offline))
        )
        store = stack.enter_context(closing(ContentStore(case.catalog_path, case.content_dir)))
        mounted_seq = journal.append("mounted", _facts(settings))
        await clean_up(case, catalog, store, journal, mounted_seq)
        await catalog.add_ids(ids)
        store.mark_running(running=True)
        async with trio.open_nursery() as nursery:
            parts = _Parts(settings, case, timeout_s, journal, catalog, store, folders, nursery)
            try:
                built = parts.build()
                parts.finish_old_deletions(mounted_seq)
                yield built
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
                    await parts.aclose()
        store.mark_running(running=False)
        journal.append("unmounted", {"mountpoint": str(settings.mountpoint)}, durable=True)


class _Parts:
    """The parts of one mount on their way to a file system."""

    def __init__(
        self,
        settings: MountSettings,
        case: Case,
        timeout_s: float,
        journal: CustodyLog,
        catalog: Catalog,
        store: ContentStore,
        folders: Folders,
        nursery: trio.Nursery,
    ) -> None:
        self._settings = settings
        self._case = case
        self._journal = journal
        self._catalog = catalog
        self._store = store
        self._nursery = nursery
        self._api = None if settings.offline else _api(settings, timeout_s)
        self._service = Service(Endpoints(self._api), nursery) if self._api else None
        self._views = Views(folders) if settings.views else None
        self._contents = Contents(
            store,
            self._service,
            spool_dir=case.spool_dir,
            nursery=nursery,
            journal=journal.append_many,
            cache_bytes=settings.cache_bytes or None,
        )

    def build(self) -> Built:
        """Put the parts together."""
        readers = Readers()
        send_stale, receive_stale = trio.open_memory_channel[Stale](math.inf)
        self._contents.on_true_size = lambda key: self._announce(key, send_stale)
        api = self._api
        if api:
            self._nursery.start_soon(api.warm_up)
        ahead = None
        if self._service:
            ahead = Ahead(self._catalog, self._contents, self._nursery)
        status = Status(
            case=self._case.name,
            mounted_at=datetime.now(UTC).isoformat(timespec="seconds"),
            catalog=self._catalog,
            contents=self._contents,
            service=self._service,
            requests=(lambda: (api.stats, api.budget)) if api else None,
            counters=lambda: self._filesystem.counters,
            ahead=ahead.counters if ahead else None,
        )
        self._filesystem = Filesystem(
            self._catalog,
            self._contents,
            self._service,
            self._deleter(readers),
            readers,
            Rules(
                allow_delete=self._settings.allow_delete,
                verified_open_bytes=self._settings.verified_open_bytes,
                deny_programs=self._settings.deny_programs,
            ),
            status=status.render,
            on_stale=send_stale.send_nowait,
            on_gone=lambda key, error: self._note_gone(key, error, send_stale),
            on_open=ahead.note_open if ahead else lambda _entry: None,
            views=self._views,
        )
        return Built(self._filesystem, self._contents, receive_stale, status.line)

    def finish_old_deletions(self, before_seq: int) -> None:
        """Have deletions of earlier mounts brought to their end, in the background."""
        if self._service:
            old = functools.partial(deletions, self._case, before_seq)
            self._nursery.start_soon(self._doubts(self._service).resolve_old, old)

    async def aclose(self) -> None:
        """Take finished content into the store and close the connections."""
        await self._contents.aclose()
        if self._settings.cache_bytes == 0:
            for claude_file_id in self._store.evict(0, lambda _key: False):
                self._journal.append("evicted", {"claude_file_id": claude_file_id})
        if self._api:
            await self._api.aclose()

    def _deleter(self, readers: Readers) -> Deleter | None:
        if self._service is None or not self._settings.allow_delete:
            return None
        doubts = self._doubts(self._service)
        return Deleter(
            self._service,
            self._journal,
            readers,
            self._nursery,
            allow_move=self._settings.allow_move,
            on_doubt=lambda key: self._nursery.start_soon(doubts.resolve_new, key),
        )

    def _doubts(self, service: Service) -> Doubts:
        return Doubts(service, self._journal, self._forget)

    async def _forget(self, claude_file_id: str) -> None:
        await self._filesystem.forget(claude_file_id)

    def _announce(self, claude_file_id: str, stale: "trio.MemorySendChannel[Stale]") -> None:
        entry = self._catalog.find(claude_file_id)
        if entry:
            stale.send_nowait(inode_of(entry.number, Kind.CONTENT))

    def _note_gone(
        self,
        claude_file_id: str,
        error: client.NotFoundError,
        stale: "trio.MemorySendChannel[Stale]",
    ) -> None:
        """Record that the service does not know a file any more, and have the kernel look again."""
        is_kept = self._contents.is_stored(claude_file_id)
        log.warning(
            "%s: the service does not know it any more, so it is not listed; its content is %s (request %s)",
            claude_file_id,
            "kept in the case and shown with --offline" if is_kept else "not in the case",
            error.request_id,
        )
        facts = {
            "claude_file_id": claude_file_id,
            "request_id": error.request_id,
            "is_kept": is_kept,
        }
        self._journal.append("gone", facts)
        stale.send_nowait(claude_file_id.encode())


def _api(settings: MountSettings, timeout_s: float) -> client.AsyncComplianceClient:
    assert settings.key is not None
    return client.AsyncComplianceClient(
        settings.key.reveal(),
        base_url=settings.base_url,
        # A silent stream is given up early enough to be resumed before the readers' deadline.
        timeout=min(30.0, timeout_s / 3),
        max_rpm=settings.max_rpm,
        max_wait_s=timeout_s,
    )


def _facts(settings: MountSettings) -> Mapping[str, object]:
    """Return who mounted what and how, for the custody log; never the key."""
    options = {
        field.name: str(value) if not isinstance(value, bool | int | float | None) else value
        for field in dataclasses.fields(settings)
        if field.name not in {"key", "deny_programs"}
        for value in [getattr(settings, field.name)]
    } | {"umask": f"{settings.umask:04o}"}
    return {**actor(), "options": options}
