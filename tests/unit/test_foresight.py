"""Looking ahead: which walks are recognized, how far it goes, and that it never goes far for nothing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsmount.foresight import MOST_AHEAD, PROOF, SHARE_OF_READ, Foresight, Order, Place

KEYS = {
    Order.LISTED: lambda place: place.number,
    Order.SORTED: lambda place: place.claude_file_id,
    Order.SORTED_WITHOUT_CASE: lambda place: place.claude_file_id.casefold(),
}


class Shelf:
    """Files with random ids, and what follows each in every order."""

    def __init__(self, count: int, seed: int = 1) -> None:
        rng = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        self.places = [
            Place(number, "claude_file_01" + "".join(rng.choices(letters, k=12)))
            for number in range(1, count + 1)
        ]
        self.asked = 0

    def sorted(self, order: Order) -> list[Place]:
        return sorted(self.places, key=KEYS[order])

    def following(self, order: Order, place: Place, limit: int) -> list[Place]:
        self.asked += 1
        key = KEYS[order]
        return [other for other in self.sorted(order) if key(other) > key(place)][:limit]


def walked(foresight: Foresight, places: list[Place]) -> list[list[Place]]:
    return [foresight.note(place, may_begin=True) for place in places]


@pytest.mark.parametrize("order", Order)
def test_three_opens_in_a_row_are_proof(order):
    """In whichever order somebody walks, what comes next is known once no other order fits as well."""
    shelf = Shelf(40)
    places = shelf.sorted(order)
    told = walked(Foresight(shelf.following), places)
    assert [[]] * (PROOF - 1) == told[: PROOF - 1]
    for at, upcoming in enumerate(told[PROOF - 1 :], start=PROOF):
        assert places[at : at + len(upcoming)] == upcoming
    for at, upcoming in enumerate(told[10:], start=11):
        assert places[at : at + MOST_AHEAD] == upcoming


def test_a_long_walk_is_trusted_further():
    """A fiftieth of what was read may be had ahead, if that is more than nine."""
    shelf = Shelf(1000)
    told = walked(Foresight(shelf.following), shelf.places)
    assert MOST_AHEAD == len(told[400])
    assert 800 // SHARE_OF_READ == len(told[799])


def test_an_open_out_of_the_order_ends_it_at_once():
    """Nothing more is had ahead until there is proof again."""
    shelf = Shelf(100)
    foresight = Foresight(shelf.following)
    walked(foresight, shelf.places[:10])
    assert [] == foresight.note(shelf.places[60], may_begin=True)
    assert [] == foresight.note(shelf.places[61], may_begin=True)
    assert shelf.places[63] == foresight.note(shelf.places[62], may_begin=True)[0]


def test_opens_that_cost_nothing_begin_no_walk():
    """Who reads what is stored already gives no reason to look anything up."""
    shelf = Shelf(50)
    foresight = Foresight(shelf.following)
    told = [foresight.note(place, may_begin=False) for place in shelf.places]
    assert not any(told)
    assert 0 == shelf.asked


def test_some_files_may_be_left_out():
    """What a pattern excludes does not end a walk that has been recognized."""
    shelf = Shelf(60)
    told = walked(
        Foresight(shelf.following), [*shelf.places[:PROOF], *shelf.places[PROOF + 1 :: 3]]
    )
    assert all(told[PROOF - 1 : -2])


def test_two_walks_at_once_are_told_apart():
    """Each one is followed, however their opens are mixed."""
    shelf = Shelf(200)
    foresight = Foresight(shelf.following)
    pairs = list(zip(shelf.places[:40], shelf.places[100:140], strict=True))
    for one, other in pairs[:PROOF]:
        foresight.note(one, may_begin=True)
        foresight.note(other, may_begin=True)
    one, other = pairs[PROOF]
    assert shelf.places[one.number] == foresight.note(one, may_begin=True)[0]
    assert shelf.places[other.number] == foresight.note(other, may_begin=True)[0]


@given(st.permutations(range(60)))
@settings(max_examples=60)
def test_whatever_is_opened_little_is_told_in_vain(order):
    """In any order of opens, nothing is told before the third, and never more than nine files."""
    shelf = Shelf(60)
    foresight = Foresight(shelf.following)
    for opens, at in enumerate(order, start=1):
        upcoming = foresight.note(shelf.places[at], may_begin=True)
        assert len(upcoming) <= (MOST_AHEAD if opens >= PROOF else 0)
        assert shelf.places[at] not in upcoming


@given(st.integers(0, 60), st.sampled_from(list(Order)), st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_walk_that_stops_leaves_few_files_unread(stop, order, seed):
    """Wherever it stops, fewer than ten files were told of that it did not open."""
    shelf = Shelf(80, seed)
    places = shelf.sorted(order)
    told = walked(Foresight(shelf.following), places[:stop])
    unread = {place for upcoming in told for place in upcoming} - set(places[:stop])
    assert len(unread) < 10
