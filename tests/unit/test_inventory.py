"""What a case holds, read beside whoever mounts it."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from fsmount import inventory as module
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.errors import CaseError
from fsmount.inventory import Counts, Inventory
from tests.support.cases import file_id, make_case


def test_every_file_is_listed_with_what_is_known_of_it(tmp_path, monkeypatch):
    """In the order of the listing, over several pages."""
    monkeypatch.setattr(module, "_PAGE_ROWS", 2)
    case = make_case(
        tmp_path / "case",
        {"a": b"1", "b": b"22", "c": b""},
        unverified={"d": b"4"},
        not_stored=("e",),
    )
    with Inventory(case.catalog_path) as inventory:
        items = list(inventory.items())
        assert [file_id(n) for n in range(5)] == [item.claude_file_id for item in items]
        assert [b"a", b"b", b"c", b"d", b"e"] == [item.content_name for item in items]
        assert [1, 2, 0, 1, None] == [item.content and item.content.size_bytes for item in items]
        assert items[1] == inventory.find(file_id(1))
        assert [item.content for item in items[:4]] == list(inventory.stored())
        assert Counts(5, 0, verified=3, unverified=1, not_stored=1) == inventory.counts()


async def test_what_is_not_shown_is_not_listed(tmp_path):
    """A file that is gone is no item, and one without a record has no name yet."""
    case = Case.open(tmp_path / "case")
    with contextlib.closing(Catalog(case.catalog_path)) as catalog:
        await catalog.add_ids([file_id(1), file_id(2)])
        await catalog.mark_gone(file_id(1))
        with Inventory(case.catalog_path) as inventory:
            (item,) = inventory.items()
            assert (file_id(2), None, None) == (
                item.claude_file_id,
                item.record,
                item.content,
            )
            assert inventory.find(file_id(1)) is None
            assert Counts(1, 1, verified=0, unverified=0, not_stored=1) == inventory.counts()


def test_looking_makes_nothing(tmp_path):
    """A case without a catalog stays one, and the error says what to do."""
    case = Case.open(tmp_path / "case")
    with pytest.raises(CaseError, match="collect or mount files first"):
        Inventory(case.catalog_path)
    assert not case.catalog_path.exists()


def test_a_newer_catalog_is_refused(tmp_path):
    """What a newer version wrote is not guessed at."""
    case = make_case(tmp_path / "case", {})
    with contextlib.closing(sqlite3.connect(case.catalog_path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(CaseError, match="newer version"):
        Inventory(case.catalog_path)


@pytest.mark.parametrize("content", [b"no database at all, but a text" * 99, b""])
def test_a_damaged_catalog_is_one_line(tmp_path: Path, content: bytes):
    """Not a traceback."""
    path = tmp_path / "catalog.sqlite3"
    path.write_bytes(content)
    with pytest.raises(CaseError, match="catalog"), Inventory(path) as inventory:
        inventory.counts()
