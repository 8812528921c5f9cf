"""Broken connections: what arrives, and how it ends."""

import time
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from tests.support.emulator import RunningEmulator
from tests.support.wire import BodyMeter, End

FILES = "/v1/compliance/apps/chats/files"
BODY = bytes(range(256)) * 1000


def fetch(emulator: RunningEmulator, file_id: str, timeout_s: float = 2) -> tuple[bytes, str]:
    """Return the body bytes that arrived, and how the answer ended."""
    got = b""
    headers = {"x-api-key": emulator.read_key}
    try:
        with httpx.stream(
            "GET",
            f"{emulator.wire_url}{FILES}/{file_id}/content",
            headers=headers,
            timeout=timeout_s,
        ) as response:
            for piece in response.iter_raw():
                got += piece
    except httpx.TransportError as error:
        return got, type(error).__name__
    return got, "complete"


def test_nothing_cut_passes_unchanged(emulator: RunningEmulator) -> None:
    """Without cuts the wire is transparent, over one connection as over many."""
    file_id = emulator.corpus.add_file(BODY)
    headers = {"x-api-key": emulator.read_key}
    with httpx.Client(base_url=emulator.wire_url, headers=headers) as http:
        for _ in range(3):
            assert BODY == http.get(f"{FILES}/{file_id}/content").content
            assert file_id == http.get(f"{FILES}/{file_id}").json()["id"]


@pytest.mark.parametrize(("end", "error"), [("fin", "RemoteProtocolError"), ("rst", "ReadError")])
@pytest.mark.parametrize("size", [0, 1, 65_537, len(BODY)])
def test_a_body_ends_after_exactly_so_many_bytes(
    emulator: RunningEmulator, end: End, error: str, size: int
) -> None:
    """The bytes up to the cut arrive; the end is one that no client may take for complete."""
    file_id = emulator.corpus.add_file(BODY)
    cut = emulator.cuts.add(end, size)
    assert (BODY[:size], error) == fetch(emulator, file_id)
    assert 1 == cut.hits
    assert (BODY, "complete") == fetch(emulator, file_id)


@pytest.mark.parametrize(("end", "error"), [("fin", "RemoteProtocolError"), ("rst", "ReadError")])
def test_an_answer_ends_before_it_began(emulator: RunningEmulator, end: End, error: str) -> None:
    """The service may have acted and say nothing."""
    file_id = emulator.corpus.add_file(BODY)
    emulator.cuts.add(end, None)
    assert (b"", error) == fetch(emulator, file_id)
    assert 1 == emulator.log.count("content")


def test_a_stalled_wire_stays_open(emulator: RunningEmulator) -> None:
    """Nothing more comes, and the emulator learns of it when the client gives up."""
    file_id = emulator.corpus.add_file(BODY)
    emulator.cuts.add("stall", 1000)
    assert (BODY[:1000], "ReadTimeout") == fetch(emulator, file_id, timeout_s=0.1)
    emulator.log.wait_idle()


def test_cuts_count_requests(emulator: RunningEmulator) -> None:
    """The second and third match are struck, the others pass."""
    file_id = emulator.corpus.add_file(BODY)
    cut = emulator.cuts.add("fin", 10, first=2, times=2)
    ends = [fetch(emulator, file_id)[1] for _ in range(4)]
    assert ["complete", "RemoteProtocolError", "RemoteProtocolError", "complete"] == ends
    assert (4, 2) == (cut.seen, cut.hits)


def test_down_refuses_and_comes_back(emulator: RunningEmulator) -> None:
    """While it is down connections are refused; afterwards the same URL answers."""
    file_id = emulator.corpus.add_file(BODY)
    headers = {"x-api-key": emulator.read_key}
    with httpx.Client(base_url=emulator.url, headers=headers) as http:
        with emulator.down(), pytest.raises(httpx.ConnectError):
            http.get(f"{FILES}/{file_id}")
        assert 200 == http.get(f"{FILES}/{file_id}").status_code


def test_stopping_waits_for_no_one() -> None:
    """A client that does not read, and a request that is never answered, hold nothing up."""
    running = RunningEmulator()
    began = time.monotonic()
    with running:
        assert time.monotonic() - began < 0.5
        file_id = running.corpus.add_file(bytes(50_000_000))

        async def ask_and_never_read() -> None:
            port = urlsplit(running.url).port
            assert port is not None
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            head = f"GET {FILES}/{file_id}/content HTTP/1.1\r\nhost: x\r\nx-api-key: {running.read_key}"
            await stream.send_all(f"{head}\r\n\r\n".encode())
            await stream.receive_some(1)
            began = time.monotonic()
            running.stop()
            assert time.monotonic() - began < 1
            await stream.aclose()

        trio.run(ask_and_never_read)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_meter_finds_the_end_however_bytes_come(step: int) -> None:
    """An answer's end and its body are found in pieces of any size, and nothing behind it is taken."""
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n"
    meter, taken = BodyMeter(), 0
    data = wire + b"HTTP/1.1 404"
    while not meter.is_finished:
        taken += meter.feed(data[taken : taken + step])
    assert (len(wire), 6) == (taken, meter.body_bytes)
