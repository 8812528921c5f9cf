"""One stream from the head of its answer to its last byte written: receiving, and writing beside it."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from fsmount.flow import Stream
from fsmount.intake import Intake
from fsmount.source import ByteStream


class Steering(Protocol):
    """What decides about a stream while it comes."""

    def learn(self, stream: Stream, answer: ByteStream) -> None:
        """Take from the head of an answer where its bytes belong and what it promises."""
        ...

    async def may_go_on(self, stream: Stream) -> bool:
        """Wait while the stream is far enough ahead of everyone; False when it is to be given up."""
        ...

    def arrived(self, stream: Stream) -> bool:
        """Tell who waits that bytes have come; False when what would follow is here already."""
        ...

    def written(self, stream: Stream, end: int) -> None:
        """Tell who waits that everything before `end` is on the disk."""
        ...

    def ended(self, stream: Stream) -> None:
        """Take from the proper end of a body how long it is."""
        ...


class Transfer:
    """Brings one stream.

    Whatever has come is written before it ends, also when the stream is given up: readers may have it.
    """

    def __init__(
        self,
        stream: Stream,
        opening: AbstractAsyncContextManager[ByteStream],
        intake: Intake,
        steering: Steering,
    ) -> None:
        self._stream = stream
        self._opening = opening
        self._intake = intake
        self._steering = steering

    async def run(self) -> Exception | None:
        """Receive and write; return, not raise, what went wrong. The stream's scope ends the receiving."""
        error = None
        async with trio.open_nursery() as nursery:
            with self._stream.scope:
                try:
                    await self._receive_all(nursery)
                except Exception as failure:
                    error = failure
            self._stream.arrivals.close()
        self._stream.arrivals.leave()
        return self._stream.arrivals.error or error

    async def _receive_all(self, nursery: trio.Nursery) -> None:
        stream = self._stream
        async with self._opening as answer:
            self._steering.learn(stream, answer)
            while await self._steering.may_go_on(stream):
                chunk = await answer.receive()
                if not chunk:
                    self._steering.ended(stream)
                    return
                stream.received += len(chunk)
                if not await self._accept(chunk, nursery) or not self._steering.arrived(stream):
                    return
                if stream.flow.stop is None:
                    await self._intake.let_hash_follow()

    async def _accept(self, chunk: bytes, nursery: trio.Nursery) -> bool:
        """Write a chunk now, if that takes no thread, else leave it to the writer; False when that failed."""
        stream = self._stream
        if not stream.has_writer:
            if self._intake.write_nowait(stream.position, chunk):
                stream.flow.pos = stream.received
                return True
            stream.begin_queue(self._intake.pending)
            nursery.start_soon(self._write_all)
        return await stream.arrivals.put(chunk)

    async def _write_all(self) -> None:
        """Write batch after batch; an error stops the receiver too."""
        stream = self._stream
        try:
            while await stream.arrivals.wait():
                await self._intake.write(
                    stream.position,
                    stream.arrivals.next_batch,
                    lambda end: self._steering.written(stream, end),
                )
        except Exception as error:
            stream.arrivals.fail(error)
            stream.scope.cancel()
