"""Taking bytes in: writing them to the spool, comparing what came before, hashing beside it.

Writing and hashing run in threads. One batch is written at a time, so that bytes which a reader has been
given are never replaced. The hash follows the written bytes in order, in turns of its own: hashing between
two batches would hold up the next one (measured on a loopback GiB: 266 MB/s so, 386 MB/s beside).
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from fsmount.digest import Expected, RunningDigest, Verdict
from fsmount.disk import Disk
from fsmount.nowait import Data
from fsmount.spool import SMALL_BYTES, Spool

log = logging.getLogger(__name__)

T = TypeVar("T")

_HASHED_AT_ONCE = 256 * 1024  # a small body: a turn of its own would cost more than its hash
_HASHED_PER_TURN = 8 << 20  # short enough to stop soon when the mount ends


class Intake:
    """The way of one body into its spool.

    `on_hashed` is called when the hash has caught up with the bytes, or with what kept it from doing so.
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
        self.is_hashing = False
        self._nursery = nursery
        self._disk = disk
        self._on_hashed = on_hashed
        self._writing = trio.Lock()
        self._digest = RunningDigest()

    def has_hashed(self, size_bytes: int) -> bool:
        """Say whether the hash covers the first `size_bytes`."""
        return self._digest.position >= size_bytes and not self.is_hashing

    def verdict(self, expected: Expected, content_md5: str | None) -> Verdict:
        """Judge the whole body; see `RunningDigest.verdict`."""
        return self._digest.verdict(expected, content_md5)

    async def write(self, start: int, pieces: Sequence[bytes]) -> int:
        """Write pieces from `start` on and return where they end.

        Errors: OSError (disk); SpoolConflictError where bytes came before and were others.
        """
        end = start + sum(map(len, pieces))
        async with self._writing:
            known = self.spool.extents.overlap(start, end)
            in_step = start == self._digest.position and end - start <= _HASHED_AT_ONCE
            in_step = in_step and not self.is_hashing
            self.is_hashing |= in_step

            def write_and_hash() -> None:
                self.spool.write(start, pieces, known)
                if in_step:
                    self._digest.update(pieces)

            try:
                if self.spool.is_in_memory and end - start <= SMALL_BYTES:
                    write_and_hash()  # 0.1 ms; going to a thread and back takes longer
                else:
                    await self.in_thread(write_and_hash)
            finally:
                self.is_hashing &= not in_step
            self.spool.note_written(start, end)
        self.hash_on()
        return end

    def hash_on(self) -> None:
        """Let the hash follow the bytes that are here."""
        if not self.is_hashing and self._digest.position < self.spool.extents.prefix_end:
            self.is_hashing = True
            self._nursery.start_soon(self._hash_what_is_here)

    def read_nowait(self, offset: int, size: int) -> Data | None:
        """Return bytes that are here if memory holds them all, else None."""
        fd = self.spool.fd.number
        if self.spool.is_in_memory:
            return self.spool.read(offset, size)
        return self._disk.read_nowait(fd, offset, size)

    async def read(self, offset: int, size: int) -> Data:
        """Return bytes that are here."""
        return await self.in_thread(functools.partial(self.spool.read, offset, size))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work on the spool, which stays open for that time."""
        with self.spool.fd.using():
            return await self._disk.run(work)

    async def _hash_what_is_here(self) -> None:
        failure = None
        try:
            while self._digest.position < (end := self.spool.extents.prefix_end):
                end = min(end, self._digest.position + _HASHED_PER_TURN)
                await self.in_thread(functools.partial(self._digest.catch_up, self.spool, end))
        except OSError as error:
            failure = error
        except (
            ValueError
        ):  # the spool was closed: nobody wants the hash any more, nor to hear of it
            log.debug("hashing of %s was given up", self.spool.path.name)
            return
        finally:
            self.is_hashing = False
        self._on_hashed(failure)
