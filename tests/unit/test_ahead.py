"""Read-ahead across files: what is fetched before anybody opens it, and what is not."""

import contextlib
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

import client
from fsmount.ahead import Ahead
from fsmount.catalog import Catalog, Entry

IDS = [f"claude_file_{number:02}" for number in range(20)]


class Contents:
    """Content that is fetched at once, and never stored."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def is_stored(self, claude_file_id: str) -> bool:
        return claude_file_id in self.fetched

    def is_open(self, _claude_file_id: str) -> bool:
        return False

    async def fetch_ahead(self, claude_file_id: str, _size_bytes: int, _md5: str | None) -> None:
        await trio.lowlevel.checkpoint()
        self.fetched.append(claude_file_id)


async def _open_in_order(ahead: Ahead, catalog: Catalog, count: int) -> None:
    for claude_file_id in IDS[:count]:
        ahead.note_open(_entry(catalog, claude_file_id))
        await trio.testing.wait_all_tasks_blocked()


def _entry(catalog: Catalog, claude_file_id: str) -> Entry:
    entry = catalog.find(claude_file_id)
    assert entry is not None
    return entry


async def _catalog(path: Path, sizes: dict[str, int | None] | None = None) -> Catalog:
    catalog = Catalog(path)
    for claude_file_id in IDS:
        fields = {
            "id": claude_file_id,
            "filename": "a",
            "mime_type": "text/plain",
            "size_bytes": (sizes or {}).get(claude_file_id, 10),
        }
        await catalog.put_record(client.File.from_dict(fields))
    return catalog


@pytest.fixture
def contents() -> Contents:
    return Contents()


async def test_three_in_a_row_have_the_next_ones_fetched(tmp_path, contents):
    """Nine of them, and after that one more with each that is opened."""
    with contextlib.closing(await _catalog(tmp_path / "c.sqlite3")) as catalog:
        async with trio.open_nursery() as nursery:
            ahead = Ahead(catalog, cast("Any", contents), nursery)
            await _open_in_order(ahead, catalog, 2)
            assert [] == contents.fetched
            ahead.note_open(_entry(catalog, IDS[2]))
            await trio.testing.wait_all_tasks_blocked()
            assert IDS[3:12] == sorted(contents.fetched)
            assert (9, 0) == (ahead.counters.fetched, ahead.counters.read)


async def test_what_is_deleted_meanwhile_is_not_asked_for(tmp_path, contents):
    """A walk remembers what comes next for a while; that a file is gone is known all the same."""
    with contextlib.closing(await _catalog(tmp_path / "c.sqlite3")) as catalog:
        async with trio.open_nursery() as nursery:
            ahead = Ahead(catalog, cast("Any", contents), nursery)
            await _open_in_order(ahead, catalog, 2)
            for claude_file_id in IDS[3:6]:
                await catalog.mark_deleted(claude_file_id)
            await catalog.mark_gone(IDS[6])
            ahead.note_open(_entry(catalog, IDS[2]))
            await trio.testing.wait_all_tasks_blocked()
            assert IDS[7:12] == sorted(contents.fetched)


async def test_large_files_and_unknown_sizes_are_left_to_their_readers(tmp_path, contents):
    """Such a file is worth a request of its own, and its reader's time; an empty one is worth none."""
    sizes: dict[str, int | None] = {IDS[3]: 5 << 20, IDS[4]: None, IDS[5]: 0}
    with contextlib.closing(await _catalog(tmp_path / "c.sqlite3", sizes)) as catalog:
        async with trio.open_nursery() as nursery:
            ahead = Ahead(catalog, cast("Any", contents), nursery)
            await _open_in_order(ahead, catalog, 3)
            assert IDS[6:12] == sorted(contents.fetched)
