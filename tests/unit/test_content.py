"""Contents over a real store and a scripted service: kept, repeated, refused, evicted, handed over."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

import client
from fsmount.content import Contents
from fsmount.digest import RunningHash
from fsmount.errors import (
    CaseError,
    ContentError,
    MismatchError,
    OfflineError,
    SizeDiffersError,
    StaleError,
)
from fsmount.intake import Intake
from fsmount.readahead import Policy
from fsmount.spool import Spool
from fsmount.store import ContentStore
from tests.support.scripted import Fault, ScriptedSource

FILE_ID = "claude_file_01content"
BODY = os.urandom(50_000)
POLICY = Policy(read_ahead_bytes=4000, near_bytes=4000, finish_bytes=1000, held_bytes=4096)


class Events(list[tuple[str, dict[str, object]]]):
    """A journal in memory."""

    def note(self, events: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        self.extend((event, dict(data)) for event, data in events)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self]


@contextlib.asynccontextmanager
async def contents_of(
    source: ScriptedSource | None, directory: Path, *, cache_bytes: int | None = None
) -> AsyncIterator[tuple[Contents, Events]]:
    """Open the contents of a case in a directory, for the length of the block."""
    for name in ("content", "spool"):
        (directory / name).mkdir(exist_ok=True)
    events = Events()
    with contextlib.closing(
        ContentStore(directory / "catalog.sqlite3", directory / "content")
    ) as store:
        async with trio.open_nursery() as nursery:
            contents = Contents(
                store,
                source,
                spool_dir=directory / "spool",
                nursery=nursery,
                journal=events.note,
                policy=POLICY,
                cache_bytes=cache_bytes,
            )
            yield contents, events
            nursery.cancel_scope.cancel()
            await contents.aclose()


async def read(contents: Contents, size: int | None = len(BODY), *, whole: bool = True) -> bytes:
    """Open, read everything and close, like cat."""
    opened = await contents.open(FILE_ID, size, None, whole=whole)
    try:
        parts, offset = [], 0
        while part := await opened.read(offset, 10_000):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)
    finally:
        opened.close()


@pytest.mark.parametrize("whole", [True, False])
async def test_content_is_fetched_once_and_kept(tmp_path, whole):
    """A second read, a second mount and an offline mount cost no request."""
    source = ScriptedSource(BODY)
    async with contents_of(source, tmp_path) as (contents, events):
        assert BODY == await read(contents, whole=whole)
        assert BODY == await read(contents, whole=whole)
    assert ["acquired"] == events.names
    acquired = events[0][1]
    assert hashlib.sha256(BODY).hexdigest() == acquired["sha256"]
    assert "content-md5" == acquired["verified"]
    async with contents_of(None, tmp_path) as (contents, _):
        assert BODY == await read(contents)
        known = contents.find(FILE_ID)
        assert known is not None
        assert ("yes", True, len(BODY)) == (known.verified, known.is_stored, known.size_bytes)
    assert 1 == len(source.requests)
    assert not list((tmp_path / "spool").iterdir())


async def test_a_wrong_body_is_asked_for_once_more(tmp_path):
    """One flipped byte costs a second request, and the reader never notices."""
    source = ScriptedSource(BODY, faults=[Fault("flip", 99)])
    async with contents_of(source, tmp_path) as (contents, events):
        assert BODY == await read(contents)
    assert ["mismatch", "acquired"] == events.names
    assert 2 == len(source.requests)


async def test_two_wrong_bodies_are_an_error_for_a_while(autojump_clock, tmp_path):
    """After the second mismatch nobody asks for some time, and what is known says so."""
    source = ScriptedSource(BODY, faults=[Fault("flip", 99)] * 2)
    async with contents_of(source, tmp_path) as (contents, events):
        for _ in range(3):
            with pytest.raises(MismatchError):
                await read(contents)
        known = contents.find(FILE_ID)
        assert known is not None
        assert ("mismatch", False) == (known.verified, known.is_stored)
        assert 2 == len(source.requests)
        await trio.sleep(POLICY.mismatch_memory_s)
        assert BODY == await read(contents)
    assert [False, True] == [data["given_up"] for name, data in events if name == "mismatch"]


async def test_who_was_served_wrong_bytes_never_gets_good_ones(tmp_path):
    """While an open file has seen a bad body, everybody gets errors; after it is closed all is well."""
    source = ScriptedSource(BODY, faults=[Fault("flip", 99)])
    async with contents_of(source, tmp_path) as (contents, _):
        bad = await contents.open(FILE_ID, len(BODY), None, whole=False)
        assert BODY[:1000] != await bad.read(0, 1000)
        with pytest.raises(MismatchError):
            await bad.read(len(BODY) - 10, 10)
        other = await contents.open(FILE_ID, len(BODY), None, whole=False)
        with pytest.raises(MismatchError, match="close it"):
            await other.read(0, 10)
        bad.close()
        other.close()
        again = await contents.open(FILE_ID, len(BODY), None, whole=False)
        assert not again.keep_cache  # the kernel may hold pages of the bad body
        assert BODY[:10] == await again.read(0, 10)
        again.close()


@pytest.mark.parametrize("recorded", [len(BODY) - 1, len(BODY) + 1])
async def test_another_size_fails_whoever_relied_on_it(tmp_path, recorded):
    """The open fails, naming both; the true size is known then, and the bytes are not fetched again."""
    source = ScriptedSource(BODY)
    async with contents_of(source, tmp_path) as (contents, events):
        told: list[str] = []
        contents.on_true_size = told.append
        with pytest.raises(SizeDiffersError, match=f"{recorded}.*{len(BODY)}"):
            await read(contents, recorded)
        known = contents.find(FILE_ID)
        assert known is not None
        assert len(BODY) == known.size_bytes
        assert BODY == await read(contents, known.size_bytes)
        await trio.testing.wait_all_tasks_blocked()
        assert [FILE_ID] == told
    assert {"size_differs", "acquired"} == set(events.names)
    assert 1 == len(source.requests)


async def test_a_size_that_cant_be_announced_is_shown_later(tmp_path, caplog):
    """The catalog that knows the file's number may be held by another process; the mount goes on."""

    def refuse(_claude_file_id: str) -> None:
        raise CaseError("the catalog is held by another process")

    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        contents.on_true_size = refuse
        with pytest.raises(SizeDiffersError):
            await read(contents, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert BODY == await read(contents, len(BODY))
    assert "can't be told to the kernel" in caplog.text


async def test_measuring_fetches_once(tmp_path):
    """Without a recorded size, the first look fetches and the bytes are kept for the reader."""
    source = ScriptedSource(BODY)
    async with contents_of(source, tmp_path) as (contents, _):
        assert len(BODY) == await contents.measure(FILE_ID, None)
        assert BODY == await read(contents)
    assert 1 == len(source.requests)


async def test_offline_refuses_what_is_not_stored(tmp_path):
    """No request is made, and the error says what would help."""
    async with contents_of(None, tmp_path) as (contents, _):
        with pytest.raises(OfflineError, match="without --offline"):
            await read(contents)


async def test_discarding_ends_open_files_and_leaves_nothing(tmp_path):
    """A deleted file's bytes are gone from the disk, and open files get errors."""
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        opened = await contents.open(FILE_ID, len(BODY), None, whole=True)
        await contents.discard(FILE_ID)
        with pytest.raises(StaleError):
            await opened.read(0, 10)
        opened.close()
        assert contents.find(FILE_ID) is None
    assert not [path for path in tmp_path.rglob(f"*{FILE_ID}*") if path.is_file()]


async def test_a_failure_is_remembered_across_opens(autojump_clock, tmp_path):
    """The page-by-page retries of a program cost no request each."""
    refuse = Fault("refuse", error=lambda: client.PermissionDeniedError(403, None, "no", "req"))
    source = ScriptedSource(BODY, faults=[refuse] * 9)
    async with contents_of(source, tmp_path) as (contents, _):
        for _ in range(5):
            with pytest.raises(client.PermissionDeniedError):
                await read(contents)
        assert 1 == len(source.requests)


async def test_a_content_that_came_differently_before_is_a_mismatch(tmp_path):
    """Evicted content has to come again as the same bytes."""
    async with contents_of(ScriptedSource(BODY), tmp_path, cache_bytes=1) as (contents, events):
        await read(contents)
        await trio.sleep(0.5)
        assert "evicted" in events.names
    for _ in range(3):  # however often, also in a later mount
        async with contents_of(ScriptedSource(BODY[::-1]), tmp_path) as (contents, events):
            with pytest.raises(MismatchError):
                await read(contents)
        assert ["mismatch", "mismatch"] == events.names
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, events):
        assert BODY == await read(contents)
    assert ["acquired"] == events.names


@pytest.mark.parametrize("whole", [True, False])
async def test_stored_bytes_that_somebody_altered_are_not_served(tmp_path, caplog, whole):
    """Of the same length, and marked as verified: they are noticed, told, kept apart, and fetched again."""
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        await read(contents)
    (stored,) = (tmp_path / "content").rglob(FILE_ID)
    stored.write_bytes(BODY[:-1] + b"!")
    async with contents_of(None, tmp_path) as (contents, events):
        with pytest.raises(OfflineError):
            await read(contents, whole=whole)
    assert ["lost"] == events.names
    assert f"{FILE_ID}: the stored content is lost: its SHA-256 is" in caplog.text
    source = ScriptedSource(BODY)
    async with contents_of(source, tmp_path) as (contents, events):
        assert BODY == await read(contents, whole=whole)
    assert (["acquired"], 1) == (events.names, len(source.requests))
    (altered,) = (tmp_path / "altered").iterdir()
    assert BODY[:-1] + b"!" == altered.read_bytes()


async def test_looking_at_a_changed_file_is_no_reason_to_wait_for_ever(tmp_path, monkeypatch):
    """Who asks gives up in time, and others are not held up; the result is there for the next one."""
    source = ScriptedSource(BODY)
    async with contents_of(source, tmp_path) as (contents, _):
        await read(contents)
    (stored,) = (tmp_path / "content").rglob(FILE_ID)
    stored.chmod(0o600)
    looks: list[str] = []
    may_look = threading.Event()
    real = ContentStore.check_content

    def look_slowly(self: ContentStore, claude_file_id: str, may_go_on: Callable[[], bool]) -> None:
        looks.append(claude_file_id)
        may_look.wait(10)
        real(self, claude_file_id, may_go_on)

    monkeypatch.setattr(ContentStore, "check_content", look_slowly)
    async with contents_of(source, tmp_path) as (contents, events):
        for _ in range(3):
            with trio.move_on_after(0.1) as scope:
                await read(contents)
            assert scope.cancelled_caught
        opened = await contents.open("claude_file_other", len(BODY), None, whole=True)
        opened.close()
        may_look.set()
        assert BODY == await read(contents)
    assert [FILE_ID] == looks
    assert (["acquired"], 2) == (events.names, len(source.requests))  # the other one


async def test_a_file_that_is_changed_again_and_again_is_an_error(tmp_path, monkeypatch):
    """Its reader gets an answer; what is served is never a guess."""
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        await read(contents)
    (stored,) = (tmp_path / "content").rglob(FILE_ID)
    real = ContentStore.check_content

    def touch_after(self: ContentStore, claude_file_id: str, may_go_on: Callable[[], bool]) -> None:
        real(self, claude_file_id, may_go_on)
        time.sleep(0.02)
        stored.chmod(0o600)

    stored.chmod(0o600)
    monkeypatch.setattr(ContentStore, "check_content", touch_after)
    async with contents_of(None, tmp_path) as (contents, events):
        with pytest.raises(ContentError, match="is being changed"):
            await read(contents)
    assert [] == events.names


async def test_a_file_that_is_deleted_while_it_is_looked_at_is_not_served(tmp_path, monkeypatch):
    """It takes a while for a large one, in which it can be deleted."""
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        await read(contents)
    real = ContentStore.open_content

    def open_late(self: ContentStore, claude_file_id: str) -> int | None:
        fd = real(self, claude_file_id)
        if fd is not None:
            self.discard(claude_file_id)
        return fd

    monkeypatch.setattr(ContentStore, "open_content", open_late)
    async with contents_of(ScriptedSource(BODY), tmp_path) as (contents, _):
        opened = await contents.open(FILE_ID, len(BODY), None, whole=False)
        assert opened.body.stored is None
        opened.close()


async def test_bytes_that_were_verified_once_vouch_for_themselves(tmp_path):
    """Without any digest, content that comes again is verified if it is the same, and refused if not."""
    for content_md5 in ("right", None, None):
        source = ScriptedSource(BODY, content_md5=content_md5)
        async with contents_of(source, tmp_path, cache_bytes=1) as (contents, events):
            await read(contents)
            await trio.sleep(0.5)
            assert "evicted" in events.names
            known = contents.find(FILE_ID)
            assert known is not None
            assert "yes" == known.verified
    source = ScriptedSource(BODY[::-1], content_md5=None)
    async with contents_of(source, tmp_path) as (contents, events):
        with pytest.raises(MismatchError):
            await read(contents)


LARGE = os.urandom(600_000)  # more than is hashed on the way to the disk


def without_sha256(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SHA-256 not follow the bytes by itself."""
    may_follow = Intake._may_follow
    monkeypatch.setattr(
        Intake,
        "_may_follow",
        lambda self, running: running is self._digest.md5 and may_follow(self, running),
    )


async def test_a_reader_does_not_wait_for_sha256(tmp_path, monkeypatch):
    """What readers have whole is taken into the case at the end, with both hashes, and not fetched again."""
    without_sha256(monkeypatch)
    source = ScriptedSource(LARGE, chunk_bytes=100_000)
    async with contents_of(source, tmp_path) as (contents, events):
        assert LARGE == await read(contents, len(LARGE))
        known = contents.find(FILE_ID)
        assert known is not None
        assert (hashlib.md5(LARGE).hexdigest(), None) == (known.md5, known.sha256)
        assert known.is_stored
        assert LARGE == await read(contents, len(LARGE))
    assert hashlib.sha256(LARGE).hexdigest() == events[-1][1]["sha256"]
    assert 1 == len(source.requests)


async def test_a_disk_that_fails_after_the_verdict_costs_the_file_and_nothing_else(
    tmp_path, monkeypatch, caplog
):
    """Readers have had the right bytes; the case does not, says so, and fetches them again when asked."""
    catch_up = RunningHash.catch_up

    def failing(running: RunningHash, spool: Spool, end: int) -> None:
        if running._hash.name == "sha256":
            is_judged.wait(10)
            raise OSError("planted")
        catch_up(running, spool, end)

    is_judged = threading.Event()
    monkeypatch.setattr(RunningHash, "catch_up", failing)
    source = ScriptedSource(LARGE, chunk_bytes=100_000)
    async with contents_of(source, tmp_path) as (contents, events):
        assert LARGE == await read(contents, len(LARGE))
        is_judged.set()
        while contents.find(FILE_ID) is not None:
            await trio.sleep(0.01)
        assert [] == events
        monkeypatch.setattr(RunningHash, "catch_up", catch_up)
        assert LARGE == await read(contents, len(LARGE))
    assert "not taken into the case: planted" in caplog.text
    assert ["acquired"] == events.names
    assert 2 == len(source.requests)
