"""The store: what is called stored has its bytes, and what is known outlives them."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsmount.content_rows import StoredContent
from fsmount.errors import LostError, UncheckedError
from fsmount.store import ContentStore, FinishedSpool
from fsmount.stored_file import StoppedError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ContentStore]:
    (tmp_path / "content").mkdir()
    with contextlib.closing(ContentStore(tmp_path / "c.sqlite3", tmp_path / "content")) as opened:
        yield opened


def spool(directory: Path, name: str, body: bytes, verified: str = "yes") -> FinishedSpool:
    path = directory / f"{name}.1"
    path.write_bytes(body)
    return FinishedSpool(
        claude_file_id=name,
        place=path.rename,
        size_bytes=len(body),
        md5=hashlib.md5(body).hexdigest(),
        sha256=hashlib.sha256(body).hexdigest(),
        verified="yes" if verified == "yes" else "no",
        how="content-md5",
        request_id="req",
    )


def content(store: ContentStore, name: str) -> bytes | None:
    fd = store.open_content(name)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read()


@pytest.mark.parametrize("count", [1, 20])
def test_finished_spools_become_content(store, tmp_path, count):
    """Singly or in a group: moved, found, readable, and nothing is left of the spool."""
    spools = [spool(tmp_path, f"file{n}", b"%d" % n * n) for n in range(count)]
    rows = store.adopt(spools).rows
    assert [s.claude_file_id for s in spools] == [row.claude_file_id for row in rows]
    for number in range(count):
        assert b"%d" % number * number == content(store, f"file{number}")
        assert rows[number] == store.find(f"file{number}")
    assert not list(tmp_path.glob("file*"))
    assert sum(s.size_bytes for s in spools) == store.total_bytes


def test_a_body_that_cant_be_placed_keeps_no_other_out(store, tmp_path):
    """As when the disk is full: what fits is stored, and the others are named."""
    spools = [spool(tmp_path, name, name.encode()) for name in ("a", "b", "c")]

    def no_room(_target: Path) -> None:
        raise OSError(28, "No space left on device")

    adopted = store.adopt([spools[0], dataclasses.replace(spools[1], place=no_room), spools[2]])
    assert ["a", "c"] == [row.claude_file_id for row in adopted.rows]
    assert ["b"] == list(adopted.failures)
    assert [b"a", None, b"c"] == [content(store, name) for name in ("a", "b", "c")]


def test_bytes_whose_rows_cant_be_written_are_not_left_behind(store, tmp_path, monkeypatch):
    """Nothing would ever find them again."""

    def refuse(_rows: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "_sync", refuse)
    with pytest.raises(OSError, match="Input"):
        store.adopt([spool(tmp_path, name, b"1") for name in ("a", "b")])
    assert [] == [path for path in (tmp_path / "content").rglob("*") if path.is_file()]
    assert 0 == store.total_bytes


def test_a_group_that_fails_takes_nothing_from_another_process(store, tmp_path, monkeypatch):
    """An export and a mount may fetch the same file; what one has stored is not the other's to remove."""
    with contextlib.closing(ContentStore(tmp_path / "c.sqlite3", tmp_path / "content")) as another:
        another.adopt([spool(tmp_path, "a", b"1")])

    def refuse(_rows: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "_sync", refuse)
    with pytest.raises(OSError, match="Input"):
        store.adopt([spool(tmp_path, "a", b"1"), spool(tmp_path, "b", b"2")])
    check(store, "a")  # it was placed over that one, which is the same
    assert [b"1", None] == [content(store, name) for name in ("a", "b")]
    assert ["a"] == [path.name for path in (tmp_path / "content").rglob("*") if path.is_file()]


@pytest.mark.parametrize("is_stored_anew", [False, True])
def test_bytes_that_are_evicted_while_they_are_opened_are_no_loss(
    store, tmp_path, monkeypatch, is_stored_anew
):
    """By this process or another one, between the look at the row and the look at the disk."""
    store.adopt([spool(tmp_path, "a", b"1")])
    look_up = store._look_up

    def look_up_and_evict(claude_file_id: str) -> StoredContent | None:
        monkeypatch.setattr(store, "_look_up", look_up)
        row: StoredContent | None = look_up(claude_file_id)
        store.release(["a"])
        if is_stored_anew:
            store.adopt([spool(tmp_path, "a", b"22")])
        return row

    monkeypatch.setattr(store, "_look_up", look_up_and_evict)
    assert (b"22" if is_stored_anew else None) == content(store, "a")


@pytest.mark.parametrize("is_written_down", [False, True])
def test_a_copy_of_a_case_is_looked_at_once(store, tmp_path, is_written_down):
    """Its files have other change times and the same bytes: read once in whole, and believed from then on."""
    store.adopt([spool(tmp_path, "a", b"x" * 100)])
    path = store.content_path("a")
    path.write_bytes(path.read_bytes())
    row = store.find("a")
    assert row is not None
    assert store.open_nowait(row) is None
    check(store, "a")
    assert b"x" * 100 == content(store, "a")
    if is_written_down:  # with the next change of anything
        store.note_mismatch("b")
        row = store.find("a")
        assert row is not None
        assert path.stat().st_ctime_ns == row.changed_ns
    fd = store.open_nowait(row)
    assert fd is not None
    os.close(fd)


def test_what_was_stored_anew_meanwhile_is_not_set_aside(store, tmp_path, monkeypatch):
    """Two askers find the same altered bytes, and the first one has them fetched again."""
    store.adopt([spool(tmp_path, "a", b"right")])
    store.content_path("a").write_bytes(b"wrong")

    def store_anew(*_seen: object) -> str:
        store.content_path("a").unlink()
        store.adopt([spool(tmp_path, "a", b"right")])
        return "its SHA-256 is another"

    monkeypatch.setattr("fsmount.store.difference", store_anew)
    check(store, "a")
    assert b"right" == content(store, "a")
    assert not (tmp_path / "altered").exists()


def test_bytes_that_are_restored_while_they_are_read_are_not_set_aside(
    store, tmp_path, monkeypatch
):
    """Part of what was read was the old, part the new: that says nothing, and it is read again."""
    store.adopt([spool(tmp_path, "a", b"right")])
    store.content_path("a").write_bytes(b"wrong")

    def restore(*_seen: object) -> str:
        monkeypatch.undo()
        store.content_path("a").write_bytes(b"right")
        return "its SHA-256 is another"

    monkeypatch.setattr("fsmount.store.difference", restore)
    check(store, "a")
    with pytest.raises(UncheckedError):
        store.open_content("a")
    check(store, "a")
    assert b"right" == content(store, "a")
    assert not (tmp_path / "altered").exists()


def test_bytes_that_cant_be_removed_are_remembered(store, tmp_path, monkeypatch):
    """What is known of a deleted file goes last, so that the next try finds what is left of it."""
    store.adopt([spool(tmp_path, "a", b"1")])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(OSError, match="Input"):
            store.discard("a")
    assert store.find("a") is not None
    store.discard("a")
    assert (None, False) == (store.find("a"), store.content_path("a").exists())


def test_a_check_that_nobody_wants_any_more_ends(store, tmp_path):
    """At the end of a mount, for one; nothing is known of the file then."""
    store.adopt([spool(tmp_path, "a", b"x" * 100)])
    os.chmod(store.content_path("a"), 0o600)
    with pytest.raises(StoppedError):
        store.check_content("a", lambda: False)
    with pytest.raises(UncheckedError):
        store.open_content("a")


def test_what_was_set_aside_goes_with_its_file(store, tmp_path):
    """What is deleted for ever leaves nothing here, whatever it was taken for."""
    store.adopt([spool(tmp_path, "a", b"1")])
    store.content_path("a").write_bytes(b"2")
    with pytest.raises(LostError):
        check(store, "a")
    assert 1 == len(list((tmp_path / "altered").iterdir()))
    store.discard("a")
    assert [] == list((tmp_path / "altered").iterdir())


def test_the_tally_follows_replacement_and_removal(store, tmp_path):
    """The number of stored bytes is kept by the database and stays right."""
    store.adopt([spool(tmp_path, "a", b"x" * 100), spool(tmp_path, "b", b"x" * 10)])
    store.adopt([spool(tmp_path, "a", b"x" * 7)])
    assert 17 == store.total_bytes
    store.discard("b")
    assert 7 == store.total_bytes
    assert store.find("b") is None
    assert content(store, "b") is None


def check(store: ContentStore, name: str) -> None:
    store.check_content(name, lambda: True)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.unlink(), "not there any more"),
        (lambda path: path.write_bytes(b"shorter"), "it has 7 bytes, recorded are 100"),
        (lambda path: path.write_bytes(b"x" * 99 + b"y"), "its SHA-256 is .*, recorded is"),
    ],
)
def test_bytes_that_are_missing_or_altered_are_not_called_stored(store, tmp_path, harm, says):
    """Whoever was at the content directory: the row is corrected, and what is there instead is kept."""
    store.adopt([spool(tmp_path, "a", b"x" * 100)])
    harm(store.content_path("a"))
    altered = [store.content_path("a").read_bytes()] if store.content_path("a").exists() else []
    row = store.find("a")
    assert row is not None
    assert store.open_nowait(row) is None
    with pytest.raises(UncheckedError):
        store.open_content("a")
    with pytest.raises(LostError, match=says):
        check(store, "a")
    check(store, "a")  # told once
    assert store.open_content("a") is None
    assert altered == [path.read_bytes() for path in (tmp_path / "altered").glob("a.*")]
    row = store.find("a")
    assert row is not None
    assert (False, 100) == (row.is_stored, row.size_bytes)


def test_the_oldest_used_goes_first_and_what_is_in_use_stays(store, tmp_path):
    """Eviction keeps to the bound, keeps what is known, and passes over open files."""
    for name in ("a", "b", "c", "d"):
        store.adopt([spool(tmp_path, name, b"x" * 10)])
    store.touch("a")
    assert ["c", "d"] == store.evict(20, lambda name: name == "b")
    assert 20 == store.total_bytes
    assert [b"x" * 10, b"x" * 10, None, None] == [content(store, name) for name in "abcd"]
    known = store.find("c")
    assert known is not None
    assert ("yes", hashlib.md5(b"x" * 10).hexdigest()) == (known.verified, known.md5)
    assert [] == store.evict(20, lambda _name: False)
    assert [] == store.evict(0, lambda _name: True)


def test_an_unclean_end_costs_what_nobody_vouched_for(store, tmp_path):
    """Unverified bytes are discarded and named; verified ones stay."""
    store.mark_running(running=True)
    store.adopt([spool(tmp_path, "sure", b"1"), spool(tmp_path, "unsure", b"22", verified="no")])
    assert store.is_marked_running
    assert [("unsure", 2)] == [(d.claude_file_id, d.size_bytes) for d in store.discard_unverified()]
    assert b"1" == content(store, "sure")
    assert content(store, "unsure") is None
    store.mark_running(running=False)
    assert not store.is_marked_running


def test_a_mismatch_is_noted_and_never_spoils_what_is_stored(store, tmp_path):
    """Wrong answers of the service do not make verified content less so."""
    store.note_mismatch("never")
    noted = store.find("never")
    assert noted is not None
    assert ("mismatch", False) == (noted.verified, noted.is_stored)
    store.adopt([spool(tmp_path, "good", b"1")])
    store.note_mismatch("good")
    good = store.find("good")
    assert good is not None
    assert "yes" == good.verified


def test_what_is_kept_is_private(store, tmp_path):
    """Directories below content are for their owner alone."""
    store.adopt([spool(tmp_path, "a", b"1")])
    assert 0o700 == store.content_path("a").parent.stat().st_mode & 0o777
