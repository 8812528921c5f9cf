"""The collection: every answer all or nothing, nothing asked twice, nothing lost, whatever comes first."""

import dataclasses
from pathlib import Path

import pytest

import client
from client import Family, Listing, Scope
from fsmount.agenda import THROUGH, Left
from fsmount.collection import Collection, Wanted
from fsmount.errors import CaseError
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
    at,
    file_entry,
    page_of,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


def messages_of(chat_id: str, cursor: str | None = None) -> client.Step:
    return first_step(Listing("messages", chat_id), cursor)


# -- whose chats are read ------------------------------------------------------------------------------


def test_a_second_run_asks_only_for_the_tail(path):
    """Where nothing changed, one request says so; a list by change is taken up at its end."""
    made = Organization(most=2)
    for number in range(5):
        made.add_message(
            made.add_chat(str(number), created=number), files=[file_entry(str(number))]
        )
    assert 3 + 5 == len(collect(path, made, lists=[CHATS]))
    (tail,) = collect(path, made, lists=[CHATS])
    assert "after_id=cu%3A2026-01-01T00%3A04" in tail


def test_a_chat_is_read_again_once_it_changed(path):
    """What is not changed is not wanted again, though a list begins anew."""
    made = Organization.of_one_file(file_entry("a"))
    of_alice = Listing("chats", query=(("user_ids[]", "user_alice"),))
    assert 2 == len(collect(path, made, lists=[of_alice]))
    assert 1 == len(collect(path, made, lists=[of_alice]))
    made.add_message("claude_chat_1", minutes=5, files=[file_entry("b")])
    made.chats["claude_chat_1"]["updated_at"] = at(5)
    assert 2 == len(collect(path, made, lists=[of_alice]))
    assert {"file_a": State.LIVE, "file_b": State.LIVE} == states(path)
    assert 1 == len(collect(path, made, lists=[of_alice]))


@pytest.mark.parametrize("first_page_at", [1, 5])
def test_a_change_that_a_list_tells_of_while_a_chat_is_read_is_not_lost(path, first_page_at):
    """The list does not name it again: what it told outlives an older answer, and ends in a reading."""
    made = Organization.of_one_file(file_entry("a"))
    with Collection(path, Wanted()) as collection:
        store_list(collection, made, CHATS)
        step = messages_of("claude_chat_1")
        older = page_of(made, step)
        made.add_message("claude_chat_1", minutes=first_page_at, files=[file_entry("b")])
        made.chats["claude_chat_1"]["updated_at"] = at(5)
        store_list(collection, made, CHATS)
        assert collection.store(step, older)
        assert (Left(chats=1), 0) == (collection.left(), collection.tally.chats_read)
        assert not collection.store(step, page_of(made, step))
        assert (Left(), 1) == (collection.left(), collection.tally.chats_read)
    assert {"file_a": State.LIVE, "file_b": State.LIVE} == states(path)


def test_a_chat_whose_answers_stay_behind_its_list_is_read_twice_at_most(path):
    """A service that never tells of the change again does not keep a walk for ever."""
    made = Organization.of_one_file(file_entry("a"))
    with Collection(path, Wanted()) as collection:
        store_list(collection, made, CHATS)
        step = messages_of("claude_chat_1")
        older = page_of(made, step)
        made.chats["claude_chat_1"]["updated_at"] = at(0.5)
        store_list(collection, made, CHATS)
        assert [True, False] == [collection.store(step, older) for _ in range(2)]
    assert 1 == len(collect(path, made, lists=[CHATS]))


def test_a_deleted_chat_is_not_asked_for(path):
    """Neither where a list says so, nor after the service did not know it any more."""
    made = Organization()
    made.add_chat("1", deleted_at=at(3))
    made.add_chat("2")
    with Collection(path, Wanted()) as collection:
        store_list(collection, made, CHATS)
        assert Left(chats=1) == collection.left()
        collection.give_up(Listing("messages", "claude_chat_2"))
        assert Left() == collection.left()
    assert [(1, at(0)), (1, at(0))] == rows(path, "SELECT is_deleted, updated_at FROM chat")
    of_alice = Listing("chats", query=(("user_ids[]", "user_alice"),))
    assert 1 == len(collect(path, made, lists=[of_alice]))


def test_what_is_named_is_read_without_being_listed(path):
    """Once in a run; the next run reads it again."""
    made = Organization.of_one_file(file_entry("a"))
    project = made.add_project("p", attachments=[file_entry("b")])
    wanted = Wanted(Scope(projects=(project,)), chats=("claude_chat_1",))
    for _ in range(2):
        asked = collect(path, made, wanted, lists=[])
        assert ["messages", "attachments"] == [one.split("?")[0].split("/")[-1] for one in asked]
    with Collection(path, wanted) as collection:
        for _ in range(2):
            collection.begin()
        assert Left(chats=1, projects=1) == collection.left()
        store_pending(collection, made)
        collection.begin()
        assert Left() == collection.left()
    assert {"file_a": State.LIVE, "file_b": State.LIVE} == states(path)


def test_what_is_still_to_be_read_comes_in_order(path):
    """Chats by number, then projects; from behind any of them."""
    made = Organization()
    for number in range(3):
        made.add_chat(str(number), created=number)
        made.add_project(str(number))
    with Collection(path, Wanted()) as collection:
        for listing in (CHATS, PROJECTS):
            store_list(collection, made, listing)
        everything = collection.pending((0, 0), 10)
        owners = [f"claude_{kind}_{n}" for kind in ("chat", "proj") for n in range(3)]
        assert owners == [one.listing.owner for one in everything]
        for number, one in enumerate(everything):
            assert everything[number + 1 : number + 3] == collection.pending(one.place, 2)


def test_wishes_do_not_share_what_is_left_to_do(path):
    """Two wishes may go through the same list and keep other chats of it."""
    made = Organization.of_one_file(file_entry("a"))
    one, other = Wanted(Scope(users=("user_alice",))), Wanted(Scope(users=("user_bob",)))
    for wanted, left in ((one, Left(chats=1)), (other, Left())):
        with Collection(path, wanted) as collection:
            assert collection.cursor_of(CHATS) is None
            store_list(collection, made, CHATS)
            assert left == collection.left()


def test_the_same_wish_has_the_same_name():
    """However it was put, what is left to do for it is found again; another wish has another name."""
    scope = Scope(users=("a", "b"), since=START)
    same = Wanted(Scope(users=("b", "a"), since=START), frozenset({Family.FILE}))
    assert Wanted(scope).key == same.key
    others = [
        Wanted(),
        Wanted(scope, EVERY_FAMILY),
        Wanted(scope, chats=("c",)),
        Wanted(Scope(projects=("a", "b"), since=START)),
        Wanted(Scope(users=("a", "b"), until=START)),
    ]
    assert 6 == len({wanted.key for wanted in [*others, same]})


# -- cursors -------------------------------------------------------------------------------------------


def test_each_page_is_stored_with_the_cursor_behind_it(path):
    """A list, and a chat, is taken up where it was left, whatever ended the run."""
    made = Organization(most=1)
    for number in range(2):
        chat = made.add_chat(str(number), created=number)
    for number in range(3):
        made.add_message(chat, files=[file_entry(str(number))])
    with Collection(path, Wanted()) as collection:
        step = first_step(CHATS)
        page = page_of(made, step)
        collection.store(step, page)
    with Collection(path, Wanted()) as collection:
        assert page.cursor == collection.cursor_of(CHATS)
        store_list(collection, made, CHATS)
        step = messages_of(chat)
        page = page_of(made, step)
        collection.store(step, page)
    with Collection(path, Wanted()) as collection:
        pending = {one.listing.owner: one.cursor for one in collection.pending((0, 0), 9)}
        assert {"claude_chat_0": None, chat: page.cursor} == pending
        collection.forget_cursor(Listing("messages", chat))
        collection.forget_cursor(CHATS)
        assert {None} == {one.cursor for one in collection.pending((0, 0), 9)}
        assert collection.cursor_of(CHATS) is None


def test_a_list_that_can_not_be_taken_up_begins_anew_with_the_next_run(path):
    """Until the run is over its end is remembered; then its changes can be had only from its beginning."""
    made = Organization.of_one_file(file_entry("a"))
    made.add_project("p")
    with Collection(path, Wanted()) as collection:
        for listing in (CHATS, PROJECTS):
            store_list(collection, made, listing)
        assert THROUGH == collection.cursor_of(PROJECTS)
        collection.finish()
        assert collection.cursor_of(PROJECTS) is None
        assert collection.cursor_of(CHATS)


def test_an_empty_tail_does_not_move_the_cursor(path):
    """A page without entries has no last one; the place before it stays."""
    made = Organization.of_one_file(file_entry("a"))
    with Collection(path, Wanted()) as collection:
        cursor = store_list(collection, made, CHATS).cursor
        assert [] == store_list(collection, made, CHATS).entries
        assert cursor == collection.cursor_of(CHATS)


def test_organizations_are_asked_for_by_every_run(path):
    """Whose members are still to be listed is known only to the run that asked."""
    made = Organization()
    made.add_member("alice")
    listing = Listing("organizations")
    with Collection(path, Wanted()) as collection:
        store_list(collection, made, listing)
        assert collection.cursor_of(listing) is None


@pytest.mark.parametrize("is_at_its_end", [False, True])
def test_a_list_of_chats_that_is_not_by_change_is_gone_through_by_every_run(path, is_at_its_end):
    """What has changed since the last run ended, days ago perhaps, shows only from its beginning."""
    made = Organization(most=1)
    for number in range(2):
        made.add_message(
            made.add_chat(str(number), created=number), files=[file_entry(str(number))]
        )
    of_alice = Listing("chats", query=(("user_ids[]", "user_alice"),))
    with Collection(path, Wanted()) as collection:
        if is_at_its_end:
            store_list(collection, made, of_alice)
        else:
            collection.store(first_step(of_alice), page_of(made, first_step(of_alice)))
        store_pending(collection, made)
    made.add_message("claude_chat_0", minutes=5, files=[file_entry("late")])
    made.chats["claude_chat_0"]["updated_at"] = at(5)
    made.add_message(made.add_chat("2", created=6), files=[file_entry("2")])
    asked = collect(path, made, lists=[of_alice])
    assert {"file_0", "file_1", "file_2", "file_late"} == set(states(path))
    assert is_at_its_end == ("chats/claude_chat_1/messages" not in "".join(asked))


@pytest.mark.parametrize("table", ["origin", "file", "pending", "chat"])
def test_an_answer_is_stored_whole_or_not_at_all(path, table):
    """Whatever fails in the middle, neither rows nor cursor nor counts of that answer are left."""
    made = Organization(most=1)
    chat = made.add_chat("1")
    for name in ("a", "b"):
        made.add_message(chat, files=[file_entry(name)])
    with Collection(path, Wanted()) as collection:
        store_list(collection, made, CHATS)
        before, tally = contents_of(path), dataclasses.replace(collection.tally)
        step = messages_of(chat)
        broken = (
            f"CREATE TRIGGER broken BEFORE {{}} ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
        rows(path, broken.format("INSERT" if table in ("origin", "file") else "UPDATE"))
        with pytest.raises(CaseError, match="broken"):
            collection.store(step, page_of(made, step))
        assert (before, tally) == (contents_of(path), collection.tally)
        rows(path, "DROP TRIGGER broken")
        collection.store(step, page_of(made, step))
        assert {"file_a": State.LIVE} == states(path)
