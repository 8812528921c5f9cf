"""The directory of an export: what has its name there is whole, and is what was acquired."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsmount.content_rows import StoredContent
from fsmount.errors import ExportError
from fsmount.ledger import Exported
from fsmount.target import DifferentError, Target

BODY = os.urandom(3_000_000)
ROW = StoredContent(
    "a",
    len(BODY),
    hashlib.md5(BODY).hexdigest(),
    hashlib.sha256(BODY).hexdigest(),
    "yes",
    "content-md5",
    "req",
    "2026",
    is_stored=True,
)
FACTS = {"case": "c"}
MTIME_NS = 1_772_443_708_028_196_000


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "body").write_bytes(BODY)
    fd = os.open(tmp_path / "body", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with contextlib.closing(Target(tmp_path / "new" / "out", FACTS)) as opened:
        yield opened


def entries(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_copy_is_the_bytes_with_their_date(target, fd):
    """And is found again by its ledger's line."""
    written, stamp_ns = target.copy(fd, "data/a/x.bin", ROW, MTIME_NS)
    copied = target.directory / "data/a/x.bin"
    assert BODY == copied.read_bytes()
    assert MTIME_NS == copied.stat().st_mtime_ns == stamp_ns
    assert (ROW.size_bytes, ROW.md5, ROW.sha256) == (
        written.size_bytes,
        written.md5,
        written.sha256,
    )
    assert target.has_payload(Exported("a", written, (), MTIME_NS, stamp_ns))


@pytest.mark.parametrize(
    "change",
    [
        {"md5": "0" * 32},
        {"sha256": "0" * 64},
        {"size_bytes": len(BODY) - 1},
        {"size_bytes": len(BODY) + 1},
    ],
)
def test_other_bytes_than_those_acquired_leave_nothing(target, fd, change):
    """Whatever it is that differs."""
    with pytest.raises(DifferentError):
        target.copy(fd, "data/a/x.bin", dataclasses.replace(ROW, **change), MTIME_NS)
    assert {"metadata/export.jsonl"} == entries(target.directory)


def test_a_copy_that_is_given_up_leaves_nothing(target, fd):
    """An interruption in the middle, too."""
    steps = iter([None, None])

    def give_up() -> None:
        if next(steps, "end") == "end":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        target.copy(fd, "data/a/x.bin", ROW, MTIME_NS, may_go_on=give_up)
    assert {"metadata/export.jsonl"} == entries(target.directory)


def test_what_a_killed_export_left_half_done_is_removed(tmp_path):
    """It never had a name of its own."""
    (tmp_path / ".partial").mkdir()
    Target(tmp_path, FACTS).ledger.close()  # as a kill closes it
    (tmp_path / ".partial/7").write_bytes(b"half")
    with contextlib.closing(Target(tmp_path, FACTS)):
        assert {"metadata/export.jsonl"} == entries(tmp_path)
    assert {"data", "metadata"} == set(os.listdir(tmp_path))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(BODY[:-1]),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: path.write_bytes(BODY[::-1]),
    ],
)
def test_a_payload_that_was_touched_is_not_taken_for_whole(target, fd, harm):
    """Removed, shortened, or only written again."""
    written, stamp_ns = target.copy(fd, "data/a/x.bin", ROW, MTIME_NS)
    harm(target.directory / "data/a/x.bin")
    assert not target.has_payload(Exported("a", written, (), MTIME_NS, stamp_ns))


def test_tags_are_found_by_their_size(target):
    """They are written anew when they are not there."""
    tag = target.write("metadata/a/meta.json", [b"{", b"}"])
    assert (2, hashlib.sha256(b"{}").hexdigest()) == (tag.size_bytes, tag.sha256)
    line = Exported("a", None, (tag,), 0)
    assert target.has_tags(line)
    (target.directory / tag.path).write_bytes(b"")
    assert not target.has_tags(line)


def test_a_directory_with_something_else_in_it_is_refused(tmp_path):
    """And stays as it is; what a new disk has, or an export that hardly began, is no hindrance."""
    for name in ("data", "metadata", "lost+found"):
        (tmp_path / name).mkdir()
    with contextlib.closing(Target(tmp_path, FACTS)):
        pass
    (tmp_path / "metadata" / "export.jsonl").unlink()
    (tmp_path / "data" / "mine").touch()
    with pytest.raises(ExportError, match="holds 'data'"):
        Target(tmp_path, FACTS)
    assert not (tmp_path / "metadata" / "export.jsonl").exists()
