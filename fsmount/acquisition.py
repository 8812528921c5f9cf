"""Records and content for tools that go through a whole case: from the case, else from the service.

Nobody waits at a keyboard for a single file here, so a service that is slow, busy or away for a moment is
waited for, in the background of the budget. What will not get better by waiting ends all fetching: with a
refused key or a full disk, every further request would be wasted.

It works beside a mount: it has a spool directory of its own, and what it fetched beyond the case's bound is
removed again once used.
"""

import contextlib
import dataclasses
import fcntl
import os
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import trio

import client
from fsmount.adoption import AppendMany
from fsmount.body import Body, OpenContent
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.config import SecretKey
from fsmount.content import Contents
from fsmount.content_rows import StoredContent
from fsmount.endpoints import Endpoints
from fsmount.errors import (
    ContentError,
    MismatchError,
    SizeDiffersError,
    UnreachableError,
    trouble_of,
)
from fsmount.inventory import Item
from fsmount.progress import what_holds
from fsmount.service import Service
from fsmount.spool import SharedFd
from fsmount.store import ContentStore

T = TypeVar("T")

_SILENCE_S = 30.0  # a stream that brings nothing for so long is broken
_SPOOL_PREFIX = "export-spool-"
_FAILURES_IN_A_ROW = 3  # of the service's own, on different files: then it is not the files


class UnavailableError(Exception):
    """A file can't be had in this run; the message says why, and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """How the service may be asked; None instead of one means that it may not.

    Units: requests a minute.
    """

    key: SecretKey
    base_url: str
    max_rpm: int


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before a file is tried again, in seconds, one pause after the other."""

    pauses_s: tuple[float, ...] = (2, 5, 10, 20, 30)


@dataclasses.dataclass(frozen=True, slots=True)
class Acquired:
    """Content that is in the case, whole and verified, for as long as the block lasts."""

    fd: SharedFd
    content: StoredContent


class Acquisition:
    """Gets what the case lacks. `on_wait` is told why nothing moves; empty: it does again."""

    def __init__(
        self,
        catalog: Catalog,
        store: ContentStore,
        contents: Contents,
        service: Service | None,
        journal: AppendMany,
        *,
        kept_bytes: int,
        patience: Patience,
        on_wait: Callable[[str], None],
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._contents = contents
        self._service = service
        self._journal = journal
        self._kept_bytes = kept_bytes
        self._patience = patience
        self._on_wait = on_wait
        self._stopped: str | None = None
        self._failures = 0
        self._fetched: deque[str] = deque()

    async def fetch_record(self, claude_file_id: str) -> None:
        """Ask for a file's record and put it into the catalog.

        Errors: UnavailableError.
        """
        if self._service is None:
            raise UnavailableError("the case does not hold its record, and no request may be made")
        service = self._service
        try:
            record = await self._patiently(lambda: service.get(claude_file_id))
        except client.NotFoundError as error:
            await self._note_gone(claude_file_id, error)
            raise UnavailableError(f"the service does not know it: {error}") from error
        except client.ComplianceError as error:
            raise UnavailableError(str(error)) from error
        await self._catalog.put_record(record)

    @asynccontextmanager
    async def content(self, item: Item) -> AsyncIterator[Acquired]:
        """Lend a file's verified content, fetched if need be; its record must be known.

        Errors: UnavailableError.
        """
        opened = await self._open_whole(item)
        try:
            if opened.body.download:
                await self._wait_adopted(opened.body)
                self._fetched.append(item.claude_file_id)
            content = self._store.find(item.claude_file_id)
            if content is None or opened.body.stored is None or content.verified != "yes":
                raise UnavailableError(
                    "it came without a digest, so nothing vouches for its bytes; they can be read in a mount"
                )
            yield Acquired(opened.body.stored, content)
        finally:
            opened.close()

    def make_room(self) -> None:
        """Remove what was fetched, the oldest first, until the case is within its bound again."""
        while self._fetched and self._store.total_bytes > self._kept_bytes:
            claude_file_id = self._fetched.popleft()
            self._store.release([claude_file_id])
            self._journal([("evicted", {"claude_file_id": claude_file_id})])

    async def _open_whole(self, item: Item) -> OpenContent:
        is_stored = item.content is not None and item.content.is_stored
        if self._service is None and not is_stored:
            raise UnavailableError("it is not stored, and no request may be made")
        try:
            opened = await self._patiently(lambda: self._open(item), is_local=is_stored)
        except client.NotFoundError as error:
            await self._note_gone(item.claude_file_id, error)
            raise UnavailableError(f"the service does not have it any more: {error}") from error
        except (MismatchError, client.ComplianceError) as error:
            raise UnavailableError(str(error)) from error
        except (ContentError, OSError) as error:
            raise self._stop(str(error)) from error
        return opened

    async def _note_gone(self, claude_file_id: str, error: client.NotFoundError) -> None:
        """Stop showing a file that the service does not know; the log tells since which request."""
        if await self._catalog.mark_gone(claude_file_id):
            facts = {
                "claude_file_id": claude_file_id,
                "request_id": error.request_id,
                "is_kept": False,
            }
            self._journal([("gone", facts)])

    async def _wait_adopted(self, body: Body) -> None:
        """Wait until what came is on the case's disk and in its custody log, before anything is made of it.

        Files are taken in a few times a second; four at a time are still more than the budget allows.
        """
        if not await body.wait_settled():
            raise self._stop("what was fetched can't be taken into the case; look at its disk")

    async def _open(self, item: Item) -> OpenContent:
        assert item.record is not None
        record = item.record
        for is_last in (False, True):
            try:
                return await self._contents.open(
                    item.claude_file_id, record.size_bytes, record.md5, whole=True
                )
            except SizeDiffersError:  # it is noted; opened again, the file has its true size
                if is_last:
                    raise
        raise AssertionError

    async def _patiently(self, work: Callable[[], Awaitable[T]], *, is_local: bool = False) -> T:
        """Return what `work` returns, trying again while there is hope."""
        for pause_s in (*self._patience.pauses_s, None):
            if self._stopped and not is_local:
                raise UnavailableError(f"nothing more is asked for, since: {self._stopped}")
            try:
                result = await work()
            except (client.ComplianceError, UnreachableError) as error:
                is_last = pause_s is None or (isinstance(error, client.APIError) and error.is_final)
                self._judge(error, is_last=is_last)
                await self._pause(str(error), pause_s or 0.0)
            else:
                self._failures = 0
                return result
        raise AssertionError

    def _judge(self, error: Exception, *, is_last: bool) -> None:
        """Return where trying again makes sense; else raise the error, or stop for all files."""
        match trouble_of(error):
            case None:
                raise error
            case "refused":
                raise self._stop(str(error)) from error
            case "away" if is_last:
                raise self._stop(str(error)) from error
            case "throttled" | "busy" if is_last:
                self._failures += 1
                if self._failures >= _FAILURES_IN_A_ROW:
                    raise self._stop(str(error)) from error
                raise error

    async def _pause(self, why: str, pause_s: float) -> None:
        self._on_wait(f"{why}; trying again in {pause_s:g} s")
        await trio.sleep(pause_s)
        self._on_wait("")

    def _stop(self, why: str) -> UnavailableError:
        """Make no further request; return the error for whoever needed one."""
        self._stopped = self._stopped or why
        return UnavailableError(why)


@asynccontextmanager
async def open_acquisition(
    case: Case,
    access: Access | None,
    journal: AppendMany,
    *,
    cache_bytes: int,
    on_wait: Callable[[str], None],
    patience: Patience | None = None,
) -> AsyncIterator[Acquisition]:
    """Lend an acquisition for a case.

    It leaves the case with no more stored bytes than `cache_bytes`, or than it found.
    """
    async with AsyncExitStack() as stack:
        spool_dir = stack.enter_context(_own_spool_dir(case))
        catalog = stack.enter_context(closing(Catalog(case.catalog_path)))
        store = stack.enter_context(closing(ContentStore(case.catalog_path, case.content_dir)))
        api = None if access is None else await stack.enter_async_context(_api(access))
        async with trio.open_nursery() as nursery:
            service = (
                None
                if api is None
                else Service(Endpoints(api, client.Priority.BACKGROUND), nursery)
            )
            contents = Contents(
                store, service, spool_dir=spool_dir, nursery=nursery, journal=journal
            )
            acquisition = Acquisition(
                catalog,
                store,
                contents,
                service,
                journal,
                kept_bytes=max(cache_bytes, store.total_bytes),
                patience=patience or Patience(),
                on_wait=on_wait,
            )
            if api is not None and service is not None:
                nursery.start_soon(_tell_waits, api, service, on_wait)
            try:
                yield acquisition
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await contents.aclose()  # bounded in time
                acquisition.make_room()


def _api(access: Access) -> client.AsyncComplianceClient:
    return client.AsyncComplianceClient(
        access.key.reveal(),
        base_url=access.base_url,
        timeout=_SILENCE_S,
        max_rpm=access.max_rpm,
    )


async def _tell_waits(
    api: client.AsyncComplianceClient, service: Service, on_wait: Callable[[str], None]
) -> None:
    """Say what requests wait for, as long as they do."""
    said = ""
    while True:
        words = what_holds(api.budget)
        reason = (f"waiting: {words}" if words else "") if service.is_reachable else said
        if reason != said:
            on_wait(reason)
            said = reason
        await trio.sleep(0.5)


@contextlib.contextmanager
def _own_spool_dir(case: Case) -> Iterator[Path]:
    """Lend a directory in the case for unfinished files, and remove those that killed processes left.

    The case's own is the mount's, which empties it when it starts.
    """
    for leftover in case.path.glob(f"{_SPOOL_PREFIX}*"):
        with _locked(leftover) as is_free:
            if is_free:
                shutil.rmtree(leftover, ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=_SPOOL_PREFIX, dir=case.path))
    try:
        with _locked(directory):
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Hold a directory for the time of the block; False when another process does, or it is gone."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)
