"""The collector in trouble: outages are waited out, and one chat that can't be had costs no other."""

import math
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing

import client
from fsmount.agenda import Left
from fsmount.collect import Collector
from fsmount.collection import Collection, Wanted
from fsmount.errors import CaseError, CollectError
from tests.support.collections import CHATS, PROJECTS, rows, states
from tests.support.organization import Organization, OrganizationPages
from tests.support.walks import failing, files_of, organization, run

WORKERS = 8
UNREACHABLE = client.APIConnectionError("connection refused")
UNAVAILABLE = client.ServiceUnavailableError(503)
FAILED = client.InternalServerError(500)


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Return a clock that jumps at once: nothing here uses threads."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


# -- outages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [UNREACHABLE, UNAVAILABLE, FAILED, client.OverloadedError(529)])
async def test_an_outage_is_waited_out(path, autojump_clock, error):
    """Pauses double from one second, one request asks whether it is over, and everything is found."""
    made = organization(3)
    pages = OrganizationPages(made, trouble=failing(5, error))
    collector = await run(path, pages)
    assert files_of(made) == set(states(path))
    assert 1 + 2 + 4 + 8 + 16 <= trio.current_time() < 33
    assert ([], None) == (collector.progress.missing, collector.progress.paused_until)


async def test_an_outage_in_the_middle_loses_no_chat(path, autojump_clock):
    """However often those under way fail while the service is away, it says nothing about them."""
    made = organization(40)
    pages = OrganizationPages(made)
    pages.trouble = lambda _: UNAVAILABLE if 1 < trio.current_time() < 300 else None
    collector = await run(path, pages, lists=(CHATS,))
    assert [] == collector.progress.missing
    assert files_of(made) == set(states(path))
    assert len(pages.failed) <= WORKERS * 12


async def test_a_chat_that_fails_once_more_after_an_outage_is_not_hopeless(path, autojump_clock):
    """Its failures during the outage do not count against it."""
    made = organization(20)
    pages = OrganizationPages(made)
    late = failing(1, UNAVAILABLE, owner="claude_chat_3")

    def trouble(step: client.Step) -> Exception | None:
        if step.listing.is_of_files and trio.current_time() < 100:
            return UNAVAILABLE
        return late(step) if len(states(path)) > 5 else None

    pages.trouble = trouble
    pages.latency_s = 1.0
    collector = await run(path, pages)
    assert [] == collector.progress.missing
    assert files_of(made) == set(states(path))


async def test_a_long_outage_ends_the_walk(path, autojump_clock):
    """After ten minutes the walk says so; what was found is kept, and the next run goes on."""
    made = organization(20, most=10)
    pages = OrganizationPages(made)
    pages.trouble = lambda _: UNREACHABLE if trio.current_time() > 0.35 else None
    with pytest.raises(CollectError, match="away for 10 minutes: connection refused"):
        await run(path, pages)
    assert 600 < trio.current_time() < 700
    before = len(made.asked)
    found = set(states(path))
    assert found
    await run(path, OrganizationPages(made))
    assert files_of(made) == set(states(path))
    assert len(made.asked) - before <= 20 - len(found) + 1


async def test_a_storm_of_429_costs_no_cursor(path, autojump_clock):
    """What was refused for now is asked for again, however often."""
    made = organization(10, most=3, messages=7)
    pages = OrganizationPages(made)
    tries: Counter[client.Step] = Counter()

    def trouble(step: client.Step) -> Exception | None:
        tries[step] += 1
        return client.RateLimitError(429) if tries[step] % 5 else None

    pages.trouble = trouble
    collector = await run(path, pages)
    assert [] == collector.progress.missing
    assert files_of(made) == set(states(path))
    assert {5} == set(tries.values())


# -- one that can't be had -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (client.InvalidResponseError("claude_chat_3: no list"), 1),
        (client.ServiceUnavailableError(503, about="claude_chat_3"), 3),
        (client.InternalServerError(500, about="claude_chat_3"), 3),
        (client.APITimeoutError("claude_chat_3: no byte came"), 3),
    ],
)
async def test_one_hopeless_chat_is_left_out_and_told(path, autojump_clock, error, tries):
    """All others are read, and the next run tries it again."""
    made = organization(20)
    pages = OrganizationPages(made, trouble=failing(math.inf, error, owner="claude_chat_3"))
    collector = await run(path, pages)
    assert files_of(made) - {"file_3x0"} == set(states(path))
    (missing,) = collector.progress.missing
    assert missing.startswith("claude_chat_3: ")
    assert tries == len(pages.failed)
    again = OrganizationPages(made)
    await run(path, again)
    assert files_of(made) == set(states(path))
    assert ["", "claude_chat_3"] == sorted(step.listing.owner for step in again.steps)


async def test_a_long_chat_may_fail_on_many_of_its_pages(path, autojump_clock):
    """Each that came proves that it is not hopeless."""
    made = organization(10, most=2, messages=20)
    pages = OrganizationPages(made)
    tries: Counter[client.Step] = Counter()

    def trouble(step: client.Step) -> Exception | None:
        tries[step] += 1
        return UNAVAILABLE if step.listing.owner == "claude_chat_3" and tries[step] < 2 else None

    pages.trouble = trouble
    collector = await run(path, pages)
    assert [] == collector.progress.missing
    assert files_of(made) == set(states(path))


@pytest.mark.parametrize("kind", ["chat", "project"])
async def test_what_was_deleted_meanwhile_is_no_loss(path, autojump_clock, kind):
    """A chat or project that a list named and that is gone is not missed, nor asked for again."""
    made = organization(5, projects=2)
    gone = "claude_chat_1" if kind == "chat" else "claude_proj_1"
    trouble = failing(math.inf, client.NotFoundError(404, about=gone), owner=gone)
    pages = OrganizationPages(made, trouble=trouble)
    collector = await run(path, pages, lists=(CHATS, PROJECTS))
    assert [] == collector.progress.missing
    assert 6 == len(states(path))
    again = OrganizationPages(made, trouble=trouble)
    await run(path, again)
    assert 1 == len(again.steps)


@pytest.mark.parametrize("owner", ["claude_chat_1", "claude_proj_1"])
async def test_what_a_person_named_and_nobody_knows_is_told(path, autojump_clock, owner):
    """A misspelled id is not a chat or project without files."""
    chats, projects = ((owner,), ()) if "chat" in owner else ((), (owner,))
    wanted = Wanted(client.Scope(projects=projects), chats=chats)
    with Collection(path, wanted) as collection:
        collection.begin()
        await Collector(OrganizationPages(Organization()), collection, []).run()
        assert [f"{owner}: the service does not know it, or not any more"] == collection.tally.unfit
        assert Left() == collection.left()


async def test_an_id_that_can_not_be_sent_is_left_out(path, autojump_clock):
    """A list may name what would lead to another path; the chat is told, and the others are read."""
    made = organization(3)
    made.chats["claude_chat_1"]["id"] = "../../organizations"
    collector = await run(path, OrganizationPages(made))
    (missing,) = collector.progress.missing
    assert "not an id: '../../organizations'" == missing
    assert 2 == len(states(path))


@pytest.mark.parametrize(
    "error", [client.AuthenticationError(401), client.PermissionDeniedError(403)]
)
@pytest.mark.parametrize("kind", ["chats", "messages"])
async def test_a_refused_key_ends_the_walk_at_once(path, autojump_clock, error, kind):
    """The error is the client's own, and nothing else is asked for."""
    made = organization(20)
    pages = OrganizationPages(made)
    pages.trouble = lambda step: error if step.listing.kind == kind else None
    with pytest.raises(type(error)):
        await run(path, pages)
    assert len(pages.steps) <= 1 + WORKERS


async def test_a_case_that_can_not_be_written_ends_the_walk_with_one_plain_error(
    path, autojump_clock
):
    """It is the error itself, not a group of one."""
    made = organization(20)
    pages = OrganizationPages(made)
    with Collection(path, Wanted()) as collection:
        trigger = (
            "CREATE TRIGGER full BEFORE INSERT ON origin BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        rows(path, trigger)
        with pytest.raises(CaseError, match="full"):
            await Collector(pages, collection, [CHATS]).run()
    assert len(pages.steps) <= 1 + WORKERS


# -- pieces and cursors --------------------------------------------------------------------------------


async def test_an_answer_that_is_too_large_is_asked_for_in_pieces(path, autojump_clock):
    """Down to what can be taken; everything of it is found, and told once."""
    made = organization(2, messages=25)

    def trouble(step: client.Step) -> Exception | None:
        is_large = step.listing.owner == "claude_chat_1" and step.limit > 10
        return client.AnswerTooLargeError("claude_chat_1: too large") if is_large else None

    pages = OrganizationPages(made, trouble=trouble)
    collector = await run(path, pages)
    limits = [step.limit for step in pages.steps if step.listing.owner == "claude_chat_1"]
    assert [1000, 100, 10, 10, 10] == limits
    assert ([], files_of(made)) == (collector.progress.missing, set(states(path)))


@pytest.mark.parametrize("owner", ["", "claude_chat_0"])
async def test_a_stale_cursor_begins_the_list_or_chat_anew(path, autojump_clock, owner):
    """The service may not know a cursor of an earlier run any more."""
    made = organization(3, most=1, messages=5)
    await run(path, OrganizationPages(made), stop_after=4)
    cursor = "SELECT 1 FROM listing WHERE key GLOB 'chats*' AND cursor IS NOT NULL"
    assert rows(path, cursor)
    assert rows(path, "SELECT 1 FROM pending WHERE cursor IS NOT NULL")
    pages = OrganizationPages(made)

    def trouble(step: client.Step) -> Exception | None:
        is_stale = step.listing.owner == owner and step.cursor is not None and not pages.failed
        return client.BadRequestError(400) if is_stale else None

    pages.trouble = trouble
    collector = await run(path, pages)
    assert [owner] == [step.listing.owner for step in pages.failed]
    assert ([], files_of(made)) == (collector.progress.missing, set(states(path)))


async def test_a_request_that_is_bad_without_a_cursor_is_not_repeated_for_ever(
    path, autojump_clock
):
    """A list that is refused from its beginning ends the walk."""
    made = organization(1)
    pages = OrganizationPages(made, trouble=failing(math.inf, client.BadRequestError(400)))
    with pytest.raises(client.BadRequestError):
        await run(path, pages)
    assert 1 == len(pages.steps)
