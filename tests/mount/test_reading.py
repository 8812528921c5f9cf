"""Reading on a real mount: any offset, any number of readers, with and without ranges."""

import concurrent.futures
import json
import mmap
import os
import random
import time
from pathlib import Path

import pytest

from fsmount.demo.contents import PatternContent
from tests.support.emulator import RunningEmulator
from tests.support.mounts import run

MIB = 1 << 20
BIG = 256 * MIB


@pytest.fixture
def big(emulator: RunningEmulator) -> str:
    """Add a file of 256 MiB, beyond what is served only once verified."""
    return emulator.corpus.add_file(
        PatternContent(BIG, shift=7), filename="big.bin", mime_type="application/octet-stream"
    )


def stored_bytes(case: Path) -> int:
    """Return how much content a case holds."""
    return sum(path.stat().st_size for path in (case / "content").rglob("*") if path.is_file())


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Read a range as a program that seeks does."""
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, offset)


@pytest.mark.parametrize("honours", [False, True])
def test_random_readers_move_little_more_than_the_file(mount, emulator, big, honours):
    """60 reads of 4 KiB by four threads: few requests without ranges, few bytes with them."""
    emulator.behaviour.honour_range = honours
    source = PatternContent(BIG, shift=7)
    offsets = random.Random(4).sample(range(0, BIG - 4096, 512), 60)
    with mount(emulator, ids=[big]) as mounted:
        path = mounted.path / big / "big.bin"
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for offset, data in zip(
                offsets, pool.map(lambda o: read_at(path, o, 4096), offsets), strict=True
            ):
                assert source.read(offset, 4096) == data
        emulator.log.wait_idle(timeout_s=30)
        if honours:
            assert emulator.log.bytes_sent("content") <= 1.05 * BIG
        else:
            assert emulator.log.count("content") <= 4
            assert emulator.log.bytes_sent("content") <= 2.2 * BIG


@pytest.mark.parametrize("honours", [False, True])
def test_one_byte_costs_a_bounded_part(mount, emulator, big, honours):
    """Whoever sniffs at a large file does not pull it."""
    emulator.behaviour.honour_range = honours
    with mount(emulator, ids=[big]) as mounted:
        assert 1 == len(read_at(mounted.path / big / "big.bin", 0, 1))
        emulator.log.wait_idle(timeout_s=30)
        assert emulator.log.bytes_sent("content") < 24 * MIB


def test_a_large_file_is_read_whole_in_one_request(mount, emulator, big):
    """A sequential reader gets every byte of a streamed file, and its hash is recorded."""
    with mount(emulator, ids=[big]) as mounted:
        path = mounted.path / big / "big.bin"
        source = PatternContent(BIG, shift=7)
        with path.open("rb") as file:
            for offset in range(0, BIG, MIB):
                assert source.read(offset, MIB) == file.read(MIB)
            assert b"" == file.read(1)
        assert b"yes" == os.getxattr(path, "user.claude.verified")
        assert 1 == emulator.log.count("content")
        assert mounted.rss_bytes() < 300 * MIB


def test_mmap_readers_see_the_same_bytes(mount, emulator):
    """Mapped files work, of known and of unknown size: direct I/O would break them."""
    body = os.urandom(3 * MIB + 17)
    for fields in ({}, {"size_bytes": None}):
        file_id = emulator.corpus.add_file(body, filename="m.bin", mime_type="text/plain", **fields)
        with mount(emulator, ids=[file_id]) as mounted:
            path = mounted.path / file_id / "m.bin"
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
            ):
                assert body == view[:]


def test_a_size_is_learned_by_a_look_and_not_by_a_listing(mount, emulator):
    """Without a recorded size, listing costs no content, the first stat one, and the next mount none."""
    file_id = emulator.corpus.add_file(
        b"x" * 12345, filename="u.txt", mime_type="text/plain", size_bytes=None
    )
    with mount(emulator, ids=[file_id]) as mounted:
        assert {"u.txt", "meta.json"} == set(os.listdir(mounted.path / file_id))
        assert 0 == emulator.log.count("content")
        assert 12345 == (mounted.path / file_id / "u.txt").stat().st_size
        assert 1 == emulator.log.count("content")
    with mount(emulator) as mounted:
        assert 12345 == (mounted.path / file_id / "u.txt").stat().st_size
        assert b"x" * 12345 == (mounted.path / file_id / "u.txt").read_bytes()
    assert 1 == emulator.log.count("content")


@pytest.mark.parametrize("difference", [-100, 100])
def test_a_wrong_recorded_size_is_an_error_first_and_the_truth_then(mount, emulator, difference):
    """The read fails naming both figures; from then on the true size is shown and read."""
    body = os.urandom(50_000)
    file_id = emulator.corpus.add_file(
        body, filename="w.bin", mime_type="text/plain", size_bytes=len(body) + difference
    )
    may_log = [f"{len(body) + difference} bytes.* {len(body)}"]
    with mount(emulator, ids=[file_id], may_log=may_log) as mounted:
        path = mounted.path / file_id / "w.bin"
        assert len(body) + difference == path.stat().st_size
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
        deadline = time.monotonic() + 5
        while path.stat().st_size != len(body) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(body) == path.stat().st_size
        assert body == path.read_bytes()
        assert 1 == emulator.log.count("content")


def test_two_files_of_one_name_stay_apart(mount, emulator):
    """The id, not the name, tells files apart."""
    ids = [
        emulator.corpus.add_file(body, filename="same.txt", mime_type="text/plain")
        for body in (b"one", b"two")
    ]
    with mount(emulator, ids=ids) as mounted:
        assert [b"one", b"two"] == [(mounted.path / i / "same.txt").read_bytes() for i in ids]


def test_offline_shows_what_the_case_holds_and_refuses_the_rest(mount, emulator):
    """Stored content is read without a request or a key; what is not stored is an error, not empty."""
    stored, other = (
        emulator.corpus.add_file(name.encode(), filename=name, mime_type="text/plain")
        for name in ("stored", "other")
    )
    with mount(emulator, ids=[stored, other]) as mounted:
        (mounted.path / stored / "stored").read_bytes()
        (mounted.path / other / "meta.json").read_bytes()
    emulator.log.reset()
    with mount(None, "--offline", may_log=["does not hold its content"]) as mounted:
        assert b"stored" == (mounted.path / stored / "stored").read_bytes()
        with pytest.raises(OSError, match="Input/output error"):
            (mounted.path / other / "other").read_bytes()
        assert not (mounted.path / "claude_file_01neverseen").exists()
    assert 0 == emulator.log.count()


def test_a_bound_on_stored_content_evicts_the_oldest(mount, emulator):
    """The case does not grow beyond --cache-size; what was evicted is fetched again when it is read."""
    ids = [
        emulator.corpus.add_file(os.urandom(MIB), filename="e.bin", mime_type="text/plain")
        for _ in range(6)
    ]
    with mount(emulator, "--cache-size", "3MiB", ids=ids) as mounted:
        for file_id in ids:
            (mounted.path / file_id / "e.bin").read_bytes()
        deadline = time.monotonic() + 10
        custody = mounted.case / "custody.jsonl"
        while custody.read_text().count('"evicted"') < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0 < stored_bytes(mounted.case) <= 3 * MIB
        assert 6 == emulator.log.count("content")
        assert MIB == len(read_at(mounted.path / ids[0] / "e.bin", 0, MIB))
    with mount(emulator, "--cache-size", "0", ids=ids) as mounted:
        (mounted.path / ids[5] / "e.bin").read_bytes()
    assert not [path for path in (mounted.case / "content").rglob("*") if path.is_file()]


def test_programs_on_the_list_may_not_pull_content(mount, emulator, tmp_path):
    """A thumbnailer gets EACCES until the content is stored, and is counted; others are not affected."""
    file_id = emulator.corpus.add_file(b"picture", filename="p.png", mime_type="image/png")
    thumbnailer = tmp_path / "tumblerd"
    thumbnailer.symlink_to("/usr/bin/cat")
    with mount(emulator, "-v", ids=[file_id]) as mounted:
        path = mounted.path / file_id / "p.png"
        refused = run([thumbnailer, path])
        assert (1, {}) == (refused.returncode, emulator.log.counts())
        assert 0 == run(["stat", path]).returncode
        refused = run([thumbnailer, path])
        assert (1, b"") == (refused.returncode, refused.stdout)
        assert b"Permission denied" in refused.stderr
        assert 0 == emulator.log.count("content")
        assert b"picture" == run(["cat", path]).stdout
        assert b"picture" == run([thumbnailer, path]).stdout
        status = json.loads((mounted.path / ".fsmount" / "status.json").read_bytes())
        assert 2 == status["readers"]["denied"]
        assert 2 == mounted.log.count("may not pull")  # at debug: warnings would fail the test
