"""The collector: finds everything, whatever ends a run, and asks for nothing twice that it has."""

import functools
import math
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

import client
from client import Listing
from fsmount import collect
from tests.support.collections import CHATS, PROJECTS, rows, states
from tests.support.organization import Organization, OrganizationPages, at, file_entry
from tests.support.walks import failing, files_of, organization, run

WORKERS = 8
OF_ALICE = Listing("chats", query=(("user_ids[]", "user_alice"),))


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Return a clock that jumps at once: nothing here uses threads."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


# -- without trouble -----------------------------------------------------------------------------------


async def test_everything_is_found_by_one_request_for_each_thing(path, autojump_clock):
    """Lists in pages, chats and projects once each, several at a time; a second run asks for the tail."""
    made = organization(30, most=10, projects=3)
    pages = OrganizationPages(made)
    await run(path, pages, lists=(CHATS, PROJECTS))
    assert files_of(made) == set(states(path))
    assert 3 + 1 + 30 + 3 == len(pages.steps) == len(set(made.asked))
    assert trio.current_time() < 0.1 * len(pages.steps) / 4
    again = OrganizationPages(made)
    await run(path, again)
    assert 1 == len(again.steps)


async def test_what_changed_is_all_that_a_second_run_reads(path, autojump_clock):
    """A list that begins anew names everything, but only changed chats are asked for."""
    made = organization(20)
    await run(path, OrganizationPages(made), lists=(OF_ALICE,))
    made.add_message("claude_chat_7", files=[file_entry("new")])
    made.chats["claude_chat_7"]["updated_at"] = "2026-05-01T00:00:00Z"
    pages = OrganizationPages(made)
    await run(path, pages, lists=(OF_ALICE,))
    assert ["", "claude_chat_7"] == [step.listing.owner for step in pages.steps]
    assert files_of(made) == set(states(path))


async def test_counting_reads_nothing(path, autojump_clock):
    """Lists alone are asked for, and the next run goes on where one by change ended."""
    made = organization(20, most=5)
    pages = OrganizationPages(made)
    await run(path, pages, counts_only=True)
    assert ({"chats"}, 4) == ({step.listing.kind for step in pages.steps}, len(pages.steps))
    assert {} == states(path)
    again = OrganizationPages(made)
    await run(path, again)
    assert {"chats": 1, "messages": 20} == Counter(step.listing.kind for step in again.steps)


async def test_what_comes_between_a_count_and_a_run_is_found(path, autojump_clock):
    """Also in the chats of people, whose list begins anew."""
    made = organization(5)
    await run(path, OrganizationPages(made), lists=(OF_ALICE,), counts_only=True)
    made.add_message(made.add_chat("late", created=99), files=[file_entry("late")])
    await run(path, OrganizationPages(made), lists=(OF_ALICE,))
    assert files_of(made) == set(states(path))


async def test_more_chats_than_are_taken_up_at_once(path, autojump_clock):
    """What is still to be read is pulled in pieces, and every piece of it once."""
    made = organization(700, most=300)
    pages = OrganizationPages(made)
    await run(path, pages)
    assert 3 + 700 == len(pages.steps) == len(set(made.asked))
    assert 700 == len(states(path))


async def test_organizations_lead_to_their_members(path, autojump_clock):
    """Each organization's list of people is gone through."""
    made = Organization(most=1)
    for number in range(5):
        made.add_member(f"m{number}", f"org-{number % 2}")
    await run(path, OrganizationPages(made), lists=(Listing("organizations"),))
    assert [(f"user_m{number}",) for number in range(5)] == rows(
        path, "SELECT user_id FROM person ORDER BY 1"
    )


async def test_members_that_a_run_did_not_come_to_are_listed_by_the_next(path, autojump_clock):
    """An end between organizations and their members does not make anybody unknown."""
    made = Organization()
    made.add_member("alice")
    refusal = client.PermissionDeniedError(403)
    trouble = failing(1, refusal, owner="org-1")
    pages = OrganizationPages(made, trouble=trouble)
    with pytest.raises(client.PermissionDeniedError):
        await run(path, pages, lists=(Listing("organizations"),))
    await run(path, pages, lists=(Listing("organizations"),))
    assert [("user_alice",)] == rows(path, "SELECT user_id FROM person")


# -- any end -------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(stops=st.lists(st.integers(1, 60), min_size=1, max_size=3), most=st.integers(2, 9))
def test_whatever_ends_a_run_the_next_one_goes_on(stops, most, tmp_path_factory):
    """Everything is found; an end costs the requests that were under way and the tail of the list."""
    made = organization(18, most=most, messages=3)
    whole = math.ceil(18 / most) + 18 * math.ceil(3 / most)
    path = tmp_path_factory.mktemp("collect") / "c.sqlite3"
    requests = 0
    for stop in [*stops, math.inf]:
        pages = OrganizationPages(made)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(functools.partial(run, path, pages, stop_after=stop), clock=clock)
        requests += len(pages.steps)
    assert files_of(made) == set(states(path))
    assert whole <= requests <= whole + len(stops) * (WORKERS + 1)


PASSING = [
    client.APIConnectionError("reset"),
    client.APITimeoutError("no byte came"),
    client.RateLimitError(429),
    client.ServiceUnavailableError(503),
    client.InternalServerError(500),
    client.OverloadedError(529),
    client.AnswerTooLargeError("too large"),
]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_mixture_of_passing_trouble_loses_anything(data, tmp_path_factory):
    """Whatever meets a request once or twice, everything is found, and nothing is told to be missing."""
    made = organization(6, most=4, messages=5, projects=2)
    met: Counter[tuple[Listing, str | None]] = Counter()

    def trouble(step: client.Step) -> Exception | None:
        place = (step.listing, step.cursor)
        if met[place] == 2 or not data.draw(st.booleans()):
            return None
        met[place] += 1
        error: Exception = data.draw(st.sampled_from(PASSING))
        return error

    pages = OrganizationPages(made, trouble=trouble)
    path = tmp_path_factory.mktemp("collect") / "c.sqlite3"
    clock = trio.testing.MockClock(autojump_threshold=0)
    walk = functools.partial(run, path, pages, lists=(CHATS, PROJECTS))
    collector = trio.run(walk, clock=clock)
    assert [] == collector.progress.missing
    assert files_of(made) == set(states(path))


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=6),
    returns=st.lists(st.sampled_from([0.0, 0.05, 0.3, 2.0]), min_size=1, max_size=8),
)
@example(
    changes=[(0, 0), (6, 0)], returns=[0.05, 0.0, 0.0, 0.3]
)  # a list overtakes a chat's answer
def test_what_changes_while_a_walk_goes_on_is_found_by_the_next(
    changes: list[tuple[int, int]], returns: list[float], tmp_path_factory
):
    """Whichever chat changes at whichever request, and however answers overtake each other."""
    made = organization(6, most=3, messages=4)
    count = 0

    def change_something(step: client.Step) -> float:
        nonlocal count
        for number, chat in changes:
            if number == count:
                add_late(made, f"claude_chat_{chat}", number)
        count += 1
        return returns[count % len(returns)]

    pages = OrganizationPages(made, return_s=change_something)
    path = tmp_path_factory.mktemp("collect") / "c.sqlite3"
    for walked in (pages, OrganizationPages(made)):
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(run, path, walked, clock=clock)
    assert files_of(made) == set(states(path))


def add_late(made: Organization, chat: str, number: int) -> None:
    """Add a message to a chat, as of now."""
    name = f"late{len(made.asked)}x{len(made.messages[chat])}"
    made.add_message(chat, minutes=1000 + len(made.asked), files=[file_entry(name)])
    made.chats[chat]["updated_at"] = at(1000 + len(made.asked))


def test_the_number_of_workers_is_the_one_that_is_promised():
    """What is under way is what an end costs."""
    assert WORKERS == collect._WORKERS
