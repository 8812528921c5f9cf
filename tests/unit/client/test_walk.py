"""The walk: requests of every list, and a driver that finds everything however its answers come."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import client
from client import Family, Listing, Page, Step, Walk
from tests.support.organization import (
    Organization,
    artifact_entry,
    file_entry,
    generated_entry,
    page_of,
)

BASE = "/v1/compliance"


def first_step(listing: Listing, cursor: str | None = None) -> Step:
    """Return the step with which a list begins."""
    walk = Walk()
    walk.start(listing, cursor)
    step = walk.next_step()
    assert step is not None
    return step


@pytest.mark.parametrize(
    ("listing", "path", "cursor"),
    [
        (Listing("organizations"), "/organizations?limit=1000", "page"),
        (Listing("users", "o1"), "/organizations/o1/users?limit=1000", "page"),
        (Listing("projects"), "/apps/projects?limit=100", "page"),
        (Listing("chats"), "/apps/chats?limit=1000", "after_id"),
        (Listing("messages", "c1"), "/apps/chats/c1/messages?limit=1000", "after_id"),
        (Listing("attachments", "p1"), "/apps/projects/p1/attachments?limit=100", "page"),
    ],
)
def test_every_list_has_its_path_its_limit_and_its_cursor(listing, path, cursor):
    """A list is asked for with the most entries that it gives, and goes on by its own kind of cursor."""
    request = first_step(listing).request
    assert ("GET", BASE + path, "listing") == (request.method, request.path, request.kind)
    assert f"{BASE}{path}&{cursor}=a%2Fb" == first_step(listing, "a/b").request.path


def test_what_narrows_a_list_is_in_every_request():
    """Parameters are sent as the documentation writes them, brackets and all."""
    listing = Listing("chats", query=(("user_ids[]", "u 1"), ("user_ids[]", "u2")))
    expected = f"{BASE}/apps/chats?user_ids[]=u+1&user_ids[]=u2&limit=1000&after_id=x"
    assert expected == first_step(listing, "x").request.path


def test_lists_of_different_narrowing_have_different_names():
    """A cursor is never taken for that of another list."""
    listings = [
        Listing(kind, owner, query)
        for kind in ("chats", "messages")
        for owner in ("", "c1")
        for query in ((), (("a", "1"),), (("a", "1"), ("b", "2")))
    ]
    assert len(listings) == len({listing.key for listing in listings})


@pytest.mark.parametrize("owner", ["", "..", "a/b", "a b", "\n"])
@pytest.mark.parametrize("kind", ["users", "messages", "attachments"])
def test_an_owner_that_can_not_be_an_id_is_never_sent(kind, owner):
    """What would lead to another path is refused."""
    with pytest.raises(ValueError, match="not an id"):
        _ = first_step(Listing(kind, owner)).request


def test_errors_name_whose_list_it_is():
    """A message names the chat, or the kind of list where nobody owns it."""
    assert "c1" == first_step(Listing("messages", "c1")).request.about
    assert "the list of chats" == first_step(Listing("chats")).request.about


def test_less_and_less_can_be_asked_for_down_to_one():
    """A smaller step is the same one with a tenth of the entries; below one there is none."""
    step: Step | None = first_step(Listing("messages", "c1"), "x")
    limits = []
    while step:
        assert (Listing("messages", "c1"), "x") == (step.listing, step.cursor)
        limits.append(step.limit)
        step = step.smaller
    assert [1000, 100, 10, 1] == limits


# -- order ---------------------------------------------------------------------------------------------


def test_lists_go_before_what_they_name():
    """How much there is to do is known early; a page's next one goes before other lists."""
    walk = Walk()
    walk.start(Listing("messages", "c1"))
    for kind in ("chats", "projects"):
        walk.start(Listing(kind))
    taken = [walk.next_step() for _ in range(3)]
    assert ["chats", "projects", "messages"] == [step and step.listing.kind for step in taken]
    assert walk.next_step() is None


def test_a_list_goes_on_only_behind_a_page_that_was_handed_in():
    """While a page is out, there is no step behind it."""
    walk = Walk()
    walk.start(Listing("chats"))
    step = walk.next_step()
    assert step is not None
    assert (None, True, False) == (walk.next_step(), walk.is_listing, walk.is_idle)
    walk.answered(step, Page([], "x", has_more=True))
    behind = walk.next_step()
    assert behind == Step(step.listing, "x", 1000)
    walk.answered(behind, Page([], "y", has_more=False))
    assert (None, False, True) == (walk.next_step(), walk.is_listing, walk.is_idle)


def test_a_failed_step_is_asked_again_as_it_was():
    """Nothing of a failed answer counts, its cursor least of all."""
    walk = Walk()
    walk.start(Listing("messages", "c1"), "x")
    walk.start(Listing("messages", "c2"))
    step = walk.next_step()
    assert step is not None
    assert 1 == walk.waiting_reads
    walk.put_back(step)
    assert 2 == walk.waiting_reads
    assert step == walk.next_step()


def test_what_is_given_up_does_not_come_again():
    """Nothing waits for the rest of a list that was given up."""
    walk = Walk()
    walk.start(Listing("messages", "c1"))
    step = walk.next_step()
    assert step is not None
    walk.give_up(step)
    assert (None, True) == (walk.next_step(), walk.is_idle)


def test_a_list_that_is_asked_in_small_pieces_goes_on_in_small_pieces():
    """Behind a page that was too large, the next ones are asked for in the smaller size."""
    walk = Walk()
    walk.start(Listing("messages", "c1"))
    step = walk.next_step()
    assert step is not None
    assert step.smaller is not None
    walk.put_back(step.smaller)
    smaller = walk.next_step()
    assert smaller is not None
    walk.answered(smaller, Page([], "x", has_more=True))
    assert Step(step.listing, "x", 100) == walk.next_step()


# -- the whole -----------------------------------------------------------------------------------------


@st.composite
def organizations(draw: st.DrawFn) -> tuple[Organization, set[str]]:
    """Make up an organization, and the ids of the files in it."""
    made = Organization(most=draw(st.integers(1, 4)))
    expected: set[str] = set()
    for number in range(draw(st.integers(0, 6))):
        chat = made.add_chat(str(number), created=draw(st.integers(0, 3)))
        for turn in range(draw(st.integers(0, 5))):
            name = f"{number}x{turn}"
            kinds = draw(st.sets(st.sampled_from(Family)))
            entries = {
                Family.FILE: file_entry(name),
                Family.GENERATED: generated_entry(name),
                Family.ARTIFACT: artifact_entry(name),
            }
            made.add_message(
                chat,
                files=[entries[Family.FILE]] if Family.FILE in kinds else (),
                generated=[entries[Family.GENERATED]] if Family.GENERATED in kinds else (),
                artifacts=[entries[Family.ARTIFACT]] if Family.ARTIFACT in kinds else (),
            )
            expected |= {kind.value + name for kind in kinds}
    for number in range(draw(st.integers(0, 4))):
        names = [f"p{number}x{at}" for at in range(draw(st.integers(0, 5)))]
        made.add_project(str(number), attachments=[file_entry(name) for name in names])
        expected |= {f"claude_file_{name}" for name in names}
    return made, expected


@given(made=organizations(), data=st.data())
def test_a_walk_finds_everything_whatever_fails_and_whoever_is_first(made, data):
    """Any order of answers and failures finds what is there, asks twice only for what failed, and ends."""
    organization, expected = made
    walk = Walk()
    walk.start(Listing("chats"))
    walk.start(Listing("projects"))
    found: list[str] = []
    out: list[Step] = []
    failures: Counter[Step] = Counter()
    while not walk.is_idle:
        step = walk.next_step() if len(out) < 3 else None
        if step:
            out.append(step)
            continue
        answered = out.pop(data.draw(st.integers(0, len(out) - 1)))
        if failures.total() < 5 and data.draw(st.booleans()):
            failures[answered] += 1
            walk.put_back(answered)
            continue
        page = page_of(organization, answered)
        for entry in page.entries:
            if isinstance(entry, client.Chat):
                walk.start(Listing("messages", entry.id))
            elif isinstance(entry, client.Project):
                walk.start(Listing("attachments", entry.id))
            else:
                assert isinstance(entry, client.Mention)
                found.append(entry.id)
        walk.answered(answered, page)
    assert sorted(expected) == sorted(found)
    assert len(organization.asked) == len(set(organization.asked))
    assert (None, False) == (walk.next_step(), walk.is_listing)
