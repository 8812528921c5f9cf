"""Which files a collection shows, and that it says the same whatever order its answers come in."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import client
from client import Family, Listing, Scope
from fsmount.collection import Collection, Wanted
from fsmount.objects import State
from tests.support.collections import (
    CHATS,
    EVERY_FAMILY,
    PROJECTS,
    collect,
    contents_of,
    first_step,
    rows,
    states,
    store_list,
    store_pending,
)
from tests.support.organization import (
    START,
    Organization,
    artifact_entry,
    at,
    file_entry,
    generated_entry,
    page_of,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


# -- which files are shown -----------------------------------------------------------------------------


def test_what_was_not_asked_for_is_kept_and_shown_later_without_a_request(path):
    """Other families and other times cost nothing once their chat was read."""
    made = Organization()
    made.add_message(
        made.add_chat("1", updated=3),
        minutes=2,
        files=[file_entry("a")],
        generated=[generated_entry("g")],
        artifacts=[artifact_entry("v")],
    )
    made.add_message("claude_chat_1", minutes=3, files=[file_entry("b")])
    since = START + timedelta(minutes=3)
    assert 2 == len(collect(path, made, Wanted(Scope(since=since)), lists=[CHATS]))
    expected = dict.fromkeys(
        ["artifact_version_v", "file_a", "file_b", "gen_file_g"], State.SEEN
    ) | {"file_b": State.LIVE}
    assert expected == states(path)
    wishes = [
        (Wanted(Scope(until=since)), ["file_a"]),
        (Wanted(families=frozenset({Family.FILE, Family.GENERATED})), ["gen_file_g"]),
        (Wanted(families=EVERY_FAMILY), ["artifact_version_v"]),
    ]
    for wanted, shown in wishes:
        assert 1 == len(collect(path, made, wanted, lists=[CHATS]))
        expected |= dict.fromkeys(shown, State.LIVE)
        assert expected == states(path)


def test_a_file_that_is_gone_or_deleted_stays_so(path):
    """Messages go on naming files that exist no more."""
    made = Organization()
    made.add_message(made.add_chat("1"), files=[file_entry("a"), file_entry("b"), file_entry("c")])
    collect(path, made)
    rows_written = "UPDATE file SET state = ? WHERE claude_file_id = ? RETURNING 1"
    with Collection(path, Wanted()) as collection:
        collection._db.execute(rows_written, (State.GONE, "claude_file_a")).fetchall()
        collection._db.execute(rows_written, (State.DELETED, "claude_file_b")).fetchall()
    made.chats["claude_chat_1"]["updated_at"] = at(9)
    assert 2 == len(collect(path, made, lists=[CHATS]))
    assert 1 == len(collect(path, made, Wanted(families=EVERY_FAMILY), lists=[CHATS]))
    expected = {"file_a": State.GONE, "file_b": State.DELETED, "file_c": State.LIVE}
    assert expected == states(path)
    assert [(1,)] == rows(path, "SELECT value FROM tally WHERE name = 'live_files'")


def test_files_that_are_new_are_counted_once(path):
    """New is what was not shown before; named is everything that an answer names."""
    made = Organization.of_one_file(file_entry("a"))
    made.add_message("claude_chat_1", files=[file_entry("a"), file_entry("b")])
    project = made.add_project("p", attachments=[file_entry("b")])
    made.attachments[project].append({"type": "project_doc", "id": "claude_proj_doc_1"})
    with Collection(path, Wanted()) as collection:
        for listing in (CHATS, PROJECTS):
            store_list(collection, made, listing)
        store_pending(collection, made)
        tally = collection.tally
    assert (1, 1, 1) == (tally.chats_listed, tally.chats_read, tally.projects_read)
    assert (2, 4, 1) == (tally.files_new, tally.files_named, tally.documents)


# -- any order -----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_order_and_repetition_of_answers_says_the_same(data, tmp_path_factory):
    """Files, origins, names and what is left to do are those that one reading in order gives."""
    made = Organization(most=2)
    for number in range(3):
        chat = made.add_chat(f"c{number}", project="claude_proj_p" if number else None)
        for turn in range(number * 2 + 1):
            entry = file_entry(str((number * 3 + turn) % 5))  # some are named by several chats
            if number == 1:
                del entry["mime_type"]
            made.add_message(
                chat, minutes=turn, files=[entry], generated=[generated_entry(f"{number}{turn}")]
            )
    made.add_project("p", attachments=[file_entry("1"), file_entry("9"), file_entry("10")])
    directory = tmp_path_factory.mktemp("collection")
    collect(directory / "plain", made)
    reads = [Listing("messages", chat) for chat in made.chats]
    reads.append(Listing("attachments", "claude_proj_p"))
    pages = {listing: all_pages(made, listing) for listing in (CHATS, PROJECTS, *reads)}
    order = [(listing, n) for listing in reads for n in range(len(pages[listing]))]
    with Collection(directory / "mixed", Wanted()) as collection:
        for listing in (CHATS, PROJECTS):
            for answer in pages[listing]:
                collection.store(*answer)
        for listing, _ in data.draw(st.permutations(order)):
            # Pages of one list come in order; a page that comes once more is the one that came last.
            for _ in range(data.draw(st.integers(1, 2)) if len(pages[listing]) > 1 else 1):
                collection.store(*pages[listing][0])
            del pages[listing][0]
        for answer in data.draw(st.sampled_from([pages[CHATS], pages[PROJECTS], []])):
            collection.store(*answer)
        store_pending(collection, made)
        collection.finish()
    assert contents_of(directory / "plain") == contents_of(directory / "mixed")


def all_pages(
    organization: Organization, listing: Listing
) -> list[tuple[client.Step, client.Page]]:
    """Return every page of a list, with its step."""
    pages: list[tuple[client.Step, client.Page]] = []
    step: client.Step | None = first_step(listing)
    while step:
        page = page_of(organization, step)
        pages.append((step, page))
        step = first_step(listing, page.cursor) if page.has_more else None
    return pages
