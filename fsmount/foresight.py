"""Which files will be opened next: decisions without I/O, from the order in which files are opened.

Who goes through everything opens files in the order of a listing: as the root lists them, or sorted as a
shell does, by bytes or without regard to case. Three in a row are proof enough. No process is followed:
`find -exec` opens each file in another one.

Looking ahead costs requests that may be for nothing, so it is bounded: by nine files, and in a long walk by a
fiftieth of what it has read. So a walk that stops leaves fewer than ten files unread, or two in a hundred.
"""

import dataclasses
import enum
from collections import deque
from collections.abc import Callable, Sequence

PROOF = 3  # opens in a row
MOST_AHEAD = 9
SHARE_OF_READ = 50  # one more file ahead for so many that were read
_LIMIT_AHEAD = 32  # more at once do not make it faster
_MAY_SKIP = 4  # files that a walk may leave out: those that a pattern excludes, for one
_BATCH = 2 * _LIMIT_AHEAD
_MOST_TRACKS = 12


class Order(enum.Enum):
    """How a walk goes through the files."""

    LISTED = "listed"
    SORTED = "sorted"
    SORTED_WITHOUT_CASE = "sorted without case"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A file's place in every order."""

    number: int
    claude_file_id: str


# Returns up to so many files that follow a place in an order.
Successors = Callable[[Order, Place, int], Sequence[Place]]


@dataclasses.dataclass(slots=True)
class _Track:
    """One walk, or what may become one: where it is, how many files it has opened, and what comes next."""

    order: Order
    at: Place
    ahead: deque[Place]
    run: int = 1
    skipped: int = 0

    def follow(self, place: Place) -> bool:
        """Go on to a file if it is among the next ones; say whether it is."""
        may_skip = _MAY_SKIP if self.run >= PROOF else 0  # or chance would look like an order
        for steps, upcoming in zip(range(may_skip + 1), self.ahead, strict=False):
            if upcoming == place:
                for _ in range(steps + 1):
                    self.at = self.ahead.popleft()
                self.run += 1
                self.skipped += steps
                return True
        return False

    @property
    def fit(self) -> tuple[int, int]:
        """Return how well the track explains what was opened; more is better."""
        return (self.run, -self.skipped)

    @property
    def allowance(self) -> int:
        """Return how many files may be had ahead now."""
        if self.run < PROOF:
            return 0
        return min(_LIMIT_AHEAD, max(MOST_AHEAD, self.run // SHARE_OF_READ))


class Foresight:
    """Follows walks: is told of every file that is opened, and says what comes next."""

    def __init__(self, successors: Successors) -> None:
        self._successors = successors
        self._tracks: list[_Track] = []  # the one that was followed last is the last

    def note(self, place: Place, *, may_begin: bool) -> list[Place]:
        """Take an open into account; return the files to have ahead of it, the next one first.

        With `may_begin`, a walk may begin here; an open that costs nothing is no reason to look ahead.
        """
        followed = [track for track in self._tracks if track.follow(place)]
        if not followed:
            if may_begin:
                self._begin(place)
            return []
        self._tracks = [track for track in self._tracks if track not in followed] + followed
        for track in followed:
            self._look_further(track)
        # Where orders agree for a while, several tracks go the same way. Those that fit best lead, and what
        # they disagree about is not known yet.
        best = max(track.fit for track in followed)
        leaders = [track for track in followed if track.fit == best]
        return _common_beginning([list(track.ahead)[: track.allowance] for track in leaders])

    def _begin(self, place: Place) -> None:
        for order in Order:
            ahead = self._successors(order, place, 2 * _MAY_SKIP)
            if ahead:
                self._tracks.append(_Track(order, place, deque(ahead)))
        del self._tracks[:-_MOST_TRACKS]

    def _look_further(self, track: _Track) -> None:
        if len(track.ahead) <= max(_MAY_SKIP, track.allowance):
            last = track.ahead[-1] if track.ahead else track.at
            count = _BATCH if track.allowance else 2 * _MAY_SKIP
            track.ahead.extend(self._successors(track.order, last, count))


def _common_beginning(lists: Sequence[list[Place]]) -> list[Place]:
    common = []
    for places in zip(*lists, strict=False):
        if any(place != places[0] for place in places):
            break
        common.append(places[0])
    return common
