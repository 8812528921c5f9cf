"""Reading and writing local files without holding up the event loop: from memory, else in a thread."""

from collections.abc import Callable
from typing import TypeVar

import trio

from fsmount.nowait import Buffers, Data

T = TypeVar("T")

_WORKER_THREADS = 8  # writing and hashing; more do not help two to four cores


class PendingBytes:
    """How many bytes have come and wait for the disk, in all streams together."""

    def __init__(self) -> None:
        self.taken_bytes = 0


class Disk:
    """The threads that wait for the disk, and the memory for what is read from and written to it."""

    def __init__(self) -> None:
        self.pending = PendingBytes()
        self._threads = trio.CapacityLimiter(_WORKER_THREADS)
        self._buffers = Buffers()

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread."""
        return await trio.to_thread.run_sync(work, limiter=self._threads)

    def read_nowait(self, fd: int, offset: int, size: int) -> Data | None:
        """Return `size` bytes of `fd` if memory holds them all, else None."""
        return self._buffers.read(fd, offset, size)
