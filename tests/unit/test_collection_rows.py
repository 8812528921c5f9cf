"""What the collection keeps of files, people, projects and chats: better records, names, odd texts."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import client
from fsmount.catalog import Catalog, Entry
from fsmount.collection import Collection, Wanted
from fsmount.database import _SCHEMA_1, SCHEMA_VERSION, connect
from fsmount.names import told_apart
from fsmount.objects import State, Told
from fsmount.places import Places, later_of
from tests.support.collections import (
    CHATS,
    EVERY_FAMILY,
    PROJECTS,
    collect,
    contents_of,
    rows,
    states,
    store_list,
    store_pending,
)
from tests.support.organization import (
    Organization,
    artifact_entry,
    at,
    file_entry,
    generated_entry,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


def entry_of(path: Path, name: str) -> Entry:
    with closing(Catalog(path)) as catalog:
        entry = catalog.find(f"claude_{name}")
    assert entry is not None
    return entry


def views(path: Path, table: str) -> list[bytes]:
    """Return the names in the views, in the order of numbers."""
    found = rows(path, f"SELECT view_name FROM {table} ORDER BY number")
    return [name for (name,) in found if isinstance(name, bytes)]


# -- records -------------------------------------------------------------------------------------------


def test_files_of_all_families_are_kept_as_they_were_named(path):
    """What a list says is the record, and names the content as the object's own record would."""
    made = Organization()
    entries = [file_entry("a"), generated_entry("g"), artifact_entry("v")]
    made.add_message(
        made.add_chat("1"),
        minutes=3,
        files=entries[:1],
        generated=entries[1:2],
        artifacts=entries[2:],
    )
    collect(path, made, Wanted(families=EVERY_FAMILY))
    expected = [
        ("file_a", b"a.txt", entries[0], 0),
        ("gen_file_g", b"g.png", entries[1], 3),
        ("artifact_version_v", b"v.md", entries[2], 3),
    ]
    for name, content_name, record, minutes in expected:
        entry = entry_of(path, name)
        assert entry.record is not None
        assert (Told.ENTRY, content_name, record) == (
            entry.told,
            entry.content_name,
            entry.record.raw,
        )
        assert (1767225600 + 60 * minutes) * 10**9 == entry.mtime_ns


@settings(max_examples=25, deadline=None)
@given(order=st.permutations([0, 1, 2, 2, 1, 0]))
def test_a_record_gives_way_only_to_one_that_tells_more(order, tmp_path_factory):
    """Whatever comes first: the most telling record stays, and the first content name."""
    older: dict[str, object] = {"id": "claude_file_a", "filename": "a.txt"}
    told = [
        Organization.of_one_file(older),
        Organization.of_one_file(file_entry("a", filename="b.txt")),
    ]
    path = tmp_path_factory.mktemp("rows") / "c.sqlite3"
    names: list[bytes | None] = []
    best = Told.NOTHING
    for kind in order:
        if kind == 2:
            best = Told.RECORD
            put_record(path, file_entry("a", filename="c.txt"))
        else:
            best = max(best, (Told.NAME, Told.ENTRY)[kind])
            # Another wish each time: the chat is not changed, so its own would not read it again.
            collect(path, told[kind], Wanted(chats=("claude_chat_1",)), lists=[])
        entry = entry_of(path, "file_a")
        assert entry.record is not None
        names.append(entry.content_name)
        assert best == entry.told
        expected = {Told.NAME: "a.txt", Told.ENTRY: "b.txt", Told.RECORD: "c.txt"}[best]
        assert expected == entry.record.raw["filename"]
    assert {names[0]} == set(names)


def put_record(path: Path, fields: dict[str, object]) -> None:
    async def put() -> None:
        with closing(Catalog(path)) as catalog:
            await catalog.put_record(client.File.from_dict(fields))

    trio.run(put)


def test_an_older_entry_does_not_say_whether_there_is_content(path):
    """Its name is settled, and its record has still to be asked for."""
    entry = file_entry("a")
    del entry["mime_type"]
    collect(path, Organization.of_one_file(entry))
    found = entry_of(path, "file_a")
    assert (Told.NAME, b"a.txt", False) == (found.told, found.content_name, found.is_settled)


# -- what does not fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"id": "../../etc/passwd"}, "can't be the name of a directory"),
        ({"id": "claude_file_"}, "can't be the name of a directory"),
        ({"id": "claude_file_\ud800"}, "can't be the name of a directory"),
        (file_entry("x", size_bytes=-1), "size_bytes is no size"),
        (file_entry("x", md5=5), "md5 is no text"),
        (file_entry("x", created_at="soon"), "created_at is no time"),
    ],
)
def test_what_does_not_fit_is_told_and_spoils_nothing_else(path, entry, said):
    """The files beside it, and the rest of the walk, are as they would be without it."""
    made = Organization.of_one_file(entry)
    made.add_message("claude_chat_1", files=[file_entry("a")])
    with Collection(path, Wanted()) as collection:
        store_list(collection, made, CHATS)
        store_pending(collection, made)
        (unfit,) = collection.tally.unfit
    assert said in unfit
    assert "\n" not in unfit
    assert {"file_a": State.LIVE} == states(path)
    assert 1 == len(collect(path, made, lists=[CHATS]))


def test_texts_without_a_utf8_form_are_kept_as_escapes(path):
    """A lone surrogate in what people wrote, or in an id of a place, ends no walk."""
    made = Organization()
    odd = "odd \ud800"
    made.add_message(
        made.add_chat("1", organization_uuid=odd),
        files=[file_entry("a", filename=odd)],
    )
    made.chats["claude_chat_1"] |= {
        "name": odd,
        "project_id": odd,
        "user": {"id": odd, "email_address": odd},
    }
    made.messages["claude_chat_1"][0] |= {"id": odd, "role": odd}
    made.add_project("p")
    made.projects["claude_proj_p"]["name"] = odd
    collect(path, made)
    assert {"file_a": State.LIVE} == states(path)
    assert [("odd \\ud800",)] == rows(path, "SELECT name FROM chat")
    assert [b"2026-01-01 odd %ED%A0%80"] == views(path, "chat")
    assert [("odd \\ud800", "odd \\ud800")] == rows(path, "SELECT message_id, role FROM origin")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_times_that_no_clock_reaches_end_no_walk(path, moment):
    """What stands for no time elsewhere is kept as the nearest that can be told."""
    made = Organization.of_one_file(file_entry("a", created_at=moment))
    made.chats["claude_chat_1"]["created_at"] = moment
    made.messages["claude_chat_1"][0]["created_at"] = moment
    collect(path, made)
    assert {"file_a": State.LIVE} == states(path)
    assert abs(entry_of(path, "file_a").mtime_ns) == 2**63 - 1


# -- names in views ------------------------------------------------------------------------------------


def test_places_are_called_what_people_call_them(path):
    """A chat by its date and name, a person by e-mail address, a project by name; escaped as contents are."""
    made = Organization.of_one_file(file_entry("a"))
    made.chats["claude_chat_1"] |= {"name": "a/b", "project_id": "claude_proj_p"}
    made.add_project("p")
    made.projects["claude_proj_p"]["name"] = ".Deal"
    collect(path, made, lists=[PROJECTS, CHATS])
    expected = [b"2026-01-01 a%2Fb"], [b"alice@example.com"], [b"%2EDeal"]
    assert expected == (views(path, "chat"), views(path, "person"), views(path, "project"))


@pytest.mark.parametrize("lists", [(), (CHATS, PROJECTS)])
def test_what_was_met_by_its_id_is_called_by_its_name_once_that_is_known(path, lists):
    """Nobody has seen it yet: a chat is named before it is read, and projects by chats before their list."""
    made = Organization.of_one_file(file_entry("a"))
    made.chats["claude_chat_1"] |= {"name": "Plan", "project_id": "claude_proj_p"}
    made.add_project("p")
    collect(path, made, Wanted(chats=("claude_chat_1",)), lists)
    assert [b"2026-01-01 Plan"] == views(path, "chat")
    assert ([b"p"] if lists else [b"claude_proj_p"]) == views(path, "project")


def test_a_name_that_was_shown_stays(path):
    """Chats are renamed, people get addresses, projects are named: paths in a report stay right."""
    made = Organization.of_one_file(file_entry("a"))
    made.chats["claude_chat_1"] |= {
        "name": None,
        "project_id": "claude_proj_p",
        "user": {"id": "user_alice"},
    }
    collect(path, made)
    before = [views(path, table) for table in ("chat", "person", "project")]
    assert [[b"2026-01-01 untitled"], [b"user_alice"], [b"claude_proj_p"]] == before
    made.chats["claude_chat_1"] |= {
        "name": "Plan",
        "updated_at": at(5),
        "user": {"id": "user_alice", "email_address": "alice@example.com"},
    }
    made.add_project("p")
    collect(path, made)
    assert before == [views(path, table) for table in ("chat", "person", "project")]
    assert [("Plan",)] == rows(path, "SELECT name FROM chat")
    assert [("p",)] == rows(path, "SELECT name FROM project")
    assert [("alice@example.com",)] == rows(path, "SELECT email FROM person")


def test_what_an_answer_does_not_tell_stays_known(path):
    """A chat that is named by its id alone, or given up, keeps what lists said of it."""
    made = Organization.of_one_file(file_entry("a"))
    collect(path, made)
    before = contents_of(path)
    with Collection(path, Wanted(chats=("claude_chat_1",))) as collection:
        collection.begin()
        collection.give_up(client.Listing("messages", "claude_chat_1"))
    after = contents_of(path)
    assert before["people"] == after["people"]
    (was,), (now,) = before["chats"], after["chats"]
    assert was[:4] + was[5:] == now[:4] + now[5:]


@given(st.lists(st.sampled_from(["Plan", "plan", "Deal"]), max_size=8))
def test_no_two_chats_share_a_name(names):
    """What comes later is told apart by its id; what was there keeps its name."""
    with closing(connect(Path(":memory:"))) as db:
        places, before = Places(db), list[bytes]()
        for number, name in enumerate(names):
            places.put_chat(client.Chat(f"c{number}", name=name))
            found = [
                bytes(row[0]) for row in db.execute("SELECT view_name FROM chat ORDER BY number")
            ]
            assert before == found[:-1]
            before = found
        assert len(before) == len(set(before))


def test_who_names_chats_can_not_end_a_walk_with_a_name(path):
    """A chat may bear, on purpose, the very name by which another one would be told apart."""
    made = Organization()
    foretold = told_apart(b"2026-01-01 Plan", "claude_chat_3").decode().removeprefix("2026-01-01 ")
    for number, name in enumerate(["Plan", foretold, "Plan"], start=1):
        made.add_message(made.add_chat(str(number)), files=[file_entry(str(number))])
        made.chats[f"claude_chat_{number}"]["name"] = name
    collect(path, made)
    assert 3 == len(set(views(path, "chat")))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (None, None, None),
        (None, "b", "b"),
        ("a", None, "a"),
        (at(1), at(0), at(1)),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"),
        ("2026-01-01T01:00:00+02:00", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01"),
        ("2026-01-01T00:00:00.0Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("soon", at(0), at(0)),
    ],
)
def test_times_are_compared_as_times(one, other, expected):
    """Not as texts, whose fractions and zones differ; in doubt what came last counts."""
    assert expected == later_of(one, other)


# -- cases of the version before -----------------------------------------------------------------------


def test_a_case_of_the_version_before_is_taken_over(path):
    """Files keep numbers, names, states and records; walks add to them."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(_SCHEMA_1)
        db.execute("PRAGMA user_version = 1")
        record = '{"id":"claude_file_a","filename":"old.txt","mime_type":"text/plain"}'
        put = "INSERT INTO file (claude_file_id, state, content_name, record) VALUES (?, ?, ?, ?)"
        db.execute(put, ("claude_file_a", 1, b"old.txt", record))
        db.execute(put, ("claude_file_b", 1, None, None))
        db.execute(put, ("claude_file_c", 3, None, None))
    with closing(Catalog(path)) as catalog:
        entries = [catalog.find_number(number) for number in (1, 2, 3)]
        assert 2 == catalog.count()
    assert [Told.RECORD, Told.NOTHING, Told.NOTHING] == [entry and entry.told for entry in entries]
    assert [(SCHEMA_VERSION,)] == rows(path, "PRAGMA user_version")
    made = Organization()
    made.add_message(made.add_chat("1"), files=[file_entry(name) for name in "abcd"])
    collect(path, made)
    live = dict.fromkeys(["file_a", "file_b", "file_c", "file_d"], State.LIVE)
    assert live | {"file_c": State.DELETED} == states(path)
    names = rows(path, "SELECT content_name, told FROM file ORDER BY number")
    assert [(b"old.txt", 3), (b"b.txt", 2), (b"c.txt", 2), (b"d.txt", 2)] == names
