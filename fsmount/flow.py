"""The bookkeeping of one stream, and the short queue between receiving and writing its bytes.

Receiving and writing overlap: while a thread writes and hashes one batch, the next one is received. What
has piled up meanwhile becomes the next batch, so batches are small when the network is slow (a reader
gets its first bytes at once) and large when it is fast.
"""

import trio

from fsmount.readahead import Flow, Request

_QUEUE_BYTES = 1 << 20  # bounds the memory of a stream; larger did not make it faster


class Stream:
    """One request for bytes, from its being sent to its last byte written."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.flow = Flow(pos=None, stop=request.end)
        self.scope = trio.CancelScope()
        self.received = request.start
        self.is_complete = False
        self.has_begun = False

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

    def reopen(self) -> None:
        """Count as not answered, so that nobody relies on it and no other takes its place."""
        self.flow.pos = None


class Batches:
    """Pieces on their way from the network to the writer, bounded in bytes."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_closed = False
        self._changed = trio.lowlevel.ParkingLot()

    async def put(self, piece: bytes) -> bool:
        """Queue one piece, waiting while the queue is full; False when the writer has failed."""
        while self._size >= _QUEUE_BYTES and self.error is None:
            await self._changed.park()
        self._pieces.append(piece)
        self._size += len(piece)
        self._changed.unpark_all()
        return self.error is None

    async def take(self) -> list[bytes]:
        """Return all that is queued, waiting for the first piece; empty once closed and drained."""
        while not self._pieces and not self._is_closed:
            await self._changed.park()
        pieces, self._pieces, self._size = self._pieces, [], 0
        self._changed.unpark_all()
        return pieces

    def close(self) -> None:
        """Say that no more pieces will come."""
        self._is_closed = True
        self._changed.unpark_all()

    def fail(self, error: Exception) -> None:
        """Stop the receiver; it finds the error here."""
        self.error = error
        self._changed.unpark_all()
