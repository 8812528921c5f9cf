"""One file's bytes, shared by everyone who has it open: stored, or on their way through downloads.

A `Body` outlives single downloads. It starts one when bytes are first needed, repeats it once when the
bytes that came were wrong, and remembers who was given bytes of a body that turned out wrong: those open
files get errors until they are closed, so that nobody continues a bad copy with good bytes.
"""

import logging
import os
from collections.abc import Callable
from typing import Protocol

import trio

from fsmount.digest import Expected, Verdict
from fsmount.disk import Disk
from fsmount.download import Download
from fsmount.errors import AbsentError, ContentError, MismatchError, SizeDiffersError
from fsmount.nowait import Data
from fsmount.readahead import Pattern, Policy
from fsmount.spool import SharedFd

log = logging.getLogger(__name__)

_ATTEMPTS = 2  # a body with the wrong hash is asked for once more


class OpenContent:
    """One open file: its position in the reading pattern, and what became of it."""

    def __init__(self, body: "Body", pattern: Pattern, *, keep_cache: bool) -> None:
        self.body = body
        self.pattern = pattern
        self.keep_cache = keep_cache
        self.has_been_served = False
        self.broken: Exception | None = None

    def read_nowait(self, offset: int, size: int) -> Data | None:
        """Return what `read` does if nothing has to be waited for, nor explained, else None.

        Errors: ContentError, for what became of this open file.
        """
        return self.body.read_nowait(self, offset, size)

    async def read(self, offset: int, size: int) -> Data:
        """Return the bytes of [offset, offset + size), fewer only at the end of the file.

        Errors: ContentError and its children; whatever the service answered.
        """
        return await self.body.read(self, offset, size)

    def close(self) -> None:
        """Release what this open file holds; no read of it is waiting any more."""
        self.body.close(self)


class BodyKeeper(Protocol):
    """What a body needs from the collection that it belongs to."""

    def start_download(
        self, expected: Expected, on_end: Callable[[Download], None], *, is_ahead: bool
    ) -> Download:
        """Begin a download with an empty spool; with `is_ahead`, behind everybody who waits."""
        ...

    def note_finished(self, body: "Body") -> None:
        """Take a complete body into the case."""
        ...

    def note_mismatch(self, body: "Body", download: Download, *, is_final: bool) -> None:
        """Record that wrong bytes came."""
        ...

    def note_unverified_pages(self, body: "Body") -> None:
        """Have the kernel forget what it may hold of bytes that nothing has vouched for."""
        ...

    def note_size(self, body: "Body", size_bytes: int) -> None:
        """Record that the true size is not the recorded one."""
        ...

    def note_closed(self, body: "Body") -> None:
        """Decide what to keep now that nobody has the file open."""
        ...


class Body:
    """The bytes of one file."""

    def __init__(self, expected: Expected, keeper: BodyKeeper, policy: Policy, disk: Disk) -> None:
        self.expected = expected
        self.download: Download | None = None
        self.opens: set[OpenContent] = set()
        self.stored: SharedFd | None = None
        self.stored_size = 0
        self._is_in_memory = False
        self.verdict: Verdict | None = None
        self.is_adopted = False
        self.is_given_up = False  # whole, but the case can't take it
        self.is_ahead = False  # whether it is only wanted in case somebody opens it
        self._settled: trio.Event | None = None  # made for who waits: files are many, and those few
        self._keeper = keeper
        self._policy = policy
        self._disk = disk
        self._mismatches = 0
        self._tainted: set[OpenContent] = set()
        self._refusal: tuple[Exception, float] | None = None

    @property
    def claude_file_id(self) -> str:
        """The file's id."""
        return self.expected.claude_file_id

    @property
    def is_on_its_way(self) -> bool:
        """Say whether it is whole and not in the case yet: it answers what is known until the store does."""
        return self.verdict is not None and not (self.is_adopted or self.is_given_up)

    async def wait_settled(self) -> bool:
        """Wait until the case has taken the whole body, or can't; say which."""
        while not (self.is_adopted or self.is_given_up):
            if self._settled is None:
                self._settled = trio.Event()
            await self._settled.wait()
        return self.is_adopted

    def settle(self, *, is_adopted: bool) -> None:
        """Note whether the case has taken it."""
        self.is_adopted, self.is_given_up = is_adopted, not is_adopted
        if self._settled is not None:
            self._settled.set()

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of a whole download."""
        return self.download.sha256 if self.download else None

    @property
    def partial_bytes(self) -> int:
        """How much of an unfinished download is here."""
        return self.download.spool.extents.total_bytes if self.download else 0

    @property
    def is_refusing(self) -> bool:
        """Say whether a recent failure is still remembered."""
        return self._refusal is not None and trio.current_time() < self._refusal[1]

    def hurry(self) -> None:
        """Let what was only wanted in case of need go before others: somebody waits for it now."""
        self.is_ahead = False
        if self.download:
            self.download.hurry()

    def open(self, *, keep_cache: bool) -> OpenContent:
        """Add one open file."""
        opened = OpenContent(self, Pattern(self._policy), keep_cache=keep_cache)
        self.opens.add(opened)
        if self.download:
            self.download.readers.add(opened.pattern)
        return opened

    def close(self, opened: OpenContent) -> None:
        """Remove one open file."""
        self.opens.discard(opened)
        self._tainted.discard(opened)
        if self.download:
            self.download.readers.discard(opened.pattern)
        if not self.opens:
            self._keeper.note_closed(self)

    def use_stored(self, fd: int, size_bytes: int, *, is_in_memory: bool = False) -> None:
        """Serve from a whole file from now on; the descriptor is this body's to close."""
        self.stored, self.stored_size = SharedFd(fd), size_bytes
        self._is_in_memory = is_in_memory

    def read_nowait(self, opened: OpenContent, offset: int, size: int) -> Data | None:
        """Return bytes for one open file, or None; see `OpenContent.read_nowait`."""
        if opened.broken:
            raise opened.broken.with_traceback(None)
        if self.stored:
            return self._read_stored_nowait(self.stored, offset, size)
        if self.download is None or self.download.failure or self._tainted:
            return None
        data = self.download.read_nowait(opened.pattern, offset, size)
        opened.has_been_served |= data is not None
        return data

    async def read(self, opened: OpenContent, offset: int, size: int) -> Data:
        """Return bytes for one open file; see `OpenContent.read`."""
        while True:
            if opened.broken:
                raise opened.broken.with_traceback(None)
            if self.stored:
                return await self._read_stored(self.stored, offset, size)
            download = self._current_download()
            try:
                data = await download.read(opened.pattern, offset, size)
            except MismatchError:
                if not self._may_repeat():
                    raise
            else:
                opened.has_been_served = True
                return data

    async def wait_whole(self) -> int:
        """Wait until the whole file is here and judged; return its size in bytes.

        Errors: as `read`.
        """
        while not self.stored:
            download = self._current_download()
            try:
                return (await download.wait_verdict()).size_bytes
            except MismatchError:
                if not self._may_repeat():
                    raise
        return self.stored_size

    def forget(self, error: Exception) -> None:
        """Give up what is being fetched; waiting and later readers of the open files get `error`."""
        for opened in self.opens:
            opened.broken = error
        if self.download:
            self.download.abort(error)

    def release(self) -> None:
        """Close the descriptors and remove what was not finished."""
        download, self.download = self.download, None
        if download:
            download.abort(AbsentError(f"{self.claude_file_id}: closed"))
            if self.is_adopted:
                download.spool.close()
            else:
                download.spool.discard()
        if self.stored:
            self.stored.close()
            self.stored = None

    def _read_stored_nowait(self, stored: SharedFd, offset: int, size: int) -> Data | None:
        size = min(size, self.stored_size - offset)
        if size <= 0:
            return b""
        if self._is_in_memory:
            return self._whole(os.pread(stored.number, size, offset), size)
        return self._disk.read_nowait(stored.number, offset, size)

    async def _read_stored(self, stored: SharedFd, offset: int, size: int) -> Data:
        data = self._read_stored_nowait(stored, offset, size)
        if data is not None:
            return data
        size = min(size, self.stored_size - offset)
        with stored.using() as fd:
            return self._whole(await self._disk.run(lambda: os.pread(fd, size, offset)), size)

    def _whole(self, data: bytes, size: int) -> bytes:
        if len(data) != size:
            raise ContentError(
                f"{self.claude_file_id}: its stored content has become shorter;"
                " run `fsmount verify` on the case"
            )
        return data

    def _current_download(self) -> Download:
        """Return the download to wait on, starting one if there is none; no await in here."""
        if self._refusal:
            if self.is_refusing:
                raise self._refusal[0].with_traceback(None)
            self._refusal, self._mismatches = None, 0
        if self._tainted:
            raise MismatchError(
                f"{self.claude_file_id}: wrong bytes came from the service and a program still has"
                " them open; close it and read again"
            )
        if self.download is None:
            self.download = self._keeper.start_download(
                self.expected, self._on_end, is_ahead=self.is_ahead
            )
            self.download.readers.update(opened.pattern for opened in self.opens)
        return self.download

    def _may_repeat(self) -> bool:
        return not self._tainted and self._refusal is None

    def _on_end(self, download: Download) -> None:
        """Take the outcome of a download; called once by it, without an await around."""
        if download is not self.download:
            return  # it was given up, and its outcome concerns nobody
        try:
            self._take_outcome(download)
        except Exception as error:  # such as no descriptor left; it may not end more than this file
            log.error("%s: %s", self.claude_file_id, error, exc_info=error)
            download.failure = ContentError(
                f"{self.claude_file_id}: what came can't be kept: {error}; try again"
            )
            self.verdict = download.verdict = None
            self._after_disk_trouble(download)

    def _take_outcome(self, download: Download) -> None:
        if isinstance(download.failure, MismatchError):
            self._after_mismatch(download)
        elif download.verdict is None:
            self._after_disk_trouble(download)
        else:
            self._after_verdict(download, download.verdict)

    def _after_verdict(self, download: Download, verdict: Verdict) -> None:
        if isinstance(download.failure, SizeDiffersError):
            for opened in self.opens:
                opened.broken = download.failure
            self._keeper.note_size(self, verdict.size_bytes)
        self.verdict = verdict
        with download.spool.fd.using() as fd:
            is_in_memory = download.spool.is_in_memory
            self.use_stored(os.dup(fd), verdict.size_bytes, is_in_memory=is_in_memory)
        download.when_digested(self._after_digest)

    def _after_digest(self, failure: OSError | None) -> None:
        """Hand the body over, now that all is known of it that the case records."""
        if failure is None:
            self._keeper.note_finished(self)
            return
        log.error("%s: not taken into the case: %s", self.claude_file_id, failure)
        self.settle(is_adopted=False)
        if not self.opens:
            self._keeper.note_closed(self)

    def _after_disk_trouble(self, download: Download) -> None:
        """Give back the room that the unfinished bytes take, so that others find some.

        Nothing has vouched for what readers were given of them, so no copy goes on with other bytes.
        """
        if download.failure:
            self._refuse(download.failure, self._policy.failure_memory_s)
            for opened in self.opens:
                opened.broken = download.failure if opened.has_been_served else opened.broken
        self._keeper.note_unverified_pages(self)
        self.download = None
        download.spool.discard()

    def _refuse(self, error: Exception, for_s: float) -> None:
        self._refusal = (error, trio.current_time() + for_s)

    def _after_mismatch(self, download: Download) -> None:
        self._mismatches += 1
        is_final = self._mismatches >= _ATTEMPTS
        self._tainted = {opened for opened in self.opens if opened.has_been_served}
        if is_final and download.failure:
            self._refuse(download.failure, self._policy.mismatch_memory_s)
        self.download = None
        self._keeper.note_mismatch(self, download, is_final=is_final)
