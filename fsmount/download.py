"""One file on its way into the case: its streams, its spool, the readers that wait for bytes.

A `Download` is one attempt to get one body. It ends exactly once: in a verdict over the whole body, or
because wrong bytes came, and tells its owner. Trouble with the service only pauses it: for some seconds
every reader gets the same error without a request, then the next reader goes on from what is here.
Which stream is needed next, and how far one may run ahead, is decided
in `readahead`; this room opens streams, writes what they bring, and wakes who waits.

Rules that correctness leans on:

- `spool.extents` only grows after the bytes are on disk, and only on the event loop, so a reader that
  finds its range covered can read it at once.
- The last page is given out only after the verdict: no reader reaches the end of a body that is wrong.
- A stream's bytes are placed by where the answer says that it starts, never by where it was asked to.
- Bytes that come a second time are compared with the first, never written over them.
"""

import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

import client
from fsmount.digest import Expected, Verdict
from fsmount.disk import Disk
from fsmount.errors import ContentError, MismatchError, SizeDiffersError
from fsmount.flow import Batches, Stream
from fsmount.intake import Intake
from fsmount.nowait import Data
from fsmount.readahead import (
    Pattern,
    Policy,
    Ranges,
    Want,
    limit_of,
    next_request,
)
from fsmount.spool import Spool, SpoolConflictError

log = logging.getLogger(__name__)


class ByteStream(Protocol):
    """An answer of the service whose body is being received; see `client.ContentStream`."""

    start: int
    end: int | None
    honoured_range: bool
    total: int | None
    content_md5: str | None
    request_id: str | None

    async def receive(self) -> bytes:
        """Return the next bytes; b"" after a properly ended body."""
        ...


class Source(Protocol):
    """Where bodies come from."""

    def open_stream(
        self, claude_file_id: str, *, offset: int, end: int | None, ask_range: bool
    ) -> AbstractAsyncContextManager[ByteStream]:
        """Open the body of one file, at `offset` if the service can do that."""
        ...


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
        self.ranges = Ranges.UNKNOWN
        self.readers: set[Pattern] = set()
        self._intake = Intake(spool, nursery=nursery, disk=disk, on_hashed=self._after_hashing)
        self._source = source
        self._nursery = nursery
        self._policy = policy
        self._on_end = on_end
        self._streams: list[Stream] = []
        self._wants: list[Want] = []
        self._changed = trio.lowlevel.ParkingLot()  # readers: bytes, a verdict or a failure came
        self._demand = trio.lowlevel.ParkingLot()  # parked streams: a reader moved on
        self._is_crowded = False
        self._content_md5: str | None = None
        self._total: int | None = None
        self._breaks = 0
        self._paused_until = -math.inf

    # -- for readers ---------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Say whether no stream is open and nobody waits."""
        return not self._streams and not self._wants and not self._intake.is_hashing

    @property
    def size_bytes(self) -> int | None:
        """The size as far as it is known: judged, announced, or recorded."""
        if self.verdict:
            return self.verdict.size_bytes
        return self._total if self.expected.size_bytes is None else self.expected.size_bytes

    def read_nowait(self, pattern: Pattern, offset: int, size: int) -> Data | None:
        """Return what `read` does if nothing has to be waited for, else None; errors as `read`."""
        pattern.note(offset, size)
        self._demand.unpark_all()
        if not self._may_serve(offset, size):
            return None
        length = self._length(offset, size)
        return self._intake.read_nowait(offset, length) if length else b""

    async def read(self, pattern: Pattern, offset: int, size: int) -> Data:
        """Return the bytes of [offset, offset + size), fewer only at the end of the file.

        Errors: the failure of this attempt.
        """
        while (data := self.read_nowait(pattern, offset, size)) is None:
            if self._may_serve(offset, size):
                return await self._read_from_disk(offset, self._length(offset, size))
            await self._wait(self._want(pattern, offset, size))
        return data

    async def _read_from_disk(self, offset: int, length: int) -> Data:
        data = await self._intake.read(offset, length)
        if len(data) != length:
            raise ContentError(
                f"{self.expected.claude_file_id}: the spool lost bytes at {offset + len(data)};"
                " check the disk that holds the case"
            )
        return data

    async def wait_verdict(self) -> Verdict:
        """Wait until the whole body is here and judged.

        Errors: the failure of this attempt.
        """
        while not (self.has_ended and self.verdict):
            await self._wait(Want(0, self._total, None))
        self._raise_failure()
        return self.verdict

    def abort(self, error: Exception) -> None:
        """End the attempt now: readers get `error`, streams are closed."""
        self._end(failure=error)

    # -- waiting and planning --------------------------------------------------------------------

    def _raise_failure(self) -> None:
        if self.failure is None:
            return
        if not self.has_ended and trio.current_time() >= self._paused_until:
            self.failure, self._breaks = None, 0
            return
        raise self.failure.with_traceback(None)

    def _may_serve(self, offset: int, size: int) -> bool:
        self._raise_failure()
        if self.verdict:
            return True
        known = self.size_bytes
        if known is None:
            return False
        end = min(offset + size, known)
        last_page = (known - 1) // self._policy.held_bytes * self._policy.held_bytes
        return end <= last_page and self.spool.extents.covers(offset, end)

    def _length(self, offset: int, size: int) -> int:
        """Return how many of the bytes asked for there are in the file."""
        return max(0, min(size, (self.size_bytes or 0) - offset))

    def _want(self, pattern: Pattern, offset: int, size: int) -> Want:
        known = self.size_bytes
        if known is None or offset + size > known - self._policy.held_bytes:
            return Want(0, self._total, None)  # the last page needs the whole body
        return Want(offset, offset + size, pattern.window_bytes)

    async def _wait(self, want: Want) -> None:
        self._raise_failure()
        self._wants.append(want)
        try:
            self._replan()
            await self._changed.park()
        finally:
            self._wants.remove(want)

    def _wake(self) -> None:
        self._changed.unpark_all()

    @property
    def _is_hashing_the_rest(self) -> bool:
        return self._total is not None and self.spool.extents.covers(0, self._total)

    def _replan(self) -> None:
        """Open the streams that are wanted and not on their way; no await, so none is opened twice."""
        if self.has_ended or self._is_hashing_the_rest or self.failure:
            return
        self._is_crowded = False
        for want in self._wants:
            flows = [stream.flow for stream in self._streams]
            request = next_request(self._policy, self.spool.extents, flows, want, self.ranges)
            if request is not None:
                stream = Stream(request)
                self._streams.append(stream)
                self._nursery.start_soon(self._run, stream)
            elif len(flows) >= self._policy.max_streams:
                self._is_crowded = True  # parked streams give way
        self._demand.unpark_all()

    def _is_idle_too_long(self, parked_s: float) -> bool:
        if self.readers and self.ranges is not Ranges.HONOURED:
            return parked_s >= self._policy.idle_s
        return parked_s >= self._policy.linger_s or self._is_crowded

    async def _may_go_on(self, stream: Stream) -> bool:
        """Wait while `stream` is far enough ahead of everyone; False when it is to be given up."""
        parked_at = trio.current_time()
        while not (self.has_ended or self.failure):
            limit = limit_of(
                self._policy,
                stream.flow,
                self._wants,
                (pattern.end for pattern in self.readers),
                self.ranges,
            )
            if limit is None or stream.received < limit or self._little_remains(stream):
                return True
            parked_s = trio.current_time() - parked_at
            if self._is_idle_too_long(parked_s):
                return False
            with trio.move_on_after(self._policy.linger_s):
                await self._demand.park()
        return False

    def _little_remains(self, stream: Stream) -> bool:
        known = self.size_bytes
        if known is None or stream.flow.pos != self.spool.extents.prefix_end:
            return False
        return known - stream.received <= self._policy.finish_bytes

    # -- streams ---------------------------------------------------------------------------------

    async def _run(self, stream: Stream) -> None:
        """Run one stream to its end; whatever goes wrong ends here."""
        with stream.scope:
            try:
                await self._receive_all(stream)
            except (client.APIConnectionError, client.TruncatedError) as error:
                await self._after_break(stream, error)
            except client.InvalidResponseError as error:
                self._after_lie(error)
            except SpoolConflictError as error:
                self._end(failure=self._mismatch(str(error)))
            except client.ComplianceError as error:
                self._pause(error)
            except OSError as error:
                self._end(failure=self._disk_error(error))
            except Exception as error:
                if not self.has_ended:  # else its spool was closed under it, which is no news
                    log.exception("download of %s failed", self.expected.claude_file_id)
                    self._pause(error)
        self._streams.remove(stream)
        self._judge_if_complete()
        self._replan()
        self._wake()

    async def _receive_all(self, stream: Stream) -> None:
        request = stream.request
        async with self._source.open_stream(
            self.expected.claude_file_id,
            offset=request.start,
            end=request.end,
            ask_range=self.ranges is not Ranges.IGNORED,
        ) as answer:
            self._learn(stream, answer)
            batches = Batches()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_all, stream, batches)
                error = await self._receive(stream, answer, batches)
            if error or batches.error:
                raise batches.error or error or AssertionError
            if stream.is_complete and stream.flow.stop is None:
                self._note_total(stream.received)

    def _learn(self, stream: Stream, answer: ByteStream) -> None:
        """Take from the head of an answer where its bytes belong and what it promises."""
        stream.begin(answer.start, answer.end if answer.end != answer.total else None)
        self.request_id = answer.request_id
        self.ranges = Ranges.HONOURED if answer.honoured_range else Ranges.IGNORED
        if answer.content_md5:
            if self._content_md5 not in (None, answer.content_md5):
                raise SpoolConflictError(0)
            self._content_md5 = answer.content_md5
        if answer.total is not None:
            self._note_total(answer.total)
        self._replan()
        self._wake()

    def _note_total(self, total: int) -> None:
        if self._total is not None and self._total != total:
            raise SpoolConflictError(min(self._total, total))
        self._total = total

    async def _receive(
        self, stream: Stream, answer: ByteStream, batches: Batches
    ) -> Exception | None:
        """Hand what comes to the writer; return, not raise, what went wrong."""
        try:
            while await self._may_go_on(stream):
                chunk = await answer.receive()
                if not chunk:
                    stream.is_complete = True
                    break
                stream.received += len(chunk)
                if not await batches.put(chunk):
                    break
                if self._runs_into_known_bytes(stream):
                    break
        except Exception as error:
            return error
        finally:
            batches.close()
        return None

    def _runs_into_known_bytes(self, stream: Stream) -> bool:
        if self.ranges is not Ranges.HONOURED:
            return False
        known_until = self.spool.extents.first_missing(stream.received)
        return known_until - stream.received >= self._policy.near_bytes

    async def _write_all(self, stream: Stream, batches: Batches) -> None:
        """Write and hash batch after batch; an error stops the receiver too."""
        try:
            while pieces := await batches.take():
                stream.advance(await self._intake.write(stream.position, pieces))
                self._wake()
        except Exception as error:
            batches.fail(error)

    async def _after_break(self, stream: Stream, error: Exception) -> None:
        """Let the next stream start after a pause, unless streams have broken too often."""
        self._breaks += 1
        if not stream.has_begun or self._breaks > self._policy.max_breaks:
            self._pause(error)
            return
        log.info("stream of %s broke, going on: %s", self.expected.claude_file_id, error)
        stream.reopen()
        await trio.sleep(min(0.1 * 2**self._breaks, 5.0))

    def _after_lie(self, error: Exception) -> None:
        """Do without ranges from here on: an answer was not the range that was asked for."""
        self._breaks += 1
        if self.ranges is Ranges.IGNORED or self._breaks > self._policy.max_breaks:
            self._pause(error)
            return
        log.warning(
            "%s: the server's answer to a Range request can't be used, reading without: %s",
            self.expected.claude_file_id,
            error,
        )
        self.ranges = Ranges.IGNORED

    # -- the end ---------------------------------------------------------------------------------

    def _judge_if_complete(self) -> None:
        if self.has_ended or self._total is None:
            return
        if not self.spool.extents.covers(0, self._total):
            return
        for stream in self._streams:  # what they would bring is here; each calls again at its end
            stream.scope.cancel()
        if self._streams:
            return
        if self._intake.has_hashed(self._total):
            self._judge()
        else:
            self._intake.hash_on()

    def _after_hashing(self, failure: OSError | None) -> None:
        if failure:
            self._end(failure=self._disk_error(failure))
        self._judge_if_complete()

    def _judge(self) -> None:
        verdict = self._intake.verdict(self.expected, self._content_md5)
        if verdict.is_mismatch:
            self._end(
                verdict,
                self._mismatch(f"MD5 is {verdict.md5}, promised was {verdict.promised_md5}"),
            )
        else:
            self._end(verdict, self._size_error(verdict.size_bytes))

    def _size_error(self, size_bytes: int) -> Exception | None:
        recorded = self.expected.size_bytes
        if recorded is None or recorded == size_bytes:
            return None
        return SizeDiffersError(
            f"{self.expected.claude_file_id}: the record says {recorded} bytes, the service sent"
            f" {size_bytes} (request {self.request_id}); open it again to read it at its true size"
        )

    def _mismatch(self, what: str) -> Exception:
        return MismatchError(
            f"{self.expected.claude_file_id}: wrong bytes came from the service: {what}"
            f" (request {self.request_id})"
        )

    def _disk_error(self, error: OSError) -> Exception:
        return ContentError(
            f"{self.expected.claude_file_id}: can't keep its bytes in the case:"
            f" {error.strerror or error}; make room on that disk or place the case elsewhere"
        )

    def _pause(self, error: Exception) -> None:
        """Give everyone who waits, and who comes within some seconds, this error."""
        if self.has_ended:
            return
        self.failure = error
        self._paused_until = trio.current_time() + self._policy.failure_memory_s
        self._stop_streams()

    def _end(self, verdict: Verdict | None = None, failure: Exception | None = None) -> None:
        if self.has_ended:
            return
        self.has_ended, self.verdict, self.failure = True, verdict, failure
        self._on_end(self)
        self._stop_streams()

    def _stop_streams(self) -> None:
        for stream in self._streams:
            stream.scope.cancel()
        self._demand.unpark_all()
        self._wake()
