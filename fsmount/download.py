"""One file on its way into the case: its streams, its spool, the readers that wait for bytes.

A `Download` is one attempt to get one body. It ends exactly once: in a verdict over the whole body, or
because wrong bytes came, and tells its owner. Trouble with the service only pauses it: for some seconds
every reader gets the same error without a request, then the next reader goes on from what is here.
Which streams are open, and who waits for them, is kept in `streams`; what an error or an end means for the
whole body is decided here.

Rules that correctness leans on:

- `spool.extents` only grows after the bytes are on disk, and only on the event loop, so a reader that
  finds its range covered can read it at once.
- What has come and is not written yet is given to readers too; it is written afterwards, or compared with
  what was written first, whatever becomes of its stream.
- The last page is given out only after the verdict: no reader reaches the end of a body that is wrong.
- A stream's bytes are placed by where the answer says that it starts, never by where it was asked to.
- Bytes that come a second time are compared with the first, never written over them.
"""

import logging
import math
from collections.abc import Callable

import trio

import client
from fsmount.complaints import disk_trouble, lost_bytes, wrong_bytes, wrong_size
from fsmount.digest import Expected, Verdict, verdict_of
from fsmount.disk import Disk
from fsmount.errors import FsmountError
from fsmount.flow import Stream
from fsmount.intake import Intake
from fsmount.nowait import Data
from fsmount.readahead import Pattern, Policy, Ranges, Want
from fsmount.source import ByteStream, Source
from fsmount.spool import Spool, SpoolConflictError
from fsmount.streams import Streams
from fsmount.transfer import Transfer

log = logging.getLogger(__name__)


class Download:
    """One attempt to get the body of one file.

    Units: offsets and sizes in bytes.
    """

    def __init__(
        self,
        expected: Expected,
        spool: Spool,
        *,
        source: Source,
        urgency: client.Urgency | None = None,
        nursery: trio.Nursery,
        disk: Disk,
        policy: Policy,
        on_end: Callable[["Download"], None],
    ) -> None:
        self.expected = expected
        self.spool = spool
        self.verdict: Verdict | None = None
        self.failure: Exception | None = None
        self.has_ended = False
        self.request_id: str | None = None
        self._streams = Streams(policy, spool.extents, self, self._start)
        self._intake = Intake(spool, nursery=nursery, disk=disk, on_hashed=self._after_hashing)
        self._source = source
        self._urgency = urgency
        self._nursery = nursery
        self._policy = policy
        self._on_end = on_end
        self._content_md5: str | None = None
        self._when_digested: Callable[[OSError | None], None] = lambda _failure: None
        self._total: int | None = None
        self._breaks = 0
        self._paused_until = -math.inf

    # -- for readers ---------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Say whether no stream is open and nobody waits."""
        return self._streams.is_idle and not self._intake.is_hashing

    @property
    def readers(self) -> set[Pattern]:
        """How those who have the file open read it."""
        return self._streams.readers

    @property
    def size_bytes(self) -> int | None:
        """The size as far as it is known: judged, announced, or recorded."""
        if self.verdict:
            return self.verdict.size_bytes
        return self._total if self.expected.size_bytes is None else self.expected.size_bytes

    def read_nowait(self, pattern: Pattern, offset: int, size: int) -> Data | None:
        """Return what `read` does if nothing has to be waited for, else None; errors as `read`."""
        pattern.note(offset, size)
        self._streams.look_again()
        if not self._may_serve(offset, size):
            return None
        end = self._end_of(offset, size)
        written_end = self._written_end(offset, end)
        written = (
            self._intake.read_nowait(offset, written_end - offset) if written_end > offset else b""
        )
        if written is None or written_end >= end:
            return written
        arrived = self._streams.arrivals(written_end, end)
        return b"".join((written, arrived.read(written_end, end))) if arrived else None

    async def read(self, pattern: Pattern, offset: int, size: int) -> Data:
        """Return the bytes of [offset, offset + size), fewer only at the end of the file.

        Errors: the failure of this attempt.
        """
        parts: list[Data] = []
        while (data := self.read_nowait(pattern, offset, size)) is None:
            if self._may_serve(offset, size):
                written_end = self._written_end(offset, self._end_of(offset, size))
                parts.append(await self._read_from_disk(offset, written_end))
                offset, size = written_end, size - (written_end - offset)
            else:
                await self._wait(self._want(pattern, offset, size), (offset, size))
        return b"".join((*parts, data)) if parts else data

    async def _read_from_disk(self, offset: int, end: int) -> Data:
        data = await self._intake.read(offset, end - offset)
        if len(data) != end - offset:
            self._resume_or_raise()  # it was thrown away meanwhile
            raise lost_bytes(self.expected.claude_file_id, offset + len(data))
        return data

    async def wait_verdict(self) -> Verdict:
        """Wait until the whole body is here and judged.

        Errors: the failure of this attempt.
        """
        while not (self.has_ended and self.verdict):
            await self._wait(Want(0, self._total, None), None)
        self._resume_or_raise()
        return self.verdict

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the judged body; it may take a moment longer than the verdict."""
        return self._intake.sha256(self.verdict.size_bytes) if self.verdict else None

    def when_digested(self, call: Callable[[OSError | None], None]) -> None:
        """Call once, now or later, when SHA-256 is known too; or with what kept it from being so."""
        if self.sha256:
            call(None)
        else:
            self._when_digested = call
            self._intake.hash_on()

    async def finish_digest(self) -> None:
        """Bring SHA-256 to its end now; only when nothing else will, since the mount ends.

        Errors: OSError.
        """
        await self._intake.hash_rest()
        self._after_hashing(None)

    def hurry(self) -> None:
        """Have requests that still wait go before those that nobody waits for."""
        if self._urgency:
            self._urgency.raise_to(client.Priority.INTERACTIVE)

    def abort(self, error: Exception) -> None:
        """End the attempt now: readers get `error`, streams are closed."""
        self._end(failure=error)

    # -- waiting and planning --------------------------------------------------------------------

    def _resume_or_raise(self) -> None:
        """Raise the failure; a pause that is over is none any more, and the next stream may start."""
        if self.failure is None:
            return
        if not self.has_ended and trio.current_time() >= self._paused_until:
            self.failure, self._breaks = None, 0
            return
        raise self.failure.with_traceback(None)

    def _may_serve(self, offset: int, size: int) -> bool:
        self._resume_or_raise()
        if self.verdict:
            return True
        return self._is_here(offset, size)

    def _is_here(self, offset: int, size: int) -> bool:
        """Say whether bytes have come, on the disk or on their way there, and are not held back."""
        known = self.size_bytes
        if known is None:
            return False
        end = self._end_of(offset, size)
        last_page = (known - 1) // self._policy.held_bytes * self._policy.held_bytes
        if end > last_page:
            return False
        written_end = self._written_end(offset, end)
        return written_end == end or self._streams.arrivals(written_end, end) is not None

    def _written_end(self, offset: int, end: int) -> int:
        """Return how far [offset, end) is on the disk without a gap."""
        return min(end, self.spool.extents.first_missing(offset))

    def _end_of(self, offset: int, size: int) -> int:
        """Return the end of a read, cut to the end of the file."""
        return max(offset, min(offset + size, self.size_bytes or 0))

    def _want(self, pattern: Pattern, offset: int, size: int) -> Want:
        known = self.size_bytes
        if known is None or offset + size > known - self._policy.held_bytes:
            return Want(0, self._total, None)  # the last page needs the whole body
        return Want(offset, offset + size, pattern.window_bytes)

    async def _wait(self, want: Want, span: tuple[int, int] | None) -> None:
        """Wait for bytes of a span (offset, size), or with None for the verdict; or for other news."""
        self._resume_or_raise()
        with self._streams.waiting(want, span) as woken:
            await woken.wait()

    @property
    def is_stopped(self) -> bool:
        """Say whether it has ended, or pauses after trouble."""
        return self.has_ended or self.failure is not None

    @property
    def is_complete(self) -> bool:
        """Say whether all bytes are here."""
        return self._total is not None and self.spool.extents.covers(0, self._total)

    # -- streams ---------------------------------------------------------------------------------

    def _start(self, stream: Stream) -> None:
        self._nursery.start_soon(self._run, stream)

    async def may_go_on(self, stream: Stream) -> bool:
        """Wait while `stream` is far enough ahead of everyone; False when it is to be given up."""
        return await self._streams.may_go_on(stream)

    async def _run(self, stream: Stream) -> None:
        """Run one stream to its end; whatever goes wrong ends here."""
        opening = self._source.open_stream(
            self.expected.claude_file_id,
            offset=stream.request.start,
            end=stream.request.end,
            ask_range=self._streams.ranges is not Ranges.IGNORED,
            urgency=self._urgency,
        )
        error = await Transfer(stream, opening, self._intake, self).run()
        if error:
            stream.scope = trio.CancelScope()
            with stream.scope:
                await self._after_error(stream, error)
        self._streams.remove(stream)
        self._judge_if_complete()
        self._streams.open_wanted()
        self._streams.wake()

    def learn(self, stream: Stream, answer: ByteStream) -> None:
        """Take from the head of an answer where its bytes belong and what it promises."""
        stream.begin(answer.start, answer.end if answer.end != answer.total else None)
        self.request_id = answer.request_id
        self._streams.ranges = Ranges.HONOURED if answer.honoured_range else Ranges.IGNORED
        if answer.content_md5:
            if self._content_md5 not in (None, answer.content_md5):
                raise SpoolConflictError(0)
            self._content_md5 = answer.content_md5
        if answer.total is not None:
            self._note_total(answer.total)
        self._streams.open_wanted()
        self._streams.wake()

    def _note_total(self, total: int) -> None:
        if self._total is not None and self._total != total:
            raise SpoolConflictError(min(self._total, total))
        self._total = total

    def arrived(self, stream: Stream) -> bool:
        """Wake readers whose bytes have come; False when what would follow is here already."""
        self._streams.wake_served(self._is_here)
        return self._streams.is_news(stream)

    def written(self, stream: Stream, end: int) -> None:
        """Wake readers whose bytes are together now, on the disk and on their way there."""
        stream.advance(end)
        self._streams.wake_served(self._is_here)

    def ended(self, stream: Stream) -> None:
        """Take from the proper end of a body how long the file is."""
        if stream.flow.stop is None:
            self._note_total(stream.received)

    async def _after_error(self, stream: Stream, error: Exception) -> None:
        """Decide what an error of one stream means for the download."""
        match error:
            case client.APIConnectionError() | client.TruncatedError():
                await self._after_break(stream, error)
            case client.InvalidResponseError() | client.RangeNotSatisfiableError():
                self._after_lie(error)
            case SpoolConflictError():
                self._end(failure=self._mismatch(str(error)))
            case client.ComplianceError() | FsmountError():
                self._pause(error)
            case OSError():
                self._end(failure=disk_trouble(self.expected.claude_file_id, error))
            case _ if not self.has_ended:  # else its spool was closed under it, which is no news
                log.error("download of %s failed", self.expected.claude_file_id, exc_info=error)
                self._pause(error)

    async def _after_break(self, stream: Stream, error: Exception) -> None:
        """Let the next stream start after a pause, unless streams have broken too often."""
        self._breaks += 1
        if not stream.has_begun or self._breaks > self._policy.max_breaks:
            self._pause(error)
            return
        log.info("stream of %s broke, going on: %s", self.expected.claude_file_id, error)
        if self.is_stopped:
            return
        stream.reopen()
        await trio.sleep(min(0.1 * 2**self._breaks, 5.0))

    def _after_lie(self, error: Exception) -> None:
        """Do without ranges from here on: an answer was not the range that was asked for.

        So it is where the file ends before that, other than its record says: then only the whole body tells
        how long it is.
        """
        self._breaks += 1
        if self._streams.ranges is Ranges.IGNORED or self._breaks > self._policy.max_breaks:
            self._pause(error)
            return
        log.warning(
            "%s: the server's answer to a Range request can't be used, reading without: %s",
            self.expected.claude_file_id,
            error,
        )
        self._streams.ranges = Ranges.IGNORED

    # -- the end ---------------------------------------------------------------------------------

    def _judge_if_complete(self) -> None:
        if self.has_ended or self._total is None or not self.is_complete:
            return
        if self._streams.cancel():  # what they would bring is here; each calls again at its end
            return
        if self.spool.extents.total_bytes > self._total:
            self._end(failure=self._mismatch(f"it ended at {self._total}, more had come before"))
            return
        md5 = self._intake.md5(self._total)
        if md5 is None:
            self._intake.hash_on()
        else:
            self._judge(verdict_of(self._total, md5, self.expected, self._content_md5))

    def _after_hashing(self, failure: OSError | None) -> None:
        if self.verdict and (failure or self.sha256):
            when_digested, self._when_digested = self._when_digested, lambda _failure: None
            when_digested(failure)
            return
        if failure:
            self._end(failure=disk_trouble(self.expected.claude_file_id, failure))
        self._judge_if_complete()

    def _judge(self, verdict: Verdict) -> None:
        if verdict.is_mismatch:
            self._end(
                verdict,
                self._mismatch(f"MD5 is {verdict.md5}, promised was {verdict.promised_md5}"),
            )
        else:
            recorded = self.expected.size_bytes
            key = self.expected.claude_file_id
            self._end(verdict, wrong_size(key, recorded, verdict.size_bytes, self.request_id))

    def _mismatch(self, what: str) -> Exception:
        return wrong_bytes(self.expected.claude_file_id, what, self.request_id)

    def _pause(self, error: Exception) -> None:
        """Give everyone who waits, and who comes within some seconds, this error."""
        if self.has_ended:
            return
        self.failure = error
        self._paused_until = trio.current_time() + self._policy.failure_memory_s
        self._streams.stop()

    def _end(self, verdict: Verdict | None = None, failure: Exception | None = None) -> None:
        if self.has_ended:
            return
        self.has_ended, self.verdict, self.failure = True, verdict, failure
        try:
            self._on_end(self)
        finally:
            self._streams.stop()
