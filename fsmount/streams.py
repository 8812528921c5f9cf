"""The streams of one download, and the readers that wait for what they bring.

Which stream is needed next, and how far one may run ahead, is decided in `readahead`. This module keeps what
is open and who waits, opens what is wanted and not on its way, and parks streams that are far enough ahead
until a reader moves on, or nobody needs them any more.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import trio

from fsmount.flow import Arrivals, Stream
from fsmount.readahead import Pattern, Policy, Ranges, Want, limit_of, next_request
from fsmount.spool import Extents
from fsmount.waiting import Waiters


class Goal(Protocol):
    """What the streams are for, as far as their download knows."""

    @property
    def size_bytes(self) -> int | None:
        """The size as far as it is known."""
        ...

    @property
    def is_stopped(self) -> bool:
        """Whether it has ended, or pauses after trouble."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are here."""
        ...


class Streams:
    """All streams of one download.

    `start` is given a stream to be run, and must not wait. All belongs to the event loop, and no method but
    `may_go_on` waits: two readers never open the same stream.
    """

    def __init__(
        self, policy: Policy, present: Extents, goal: Goal, start: Callable[[Stream], None]
    ) -> None:
        self.ranges = Ranges.UNKNOWN
        self.readers: set[Pattern] = set()
        self._policy = policy
        self._present = present
        self._goal = goal
        self._start = start
        self._open: list[Stream] = []
        self._waiters = Waiters()
        self._parked = trio.lowlevel.ParkingLot()
        self._is_crowded = False
        self._wanted_until = -math.inf

    @property
    def is_idle(self) -> bool:
        """Say whether no stream is open and nobody waits."""
        return not self._open and not self._waiters

    # -- readers ---------------------------------------------------------------------------------

    def arrivals(self, start: int, end: int) -> Arrivals | None:
        """Return where the bytes of [start, end) are that have come and are not written yet."""
        every = (stream.arrivals for stream in self._open)
        return next((arrivals for arrivals in every if arrivals.covers(start, end)), None)

    @contextlib.contextmanager
    def waiting(self, want: Want, span: tuple[int, int] | None) -> Iterator[trio.Event]:
        """Count a reader as waiting for the block, and open what it needs; see `Waiters.joined`.

        Who waits for all of a file and reaches a deadline first asks again: so it goes on coming for a while,
        or a file that takes longer than the deadline would never be had.
        """
        with self._waiters.joined(want, span) as woken:
            self.open_wanted()
            began_at = trio.current_time()
            try:
                yield woken
            except BaseException:
                self._note_end_of_wait(want, trio.current_time() - began_at)
                raise

    def wake(self) -> None:
        """Wake all readers: there is a verdict, a failure, or another plan."""
        self._waiters.wake()

    def wake_served(self, is_here: Callable[[int, int], bool]) -> None:
        """Wake the readers whose bytes have come."""
        self._waiters.wake_served(is_here)

    # -- streams ---------------------------------------------------------------------------------

    def open_wanted(self) -> None:
        """Open the streams that are wanted and not on their way."""
        if self._goal.is_stopped or self._goal.is_complete:
            return
        self._is_crowded = False
        for want in self._waiters.wants:
            flows = [stream.flow for stream in self._open]
            request = next_request(self._policy, self._present, flows, want, self.ranges)
            if request is not None:
                stream = Stream(request)
                self._open.append(stream)
                self._start(stream)
            elif len(flows) >= self._policy.max_streams:
                self._is_crowded = True  # parked streams give way
        self.look_again()

    def look_again(self) -> None:
        """Have parked streams see whether they may go on: a reader has moved."""
        self._parked.unpark_all()

    async def may_go_on(self, stream: Stream) -> bool:
        """Wait while `stream` is far enough ahead of everyone; False when it is to be given up."""
        parked_at = trio.current_time()
        while not self._goal.is_stopped:
            if self._is_wanted_again:
                return True
            limit = limit_of(
                self._policy,
                stream.flow,
                self._waiters.wants,
                (pattern.end for pattern in self.readers),
                self.ranges,
            )
            if limit is None or stream.received < limit or self._little_remains(stream):
                return True
            if self._is_idle_too_long(trio.current_time() - parked_at):
                return False
            with trio.move_on_after(self._policy.linger_s):
                await self._parked.park()
        return False

    def _note_end_of_wait(self, want: Want, waited_s: float) -> None:
        if want.end is None and waited_s >= self._policy.patient_s:
            self._wanted_until = trio.current_time() + self._policy.whole_s

    @property
    def _is_wanted_again(self) -> bool:
        is_bounded = self._present.total_bytes < self._policy.whole_bytes
        return is_bounded and trio.current_time() < self._wanted_until

    def is_news(self, stream: Stream) -> bool:
        """Say whether what a stream would bring next is not here already."""
        if self.ranges is not Ranges.HONOURED:
            return True
        known_until = self._present.first_missing(stream.received)
        return known_until - stream.received < self._policy.near_bytes

    def remove(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        self._open.remove(stream)

    def cancel(self) -> bool:
        """Have all streams end; say whether there are any. Each is removed when it has ended."""
        for stream in self._open:
            stream.scope.cancel()
        return bool(self._open)

    def stop(self) -> None:
        """Have all streams end, and all readers look why."""
        self.cancel()
        self.look_again()
        self.wake()

    def _little_remains(self, stream: Stream) -> bool:
        known = self._goal.size_bytes
        if known is None or stream.flow.pos != self._present.prefix_end:
            return False
        return known - stream.received <= self._policy.finish_bytes

    def _is_idle_too_long(self, parked_s: float) -> bool:
        if self.readers and self.ranges is not Ranges.HONOURED:
            return parked_s >= self._policy.idle_s
        return parked_s >= self._policy.linger_s or self._is_crowded
