"""The bookkeeping of one stream: where its bytes go, and those that have come and are not written yet.

Receiving, writing and reading overlap: while a thread writes one batch, the next one is received, and readers
are given what has come without waiting for the disk. What has piled up meanwhile becomes the next batch, so
batches are small when the network is slow and large when it is fast.
"""

from collections import deque

import trio

from fsmount.disk import PendingBytes
from fsmount.readahead import Flow, Request

# The memory of streams: each may have the least, and more, up to the most, while there is enough for all.
_LEAST_BYTES, _MOST_BYTES, _MOST_IN_ALL_BYTES = 1 << 20, 4 << 20, 32 << 20
_BATCH_BYTES = 1 << 20  # small, so that progress is told often


class Arrivals:
    """Pieces that follow each other, from the first that is not on the disk yet; bounded in bytes.

    Whatever readers were given from here is written in the end, or compared with what was written first:
    the writer goes on until nothing is left, also when its stream is given up.

    All belongs to the event loop but `next_batch`, which the writing thread calls.
    """

    def __init__(self, start: int, pending: PendingBytes) -> None:
        self.start = self.end = start
        self._pending = pending
        self.error: Exception | None = None
        self._pieces: deque[bytes] = deque()  # for readers, until they are written
        self._unwritten: deque[bytes] = deque()  # the same, for the writer, until it takes them
        self._is_closed = False
        self._changed = trio.lowlevel.ParkingLot()

    def covers(self, start: int, end: int) -> bool:
        """Say whether all bytes of [start, end) are here."""
        return self.start <= start and end <= self.end

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes of [start, end), which are here."""
        parts = []
        offset = self.start
        for piece in self._pieces:
            if offset >= end:
                break
            if offset + len(piece) > start:
                parts.append(piece[max(0, start - offset) : end - offset])
            offset += len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def put(self, piece: bytes) -> bool:
        """Add one piece, waiting while there are too many; False when the writer has failed."""
        while self._is_full() and self.error is None:
            await self._changed.park()
        self._pending.taken_bytes += len(piece)
        self._pieces.append(piece)
        self._unwritten.append(piece)
        self.end += len(piece)
        self._changed.unpark_all()
        return self.error is None

    def _is_full(self) -> bool:
        own_bytes = self.end - self.start
        if own_bytes < _LEAST_BYTES:
            return False
        return own_bytes >= _MOST_BYTES or self._pending.taken_bytes >= _MOST_IN_ALL_BYTES

    async def wait(self) -> bool:
        """Wait until there is something to write; False when there will be nothing any more."""
        while not self._unwritten and not self._is_closed:
            await self._changed.park()
        return bool(self._unwritten)

    def next_batch(self) -> list[bytes]:
        """Take pieces that were not written yet, some or none."""
        pieces = []
        size = 0
        while size < _BATCH_BYTES and self._unwritten:
            piece = self._unwritten.popleft()
            pieces.append(piece)
            size += len(piece)
        return pieces

    def drop_written(self, end: int) -> None:
        """Drop the pieces before `end`: they are on the disk."""
        while self.start < end:
            size = len(self._pieces.popleft())
            self.start += size
            self._pending.taken_bytes -= size
        self._changed.unpark_all()

    def close(self) -> None:
        """Say that no more pieces will come."""
        self._is_closed = True
        self._changed.unpark_all()

    def leave(self) -> None:
        """Give the memory back that unwritten pieces take, at the end of the stream."""
        self._pending.taken_bytes -= self.end - self.start
        self.start = self.end
        self._pieces.clear()
        self._unwritten.clear()

    def fail(self, error: Exception) -> None:
        """Stop the receiver; it finds the error here."""
        self.error = error
        self._changed.unpark_all()


class Stream:
    """One request for bytes, from its being sent to its last byte written."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.flow = Flow(pos=None, stop=request.end)
        self.arrivals = Arrivals(request.start, PendingBytes())
        self.scope = trio.CancelScope()
        self.received = request.start
        self.has_begun = False
        self.has_writer = False

    @property
    def position(self) -> int:
        """Where the next byte that is written goes."""
        return self.request.start if self.flow.pos is None else self.flow.pos

    def begin(self, start: int, stop: int | None) -> None:
        """Take over from the answer where its bytes start and stop."""
        self.flow.pos = self.received = start
        self.flow.stop = stop
        self.has_begun = True

    def advance(self, end: int) -> None:
        """Note that everything before `end` has been written."""
        self.flow.pos = end
        self.arrivals.drop_written(end)

    def begin_queue(self, pending: PendingBytes) -> None:
        """Begin to keep what comes until it is written."""
        self.arrivals = Arrivals(self.position, pending)
        self.has_writer = True

    def reopen(self) -> None:
        """Count as not answered, so that nobody relies on it and no other takes its place."""
        self.flow.pos = None
