"""Contents over the wire: right bytes, or an error, and the connection closed."""

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from functools import partial

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import client
from tests.support.network import (
    END,
    FILE_ID,
    RESET,
    STALL,
    Answer,
    Break,
    Network,
    Sent,
    chunked,
    document,
    failure,
    head,
)

BACKENDS = ["trio", "asyncio"]


def md5_header(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


async def read_all(stream: client.ContentStream) -> bytes:
    """Read to the proper end."""
    parts = []
    while part := await stream.receive():
        parts.append(part)
    return b"".join(parts)


async def read(network: Network, **options) -> tuple[client.ContentStream, bytes]:
    async with (
        network.async_client(max_retries=0) as api,
        api.files.open_stream(FILE_ID, **options) as stream,
    ):
        return stream, await read_all(stream)


# -- open_stream -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_content_comes_in_the_pieces_of_the_wire(backend):
    """Chunks arrive as they were sent, without their framing and without being put together."""
    network = Network([chunked(b"hello", b" ", b"world", content_md5=md5_header(b"hello world"))])

    async def main():
        async with network.async_client() as api, api.files.open_stream(FILE_ID) as stream:
            pieces = [await stream.receive() for _ in range(4)]
            assert [b"hello", b" ", b"world", b""] == pieces
            assert b"" == await stream.receive()
            assert (FILE_ID, 0, None, False, None, "req_1") == (
                stream.claude_file_id,
                stream.start,
                stream.end,
                stream.honoured_range,
                stream.total,
                stream.request_id,
            )
            assert hashlib.md5(b"hello world").hexdigest() == stream.content_md5

    anyio.run(main, backend=backend)


async def test_a_range_is_asked_for_even_at_the_beginning():
    """The first answer tells for free whether ranges are honoured."""
    network = Network([chunked(b"x")])
    await read(network)
    assert "bytes=0-" == network.sent[0].range


async def test_no_range_is_asked_for_where_it_is_known_to_be_of_no_use():
    """ask_range=False leaves the header out; an offset can't be had then."""
    network = Network([chunked(b"x")])
    await read(network, ask_range=False)
    assert network.sent[0].range is None
    with pytest.raises(ValueError, match="range"):
        await read(network, ask_range=False, offset=1)
    assert 1 == len(network.sent)


async def test_bodies_are_asked_for_unencoded():
    """Digests are of the plain bytes, so encodings are declined; the key goes along."""
    network = Network([chunked(b"x")])
    await read(network)
    headers = network.sent[0].headers
    assert "identity" == headers["accept-encoding"]
    assert headers["user-agent"].startswith("fsmount/")
    assert headers["x-api-key"].startswith("sk-ant-")


async def test_an_empty_content_of_a_server_with_ranges_is_read():
    """No byte of an empty file satisfies a range, so it is asked for without one."""
    network = Network(
        [failure(416, content_range="bytes */0"), chunked(content_md5=md5_header(b""))]
    )
    stream, data = await read(network)
    assert (b"", 0) == (data, stream.start)
    assert ["bytes=0-", None] == [sent.range for sent in network.sent]


async def test_an_offset_beyond_the_end_is_an_error_with_the_size():
    """A range beyond the end says how large the file is."""
    network = Network([failure(416, content_range="bytes */9")])
    with pytest.raises(client.RangeNotSatisfiableError) as caught:
        await read(network, offset=9)
    assert 9 == caught.value.total


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ([*chunked(b"abc", end=False), END], client.TruncatedError),
        ([*chunked(b"abc", end=False), b"5\r\nab", END], client.TruncatedError),
        ([head(200, {"content-length": "9"}), b"abc", END], client.TruncatedError),
        ([*chunked(b"abc", end=False), RESET], client.APIConnectionError),
        ([*chunked(b"abc", end=False), b"no chunk\r\n"], client.TruncatedError),
    ],
)
def test_a_body_that_breaks_off_never_ends_well(backend, answer, kind):
    """Whatever cuts a body, the bytes so far come, then an error, and never a proper end after it."""
    network = Network([answer])

    async def main():
        async with network.async_client() as api, api.files.open_stream(FILE_ID) as stream:
            assert b"abc" == await stream.receive()
            with pytest.raises(kind, match=f"{FILE_ID}.*req_1"):
                await read_all(stream)
            for _ in range(2):
                with pytest.raises(client.TruncatedError):
                    await stream.receive()
        assert 0 == network.open_connections

    anyio.run(main, backend=backend)


async def test_silence_is_a_timeout(autojump_clock):
    """When no byte comes for the timeout, the stream fails and says that the request had arrived."""
    network = Network([[*chunked(b"abc", end=False), STALL]])
    async with network.async_client(timeout=30) as api, api.files.open_stream(FILE_ID) as stream:
        await stream.receive()
        started = trio.current_time()
        with pytest.raises(client.APITimeoutError) as caught:
            await stream.receive()
        assert 30 == trio.current_time() - started
        assert caught.value.bytes_sent


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cancelled_step_never_ends_well(backend):
    """A receive that was cancelled half-way may have lost bytes: the stream is of no use after it."""
    network = Network([[*chunked(b"abc", end=False), STALL]])

    async def main():
        async with network.async_client() as api, api.files.open_stream(FILE_ID) as stream:
            await stream.receive()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await stream.receive()
            assert scope.cancelled_caught
            with pytest.raises(client.TruncatedError, match="given up"):
                await stream.receive()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["left", "failed", "cancelled"])
def test_leaving_closes_the_connection_at_once(backend, how):
    """However a stream is left, its connection is closed, and nothing else of it is read."""
    network = Network([[*chunked(b"abc", end=False), STALL]])

    async def main():
        async with network.async_client() as api:
            with anyio.CancelScope() as scope:
                try:
                    async with api.files.open_stream(FILE_ID) as stream:
                        await stream.receive()
                        assert 1 == network.open_connections
                        if how == "failed":
                            raise LookupError
                        if how == "cancelled":
                            scope.cancel()
                            await anyio.lowlevel.checkpoint()
                except LookupError:
                    pass
            assert 0 == network.open_connections
            with pytest.raises(client.TruncatedError):
                await stream.receive()

    anyio.run(main, backend=backend)


async def test_a_whole_content_leaves_its_connection_for_the_next():
    """A stream that was read to its end gives its connection back instead of closing it."""
    network = Network([chunked(b"a"), chunked(b"b")])
    async with network.async_client() as api:
        for expected in (b"a", b"b"):
            async with api.files.open_stream(FILE_ID) as stream:
                assert expected == await read_all(stream)
    assert 1 == network.connections


async def test_a_refused_answer_closes_its_connection():
    """An answer that does not fit the request is refused before a byte of it, and hung up on."""
    network = Network([chunked(b"abc", status=206, content_range="bytes 0-2/3")])
    async with network.async_client() as api:
        with pytest.raises(client.InvalidResponseError):
            async with api.files.open_stream(FILE_ID, offset=1):
                pass
        assert 0 == network.open_connections


async def test_an_answer_that_begins_is_not_asked_for_again():
    """Once a head has come, a break is the caller's to handle: no retry behind its back."""
    network = Network([[*chunked(b"abc", end=False), RESET]])
    async with network.async_client() as api, api.files.open_stream(FILE_ID) as stream:
        await stream.receive()
        with pytest.raises(client.APIConnectionError):
            await stream.receive()
    assert 1 == len(network.sent)


# -- any range, any server -------------------------------------------------------------------------

CONTENT = bytes(range(40))


def asked(sent: Sent) -> tuple[int, int]:
    """Return the range that was asked for, of the content."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", sent.range or "bytes=0-")
    assert match
    return int(match[1]), min(len(CONTENT), int(match[2]) + 1 if match[2] else len(CONTENT))


def ignore(_: Sent) -> Answer:
    return chunked(CONTENT[:7], CONTENT[7:])


def honour(sent: Sent) -> Answer:
    start, stop = asked(sent)
    if start >= stop:
        return failure(416, content_range=f"bytes */{len(CONTENT)}")
    span = f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    return chunked(CONTENT[start:stop], status=206, content_range=span)


def lie(sent: Sent, *, status: int, shift: int, grow: int, total: str, drop: int) -> Answer:
    """Answer with some range: announced as it is, but not as asked; or with bytes too few or many."""
    start, stop = asked(sent)
    start = max(0, start + shift)
    stop = max(start + 1, min(len(CONTENT), stop + grow))
    body = CONTENT[start:stop]
    body = body[: len(body) - drop] if drop >= 0 else body + b"!" * -drop
    return chunked(body, status=status, content_range=f"bytes {start}-{stop - 1}/{total}")


SERVERS = st.sampled_from([ignore, honour]) | st.builds(
    lambda **lies: partial(lie, **lies),
    status=st.sampled_from([206, 206, 206, 200]),
    shift=st.sampled_from([0, 0, -1, 1, 5]),
    grow=st.sampled_from([0, 0, -1, 1, 5]),
    total=st.sampled_from([str(len(CONTENT)), str(len(CONTENT)), "*", "39", "41", "0"]),
    drop=st.sampled_from([0, 0, 1, -1]),
)


@given(offset=st.integers(0, 45), size=st.none() | st.integers(1, 50), server=SERVERS)
def test_any_range_of_any_server_is_right_or_an_error(
    offset: int, size: int | None, server: Callable[[Sent], Answer]
):
    """What ends well holds the very bytes of the place it names, and all that were asked for.

    A server that is wrong about the size and about nothing else can't be told from one with a smaller or
    a larger file (`lie` makes up the bytes beyond the end): that is for the digest to find.
    """
    end = None if size is None else offset + size
    network = Network(handler=server)
    try:
        stream, data = trio.run(partial(read, network, offset=offset, end=end))
    except client.ComplianceError:
        assert server is not ignore
        return
    total = len(CONTENT) if stream.total is None else stream.total
    file = CONTENT + b"!" * (total - len(CONTENT))
    assert file[stream.start : stream.start + len(data)] == data
    last = total if end is None else min(end, total)
    if stream.honoured_range:
        assert (offset, last) == (stream.start, stream.start + len(data))
        assert (offset, last) == (stream.start, stream.end)
    else:
        assert CONTENT == data


# -- download_stream -------------------------------------------------------------------------------


def test_chunks_have_the_size_asked_for(front):
    """However the wire cuts the bytes, chunks are as large as asked for, and the last is the rest."""
    network = Network([chunked(b"abc", b"d", b"efghij", content_md5=md5_header(b"abcdefghij"))])
    steps = front.run(network, lambda api: api.files.steps(FILE_ID, chunk_size=4))
    assert [b"abcd", b"efgh", b"ij"] == steps
    assert network.sent[0].range is None


@given(
    data=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    chunk_size=st.integers(1, 70),
)
def test_every_chunking_gives_the_same_bytes(data, cuts, chunk_size):
    """Neither the wire's pieces nor the caller's change a byte."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    network = Network([chunked(*pieces, content_md5=md5_header(data))])
    with network.client() as api:
        steps = list(api.files.download_stream(FILE_ID, chunk_size=chunk_size))
    assert data == b"".join(steps)
    assert all(chunk_size == len(step) for step in steps[:-1])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (chunked(b"abX", content_md5=md5_header(b"abc")), client.ContentMismatchError),
        ([*chunked(b"abc", end=False), END], client.TruncatedError),
        ([*chunked(b"abc", end=False), RESET], client.APIConnectionError),
        ([head(200, {"content-length": "5"}), b"abc", END], client.TruncatedError),
        (document({}, 200, content_encoding="gzip"), client.InvalidResponseError),
        ([head(200, {}), b"abc", END], client.InvalidResponseError),
        (chunked(b"abc", status=206, content_range="bytes 0-2/3"), client.InvalidResponseError),
        (failure(404), client.NotFoundError),
    ],
)
def test_bytes_that_do_not_add_up_are_an_error(front, answer, kind):
    """A stream over a wrong, cut or unfit answer raises, and its connection is closed or given back."""
    network = Network([answer])

    async def work(api):
        with pytest.raises(kind, match=FILE_ID):
            await api.files.steps(FILE_ID, max_retries=0)

    front.run(network, work)
    assert 0 == network.open_connections


def test_the_ordinary_stream_never_looks_finished_after_a_failure():
    """After an error or an early close the next step is an error too, not the end."""
    network = Network([[*chunked(b"abc", end=False), RESET], chunked(b"abc", b"def")])
    with network.client() as api:
        failed = api.files.download_stream(FILE_ID, chunk_size=3)
        assert b"abc" == next(failed)
        with pytest.raises(client.APIConnectionError):
            next(failed)
        with pytest.raises(client.TruncatedError):
            next(failed)
        with api.files.download_stream(FILE_ID, chunk_size=3) as closed:
            assert b"abc" == next(closed)
        with pytest.raises(client.TruncatedError, match="given up"):
            next(closed)
        assert 0 == network.open_connections


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_async_stream_never_looks_finished_after_a_failure(backend):
    """After an error, an early close or a cancellation the next step is an error, not the end."""
    cut: list[bytes | Break] = [*chunked(b"abc", end=False), RESET]
    stalled: list[bytes | Break] = [*chunked(b"abc", end=False), STALL]
    network = Network([cut, chunked(b"abc", b"def"), stalled])

    async def main():
        async with network.async_client() as api:
            failed = api.files.download_stream(FILE_ID, chunk_size=3)
            assert b"abc" == await anext(failed)
            with pytest.raises(client.APIConnectionError):
                await anext(failed)
            async with api.files.download_stream(FILE_ID, chunk_size=3) as closed:
                await anext(closed)
            cancelled = api.files.download_stream(FILE_ID, chunk_size=3)
            await anext(cancelled)
            with anyio.move_on_after(0):
                await anext(cancelled)
            assert 0 == network.open_connections
            for stream in (failed, closed, cancelled):
                with pytest.raises(client.TruncatedError):
                    await anext(stream)

    anyio.run(main, backend=backend)


def test_a_finished_stream_knows_its_digests():
    """At the end the stream has the MD5 of the bytes beside the promised one; it stays ended."""
    network = Network([chunked(b"abc", content_md5=md5_header(b"abc"))])
    with network.client() as api:
        stream = api.files.download_stream(FILE_ID)
        assert (None, None) == (stream.md5, stream.content_md5)
        assert [b"abc"] == list(stream)
        assert [] == list(stream)
        digest = hashlib.md5(b"abc").hexdigest()
        assert (digest, digest, "req_1") == (stream.md5, stream.content_md5, stream.request_id)


def test_a_stream_that_is_not_stepped_costs_nothing(front):
    """Nothing is sent before the first step."""
    network = Network()

    async def work(api):
        await api.files.download_stream(FILE_ID)

    front.run(network, work)
    assert [] == network.sent


def test_a_chunk_size_below_one_is_refused():
    """A chunk size that brings nothing is the caller's mistake."""
    with Network().client() as api, pytest.raises(ValueError, match="chunk_size"):
        api.files.download_stream(FILE_ID, chunk_size=0)
