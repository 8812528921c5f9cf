"""Planted faults on a real mount: right bytes or an error, never wrong bytes, and the mount lives on."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsmount.demo.contents import PatternContent
from tests.support import faults
from tests.support.emulator import RunningEmulator
from tests.support.mounts import run
from tests.support.wire import End

MIB = 1 << 20
SMALL, LARGE = 2 * MIB, 20 * MIB  # below and above what is served only once verified


@dataclass(frozen=True)
class Case:
    """One fault: how it is planted, and whether the reader gets the bytes all the same.

    `breaks_a_streamed_copy`: it shows only at the end, when a reader of a large file has had wrong bytes.
    """

    name: str
    plant: Callable[[RunningEmulator, str], object]
    recovers: bool
    errno: int = errno.EIO
    uses_wire: bool = False
    breaks_a_streamed_copy: bool = False


def cut(end: End, at: int, times: int | None = 1) -> Callable[[RunningEmulator, str], object]:
    """Break the connection after some bytes of the body."""
    return lambda emulator, file_id: emulator.cuts.add(
        end, at, path=f"{file_id}/content", times=times
    )


def answer(fault: faults.Fault, times: int | None = 1) -> Callable[[RunningEmulator, str], object]:
    """Give some answers for the content a fault."""
    return lambda emulator, file_id: emulator.faults.add(
        fault, path=f"{file_id}/content", times=times
    )


CASES = [
    Case("reset once", cut("rst", MIB), recovers=True, uses_wire=True),
    Case("reset thrice", cut("rst", MIB, 3), recovers=True, uses_wire=True),
    Case("truncated", cut("fin", 256 * 1024, 1), recovers=True, uses_wire=True),
    Case("cut in a chunk", cut("fin", 300_001), recovers=True, uses_wire=True),
    Case(
        "short but well ended, once",
        answer(faults.short_by(1000)),
        recovers=True,
        breaks_a_streamed_copy=True,
    ),
    Case("short but well ended, always", answer(faults.short_by(1000), None), recovers=False),
    Case("overlong, always", answer(faults.overlong(), None), recovers=False),
    Case(
        "flipped byte once",
        answer(faults.flip_byte(777)),
        recovers=True,
        breaks_a_streamed_copy=True,
    ),
    Case("flipped byte always", answer(faults.flip_byte(777), None), recovers=False),
    Case("wrong Content-MD5, always", answer(faults.wrong_md5(), None), recovers=False),
    Case("no Content-MD5", answer(faults.without_md5(), None), recovers=True),
    Case("500 for good", answer(faults.server_error(should_retry=False), None), recovers=False),
    Case("503 once", answer(faults.answer(503)), recovers=True),
    Case("529 once", answer(faults.answer(529)), recovers=True),
    Case("429 once", answer(faults.rate_limited(1)), recovers=True),
    Case("stall once", answer(faults.stall_after(MIB)), recovers=True),
    Case("hang once", answer(faults.hang()), recovers=True),
    Case("hang always", answer(faults.hang(), None), recovers=False, errno=errno.ETIMEDOUT),
    Case("403", answer(faults.answer(403), None), recovers=False, errno=errno.EACCES),
]


def read_in_steps(path: Path) -> bytes:
    """Read a file as most programs do, all of it or an error."""
    parts = []
    with path.open("rb", buffering=0) as file:
        while part := os.read(file.fileno(), 128 * 1024):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["verified", "streamed"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_reader_gets_the_bytes_or_an_error(mount, emulator, case, size):
    """Whatever the answer suffers from, no wrong byte reaches a reader as a success."""
    content = PatternContent(size)
    file_id = emulator.corpus.add_file(content, filename="f.bin", mime_type="text/plain")
    other = emulator.corpus.add_file(b"other", filename="o.txt", mime_type="text/plain")
    case.plant(emulator, file_id)
    url = emulator.wire_url if case.uses_wire else emulator.url
    with mount(
        emulator, "--timeout", "9", ids=[file_id, other], url=url, may_log=[file_id]
    ) as mounted:
        path = mounted.path / file_id / "f.bin"
        streamed_mismatch = size == LARGE and case.breaks_a_streamed_copy
        if case.recovers and not streamed_mismatch:
            assert bytes_of(content) == read_in_steps(path)
        else:
            expected = errno.EIO if streamed_mismatch else case.errno
            with pytest.raises(OSError, match=r"Errno") as raised:
                read_in_steps(path)
            assert errno.errorcode[expected] == errno.errorcode[raised.value.errno or 0]
        if streamed_mismatch:  # once nobody has the wrong bytes open, they are asked for again
            assert bytes_of(content) == read_in_steps(path)
        assert b"other" == (mounted.path / other / "o.txt").read_bytes()
        if not case.recovers:
            assert not list((mounted.case / "content").rglob(file_id))
    assert emulator.log.count("content") <= 8


def bytes_of(content: PatternContent) -> bytes:
    """Return a made-up content in one piece."""
    return b"".join(bytes(content.read(at, MIB)) for at in range(0, content.size_bytes, MIB))


def test_a_wrong_hash_is_told_and_nothing_of_it_is_kept(mount, emulator):
    """After two wrong bodies: EIO, verified=mismatch, a custody entry, and no third request at once."""
    file_id = emulator.corpus.add_file(b"x" * 5000, filename="f.bin", mime_type="text/plain")
    emulator.faults.add(faults.flip_byte(7), path="/content", times=None)
    with mount(emulator, ids=[file_id], may_log=["wrong bytes came"]) as mounted:
        path = mounted.path / file_id / "f.bin"
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output error"):
                path.read_bytes()
        assert 2 == emulator.log.count("content")
        assert b"mismatch" == os.getxattr(path, "user.claude.verified")
    assert 2 == (mounted.case / "custody.jsonl").read_text().count('"event":"mismatch"')
    assert not [p for p in (mounted.case / "content").rglob("*") if p.is_file()]


def test_an_unreachable_service_is_told_at_once_and_found_again(mount, emulator):
    """While the host refuses connections, requests soon fail at once; stored files are still read."""
    ids = [
        emulator.corpus.add_file(b"%d" % n, filename="f.txt", mime_type="text/plain")
        for n in range(5)
    ]
    with mount(emulator, "--timeout", "9", ids=ids, may_log=["claude_file_"]) as mounted:
        assert b"0" == (mounted.path / ids[0] / "f.txt").read_bytes()
        with emulator.down():
            with pytest.raises(OSError, match=r"Errno"):
                (mounted.path / ids[1] / "f.txt").read_bytes()
            started = time.monotonic()
            for file_id in ids[2:]:
                with pytest.raises(OSError, match="Input/output error"):
                    (mounted.path / file_id / "f.txt").read_bytes()
            assert time.monotonic() - started < 3
            assert b"0" == (mounted.path / ids[0] / "f.txt").read_bytes()
        time.sleep(5.5)
        assert b"1" == (mounted.path / ids[1] / "f.txt").read_bytes()
        assert b"2" == (mounted.path / ids[2] / "f.txt").read_bytes()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.answer(401), errno.EACCES),
        (faults.answer(403), errno.EACCES),
        (faults.answer(404), errno.ENOENT),
        (faults.answer(409), errno.EBUSY),
        (faults.server_error(should_retry=False), errno.EIO),
        (faults.hang(), errno.ETIMEDOUT),
    ],
    ids=["401", "403", "404", "409", "500", "hang"],
)
def test_a_record_that_can_not_be_had_is_the_right_errno(mount, emulator, fault, expected):
    """Absent and unreadable are different answers."""
    file_id = emulator.corpus.add_file(b"x", filename="f.txt", mime_type="text/plain")
    emulator.faults.add(fault, path=f"{file_id}$", times=None)
    with mount(emulator, "--timeout", "4", ids=[file_id], may_log=[file_id]) as mounted:
        with pytest.raises(OSError, match=r"Errno") as raised:
            os.listdir(mounted.path / file_id)
        assert errno.errorcode[expected] == errno.errorcode[raised.value.errno or 0]
        assert [] == [name for name in os.listdir(mounted.path) if name != file_id]


def test_a_spent_budget_is_waited_for_and_not_run_into(mount, emulator):
    """With 20 requests a window, 12 files (24 requests) are read without a 429."""
    emulator.behaviour.requests_per_minute = 20
    emulator.behaviour.window_s = 3.0
    ids = [
        emulator.corpus.add_file(b"%d" % n, filename="f.txt", mime_type="text/plain")
        for n in range(12)
    ]
    with mount(emulator, ids=ids) as mounted:
        for number, file_id in enumerate(ids):
            assert b"%d" % number == (mounted.path / file_id / "f.txt").read_bytes()
    assert 24 == emulator.log.count()
    assert not [entry for entry in emulator.log.entries() if entry.status == 429]


def test_a_file_deleted_while_it_is_open_is_stale(mount, emulator):
    """A handle whose file is gone and not stored gets ESTALE, not an end of file."""
    file_id = emulator.corpus.add_file(
        PatternContent(LARGE), filename="f.bin", mime_type="text/plain"
    )
    with (
        mount(
            emulator,
            ids=[file_id],
            may_log=["deleted from the service", "does not know it any more"],
        ) as mounted,
        (mounted.path / file_id / "f.bin").open("rb", buffering=0) as file,
    ):
        emulator.corpus.delete_file(file_id)
        with pytest.raises(OSError, match="Stale"):
            file.read(10)


def test_a_full_disk_is_an_error_and_the_mount_lives(mount, emulator, tmp_path):
    """The reader gets EIO and the log says what to do; smaller files are still read."""
    disk = tmp_path / "disk"
    disk.mkdir()
    assert 0 == run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]).returncode
    try:
        big = emulator.corpus.add_file(
            PatternContent(8 * MIB), filename="b", mime_type="text/plain"
        )
        small = emulator.corpus.add_file(b"small", filename="s", mime_type="text/plain")
        with mount(
            emulator, ids=[big, small], case="disk/case", may_log=["make room", "disk"]
        ) as mounted:
            with pytest.raises(OSError, match="Input/output error"):
                (mounted.path / big / "b").read_bytes()
            assert "make room" in mounted.log
            assert b"small" == (mounted.path / small / "s").read_bytes()
    finally:
        run(["umount", "-l", disk])
