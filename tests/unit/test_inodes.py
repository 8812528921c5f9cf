"""Inode numbers can be worked out and taken apart; handles are never given out twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount.inodes import (
    HIDDEN_DIR,
    ROOT,
    STATUS,
    Handle,
    HandleTable,
    Inode,
    Kind,
    ViewKind,
    ViewNode,
    directory_of,
    inode_of,
    inode_of_view,
    is_given_out,
    split,
    view_node,
)

numbers = st.integers(1, 2**61)


@given(numbers, st.sampled_from(Kind))
def test_an_inode_tells_its_file_and_kind(number: int, kind: Kind):
    """Split is the opposite of inode_of."""
    assert (number, kind) == split(inode_of(number, kind))


@given(st.lists(numbers, unique=True, max_size=20))
def test_no_two_nodes_share_an_inode(some: list[int]):
    """Every node of every file has a number of its own, and none has that of the root or the status file."""
    inodes = [inode_of(number, kind) for number in some for kind in Kind]
    assert len(inodes) == len({*inodes, ROOT, HIDDEN_DIR, STATUS}) - 3


def test_the_numbers_are_part_of_a_case():
    """Inode numbers outlive a mount: file n has 4n, 4n + 1 and 4n + 2, the root is 1."""
    assert [28, 29, 30] == [inode_of(7, kind) for kind in Kind]
    assert (1, 2, 3) == (ROOT, HIDDEN_DIR, STATUS)


@pytest.mark.parametrize("number", [0, -1])
def test_file_numbers_count_from_one(number):
    """A number that no file has is refused."""
    with pytest.raises(ValueError, match=f"not {number}"):
        inode_of(number, Kind.DIRECTORY)


@pytest.mark.parametrize("inode", [-3, 0, ROOT, HIDDEN_DIR, STATUS, 7, 4 * 1000 + 3])
def test_inodes_of_no_file_are_refused(inode):
    """The fixed inodes, and numbers that are never given out, belong to no file."""
    with pytest.raises(ValueError, match=str(inode) if inode < 4 else "3"):
        split(Inode(inode))


@given(st.sampled_from(ViewKind), st.integers(0, 2**27 - 1), st.integers(0, 2**31 - 1))
def test_an_inode_tells_its_node_of_the_views(kind: ViewKind, number: int, file: int):
    """Every node of the views can be worked out from its inode, which is a positive number."""
    node = ViewNode(kind, number, file)
    assert node == view_node(inode_of_view(node))
    assert 2**62 <= inode_of_view(node) < 2**63


@given(st.integers(1, 2**59), st.sampled_from(Kind))
def test_no_node_of_a_file_is_one_of_the_views(number: int, kind: Kind):
    """Nor are the root and the status file."""
    for inode in (inode_of(number, kind), ROOT, HIDDEN_DIR, STATUS):
        assert view_node(inode) is None


@pytest.mark.parametrize("node", [(2**27, 0), (0, 2**31), (-1, 0), (0, -1)])
def test_what_has_no_room_in_an_inode_is_refused(node):
    """No two nodes ever share a number."""
    with pytest.raises(ValueError, match="more chats or files"):
        inode_of_view(ViewNode(ViewKind.PERSON, *node))


def test_a_handle_stands_for_one_thing_until_released():
    """What was opened is found by its handle until that is given back."""
    table: HandleTable[str] = HandleTable()
    first, second = table.open("a"), table.open("a")
    assert first != second
    assert ("a", 2) == (table.get(first), len(table))
    assert "a" == table.release(first)
    assert 1 == len(table)
    for use in (table.get, table.release):
        with pytest.raises(KeyError):
            use(first)


@given(st.lists(st.booleans(), max_size=30))
def test_a_handle_is_never_given_out_again(opens: list[bool]):
    """A late release of an old handle can't hit a new one."""
    table: HandleTable[int] = HandleTable()
    given_out: list[Handle] = []
    still_open: list[Handle] = []
    for is_open in opens:
        if is_open or not still_open:
            handle = table.open(len(given_out))
            given_out.append(handle)
            still_open.append(handle)
        else:
            table.release(still_open.pop(0))
    assert len(given_out) == len(set(given_out))
    assert len(still_open) == len(table)


@pytest.mark.parametrize(
    ("inode", "expected"),
    [
        (0, False),
        (ROOT, True),
        (STATUS, True),
        (inode_of(7, Kind.META), True),
        (inode_of(7, Kind.META) + 1, False),  # the one to spare
        (inode_of_view(ViewNode(ViewKind.PERSON, 3)), True),
        (1 << 62 | 15 << 58, False),
        ((1 << 64) - 1, False),
    ],
)
def test_numbers_from_outside_are_told_from_those_of_nodes(inode, expected):
    """A client of an NFS server may send any."""
    assert expected is is_given_out(Inode(inode))


def test_every_node_of_a_file_is_in_its_directory_and_that_in_the_root():
    """The kernel walks up like this to a directory that it has forgotten."""
    directory = inode_of(7, Kind.DIRECTORY)
    assert {directory} == {directory_of(inode_of(7, kind)) for kind in (Kind.CONTENT, Kind.META)}
    assert {ROOT} == {directory_of(inode) for inode in (directory, HIDDEN_DIR, ROOT)}
    assert HIDDEN_DIR == directory_of(STATUS)
