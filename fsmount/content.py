"""The content of all files: fetched once, checked, kept within a bound.

`Contents` is what the file system talks to. It hands out open files, knows sizes and hashes, and tells the
journal what happened to the evidence. How one file's bytes come is in `body` and `download`; how they are
taken into the case, in `adoption`; where they lie, in `store`.
"""

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import trio

import client
from fsmount.adoption import Adoption, AppendMany, ContentCounters
from fsmount.body import Body, OpenContent
from fsmount.content_rows import StoredContent
from fsmount.digest import Expected
from fsmount.disk import Disk
from fsmount.download import Download
from fsmount.errors import (
    AbsentError,
    CaseError,
    ContentError,
    OfflineError,
    StaleError,
    UncheckedError,
)
from fsmount.readahead import Policy
from fsmount.recheck import Recheck
from fsmount.source import Source
from fsmount.spool import SMALL_BYTES, Spool
from fsmount.store import ContentStore

log = logging.getLogger(__name__)

# Unfinished files that are kept for their next reader: each holds a descriptor, and room on the disk.
_IDLE_PARTIALS, _IDLE_PARTIAL_BYTES = 64, 1 << 30
_LOOKS = 3  # at a stored file that is changed again and again
_CLOSE_GRACE_S = 10.0  # for taking finished files into the store at the end


class Known(NamedTuple):
    """What the case knows of a file's content.

    Shape: hashes None until computed; `size_bytes` is the true size.
    """

    size_bytes: int | None
    md5: str | None
    sha256: str | None
    verified: Literal["yes", "no", "mismatch"]
    is_stored: bool


class Contents:
    """All files' bytes.

    `source` None means that no request is made.
    `on_true_size` is told the id of a file whose size turned out other than recorded, so that whoever
    showed the old one can correct it.
    """

    def __init__(
        self,
        store: ContentStore,
        source: Source | None,
        *,
        spool_dir: Path,
        nursery: trio.Nursery,
        journal: AppendMany,
        policy: Policy | None = None,
        cache_bytes: int | None = None,
        on_true_size: Callable[[str], None] = lambda _claude_file_id: None,
    ) -> None:
        self.counters = ContentCounters()
        self.on_true_size = on_true_size
        self._store = store
        self._source = source
        self._spool_dir = spool_dir
        self._nursery = nursery
        self._journal = journal
        self._policy = policy or Policy()
        if cache_bytes:
            self._policy = dataclasses.replace(self._policy, whole_bytes=cache_bytes)
        self._partial_bytes = min(_IDLE_PARTIAL_BYTES, cache_bytes or _IDLE_PARTIAL_BYTES)
        self._disk = Disk()
        self._bodies: dict[str, Body] = {}
        self._stale_pages: set[str] = set()
        self._mismatched: set[str] = set()  # on their way into the store
        self._numbers = itertools.count(1)
        self._recheck = Recheck(store, nursery, self._note_lost)
        self._adoption = Adoption(
            store,
            self._disk,
            nursery,
            journal,
            self.counters,
            cache_bytes=cache_bytes,
            on_settled=self.note_closed,
            in_use=self._ids_in_use,
        )

    # -- what is known ---------------------------------------------------------------------------

    def find(self, claude_file_id: str) -> Known | None:
        """Return what is known of a file's content without asking anybody."""
        body = self._bodies.get(claude_file_id)
        if body and body.verdict:
            verdict = body.verdict
            verified: Literal["yes", "no"] = "yes" if verdict.is_verified else "no"
            return Known(verdict.size_bytes, verdict.md5, body.sha256, verified, is_stored=True)
        row = self._store.find(claude_file_id)
        is_mismatch = claude_file_id in self._mismatched
        if row is None:
            return Known(None, None, None, "mismatch", is_stored=False) if is_mismatch else None
        verdict_on_record = "mismatch" if is_mismatch and not row.is_stored else row.verified
        return Known(row.size_bytes, row.md5, row.sha256, verdict_on_record, row.is_stored)

    def is_stored(self, claude_file_id: str) -> bool:
        """Say whether reading the file costs no request."""
        known = self.find(claude_file_id)
        return known is not None and known.is_stored

    def is_open(self, claude_file_id: str) -> bool:
        """Say whether somebody has the file open, or waits for that."""
        body = self._bodies.get(claude_file_id)
        return body is not None and bool(body.opens)

    def _ids_in_use(self) -> frozenset[str]:
        return frozenset(key for key, body in self._bodies.items() if body.opens)

    @property
    def open_count(self) -> int:
        """How many files are open."""
        return sum(len(body.opens) for body in self._bodies.values())

    @property
    def stored_bytes(self) -> int:
        """How much content the case holds."""
        return self._store.total_bytes

    @property
    def streaming_ids(self) -> list[str]:
        """The files whose bytes are on their way right now."""
        return [key for key, body in self._bodies.items() if body.download and not body.verdict]

    # -- for readers -----------------------------------------------------------------------------

    async def open(
        self, claude_file_id: str, size_bytes: int | None, md5: str | None, *, whole: bool
    ) -> OpenContent:
        """Open one file; with `whole`, only once all of it is here and judged.

        Shape: `size_bytes` and `md5` as the record has them, None when unknown.
        Errors: ContentError and its children; whatever the service answered.
        """
        body = await self._body(claude_file_id, size_bytes, md5)
        opened = self._opened(body)
        try:
            if whole:
                await body.wait_whole()
        except BaseException:
            opened.close()
            raise
        return opened

    def open_nowait(self, claude_file_id: str, md5: str | None) -> OpenContent | None:
        """Open one file if all of it is here and opening takes no waiting, else None."""
        body = self._bodies.get(claude_file_id)
        if body:
            return self._opened(body) if body.stored else None
        row = self._store.find(claude_file_id)
        fd = self._store.open_nowait(row) if row else None
        if row is None or fd is None:
            return None
        return self._opened(self._stored_body(claude_file_id, row, fd, md5))

    def _opened(self, body: Body) -> OpenContent:
        is_stale = body.claude_file_id in self._stale_pages
        opened = body.open(keep_cache=not is_stale)
        if is_stale and len(body.opens) == 1:
            self._stale_pages.discard(body.claude_file_id)
        return opened

    async def fetch_ahead(
        self, claude_file_id: str, size_bytes: int | None, md5: str | None
    ) -> None:
        """Fetch a file that nobody has opened yet, after all that somebody waits for; errors as `open`."""
        body = await self._body(claude_file_id, size_bytes, md5, is_ahead=True)
        opened = body.open(keep_cache=True)
        try:
            await body.wait_whole()
        finally:
            opened.close()

    async def measure(self, claude_file_id: str, md5: str | None) -> int:
        """Return the true size of a file whose record has none, in bytes; fetches it if need be."""
        opened = await self.open(claude_file_id, None, md5, whole=True)
        try:
            return await opened.body.wait_whole()
        finally:
            opened.close()

    async def discard(self, claude_file_id: str) -> None:
        """Remove a deleted file's bytes; whoever has it open gets errors from now on."""
        if body := self._bodies.get(claude_file_id):  # at once, whatever the disk does
            body.forget(StaleError(f"{claude_file_id} has been deleted"))
        self._stale_pages.add(claude_file_id)
        async with self._adoption.paused():
            body = self._bodies.pop(claude_file_id, None)
            if body:
                self._adoption.leave_out(body)
                body.forget(StaleError(f"{claude_file_id} has been deleted"))
                body.release()
            await self._disk.run(lambda: self._store.discard(claude_file_id))

    async def aclose(self) -> None:
        """Take what is finished into the store, drop the rest; bounded in time."""
        self._recheck.stop()
        with trio.move_on_after(_CLOSE_GRACE_S, shield=True):
            await self._adoption.finish(list(self._bodies.values()))
        for body in list(self._bodies.values()):
            body.release()
        self._bodies.clear()

    # -- bodies ----------------------------------------------------------------------------------

    async def _body(
        self,
        claude_file_id: str,
        size_bytes: int | None,
        md5: str | None,
        *,
        is_ahead: bool = False,
    ) -> Body:
        body = self._bodies.get(claude_file_id)
        if body:
            return _wanted(body, is_ahead=is_ahead)
        row = self._store.find(claude_file_id)
        fd = await self._open_stored(claude_file_id) if row else None
        body = self._bodies.get(claude_file_id)  # another open may have come first, meanwhile
        if fd is not None and (body or self._is_unknown(claude_file_id)):
            os.close(fd)
            fd = None
        if body:
            return _wanted(body, is_ahead=is_ahead)
        if fd is None and self._source is None:
            raise OfflineError(
                f"{claude_file_id}: the case does not hold its content and the mount is offline;"
                " mount without --offline to fetch it"
            )
        if fd is not None and row is not None:
            return self._stored_body(claude_file_id, row, fd, md5)
        body = self._bodies[claude_file_id] = Body(
            self._expected(claude_file_id, size_bytes, md5, row), self, self._policy, self._disk
        )
        body.is_ahead = is_ahead
        return body

    async def _open_stored(self, claude_file_id: str) -> int | None:
        """Open stored bytes; those that are not what was recorded are as if they had never been here."""
        for _ in range(_LOOKS):
            try:
                return await self._disk.run(lambda: self._store.open_content(claude_file_id))
            except UncheckedError:
                await self._recheck.wait(claude_file_id)
        raise ContentError(f"{claude_file_id}: its stored file is being changed; try again later")

    def _is_unknown(self, claude_file_id: str) -> bool:
        """Say whether a file was deleted while it was opened; in doubt it was not."""
        try:
            return self._store.find(claude_file_id) is None
        except CaseError:
            return False

    def _note_lost(self, claude_file_id: str, why: str) -> None:
        log.error("%s: the stored content is lost: %s", claude_file_id, why)
        self._tell("lost", {"claude_file_id": claude_file_id, "why": why})

    def _stored_body(
        self, claude_file_id: str, row: StoredContent, fd: int, md5: str | None
    ) -> Body:
        """Serve a stored file from now on; the descriptor is the body's to close."""
        size_bytes = os.fstat(fd).st_size
        expected = self._expected(claude_file_id, size_bytes, md5, row)
        body = self._bodies[claude_file_id] = Body(expected, self, self._policy, self._disk)
        body.use_stored(fd, size_bytes)
        self._store.touch(claude_file_id)
        return body

    @staticmethod
    def _expected(
        claude_file_id: str, size_bytes: int | None, md5: str | None, row: StoredContent | None
    ) -> Expected:
        if row is None:
            return Expected(claude_file_id, size_bytes, md5)
        # Whatever came since: what something once vouched for is what has to come again.
        acquired_md5 = None if row.how == "none" else row.md5
        known = size_bytes if row.size_bytes is None else row.size_bytes
        return Expected(claude_file_id, known, md5, acquired_md5)

    def start_download(
        self, expected: Expected, on_end: Callable[[Download], None], *, is_ahead: bool
    ) -> Download:
        """Begin a download with an empty spool; see `body.BodyKeeper`."""
        if self._source is None:
            raise OfflineError(f"{expected.claude_file_id}: not stored, and the mount is offline")
        self.counters.downloads += 1
        return Download(
            expected,
            Spool(
                self._spool_dir / f"{expected.claude_file_id}.{next(self._numbers)}",
                in_memory=(expected.size_bytes or SMALL_BYTES + 1) <= SMALL_BYTES,
            ),
            source=self._source,
            urgency=client.Urgency(client.Priority.READAHEAD) if is_ahead else None,
            nursery=self._nursery,
            disk=self._disk,
            policy=self._policy,
            on_end=on_end,
        )

    def note_closed(self, body: Body) -> None:
        """Drop a body that nobody has open, unless its bytes may still be wanted."""
        if self._bodies.get(body.claude_file_id) is not body:
            return
        if body.is_on_its_way:
            return
        if body.stored or not (body.download or body.is_refusing):
            self._drop(body)
            return
        self._drop_old_partials(body)

    def _drop_old_partials(self, latest: Body) -> None:
        """Keep unfinished files within bounds; the latest one stays, since it is the next to be asked for."""
        partials = [
            body
            for body in self._bodies.values()
            if not (body.opens or body.stored) and body is not latest
        ]
        kept_bytes = sum(body.partial_bytes for body in partials)
        for number, body in enumerate(partials):
            is_within = kept_bytes <= self._partial_bytes
            if is_within and len(partials) - number < _IDLE_PARTIALS:
                return
            kept_bytes -= body.partial_bytes
            self._drop(body)

    def _drop(self, body: Body) -> None:
        del self._bodies[body.claude_file_id]
        if body.download and not body.verdict:
            self.note_unverified_pages(body)
            body.forget(AbsentError("closed"))
        body.release()

    # -- outcomes --------------------------------------------------------------------------------

    def note_finished(self, body: Body) -> None:
        """Take a complete body into the case, in the background and in groups."""
        if self._bodies.get(body.claude_file_id) is not body:
            return  # deleted while its last hash was on its way
        self._adoption.take(body)

    def note_mismatch(self, body: Body, download: Download, *, is_final: bool) -> None:
        """Throw wrong bytes away and record that they came."""
        self.counters.mismatches += 1
        log.warning(
            "%s; %s", download.failure, "giving up for now" if is_final else "asking once more"
        )
        verdict = download.verdict
        facts = {
            "claude_file_id": body.claude_file_id,
            "what": str(download.failure),
            "md5": verdict and verdict.md5,
            "promised_md5": verdict and verdict.promised_md5,
            "request_id": download.request_id,
            "given_up": is_final,
        }
        self._tell("mismatch", facts)
        self._stale_pages.add(body.claude_file_id)
        download.spool.discard()
        if is_final:
            self._mismatched.add(body.claude_file_id)
            self._nursery.start_soon(self._record_mismatch, body.claude_file_id)

    async def _record_mismatch(self, claude_file_id: str) -> None:
        """Write it down in a thread: another process may hold the database for seconds."""
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_GRACE_S):
                await self._disk.run(lambda: self._store.note_mismatch(claude_file_id))
        except Exception as error:
            log.error("%s: that it mismatches can't be recorded: %s", claude_file_id, error)
        finally:
            self._mismatched.discard(claude_file_id)

    def note_unverified_pages(self, body: Body) -> None:
        """Have the kernel forget what it may hold of bytes that nothing has vouched for."""
        self._stale_pages.add(body.claude_file_id)

    def note_size(self, body: Body, size_bytes: int) -> None:
        """Record that a body is longer or shorter than its record says."""
        recorded = body.expected.size_bytes
        log.warning(
            "%s: the record says %s bytes, the content has %s; it is shown with its true size from now on",
            body.claude_file_id,
            recorded,
            size_bytes,
        )
        facts = {
            "claude_file_id": body.claude_file_id,
            "recorded_bytes": recorded,
            "true_bytes": size_bytes,
            "request_id": body.download and body.download.request_id,
        }
        self._tell("size_differs", facts)
        self._stale_pages.add(body.claude_file_id)
        self._nursery.start_soon(self._announce_size, body.claude_file_id)

    def _tell(self, event: str, facts: Mapping[str, object]) -> None:
        """Record what happened; that this fails may not keep wrong bytes from being thrown away."""
        try:
            self._journal([(event, facts)])
        except Exception as error:
            log.error("%s could not be recorded: %s: %s", event, facts, error)

    async def _announce_size(self, claude_file_id: str) -> None:
        try:
            self.on_true_size(claude_file_id)
        except Exception as error:  # the old size is shown for a while longer
            log.error("%s: its true size can't be told to the kernel: %s", claude_file_id, error)


def _wanted(body: Body, *, is_ahead: bool) -> Body:
    if not is_ahead:
        body.hurry()
    return body
