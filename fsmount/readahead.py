"""Which bytes to ask for next, and how far a running stream may go: decisions without I/O.

Two worlds. Where the service ignores `Range`, there is one stream, from the start; every reader waits
for it, however far away, because any other request would be answered with the same whole body. Where it
honours `Range`, a reader far from every stream gets a bounded window of its own, and a reader that
proves to read on gets a stream without an end.

The first request for a file is always for all of it from the start: its answer tells whether ranges are
honoured, and carries the digest that vouches for the whole, which an answer with a part does not.

Requests are scarcer than bytes. So a stream reads through a stretch that is already here rather than
being replaced by a second request, and a file of which little is missing is finished.
"""

import dataclasses
import enum
from collections.abc import Iterable, Sequence

from fsmount.spool import Extents

MIB = 1 << 20


class Ranges(enum.Enum):
    """What is known of how the service answers `Range` for one file."""

    UNKNOWN = "unknown"
    HONOURED = "honoured"
    IGNORED = "ignored"


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """The engine's tuning numbers.

    Units: bytes and seconds.
    """

    read_ahead_bytes: int = 8 * MIB  # beyond the furthest reader: what a sniffing reader costs
    near_bytes: int = 8 * MIB  # a gap that is waited for, or read through, instead of asked for
    first_window_bytes: int = MIB  # a lone far read; the kernel asks for up to 1 MiB at once
    align_bytes: int = 128 * 1024  # readers of archives step back a little before they go on
    finish_bytes: int = 4 * MIB  # less than this missing: finishing is cheaper than asking again
    held_bytes: int = 4096  # the last page is kept back until the hash is known to be right
    linger_s: float = 5.0  # a stream nobody needs waits so long for the next open
    idle_s: float = 60.0  # with the file open and no ranges, giving up costs the whole body again
    # A wait for a whole file that ended too soon will be taken up again: how long it goes on coming, up to
    # how many bytes, and how long the wait must have been. Who is killed early wants nothing more.
    whole_s: float = 300.0
    whole_bytes: int = 10 << 30
    patient_s: float = 20.0
    max_streams: int = 4  # at once for one file
    max_breaks: int = 5  # resumptions of one download
    failure_memory_s: float = 5.0  # the kernel repeats a failed read page by page
    mismatch_memory_s: float = 30.0  # after two wrong bodies: asking at once brings a third


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A stream to open: [start, end), `end` None for the rest of the file."""

    start: int
    end: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Want:
    """Bytes that somebody waits for: [start, end), `end` None for the whole rest.

    `window_bytes` is how much a stream of its own should bring, None: as much as there is.
    """

    start: int
    end: int | None
    window_bytes: int | None


@dataclasses.dataclass(slots=True)
class Flow:
    """A stream in progress: where its next byte goes, and where it was asked to stop.

    `pos` is None while the answer has not come yet.
    """

    pos: int | None
    stop: int | None


class Pattern:
    """How one open file is being read; tells how much a far read should bring."""

    __slots__ = ("_policy", "end", "start")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.start = 0
        self.end = 0

    def note(self, offset: int, size: int) -> None:
        """Take a read into account; slightly out of order is still in sequence.

        The kernel sends read-ahead in parallel pieces that arrive in any order.
        """
        slack = self._policy.first_window_bytes
        if self.start - slack <= offset <= self.end + slack:
            self.start = min(self.start, offset)
            self.end = max(self.end, offset + size)
        else:
            self.start, self.end = offset, offset + size

    @property
    def window_bytes(self) -> int | None:
        """Return the window for the next far read; None once the reader reads on and on."""
        run = self.end - self.start
        if run > self._policy.near_bytes:
            return None
        return max(self._policy.first_window_bytes, 4 * run)


def next_request(
    policy: Policy, present: Extents, flows: Sequence[Flow], want: Want, ranges: Ranges
) -> Request | None:
    """Return the stream that `want` needs, or None if it is here or on its way."""
    need = present.first_missing(want.start)
    if want.end is not None and need >= want.end:
        return None
    if ranges is not Ranges.HONOURED:
        # A stream beyond what is needed is one of those that ranges brought, before they turned out unusable.
        is_coming = any(flow.pos is None or flow.pos <= need for flow in flows)
        return None if is_coming else Request(0, None)
    if any(flow.pos is None for flow in flows):  # where its bytes go is not known yet
        return None
    if any(_reaches(policy, flow, need, want) for flow in flows):
        return None
    if len(flows) >= policy.max_streams:
        return None
    return _request_at(policy, present, need, want)


def _request_at(policy: Policy, present: Extents, need: int, want: Want) -> Request:
    start = need
    if need > present.prefix_end:  # a far read: step back to the boundary, not into what is here
        start = max(need - need % policy.align_bytes, _present_before(present, need))
    if want.window_bytes is None or need <= present.prefix_end:
        return Request(start, _stop_before_long_run(policy, present, start))
    end = start + max(want.window_bytes, (want.end or need) - start)
    following = present.next_present(start)
    return Request(start, min(end, following[0]) if following else end)


def _present_before(present: Extents, offset: int) -> int:
    return max((end for _, end in present if end <= offset), default=0)


def _stop_before_long_run(policy: Policy, present: Extents, start: int) -> int | None:
    return next(
        (low for low, high in present if low > start and high - low >= policy.near_bytes), None
    )


def _reaches(policy: Policy, flow: Flow, need: int, want: Want) -> bool:
    if flow.pos is None or flow.pos > need:
        return False
    if flow.stop is not None:
        return need < flow.stop
    return want.window_bytes is None or need - flow.pos <= policy.near_bytes


def limit_of(
    policy: Policy, flow: Flow, wants: Iterable[Want], readers: Iterable[int], ranges: Ranges
) -> int | None:
    """Return the offset beyond which `flow` should not read now; None: to its end.

    `readers` are the furthest offsets that open files have read up to. A stream with a stop was sized
    for its reader and goes there. Where ranges are honoured, only what lies near the stream counts: others
    have streams of their own.
    """
    if flow.stop is not None or flow.pos is None:
        return None
    furthest = 0
    for want in wants:
        if want.end is None:
            return None
        if _concerns(policy, flow.pos, want.start, ranges) or want.window_bytes is None:
            furthest = max(furthest, want.end + policy.read_ahead_bytes)
    for offset in readers:
        if _concerns(policy, flow.pos, offset, ranges):
            furthest = max(furthest, offset + policy.read_ahead_bytes)
    return furthest


def _concerns(policy: Policy, pos: int, offset: int, ranges: Ranges) -> bool:
    return ranges is not Ranges.HONOURED or offset - pos <= policy.near_bytes
