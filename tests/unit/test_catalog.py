"""The catalog: stable numbers, settled names, cheap listings, and errors that say what to do."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import client
from fsmount.catalog import Catalog
from fsmount.database import SCHEMA_VERSION, connect
from fsmount.errors import CaseError
from fsmount.objects import State


def record(file_id: str, **fields: object) -> client.File:
    return client.File.from_dict(
        {
            "id": file_id,
            "created_at": "2026-01-02T03:04:05Z",
            "filename": "a.txt",
            "mime_type": "text/plain",
        }
        | fields
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with contextlib.closing(Catalog(tmp_path / "catalog.sqlite3")) as opened:
        yield opened


def walk(catalog: Catalog, page: int = 3) -> list[str]:
    found: list[str] = []
    after = 0
    while listed := catalog.page(after, page):
        found += [claude_file_id for _, claude_file_id, *_ in listed]
        after = listed[-1][0]
    return found


async def test_ids_are_listed_in_the_order_they_came(catalog):
    """Adding is idempotent, counts what was new, and knows nothing but the id."""
    assert 3 == await catalog.add_ids(["b", "a", "c", "a"])
    assert 1 == await catalog.add_ids(["a", "d"])
    assert ["b", "a", "c", "d"] == walk(catalog)
    assert 4 == catalog.count()
    entry = catalog.find("a")
    assert entry is not None
    assert (None, None, False) == (entry.record, entry.content_name, entry.has_content)


async def test_the_version_moves_with_every_change_of_anyone(catalog, tmp_path):
    """Of its own writer and of another process's, and with nothing else."""
    seen = [catalog.version(), catalog.version()]
    assert 1 == len(set(seen))
    await catalog.add_ids(["a"])
    seen.append(catalog.version())
    with contextlib.closing(Catalog(tmp_path / "catalog.sqlite3")) as other:
        await other.put_record(record("a"))
        seen.append(catalog.version())
    assert 3 == len(set(seen))


async def test_a_record_settles_the_name_for_ever(catalog):
    """A later record may say anything: a path in a report stays right."""
    first = await catalog.put_record(record("x", filename="first.txt"))
    later = await catalog.put_record(record("x", filename="other.txt", size_bytes=5))
    assert b"first.txt" == first.content_name == later.content_name
    assert first.number == later.number
    assert later.record is not None
    assert 5 == later.record.size_bytes


async def test_a_record_comes_back_as_it_was(catalog):
    """Unknown fields and odd names survive."""
    given = record("x", filename="\ud800 odd", extra={"nested": [1, None]})
    await catalog.put_record(given)
    found = catalog.find("x")
    assert found is not None
    assert found.record is not None
    assert given.raw == found.record.raw


async def test_a_file_that_is_gone_is_not_listed_and_may_come_back(catalog):
    """Gone is what the API does not know now; deleted through this tool is for ever."""
    for name in ("gone", "deleted"):
        await catalog.put_record(record(name))
    await catalog.mark_gone("gone")
    await catalog.mark_deleted("deleted")
    assert ([], 0) == (walk(catalog), catalog.count())
    for name in ("gone", "deleted"):
        await catalog.put_record(record(name))
    assert ["gone"] == walk(catalog)
    entry = catalog.find("deleted")
    assert entry is not None
    assert State.DELETED is entry.state


async def test_a_file_without_content_has_no_content_name(catalog):
    """mime_type null: there is nothing to download."""
    entry = await catalog.put_record(record("x", mime_type=None))
    assert (None, False) == (entry.content_name, entry.has_content)


async def test_a_second_reader_sees_what_the_first_writes(catalog, tmp_path):
    """A collection beside a mount makes its files appear."""
    with contextlib.closing(Catalog(tmp_path / "catalog.sqlite3")) as other:
        await other.add_ids(["new"])
        assert ["new"] == walk(catalog)


steps = st.lists(
    st.tuples(
        st.sampled_from(["ids", "record", "gone", "deleted"]), st.integers(0, 6), st.integers(0, 3)
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(steps=steps, page=st.integers(1, 4))
def test_any_history_keeps_numbers_and_names(steps, page, tmp_path_factory):
    """Numbers are unique and stay, names stay, and a walk meets each live file once, also while some come."""
    path = tmp_path_factory.mktemp("catalog") / "c.sqlite3"

    async def scenario() -> None:
        numbers: dict[str, int] = {}
        names: dict[str, bytes] = {}
        with contextlib.closing(Catalog(path)) as catalog:
            for kind, number, variant in steps:
                file_id = f"f{number}"
                if kind == "ids":
                    await catalog.add_ids([file_id])
                elif kind == "record":
                    await catalog.put_record(record(file_id, filename=f"{variant}.txt"))
                elif kind == "gone":
                    await catalog.mark_gone(file_id)
                else:
                    await catalog.mark_deleted(file_id)
                entry = catalog.find(file_id)
                if entry:
                    assert entry.number == numbers.setdefault(file_id, entry.number)
                    assert entry == catalog.find_number(entry.number)
                    if entry.content_name:
                        assert entry.content_name == names.setdefault(file_id, entry.content_name)
            live = [f for f in numbers if (found := catalog.find(f)) and found.is_shown]
            assert sorted(live, key=numbers.__getitem__) == walk(catalog, page)
            assert len(live) == catalog.count()
            first = catalog.page(0, page)
            await catalog.add_ids(["late"])
            rest = catalog.page(first[-1][0], 100) if first else catalog.page(0, 100)
            seen = [claude_file_id for _, claude_file_id, *_ in [*first, *rest]]
            assert len(seen) == len(set(seen)) == len(live) + 1

    trio.run(scenario)


def test_a_newer_schema_is_refused(tmp_path):
    """A case of a newer version is left as it is."""
    path = tmp_path / "c.sqlite3"
    with contextlib.closing(connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(CaseError, match="newer version"):
        connect(path)


@pytest.mark.parametrize("damage", [b"garbage that is no database at all" * 50, b"\x00" * 4096])
def test_a_damaged_database_is_one_clear_line(tmp_path, damage):
    """What is broken and what to do; nothing is overwritten."""
    path = tmp_path / "c.sqlite3"
    path.write_bytes(damage)
    with pytest.raises(CaseError, match=r"damaged|can't be used") as raised:
        connect(path)
    assert "\n" not in str(raised.value)
    assert damage == path.read_bytes()


async def test_a_damaged_record_is_named(catalog, tmp_path):
    """The file whose record can't be read is in the message."""
    await catalog.put_record(record("x"))
    with contextlib.closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as raw, raw:
        raw.execute("UPDATE file SET record = '{broken'")
    with (
        contextlib.closing(Catalog(tmp_path / "catalog.sqlite3")) as later,
        pytest.raises(CaseError, match="record of x"),
    ):
        later.find("x")


# -- what walks found ------------------------------------------------------------------------------


async def test_what_was_only_seen_is_shown_once_it_is_asked_for(catalog, tmp_path):
    """By its id, or with a list of ids; until then it is neither listed nor counted."""
    with contextlib.closing(connect(tmp_path / "catalog.sqlite3")) as db:
        put = "INSERT INTO file (claude_file_id, state) VALUES (?, ?)"
        db.executemany(put, [("seen", State.SEEN), ("other", State.SEEN), ("gone", State.GONE)])
    assert ([], 0) == (walk(catalog), catalog.count())
    await catalog.show("seen")
    assert (["seen"], 1) == (walk(catalog), catalog.count())
    assert 1 == await catalog.add_ids(["seen", "other", "gone"])
    assert (["seen", "other"], 2) == (walk(catalog), catalog.count())


@pytest.mark.parametrize(
    ("is_stored", "verified", "expected"),
    [(1, "yes", True), (0, "yes", False), (1, "no", False), (1, "mismatch", False)],
)
async def test_what_is_kept_of_a_gone_file_is_shown_where_nobody_can_be_asked(
    catalog, tmp_path, is_stored, verified, expected
):
    """Offline, as long as its content is stored and verified; what was deleted is not."""
    path = tmp_path / "catalog.sqlite3"
    for name in ("gone", "deleted", "live"):
        await catalog.put_record(record(name))
    await catalog.mark_gone("gone")
    await catalog.mark_deleted("deleted")
    with contextlib.closing(connect(path)) as db:
        for name in ("gone", "deleted"):
            db.execute(
                "INSERT INTO content (claude_file_id, size_bytes, verified, how, is_stored)"
                " VALUES (?, 1, ?, 'x', ?)",
                (name, verified, is_stored),
            )
    with contextlib.closing(Catalog(path, shows_kept=True)) as offline:
        assert (["gone", "live"] if expected else ["live"]) == walk(offline)
        entry = offline.find("gone")
        assert entry is not None
        assert expected == entry.is_shown
    assert ["live"] == walk(catalog)
