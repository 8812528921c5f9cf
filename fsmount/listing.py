"""An open directory: where its listing is, so that each piece of it goes on from the one before.

The kernel asks for as many entries as fit into its buffer, some 700, and says behind which position. Looking
that position up again for each piece would read rows that the piece before had read already.
"""

from collections.abc import Callable, Iterator, Sequence

from fsmount.answers import DirEntry

EntriesBehind = Callable[[int], Iterator[DirEntry]]  # yields what comes behind a position


class FixedDirectory:
    """A listing that was made when the directory was opened."""

    def __init__(self, entries: Sequence[DirEntry]) -> None:
        self._entries = entries

    def behind(self, start: int) -> Iterator[DirEntry]:
        """Yield the entries behind a position."""
        return (entry for entry in self._entries if entry.next_id > start)


class OpenDirectory:
    """One listing under way.

    `version` says which state the entries are of: what was read ahead of an older one is read again.
    """

    def __init__(self, entries: EntriesBehind, version: Callable[[], int]) -> None:
        self._entries = entries
        self._version = version
        self._read_at: tuple[int, int] | None = None  # version, position of the last entry taken
        self._rest: Iterator[DirEntry] = iter(())
        self._untaken: DirEntry | None = None

    def behind(self, start: int) -> Iterator[DirEntry]:
        """Yield the entries behind a position; the one at which the caller stops counts as not taken."""
        version = self._version()
        if self._read_at != (version, start):
            self._rest, self._untaken = self._entries(start), None
        self._read_at = None  # and so it stays after an error: nothing may be passed over
        position = start
        try:
            if self._untaken:
                yield self._untaken
                position = self._untaken.next_id
            for entry in self._rest:
                self._untaken = entry
                yield entry
                position = entry.next_id
        except GeneratorExit:
            self._read_at = version, position
            raise
        self._read_at, self._untaken = (version, position), None
