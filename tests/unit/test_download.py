"""Downloads against scripted bodies: right bytes or an error, whatever goes wrong and whoever reads."""

import contextlib
import functools
import hashlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import client
from fsmount.digest import Expected
from fsmount.disk import Disk
from fsmount.download import Download
from fsmount.errors import MismatchError, SizeDiffersError
from fsmount.readahead import Pattern, Policy
from fsmount.spool import Spool
from tests.support.scripted import Answer, Fault, ScriptedSource

BODY = bytes(range(256)) * 100
FILE_ID = "claude_file_01download"
SMALL = Policy(
    read_ahead_bytes=4000,
    near_bytes=4000,
    first_window_bytes=500,
    align_bytes=100,
    finish_bytes=1000,
    held_bytes=64,
)
_numbers = itertools.count()


@contextlib.asynccontextmanager
async def downloading(
    source: ScriptedSource,
    directory: Path,
    *,
    size: int | Literal["right"] | None = "right",
    md5: str | None = None,
    policy: Policy = SMALL,
    in_memory: bool = False,
    disk: Disk | None = None,
) -> AsyncIterator[Download]:
    """Run one download of the source's body, and end it with the block."""
    expected = Expected(FILE_ID, len(source.body) if size == "right" else size, md5)
    async with trio.open_nursery() as nursery:
        yield Download(
            expected,
            Spool(directory / f"spool.{next(_numbers)}", in_memory=in_memory),
            source=source,
            nursery=nursery,
            disk=disk or Disk(),
            policy=policy,
            on_end=lambda _download: None,
        )
        nursery.cancel_scope.cancel()


async def read_all(download: Download, step: int = 3000) -> bytes:
    """Read a download from start to end like a sequential reader."""
    pattern = Pattern(SMALL)
    download.readers.add(pattern)
    parts = []
    offset = 0
    while part := await download.read(pattern, offset, step):
        parts.append(part)
        offset += len(part)
    download.readers.discard(pattern)
    return b"".join(parts)


@pytest.mark.parametrize("honours", [False, True])
async def test_a_sequential_reader_costs_one_request(honours, tmp_path):
    """One request brings the whole file, verified by its digest, with ranges or without."""
    source = ScriptedSource(BODY, honours_range=honours)
    async with downloading(source, tmp_path) as download:
        assert BODY == await read_all(download)
        verdict = await download.wait_verdict()
        assert verdict.is_verified
        digested = trio.Event()
        download.when_digested(lambda _failure: digested.set())
        await digested.wait()
        assert hashlib.sha256(BODY).hexdigest() == download.sha256
    assert [(0, None)] == source.requests


async def test_many_readers_share_one_stream(tmp_path):
    """Readers at any offset wait for the same stream where ranges are ignored."""
    source = ScriptedSource(BODY)
    async with downloading(source, tmp_path) as download, trio.open_nursery() as nursery:
        for offset in range(0, len(BODY), 700):

            async def check(offset: int = offset) -> None:
                data = await download.read(Pattern(SMALL), offset, 500)
                assert BODY[offset : offset + 500] == data

            nursery.start_soon(check)
    assert 1 == len(source.requests)
    assert len(BODY) == source.sent_bytes


async def test_a_sniffing_reader_pulls_a_bounded_part(autojump_clock, tmp_path):
    """One byte read costs the read-ahead, and the stream is closed some seconds after the last reader."""
    source = ScriptedSource(BODY, chunk_bytes=100)
    async with downloading(source, tmp_path) as download:
        pattern = Pattern(SMALL)
        download.readers.add(pattern)
        assert BODY[:1] == await download.read(pattern, 0, 1)
        download.readers.discard(pattern)
        await trio.sleep(SMALL.linger_s * 2 + 1)
        assert 0 == source.open_streams
        assert download.is_idle
    assert source.sent_bytes <= SMALL.read_ahead_bytes + 200


async def test_a_next_open_within_the_linger_time_goes_on_with_the_stream(autojump_clock, tmp_path):
    """A reader that comes back soon does not cost a second request."""
    source = ScriptedSource(BODY, chunk_bytes=100)
    async with downloading(source, tmp_path) as download:
        await download.read(Pattern(SMALL), 0, 1)
        await trio.sleep(SMALL.linger_s / 2)
        assert BODY == await read_all(download)
    assert 1 == len(source.requests)


async def test_a_little_rest_is_finished(autojump_clock, tmp_path):
    """When little remains, the body is finished rather than given up: asking again costs more."""
    source = ScriptedSource(BODY[:4500], chunk_bytes=100)
    async with downloading(source, tmp_path) as download:
        pattern = Pattern(SMALL)
        download.readers.add(pattern)
        await download.read(pattern, 0, 1)
        await trio.sleep(60)
        assert download.verdict is not None
    assert 1 == len(source.requests)


async def test_far_reads_use_ranges_where_they_are_honoured(tmp_path):
    """Reads all over a large file move little more than what is read, and nothing twice."""
    body = BODY * 20
    source = ScriptedSource(body, honours_range=True)
    async with downloading(source, tmp_path) as download:
        for offset in range(0, len(body) - 1000, len(body) // 15):
            data = await download.read(Pattern(SMALL), offset, 50)
            assert body[offset : offset + 50] == data
    assert source.sent_bytes < len(body) / 2


async def test_no_range_is_asked_for_where_it_would_be_ignored(tmp_path):
    """A reader at the far end waits for the stream from the start: one request, one body."""
    source = ScriptedSource(BODY)
    async with downloading(source, tmp_path) as download:
        await download.read(Pattern(SMALL), 0, 10)
        await download.read(Pattern(SMALL), 20_000, 10)
        await download.read(Pattern(SMALL), 24_000, 10)
    assert 1 == len(source.requests)


@pytest.mark.parametrize("honours", [False, True])
@pytest.mark.parametrize("kind", ["reset", "cut", "stall"])
async def test_a_broken_stream_is_resumed_or_restarted(autojump_clock, honours, kind, tmp_path):
    """After a break the reader gets every byte; with ranges only the missing part is asked for again."""
    faults = [Fault(kind, 9000), Fault(kind, 3000)]
    source = ScriptedSource(BODY, honours_range=honours, faults=faults)
    async with downloading(source, tmp_path) as download:
        assert BODY == await read_all(download)
    assert 3 == len(source.requests)
    assert (9000 if honours else 0, None) == source.requests[1]


async def test_breaks_without_end_are_an_error_that_is_remembered(autojump_clock, tmp_path):
    """After five resumptions the reader gets an error, and so does the next one, without a request."""
    source = ScriptedSource(BODY, faults=[Fault("reset", 100)] * 100)
    async with downloading(source, tmp_path) as download:
        for _ in range(3):
            with pytest.raises(client.APIConnectionError):
                await download.read(Pattern(SMALL), 0, 200)
        assert 1 + SMALL.max_breaks == len(source.requests)
        await trio.sleep(SMALL.failure_memory_s)
        source.faults = []
        assert BODY == await read_all(download)


@pytest.mark.parametrize(
    ("fault", "promised"),
    [
        (Fault("flip", 77), "right"),
        (Fault("short", 5), "right"),
        (Fault("none"), hashlib.md5(b"other").hexdigest()),
    ],
)
async def test_wrong_bytes_never_reach_the_end(fault, promised, tmp_path):
    """The last page is held back: a body with the wrong hash ends in an error, never in an end of file."""
    source = ScriptedSource(BODY, faults=[fault], content_md5=promised)
    async with downloading(source, tmp_path) as download:
        with pytest.raises(MismatchError):
            await read_all(download)


async def test_the_answers_digest_outranks_the_records(tmp_path):
    """A record with another MD5 than the response is not a mismatch."""
    async with downloading(ScriptedSource(BODY), tmp_path, md5="0" * 32) as download:
        assert "content-md5" == (await download.wait_verdict()).how


async def test_the_records_digest_counts_without_one_in_the_answer(tmp_path):
    """Without Content-MD5 the record's md5 decides, both ways."""
    right = hashlib.md5(BODY).hexdigest()
    source = ScriptedSource(BODY, content_md5=None)
    async with downloading(source, tmp_path, md5=right) as download:
        assert "metadata-md5" == (await download.wait_verdict()).how
    async with downloading(source, tmp_path, md5="0" * 32) as download:
        with pytest.raises(MismatchError):
            await download.wait_verdict()


async def test_without_any_digest_content_is_complete_but_not_verified(tmp_path):
    """Nothing vouches for it, and that is what is said."""
    async with downloading(ScriptedSource(BODY, content_md5=None), tmp_path) as download:
        verdict = await download.wait_verdict()
        assert "none" == verdict.how
        assert not verdict.is_verified


@pytest.mark.parametrize("recorded", [len(BODY) - 300, len(BODY) + 300, 0])
async def test_another_size_than_recorded_is_an_error_with_a_verdict(recorded, tmp_path):
    """A body that is longer or shorter than its record is neither cut nor padded."""
    async with downloading(ScriptedSource(BODY), tmp_path, size=recorded) as download:
        with pytest.raises(SizeDiffersError, match=f"{recorded} bytes.*{len(BODY)}"):
            await download.wait_verdict()
        assert download.verdict is not None
        assert len(BODY) == download.verdict.size_bytes


async def test_an_unknown_size_is_told_by_the_end(tmp_path):
    """Without a recorded size nothing is served before the whole is there."""
    async with downloading(ScriptedSource(BODY), tmp_path, size=None) as download:
        assert BODY == await read_all(download)
        assert len(BODY) == download.size_bytes


async def test_a_far_reader_beyond_the_true_end_finds_out_how_long_the_file_is(
    autojump_clock, tmp_path
):
    """The record says more than there is; no range tells that, but the whole body, by the stream there is."""
    source = ScriptedSource(BODY, honours_range=True)
    recorded = len(BODY) + 50_000
    async with downloading(source, tmp_path, size=recorded) as download:
        pattern = Pattern(SMALL)
        download.readers.add(pattern)
        assert BODY[:100] == await download.read(pattern, 0, 100)
        with pytest.raises(SizeDiffersError, match=f"{recorded} bytes.*{len(BODY)}"):
            await download.read(pattern, len(BODY) + 20_000, 100)
    assert 2 == len(source.requests)


@pytest.mark.parametrize("size", [0, None])
async def test_an_empty_file_is_verified_too(size, tmp_path):
    """No bytes are bytes as well."""
    async with downloading(ScriptedSource(b""), tmp_path, size=size) as download:
        assert 0 == (await download.wait_verdict()).size_bytes
        assert b"" == await read_all(download)


async def test_a_false_range_is_not_used(tmp_path):
    """After an answer that was not the range asked for, the file is read without ranges."""
    source = ScriptedSource(BODY, honours_range=True, faults=[Fault("lie")])
    async with downloading(source, tmp_path) as download:
        assert BODY == await read_all(download)
    assert 2 == len(source.requests)


async def test_content_that_changes_between_two_streams_is_found(autojump_clock, tmp_path):
    """A restarted stream must bring the bytes that came before."""
    source = ScriptedSource(BODY, faults=[Fault("reset", 9000)], content_md5=None)
    async with downloading(source, tmp_path) as download:
        await download.read(Pattern(SMALL), 0, 10)
        source.body = b"x" + BODY[1:]
        with pytest.raises(MismatchError):
            await read_all(download)


async def test_a_refusal_ends_the_wait_at_once(tmp_path):
    """What the service refuses is told to the reader as it is."""
    refuse = Fault(
        "refuse", error=lambda: client.NotFoundError(404, "not_found_error", "gone", "req")
    )
    async with downloading(ScriptedSource(BODY, faults=[refuse]), tmp_path) as download:
        with pytest.raises(client.NotFoundError):
            await download.read(Pattern(SMALL), 0, 10)


async def test_an_aborted_download_answers_its_readers(tmp_path):
    """Readers that wait are answered when a download is given up from outside."""
    source = ScriptedSource(BODY, faults=[Fault("stall", 100)])
    async with downloading(source, tmp_path) as download, trio.open_nursery() as nursery:
        nursery.start_soon(expect_error, download)
        await trio.testing.wait_all_tasks_blocked()
        download.abort(MismatchError("given up"))


async def expect_error(download: Download) -> None:
    with pytest.raises(MismatchError):
        await download.read(Pattern(SMALL), 5000, 10)


faults = st.lists(
    st.builds(
        Fault,
        st.sampled_from(["none", "reset", "cut", "stall", "flip", "short", "hang", "lie"]),
        st.integers(0, 30_000),
    ),
    max_size=4,
)
readers = st.lists(
    st.lists(st.tuples(st.integers(0, 26_000), st.integers(1, 5000)), max_size=5),
    min_size=1,
    max_size=5,
)


class FlippingSource(ScriptedSource):
    """Remembers, in `flipped`, the offsets at which it sent a wrong byte."""

    def __init__(self, body: bytes, *, faults: Sequence[Fault], **options: Any) -> None:
        super().__init__(body, faults=faults, **options)
        self.flipped: set[int] = set()

    @contextlib.asynccontextmanager
    async def open_stream(self, claude_file_id: str, **asked: Any) -> AsyncIterator[Answer]:
        async with super().open_stream(claude_file_id, **asked) as answer:
            try:
                yield answer
            finally:
                if answer.fault.kind == "flip" and answer.fault.at < answer.position:
                    self.flipped.add(answer.start + answer.fault.at)


@settings(max_examples=150, deadline=None)
@given(
    honours=st.booleans(),
    script=faults,
    chunk=st.integers(1, 9000),
    plans=readers,
    size_known=st.booleans(),
    connect_s=st.sampled_from([0.0, 0.1]),
    in_memory=st.booleans(),
)
def test_any_interleaving_of_readers_sees_the_same_bytes(
    honours, script, chunk, plans, size_known, connect_s, in_memory, tmp_path_factory
):
    """Whoever reads where, in whatever order, while anything breaks: the body's bytes or an error.

    Only bytes that came wrong are ever read wrong.
    """
    source = FlippingSource(
        BODY, honours_range=honours, faults=script, chunk_bytes=chunk, connect_s=connect_s
    )
    directory = tmp_path_factory.mktemp("any")
    wrong: set[int] = set()

    async def reader(download: Download, plan: list[tuple[int, int]]) -> None:
        pattern = Pattern(SMALL)
        download.readers.add(pattern)
        for offset, length in plan:
            with contextlib.suppress(client.ComplianceError, MismatchError, SizeDiffersError):
                data = await download.read(pattern, offset, length)
                expected = BODY[offset : offset + length]
                assert len(expected) == len(data)
                wrong.update(offset + at for at in range(len(data)) if expected[at] != data[at])
        download.readers.discard(pattern)

    async def scenario() -> None:
        size = len(BODY) if size_known else None
        async with downloading(source, directory, size=size, in_memory=in_memory) as download:
            async with trio.open_nursery() as nursery:
                for plan in plans:
                    nursery.start_soon(reader, download, plan)
            with contextlib.suppress(client.ComplianceError, MismatchError, SizeDiffersError):
                assert BODY == await read_all(download)
            if download.verdict and not download.failure:
                assert hashlib.md5(BODY).hexdigest() == download.verdict.md5

    trio.run(
        functools.partial(within, 3600, scenario),
        clock=trio.testing.MockClock(autojump_threshold=0.003),
    )
    assert set() == wrong - source.flipped


async def within(limit_s: float, scenario) -> None:
    """Fail when a scenario does not end; the clock ticks, lest it jumps to the limit while a thread works."""

    async def tick() -> None:
        while True:
            await trio.sleep(1)

    with trio.fail_after(limit_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await scenario()
            nursery.cancel_scope.cancel()


class HeldDisk(Disk):
    """A disk that takes nothing before it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = trio.Event()

    async def run(self, work):
        await self.released.wait()
        return await super().run(work)


async def test_bytes_are_given_before_the_disk_has_them(tmp_path):
    """A reader does not wait for the disk; across the border, what is there and what is to come make one."""
    disk = HeldDisk()
    source = ScriptedSource(BODY, chunk_bytes=700)
    async with downloading(source, tmp_path, disk=disk) as download:
        pattern = Pattern(SMALL)
        assert BODY[100:3000] == await download.read(pattern, 100, 2900)
        assert 0 == download.spool.extents.total_bytes
        disk.released.set()
        while not download.spool.extents.total_bytes:
            await trio.sleep(0.001)
        disk.released = trio.Event()
        written = download.spool.extents.prefix_end
        for offset in (0, written - 50, written):
            assert BODY[offset : offset + 100] == await download.read(pattern, offset, 100)
        disk.released.set()
        assert BODY == await read_all(download)
        await download.wait_verdict()
    assert 1 == len(source.requests)


async def test_what_was_given_is_written_though_its_stream_is_given_up(tmp_path):
    """A later stream's bytes are compared with it, so that no reader keeps others than the case."""
    disk = HeldDisk()
    refusal = Fault("refuse", error=lambda: client.PermissionDeniedError(403, None, "no", "req"))
    source = ScriptedSource(
        BODY, honours_range=True, chunk_bytes=500, faults=[Fault("none"), refusal]
    )
    async with downloading(source, tmp_path, disk=disk) as download:
        assert BODY[:1000] == await download.read(Pattern(SMALL), 0, 1000)
        with pytest.raises(client.PermissionDeniedError):
            await download.read(Pattern(SMALL), 20_000, 100)
        await trio.testing.wait_all_tasks_blocked()
        disk.released.set()
        while not download.is_idle:
            await trio.sleep(0.001)
        assert download.spool.extents.prefix_end >= 1000
    assert 0 == source.open_streams


async def test_other_bytes_than_were_given_are_found_when_they_are_written(
    autojump_clock, tmp_path
):
    """Bytes that come again are compared with those that a reader was given, on the disk or not."""
    disk = HeldDisk()
    source = ScriptedSource(BODY, chunk_bytes=500, faults=[Fault("reset", 1500)], content_md5=None)
    async with downloading(source, tmp_path, disk=disk) as download:
        assert BODY[:1000] == await download.read(Pattern(SMALL), 0, 1000)
        source.body = b"x" + BODY[1:]
        disk.released.set()
        with pytest.raises(MismatchError):
            await download.wait_verdict()


async def test_giving_up_in_the_middle_of_writing_is_no_fault(tmp_path, caplog):
    """A spool that is closed under a running stream ends it without a word about a bug."""
    # On a busy machine all of it may have been written by then: so it does not come to its end.
    stalls = [Fault("stall", at=1_000_000)]
    source = ScriptedSource(BODY * 50, chunk_bytes=50_000, faults=stalls)
    async with downloading(source, tmp_path) as download, trio.open_nursery() as nursery:
        nursery.start_soon(read_until_error, download)
        await trio.testing.wait_all_tasks_blocked()
        download.abort(MismatchError("given up"))
        download.spool.discard()
        await trio.testing.wait_all_tasks_blocked()
    assert "failed" not in caplog.text


async def read_until_error(download: Download) -> None:
    with pytest.raises(MismatchError):
        await read_all(download)
