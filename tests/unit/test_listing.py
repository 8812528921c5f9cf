"""An open directory that is read in pieces, as the kernel does it."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount.answers import DirEntry
from fsmount.errors import CaseError
from fsmount.inodes import Inode
from fsmount.listing import OpenDirectory
from fsmount.tree import Attributes

ATTRIBUTES = Attributes(Inode(2), 0o40555, 0, 0, 2, 1.0, 1.0)


class Shelf:
    """Entries under positions that may have gaps; it counts the looks and can fail once at a position."""

    def __init__(self, positions: list[int]) -> None:
        self.positions = positions
        self.looks: list[int] = []
        self.fails_at: int | None = None
        self.version = 1
        self.directory = OpenDirectory(self.behind, lambda: self.version)

    def behind(self, start: int) -> Iterator[DirEntry]:
        self.looks.append(start)
        for position in sorted(self.positions):
            if position > start:
                if position == self.fails_at:
                    self.fails_at = None
                    raise CaseError("the disk failed")
                yield DirEntry(b"%d" % position, ATTRIBUTES, position)

    def piece(self, start: int, room: int) -> list[int]:
        """Take as many entries as there is room for; one more is seen and refused, as by a full buffer."""
        taken: list[int] = []
        for entry in self.directory.behind(start):
            if len(taken) == room:
                break
            taken.append(entry.next_id)
        return taken

    def whole(self, rooms: Iterator[int]) -> list[int]:
        found: list[int] = []
        while piece := self.piece(found[-1] if found else 0, next(rooms)):
            found += piece
        return found


@given(st.sets(st.integers(1, 500)), st.lists(st.integers(1, 20), min_size=1))
def test_pieces_of_any_size_make_the_whole_in_one_look(positions, sizes):
    """Nothing is lost where a piece ends, nothing comes twice, and each row is read once."""
    shelf = Shelf(list(positions))
    rooms = iter(sizes * 600)
    assert sorted(positions) == shelf.whole(rooms)
    assert [0] == shelf.looks


@given(
    st.sets(st.integers(1, 60), min_size=1),
    st.lists(st.tuples(st.integers(0, 61), st.integers(1, 9), st.booleans()), max_size=30),
)
def test_any_jumps_and_changes_show_what_is_there(positions, steps):
    """A seek, a second reader of the handle or a change in between: each piece is as by a new look."""
    shelf = Shelf(list(positions))
    for start, room, goes in steps:
        if goes and shelf.positions:
            shelf.positions.remove(min(shelf.positions, key=lambda p: abs(p - start - 1)))
            shelf.version += 1
        expected = [position for position in sorted(shelf.positions) if position > start]
        assert expected[:room] == shelf.piece(start, room)


def test_what_came_while_listing_is_found_at_the_end():
    """As by a plain look: the end is where nothing is behind it any more."""
    shelf = Shelf([1, 2])
    assert [1, 2] == shelf.piece(0, 5)
    assert [] == shelf.piece(2, 5)
    shelf.positions.append(3)
    shelf.version += 1
    assert [3] == shelf.piece(2, 5)


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4, 5])
def test_an_error_is_told_and_leaves_no_gap(fails_at):
    """Who asks again after an error gets what is behind, not a listing that ends early."""
    shelf = Shelf([1, 2, 3, 4, 5])
    shelf.fails_at = fails_at
    found: list[int] = []
    errors = 0
    while len(found) < 5:
        try:
            found += shelf.piece(found[-1] if found else 0, 2)
        except CaseError:
            errors += 1
    assert ([1, 2, 3, 4, 5], 1) == (found, errors)
