"""What goes wrong around a body costs that file at most: never the mount, another file, or a wrong copy."""

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

import client
from fsmount.answers import MountCounters
from fsmount.digest import RunningHash
from fsmount.disk import PendingBytes
from fsmount.errors import CaseError, ContentError, CustodyError, MismatchError
from fsmount.flow import Arrivals
from fsmount.inodes import Kind, inode_of
from fsmount.intake import Intake
from fsmount.open_files import OpenFiles
from fsmount.readahead import Policy
from fsmount.spool import Spool
from tests.support.scripted import Fault, ScriptedSource
from tests.unit.test_content import BODY, FILE_ID, POLICY, contents_of, read

LARGE = os.urandom(600_000)  # more than is hashed on the way to the disk
NO_ROOM = OSError(errno.ENOSPC, "No space left on device")
CatchUp = Callable[[RunningHash, Spool, int], None]


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Callable[[CatchUp], CatchUp]:
    """Return what puts another function in the place of the hashing of stretches and returns the real one."""

    def put(other: CatchUp) -> CatchUp:
        real = RunningHash.catch_up
        monkeypatch.setattr(RunningHash, "catch_up", other)
        return real

    return put


async def test_a_file_deleted_while_its_last_hash_is_on_its_way_is_not_taken_in(tmp_path, hashing):
    """`cat` and then `rm`: nothing is kept, and the mount goes on."""
    has_hashed, may_tell = threading.Event(), threading.Event()

    def slow(running: RunningHash, spool: Spool, end: int) -> None:
        real(running, spool, end)
        if running._hash.name == "sha256":
            has_hashed.set()
            may_tell.wait(5)

    real = hashing(slow)
    source = ScriptedSource(LARGE, chunk_bytes=100_000)
    async with contents_of(source, tmp_path) as (contents, events):
        assert LARGE == await read(contents, len(LARGE))
        await trio.to_thread.run_sync(has_hashed.wait)
        await contents.discard(FILE_ID)
        may_tell.set()
        await trio.sleep(0.4)
        assert [] == events
        assert contents.find(FILE_ID) is None
        assert LARGE == await read(contents, len(LARGE))
    assert ["acquired"] == events.names


async def test_a_file_that_is_fetched_ahead_goes_first_once_its_reader_is_there(tmp_path):
    """It stands behind everybody in the queue for the budget, until somebody waits for it."""
    source = QueuedSource(BODY)
    async with contents_of(source, tmp_path) as (contents, _), trio.open_nursery() as nursery:
        nursery.start_soon(contents.fetch_ahead, FILE_ID, len(BODY), None)
        await trio.testing.wait_all_tasks_blocked()
        assert BODY == await read(contents)
    assert 1 == len(source.requests)


class QueuedSource(ScriptedSource):
    """A service whose budget has no room but for what somebody waits for."""

    @contextlib.asynccontextmanager
    async def open_stream(
        self, claude_file_id: str, *, urgency: client.Urgency | None = None, **asked: Any
    ) -> AsyncIterator[Any]:
        turn = trio.Event()
        if urgency is not None:
            with urgency.watched(lambda _priority: turn.set()):
                await turn.wait()
            assert client.Priority.INTERACTIVE is urgency.priority
        async with super().open_stream(claude_file_id, **asked) as answer:
            yield answer


class SlowSource(ScriptedSource):
    """One piece a second."""

    @contextlib.asynccontextmanager
    async def open_stream(self, claude_file_id: str, **asked: Any) -> AsyncIterator[Any]:
        async with super().open_stream(claude_file_id, **asked) as answer:
            receive = answer.receive

            async def receive_slowly() -> bytes:
                await trio.sleep(1)
                return await receive()

            yield SimpleNamespace(
                **{field: getattr(answer, field) for field in _ANSWER}, receive=receive_slowly
            )


_ANSWER = ("start", "end", "honoured_range", "total", "content_md5", "request_id")


class TwoFiles:
    """A large file and a small one."""

    def __init__(self) -> None:
        self.bodies = {"claude_file_a": os.urandom(3_000_000), "claude_file_b": BODY}

    def open_stream(self, claude_file_id: str, **options: Any) -> Any:
        source = ScriptedSource(self.bodies[claude_file_id], chunk_bytes=256_000)
        return source.open_stream(claude_file_id, **options)


async def test_the_end_takes_in_what_is_ready_and_is_not_held_up(tmp_path, hashing, monkeypatch):
    """One file's hash may take longer than the end of a mount may; that costs no other file."""
    monkeypatch.setattr("fsmount.content._CLOSE_GRACE_S", 0.3)
    monkeypatch.setattr("fsmount.intake._HASHED_AT_A_TIME", 100_000)
    may_follow = Intake._may_follow
    monkeypatch.setattr(
        Intake,
        "_may_follow",
        lambda self, running: running is self._digest.md5 and may_follow(self, running),
    )

    def slow(running: RunningHash, spool: Spool, end: int) -> None:
        if running._hash.name == "sha256":
            time.sleep(0.1)
        real(running, spool, end)

    real = hashing(slow)
    files = TwoFiles()
    async with contents_of(cast("ScriptedSource", files), tmp_path) as (contents, events):
        for key, body in files.bodies.items():
            opened = await contents.open(key, len(body), None, whole=True)
            opened.close()
        started = time.monotonic()
    assert time.monotonic() - started < 2
    assert ["claude_file_b"] == [facts["claude_file_id"] for _, facts in events]


async def test_no_descriptor_left_is_an_error_of_that_file(autojump_clock, tmp_path, monkeypatch):
    """Its reader hears of it, and gets the file once there is one again."""

    def no_more(_fd: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    source = ScriptedSource(BODY)
    async with contents_of(source, tmp_path) as (contents, _):
        with monkeypatch.context() as patch:
            patch.setattr(os, "dup", no_more)
            with pytest.raises(ContentError, match="Too many open files"):
                await read(contents)
        await trio.sleep(10)
        assert BODY == await read(contents)


async def test_a_log_that_can_not_be_written_keeps_no_wrong_bytes_alive(tmp_path, caplog):
    """The mismatch is told in the mount's own log, and the right body asked for."""
    source = ScriptedSource(BODY, faults=[Fault("flip", 99)])
    async with contents_of(source, tmp_path) as (contents, _):

        def full(_events: object) -> None:
            raise CustodyError("no space left on device")

        contents._journal = full
        assert BODY == await read(contents)
    assert "mismatch could not be recorded" in caplog.text


async def test_a_disk_error_ends_a_copy_that_nothing_has_vouched_for(tmp_path, monkeypatch):
    """Whoever was given bytes of the first attempt never goes on with those of the second."""
    write = Spool.write
    failures = [NO_ROOM]

    def full_once(*arguments: Any) -> None:
        if failures:
            time.sleep(0.05)
            raise failures.pop()
        write(*arguments)

    monkeypatch.setattr(Spool, "write", full_once)
    source = ScriptedSource(LARGE, faults=[Fault("flip", 99)])
    async with contents_of(source, tmp_path) as (contents, _):
        contents._policy = Policy(failure_memory_s=0)
        opened = await contents.open(FILE_ID, len(LARGE), None, whole=False)
        assert LARGE[:1000] != await opened.read(0, 1000)
        while not opened.broken:
            await trio.sleep(0.01)
        with pytest.raises(ContentError, match="can't keep its bytes"):
            await opened.read(1000, 1000)
        again = await contents.open(FILE_ID, len(LARGE), None, whole=True)
        assert not again.keep_cache
        assert LARGE[:1000] == await again.read(0, 1000)
        again.close()
        opened.close()


async def test_pages_of_a_dropped_part_are_not_kept(tmp_path, monkeypatch):
    """Nothing has vouched for what a program looked at in a file whose download was given up."""
    monkeypatch.setattr("fsmount.content._IDLE_PARTIALS", 0)
    source = ScriptedSource(LARGE, faults=[Fault("stall", 10_000)])
    async with contents_of(source, tmp_path) as (contents, _):
        opened = await contents.open(FILE_ID, len(LARGE), None, whole=False)
        assert LARGE[:1000] == await opened.read(0, 1000)
        opened.close()
        another = await contents.open("claude_file_another", len(LARGE), None, whole=False)
        assert LARGE[:1000] == await another.read(0, 1000)
        another.close()
        opened = await contents.open(FILE_ID, len(LARGE), None, whole=False)
        assert not opened.keep_cache
        opened.close()


@pytest.mark.parametrize(
    ("cache_bytes", "most_bytes", "kept"),
    [(None, 1 << 30, 5), (None, 45_000, 3), (15_000, 1 << 30, 1)],
)
async def test_unfinished_files_are_kept_within_bounds(
    tmp_path, monkeypatch, cache_bytes, most_bytes, kept
):
    """As many as fit, the oldest go first; the latest always stays, since it is the next to be asked for."""
    monkeypatch.setattr("fsmount.content._IDLE_PARTIAL_BYTES", most_bytes)
    source = ScriptedSource(LARGE, faults=[Fault("stall", 20_000)] * 5)
    async with contents_of(source, tmp_path, cache_bytes=cache_bytes) as (contents, _):
        for number in range(5):
            opened = await contents.open(f"claude_file_{number}", len(LARGE), None, whole=False)
            assert LARGE[:19_000] == await opened.read(0, 19_000)
            while opened.body.partial_bytes < 19_000:  # until they are on the disk
                await trio.sleep(0.001)
            opened.close()
        spools = sorted(path.name for path in (tmp_path / "spool").iterdir())
        assert [f"claude_file_{n}.{n + 1}" for n in range(5 - kept, 5)] == spools


async def test_a_file_that_takes_longer_than_the_deadline_is_had_in_the_end(
    autojump_clock, tmp_path
):
    """Who asks again finds what has come meanwhile, instead of beginning anew."""
    source = SlowSource(BODY, chunk_bytes=len(BODY) // 119)
    async with contents_of(source, tmp_path) as (contents, _):
        with trio.move_on_after(90) as scope:
            await contents.measure(FILE_ID, None)
        assert scope.cancelled_caught
        await trio.sleep(40)
        assert len(BODY) == await contents.measure(FILE_ID, None)
    assert [(0, None)] == source.requests


@pytest.mark.parametrize(("waited_s", "most_bytes"), [(10, None), (90, 30_000)])
async def test_who_is_killed_leaves_no_large_download_behind(
    autojump_clock, tmp_path, waited_s, most_bytes
):
    """One that did not wait for long wants nothing more; for any other, no more comes than may be kept."""
    source = SlowSource(BODY, chunk_bytes=len(BODY) // 200)
    async with contents_of(source, tmp_path, cache_bytes=most_bytes) as (contents, _):
        with trio.move_on_after(waited_s):
            await contents.measure(FILE_ID, None)
        sent_bytes = source.sent_bytes
        await trio.sleep(100)
        assert 0 == source.open_streams
        assert source.sent_bytes <= max(most_bytes or 0, sent_bytes) + 3 * source.chunk_bytes


async def test_a_whole_file_that_nobody_asks_for_again_is_given_up(autojump_clock, tmp_path):
    """Some minutes are enough for who wants it to come back."""
    source = SlowSource(BODY, chunk_bytes=len(BODY) // 1000)
    async with contents_of(source, tmp_path) as (contents, _):
        with trio.move_on_after(90):
            await contents.measure(FILE_ID, None)
        await trio.sleep(POLICY.whole_s + 2 * POLICY.linger_s)
        assert 0 == source.open_streams
        assert source.sent_bytes < len(BODY) / 2


async def test_the_loop_does_not_wait_for_the_database(tmp_path):
    """That a file mismatches is known at once, and written down when the database is free."""
    faults = [Fault("flip", 99)] * 2
    async with contents_of(ScriptedSource(BODY, faults=faults), tmp_path) as (contents, _):
        with contextlib.closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(MismatchError):
                await read(contents)
            known = contents.find(FILE_ID)
            assert known is not None
            assert "mismatch" == known.verified
            assert contents._store.find(FILE_ID) is None
            other.execute("ROLLBACK")
        while contents._mismatched:
            await trio.sleep(0.01)
        row = contents._store.find(FILE_ID)
        assert row is not None
        assert "mismatch" == row.verified


async def test_what_waits_for_a_thread_at_the_end_is_taken_in(tmp_path):
    """Busy threads delay it, and lose nothing."""
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, events):
        assert BODY == await read(contents)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(contents._disk.run, lambda: time.sleep(0.4))
            await trio.sleep(0.3)
            contents._nursery.cancel_scope.cancel()
    assert ["acquired"] == events.names


async def test_a_full_disk_at_the_end_is_told_and_ends_well(tmp_path, caplog, monkeypatch):
    """The mount says good-bye all the same, and leaves nothing in its spool."""
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        assert BODY == await read(contents)

        def adopt(_finished: object) -> None:
            raise NO_ROOM

        monkeypatch.setattr(contents._store, "adopt", adopt)
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "spool").iterdir())


async def test_an_open_that_fails_leaves_nothing_open(tmp_path):
    """Else the file could not be evicted for as long as the mount lives."""
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        await read(contents)

        def on_open(_entry: object) -> None:
            raise CaseError("the catalog is held by another process")

        entry = SimpleNamespace(number=1, claude_file_id=FILE_ID)
        entries = SimpleNamespace(
            get=lambda _number: entry,
            suffices=lambda _entry: True,
            open_content_nowait=lambda _entry: contents.open_nowait(FILE_ID, None),
        )
        nothing = cast("Any", None)
        files = OpenFiles(
            cast("Any", entries),
            nothing,
            nothing,
            nothing,
            MountCounters(),
            on_open=on_open,
            on_reader=lambda _number, _caller: None,
        )
        with pytest.raises(CaseError):
            files.open_nowait(inode_of(1, Kind.CONTENT), os.O_RDONLY, nothing)
        assert 0 == contents.open_count


async def test_streams_share_the_memory_for_what_waits_for_the_disk():
    """Each may have a little, and more only as long as there is enough for all."""
    pending = PendingBytes()
    full = []
    for _ in range(40):
        arrivals = Arrivals(0, pending)
        with trio.move_on_after(0.001):
            while True:
                await arrivals.put(bytes(256 << 10))
        full.append(arrivals)
    assert [4 << 20] * 8 + [1 << 20] * 32 == [arrivals.end for arrivals in full]
    full[0].drop_written(4 << 20)
    for arrivals in full[1:]:
        arrivals.leave()
    assert 0 == pending.taken_bytes


async def test_a_writer_that_fails_ends_the_download_while_the_network_is_silent(
    tmp_path, monkeypatch
):
    """Readers hear of the disk at once, not when the network gives up."""

    def full(*_arguments: object) -> None:
        raise NO_ROOM

    monkeypatch.setattr(Spool, "write", full)
    source = ScriptedSource(LARGE, faults=[Fault("stall", 3000)])
    async with contents_of(source, tmp_path) as (contents, _):
        opened = await contents.open(FILE_ID, len(LARGE), None, whole=False)
        with contextlib.suppress(ContentError):
            await opened.read(0, 1000)
        with trio.fail_after(2), pytest.raises(ContentError, match="No space left"):
            await opened.read(4000, 1000)
        opened.close()


async def test_bytes_half_written_and_half_on_their_way_are_given_once_they_meet(tmp_path):
    """A reader between two streams is woken by the disk too, not only by the network."""
    policy = Policy(read_ahead_bytes=4000, near_bytes=4000, first_window_bytes=500, align_bytes=100)
    source = ScriptedSource(LARGE, honours_range=True, faults=[Fault("stall", 12_000)])
    async with contents_of(source, tmp_path) as (contents, _):
        contents._policy = policy
        near = await contents.open(FILE_ID, len(LARGE), None, whole=False)
        far = await contents.open(FILE_ID, len(LARGE), None, whole=False)
        assert LARGE[:100] == await near.read(0, 100)
        assert LARGE[12_000:12_400] == await far.read(12_000, 400)
        for offset in range(0, 8000, 500):
            await near.read(offset, 500)
        with trio.fail_after(5):
            assert LARGE[11_900:12_100] == await near.read(11_900, 200)
        near.close()
        far.close()
