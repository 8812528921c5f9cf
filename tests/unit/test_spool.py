"""Extents behave like a set of offsets; a spool gives back what was written and nothing else."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount.spool import Extents, SharedFd, Spool, SpoolConflictError

ranges = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], sum(pair))),
    max_size=12,
)


def offsets(extents: Extents) -> set[int]:
    return {offset for start, end in extents for offset in range(start, end)}


@given(ranges)
def test_extents_are_the_union_of_what_was_added(added: list[tuple[int, int]]):
    """Adding ranges in any order gives their union, as sorted and separate ranges."""
    extents = Extents(added)
    expected = {offset for start, end in added for offset in range(start, end)}
    assert expected == offsets(extents)
    assert len(expected) == extents.total_bytes
    flat = [edge for pair in extents for edge in pair]
    assert flat == sorted(set(flat))


@given(ranges, st.integers(0, 90), st.integers(0, 30))
def test_questions_agree_with_the_set(added: list[tuple[int, int]], start: int, size: int):
    """covers, first_missing, next_present and overlap answer as a plain set would."""
    extents = Extents(added)
    present = offsets(extents)
    wanted = set(range(start, start + size))
    assert (wanted <= present) == extents.covers(start, start + size)
    first_missing = next(offset for offset in range(start, 200) if offset not in present)
    assert first_missing == extents.first_missing(start)
    assert wanted & present == offsets(extents.overlap(start, start + size))
    following = [pair for pair in extents if pair[1] > start]
    assert (following[0] if following else None) == extents.next_present(start)


@given(ranges)
def test_prefix_end_is_the_first_missing_offset(added: list[tuple[int, int]]):
    """What can be hashed so far ends where the first byte is missing."""
    extents = Extents(added)
    assert extents.first_missing(0) == extents.prefix_end


@given(body=st.binary(min_size=1, max_size=300), data=st.data(), in_memory=st.booleans())
def test_any_order_and_overlap_of_writes_gives_the_body(
    body: bytes, data: st.DataObject, in_memory: bool, tmp_path_factory: pytest.TempPathFactory
):
    """Pieces of one body, written in any order and more than once, read back as the body."""
    spool = Spool(tmp_path_factory.mktemp("spool") / "f", in_memory=in_memory)
    spans = data.draw(
        st.lists(st.tuples(st.integers(0, len(body)), st.integers(0, len(body))).map(sorted))
    )
    for start, end in [*spans, (0, len(body))]:
        cut = data.draw(st.integers(start, end))
        pieces = [body[start:cut], body[cut:end]]
        spool.write(start, pieces, spool.extents.overlap(start, end))
        spool.note_written(start, end)
    assert body == spool.read(0, len(body) + 10)
    spool.discard()
    assert not spool.path.exists()


@given(body=st.binary(min_size=2, max_size=100), data=st.data())
def test_other_bytes_for_a_known_range_are_a_conflict(
    body: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    """Bytes that come a second time and differ are found, and what was there stays."""
    spool = Spool(tmp_path_factory.mktemp("spool") / "f")
    spool.write(0, [body], Extents())
    spool.note_written(0, len(body))
    position = data.draw(st.integers(0, len(body) - 1))
    other = bytearray(body)
    other[position] ^= 0xFF
    with pytest.raises(SpoolConflictError):
        spool.write(0, [bytes(other)], spool.extents.overlap(0, len(body)))
    assert body == spool.read(0, len(body))
    spool.close()


def test_a_spool_is_private_and_never_replaces_a_file(tmp_path: Path):
    """The file has mode 0600, and a second spool of the same name is refused."""
    spool = Spool(tmp_path / "f")
    assert 0o600 == os.stat(spool.path).st_mode & 0o777
    with pytest.raises(FileExistsError):
        Spool(tmp_path / "f")
    spool.close()


def test_a_hole_is_not_read_as_present(tmp_path: Path):
    """A range between two written ones is not covered, though the file system shows zeroes there."""
    spool = Spool(tmp_path / "f")
    for start in (0, 8192):
        spool.write(start, [b"x" * 4096], Extents())
        spool.note_written(start, start + 4096)
    assert not spool.extents.covers(0, 12288)
    assert 4096 == spool.extents.first_missing(0)
    spool.close()


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_spool_in_memory_has_no_name_until_it_is_placed(tmp_path: Path, is_taken):
    """What is fetched in a moment makes no file; what is kept of it is a private file like any other."""
    spool = Spool(tmp_path / "f", in_memory=True)
    spool.write(0, [b"abc", b"def"], Extents())
    assert b"cd" == spool.read(2, 2)
    assert not spool.path.exists()
    target = tmp_path / "kept"
    if is_taken:
        target.write_bytes(b"left by a crash")
    spool.place(target)
    assert b"abcdef" == target.read_bytes()
    assert 0o600 == os.stat(target).st_mode & 0o777
    spool.discard()
    assert [target] == list(tmp_path.iterdir())


def test_a_body_that_is_longer_than_recorded_goes_on_on_the_disk(tmp_path: Path):
    """Memory stays bounded whatever a record says; readers of the descriptor notice nothing."""
    body = os.urandom(700_000)
    spool = Spool(tmp_path / "f", in_memory=True)
    with spool.fd.using() as fd:
        for start in range(0, len(body), 100_000):
            spool.write(start, [body[start : start + 100_000]], Extents())
            assert body[:start] == os.pread(fd, start, 0)
    assert not spool.is_in_memory
    assert body == spool.read(0, len(body)) == spool.path.read_bytes()
    spool.place(tmp_path / "kept")
    spool.close()
    assert body == (tmp_path / "kept").read_bytes()


def test_a_shared_descriptor_is_closed_after_its_last_user(tmp_path: Path):
    """Closing while somebody reads waits for the reader, and nobody can start after it."""
    (tmp_path / "f").write_bytes(b"abc")
    shared = SharedFd(os.open(tmp_path / "f", os.O_RDONLY))
    with shared.using() as fd:
        shared.close()
        assert b"abc" == os.pread(fd, 3, 0)
        with pytest.raises(ValueError, match="closed"), shared.using():
            pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_descriptor_is_closed_once_whatever_close_says(tmp_path, monkeypatch):
    """On some disks close tells of an error that came before; its number is free then, and another's."""
    shared = SharedFd(os.open(tmp_path, os.O_RDONLY))
    closed: list[int] = []

    def close(fd: int) -> None:
        closed.append(fd)
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "close", close)
    number = shared.number
    shared.close()
    shared.close()
    monkeypatch.undo()
    os.close(number)
    assert [number] == closed
