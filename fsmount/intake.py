"""Taking bytes in: writing them to the spool, comparing what came before, hashing beside it.

Writing and hashing run in threads. One batch is written at a time, so that bytes which a reader has been
given are never replaced. The hashes follow the written bytes in order, each in turns of its own: hashing
between two batches would hold up the next one (measured on a loopback GiB: 266 MB/s so, 386 MB/s beside).

MD5 decides what the bytes are worth, and the last page waits for it; SHA-256 is for the records of the case.
So SHA-256 gives way while MD5 is behind, and may still be on its way when readers have everything.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from fsmount.digest import RunningDigest, RunningHash
from fsmount.disk import Disk, PendingBytes
from fsmount.nowait import Data
from fsmount.spool import SMALL_BYTES, Extents, Spool

log = logging.getLogger(__name__)

T = TypeVar("T")

_HASHED_AT_ONCE = 256 * 1024  # a small body: a turn of its own would cost more than its hash
_WRITTEN_PER_TURN = 16 << 20  # then others of the same file may write
_HASHED_AT_A_TIME = 8 << 20
_HASHED_PER_TURN = 64 << 20  # short enough to stop soon when the mount ends
_MOST_BEHIND = 64 << 20  # so that what is read back to be hashed is still in memory


class _Turn:
    """One turn of the writing thread; what it tells the event loop arrives there in order, before its end."""

    def __init__(
        self,
        intake: "Intake",
        start: int,
        next_batch: Callable[[], list[bytes]],
        on_written: Callable[[int], None],
        known: Extents,
    ) -> None:
        self.hashes_too = False
        self.error: Exception | None = None
        self._intake = intake
        self._start = start
        self._next_batch = next_batch
        self._on_written = on_written
        self._known = known
        self._loop = trio.lowlevel.current_trio_token()

    def run(self) -> None:
        """Write until there is nothing more, in the thread; a small body is hashed on the way."""
        position, hashes_too = self._start, self.hashes_too
        while position < self._start + _WRITTEN_PER_TURN and (pieces := self._next_batch()):
            end = position + sum(map(len, pieces))
            self._intake.spool.write(position, pieces, self._known.overlap(position, end))
            if hashes_too and end - self._start <= _HASHED_AT_ONCE:
                self._intake.hash_now(pieces)
            elif hashes_too:
                hashes_too = False
                self._loop.run_sync_soon(self.leave_hashing)
            self._loop.run_sync_soon(self._note, position, end)
            position = end

    def leave_hashing(self) -> None:
        """Let the hashes follow by themselves from here on; on the event loop."""
        if self.hashes_too:
            self.hashes_too = False
            self._intake.hashes_are_free()

    def _note(self, position: int, end: int) -> None:
        try:
            self._intake.note_written(position, end)
            self._on_written(end)
            self._intake.hash_on()
        except Exception as error:  # the event loop takes none from here
            self.error = error


class Intake:
    """The way of one body into its spool.

    `on_hashed` is called when a hash has caught up with the bytes, or with what kept it from doing so.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        nursery: trio.Nursery,
        disk: Disk,
        on_hashed: Callable[[OSError | None], None],
    ) -> None:
        self.spool = spool
        self._nursery = nursery
        self._disk = disk
        self._on_hashed = on_hashed
        self._writing = trio.Lock()
        self._digest = RunningDigest()
        self._running: set[RunningHash] = set()
        self._prefix_end = 0  # `extents.prefix_end` as one number, which hashing threads may read
        self._hash_moved = trio.lowlevel.ParkingLot()

    @property
    def pending(self) -> PendingBytes:
        """What waits for the disk, in all streams together."""
        return self._disk.pending

    @property
    def is_hashing(self) -> bool:
        """Say whether a thread is at work on a hash."""
        return bool(self._running)

    def md5(self, size_bytes: int) -> str | None:
        """Return the MD5 of the first `size_bytes`, None while it is behind."""
        return self._hash_of(self._digest.md5, size_bytes)

    def sha256(self, size_bytes: int) -> str | None:
        """Return the SHA-256 of the first `size_bytes`, None while it is behind."""
        return self._hash_of(self._digest.sha256, size_bytes)

    def _hash_of(self, running: RunningHash, size_bytes: int) -> str | None:
        is_whole = running.position == size_bytes and running not in self._running
        return running.hexdigest() if is_whole else None

    def write_nowait(self, start: int, piece: bytes) -> bool:
        """Write and hash a piece now if it is small and goes to memory; say whether it was.

        It takes 0.1 ms; going to a thread and back takes longer.
        """
        end = start + len(piece)
        is_alone = not (self.is_hashing or self._writing.locked())
        is_next = start == self._digest.position == self.spool.extents.total_bytes
        if not (is_alone and is_next and self.spool.is_in_memory and end <= SMALL_BYTES):
            return False
        self.spool.write(start, [piece], Extents())
        self._digest.update([piece])
        self.note_written(start, end)
        return True

    async def write(
        self, start: int, next_batch: Callable[[], list[bytes]], on_written: Callable[[int], None]
    ) -> None:
        """Write pieces from `start` on until there are none; `on_written` is told how far it has come.

        The thread takes one batch after the other by itself: going back and forth for each took five times
        as long as writing it, while other threads kept the cores busy. `on_written` runs on the event loop.
        Errors: OSError (disk); SpoolConflictError where bytes came before and were others.
        """
        async with self._writing:
            # Nobody else writes meanwhile, so what is known now is all that there may be to compare.
            known = self.spool.extents.overlap(start, start + 2 * _WRITTEN_PER_TURN)
            turn = _Turn(self, start, next_batch, on_written, known)
            if not self._running and start == self._digest.md5.position == self._digest.position:
                turn.hashes_too = True
                self._running.update(self._hashes)
            try:
                await self.in_thread(turn.run)
            finally:
                turn.leave_hashing()
            if turn.error:
                raise turn.error
        self.hash_on()

    def hash_now(self, pieces: Sequence[bytes]) -> None:
        """Take the next pieces into the hashes, in a thread that has them for itself."""
        self._digest.update(pieces)

    def hashes_are_free(self) -> None:
        """Note that no thread has the hashes for itself any more."""
        self._running.clear()
        self._hash_moved.unpark_all()

    def note_written(self, start: int, end: int) -> None:
        """Count bytes as present, after they were written."""
        self.spool.note_written(start, end)
        self._prefix_end = self.spool.extents.prefix_end

    def hash_on(self) -> None:
        """Let the hashes follow the bytes that are here, each at its own pace."""
        for running in self._hashes:
            if self._may_follow(running) and running not in self._running:
                self._running.add(running)
                self._nursery.start_soon(self._hash_what_is_here, running)

    def _follow(self, running: RunningHash) -> None:
        """Follow the bytes for one turn, in a thread, also those that come meanwhile."""
        turn_end = running.position + _HASHED_PER_TURN
        while running.position < (end := min(self._prefix_end, turn_end)):
            running.catch_up(self.spool, min(end, running.position + _HASHED_AT_A_TIME))

    async def let_hash_follow(self) -> None:
        """Wait while MD5 is far behind."""
        while self._digest.md5 in self._running and self._is_far_behind():
            await self._hash_moved.park()

    def _is_far_behind(self) -> bool:
        return self.spool.extents.prefix_end - self._digest.md5.position > _MOST_BEHIND

    def _may_follow(self, running: RunningHash) -> bool:
        end = self.spool.extents.prefix_end
        has_precedence = running is self._digest.md5 or self._digest.md5.position >= end
        return running.position < end and has_precedence

    @property
    def _hashes(self) -> tuple[RunningHash, RunningHash]:
        return self._digest.md5, self._digest.sha256

    def read_nowait(self, offset: int, size: int) -> Data | None:
        """Return bytes that are here if memory holds them all, else None."""
        fd = self.spool.fd.number
        if self.spool.is_in_memory:
            return self.spool.read(offset, size)
        return self._disk.read_nowait(fd, offset, size)

    async def hash_rest(self) -> None:
        """Bring the hashes to their end, after whatever is at work on them; it can be cancelled."""
        while self._running:
            await self._hash_moved.park()
        end = self.spool.extents.prefix_end
        for running in self._hashes:
            while running.position < end:
                until = min(end, running.position + _HASHED_AT_A_TIME)
                await self.in_thread(functools.partial(running.catch_up, self.spool, until))
                await trio.lowlevel.checkpoint()

    async def read(self, offset: int, size: int) -> Data:
        """Return bytes that are here."""
        return await self.in_thread(functools.partial(self.spool.read, offset, size))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work on the spool, which stays open for that time."""
        with self.spool.fd.using():
            return await self._disk.run(work)

    async def _hash_what_is_here(self, running: RunningHash) -> None:
        failure = None
        try:
            while self._may_follow(running):
                await self.in_thread(functools.partial(self._follow, running))
                self._hash_moved.unpark_all()
        except Exception as error:
            if self.spool.fd.is_closing:  # nobody wants the hash any more, nor to hear of it
                log.debug("hashing of %s was given up: %s", self.spool.path.name, error)
                return
            failure = error if isinstance(error, OSError) else OSError(f"hashing failed: {error}")
            if failure is not error:
                log.exception("hashing of %s failed, please report it", self.spool.path.name)
        finally:
            self._running.discard(running)
            self._hash_moved.unpark_all()
        if not failure:
            self.hash_on()
        try:
            self._on_hashed(failure)
        except Exception:  # it may not end more than this file
            log.exception("the end of hashing %s failed", self.spool.path.name)
