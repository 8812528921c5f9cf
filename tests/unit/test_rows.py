"""Rows: what is asked of them in SQL is what is asked of their records in Python."""

import contextlib
import itertools
import json
from pathlib import Path

import pytest

from fsmount import rows
from fsmount.catalog import Catalog
from fsmount.database import connect
from fsmount.errors import CaseError
from fsmount.file_list import Filter, iter_items
from fsmount.foresight import Order, Place
from fsmount.inventory import Inventory
from fsmount.objects import Told, has_content, record_of

IDS = ("claude_file_{}", "claude_gen_file_{}", "claude_artifact_version_{}")
TYPES: tuple[dict[str, object], ...] = (
    {},
    {"mime_type": None},
    {"mime_type": ""},
    {"mime_type": "text/plain"},
)
EVERY = [
    (number, claude_file_id.format(number), told, {"id": "x", "version_id": "x", **mime_type})
    for number, (claude_file_id, told, mime_type) in enumerate(
        itertools.product(IDS, Told, TYPES), 1
    )
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a catalog with a file of each kind, all of which got a name early."""
    path = tmp_path / "catalog.sqlite3"
    with contextlib.closing(connect(path)) as db:
        db.executemany(
            "INSERT INTO file (number, claude_file_id, told, record, content_name) VALUES (?, ?, ?, ?, 'n')",
            ((number, key, told, json.dumps(fields)) for number, key, told, fields in EVERY),
        )
    return path


def _selected(path: Path, condition: str) -> set[int]:
    with contextlib.closing(connect(path)) as db:
        return {
            number for (number,) in db.execute(f"SELECT number FROM file AS f WHERE {condition}")
        }


def test_the_database_and_the_records_agree_on_what_has_content(path):
    """For every family, whatever is known and whatever the type is."""
    known = {number for number, _, told, _ in EVERY if told >= Told.ENTRY}
    having = {number for number, key, _, fields in EVERY if has_content(record_of(key, fields))}
    assert known & having == _selected(path, rows.has_content("f"))
    every = {number for number, *_ in EVERY}
    assert every - known | having == _selected(path, rows.may_have_content("f"))


def test_nobody_counts_lists_or_fetches_ahead_what_has_no_content(path):
    """A name that came before the type was known does not make content of nothing."""
    may_have = _selected(path, rows.may_have_content("f"))
    with contextlib.closing(Catalog(path)) as catalog:
        following = catalog.following(Order.LISTED, Place(0, ""), 1000)
        assert may_have == {place.number for place in following}
    with Inventory(path) as inventory:
        assert len(may_have) == inventory.counts().not_stored
    named = {item.claude_file_id for item in iter_items(path, Filter()) if item.name}
    assert {key for number, key, *_ in EVERY if number in may_have} == named


def test_a_damaged_record_spoils_nothing_for_others(path):
    """What is counted or fetched ahead is about all files; one of them is no reason to fail."""
    with contextlib.closing(connect(path)) as db:
        db.execute("UPDATE file SET record = '{', told = 3 WHERE number = 1")
    with contextlib.closing(Catalog(path)) as catalog:
        following = catalog.following(Order.LISTED, Place(0, ""), 1000)
        assert 1 not in {place.number for place in following}
    with Inventory(path) as inventory:
        assert len(EVERY) == inventory.counts().files


def test_a_list_of_a_case_without_a_catalog_writes_nothing(tmp_path):
    """The error comes before the first byte of any output, and no catalog is made."""
    with pytest.raises(CaseError, match="no catalog yet"):
        iter_items(tmp_path / "catalog.sqlite3", Filter())
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", "[]", '{"id": 5}'])
def test_a_damaged_record_is_one_line_for_everyone(path, text):
    """It names the file and what to do; nobody meets a traceback."""
    with contextlib.closing(connect(path)) as db:
        db.execute("UPDATE file SET record = ?, told = 3", (text,))
    for read in (_find, _inspect, _list):
        with pytest.raises(CaseError, match=r"damaged record of claude_file_1: .*restore"):
            read(path)


def _find(path: Path) -> None:
    with contextlib.closing(Catalog(path)) as catalog:
        catalog.find("claude_file_1")


def _inspect(path: Path) -> None:
    with Inventory(path) as inventory:
        list(inventory.items())


def _list(path: Path) -> None:
    list(iter_items(path, Filter()))
