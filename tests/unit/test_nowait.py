"""What is in memory is answered at once; what is not is left to who may wait."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount import nowait
from fsmount.nowait import Buffers, open_nowait


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(bytes(range(256)) * 64)
    return made


def test_a_file_whose_name_is_in_memory_is_opened(path):
    """For reading, and closed in programs that are started."""
    fd = open_nowait(str(path))
    if fd is None:
        pytest.fail("this kernel has no RESOLVE_CACHED, or no name of a file just made")
    assert bytes(range(256)) == os.pread(fd, 256, 0)
    assert not os.get_inheritable(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    os.close(fd)


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path):
    """Its bytes are known to be lost then."""
    with pytest.raises(FileNotFoundError):
        os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        open_nowait(str(tmp_path / "file"))


def test_whatever_else_keeps_it_from_being_opened_is_for_another_to_say(path):
    """A path that is none, a directory in its way: the ordinary way has the words for it."""
    assert open_nowait(str(path / "below")) is None
    assert open_nowait("relative") is None


def test_where_the_kernel_can_not_tell_nothing_is_answered(path, monkeypatch):
    """Older kernels refuse the call, and some file systems the flag."""
    monkeypatch.setattr(nowait, "_SYS_OPENAT2", 100_000)
    assert open_nowait(str(path)) is None
    monkeypatch.setattr(nowait, "_RWF_NOWAIT", 0)
    with path.open("rb") as file:
        assert Buffers().read(file.fileno(), 0, 10) is None


def test_a_read_gives_all_that_was_asked_for_or_nothing(path):
    """Beyond the end there is less than that."""
    buffers = Buffers()
    with path.open("rb") as file:
        assert b"\x01\x02" == buffers.read(file.fileno(), 1, 2)
        assert buffers.read(file.fileno(), 64 * 256 - 1, 2) is None
        assert buffers.read(file.fileno(), 0, 3 << 20) is None


@given(st.lists(st.tuples(st.integers(0, 16_000), st.integers(1, 384), st.booleans()), max_size=30))
def test_bytes_stay_as_they_are_for_as_long_as_they_are_held(tmp_path_factory, reads):
    """Memory is used again only once nobody looks at it."""
    path = tmp_path_factory.getbasetemp() / "held"
    content = bytes(range(256)) * 64
    path.write_bytes(content)
    buffers = Buffers()
    held = []
    with path.open("rb") as file:
        for offset, size, is_kept in reads:
            data = buffers.read(file.fileno(), offset, size)
            assert data == content[offset : offset + size]
            if is_kept:
                held.append((offset, size, data))
            del data
    for offset, size, data in held:
        assert data == content[offset : offset + size]


def test_memory_that_nobody_looks_at_is_used_again(path):
    """One buffer does for one reader."""
    buffers = Buffers()
    with path.open("rb") as file:
        for _ in range(5):
            data = buffers.read(file.fileno(), 0, 100)
            del data
    assert 1 == len(buffers._buffers)


def test_what_was_read_can_not_be_written(path):
    """It is evidence, on its way to a reader."""
    with path.open("rb") as file:
        data = Buffers().read(file.fileno(), 0, 100)
    assert isinstance(data, memoryview)
    assert data.readonly
