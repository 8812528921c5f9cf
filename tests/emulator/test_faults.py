"""Each fault does what its name says, to the requests that are due and to no others."""

import base64
import hashlib
import time

import httpx
import pytest

from tests.support import faults
from tests.support.emulator import RunningEmulator

FILES = "/v1/compliance/apps/chats/files"
BODY = bytes(range(256)) * 2000


@pytest.fixture
def file_id(emulator: RunningEmulator) -> str:
    """Return a file of half a megabyte."""
    return emulator.corpus.add_file(BODY)


def get(http: httpx.Client, file_id: str) -> httpx.Response:
    return http.get(f"{FILES}/{file_id}/content")


def fetch(
    http: httpx.Client, file_id: str, timeout_s: float = 5
) -> tuple[int, type[Exception] | None]:
    """Return how many body bytes came, and the error they ended in."""
    got = 0
    try:
        with http.stream("GET", f"{FILES}/{file_id}/content", timeout=timeout_s) as response:
            for piece in response.iter_raw():
                got += len(piece)
    except httpx.TransportError as error:
        return got, type(error)
    return got, None


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (faults.answer(403), 403, "permission_error"),
        (faults.answer(404), 404, "not_found_error"),
        (faults.answer(503), 503, "api_error"),
        (faults.answer(529), 529, "overloaded_error"),
        (faults.rate_limited(7), 429, "rate_limit_error"),
        (faults.server_error(), 500, "api_error"),
    ],
)
def test_refusals(
    emulator: RunningEmulator,
    http: httpx.Client,
    file_id: str,
    fault: faults.Fault,
    status: int,
    kind: str,
) -> None:
    """An injected status comes with the API's body, a request id and the budget, and is logged."""
    emulator.faults.add(fault)
    response = get(http, file_id)
    assert (status, kind) == (response.status_code, response.json()["error"]["type"])
    assert "request-id" in response.headers
    assert "anthropic-ratelimit-requests-remaining" in response.headers
    assert status == emulator.log.entries()[0].status
    assert BODY == get(http, file_id).content


def test_refusal_headers(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """Headers that steer retries are there, or missing, as told."""
    emulator.faults.add(faults.rate_limited(7))
    emulator.faults.add(faults.rate_limited(None), first=2)
    emulator.faults.add(faults.server_error(should_retry=False), first=3)
    first, second, third = (get(http, file_id).headers for _ in range(3))
    assert "7" == first["retry-after"]
    assert "retry-after" not in second
    assert "false" == third["x-should-retry"]


def test_rules_choose_their_requests(
    emulator: RunningEmulator, http: httpx.Client, file_id: str
) -> None:
    """A rule counts only what its method and path match; None strikes for ever, until cleared."""
    once = emulator.faults.add(faults.answer(503), path=f"{file_id}/content", first=2)
    always = emulator.faults.add(faults.answer(502), path=f"{file_id}$", times=None)
    assert [502, 502] == [http.get(f"{FILES}/{file_id}").status_code for _ in range(2)]
    assert [200, 503, 200] == [get(http, file_id).status_code for _ in range(3)]
    assert (3, 1, 2) == (once.seen, once.hits, always.hits)
    emulator.faults.clear()
    assert 200 == http.get(f"{FILES}/{file_id}").status_code


def test_acted_then(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """A deletion may have happened although the answer says otherwise."""
    emulator.faults.add(faults.acted_then(faults.answer(500)), method="DELETE")
    headers = {"x-api-key": emulator.delete_key}
    assert 500 == http.delete(f"{FILES}/{file_id}", headers=headers).status_code
    assert file_id not in emulator.corpus.files


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.short_by(1), BODY[:-1]),
        (faults.short_by(300_000), BODY[:-300_000]),
        (faults.short_by(len(BODY) + 1), b""),
        (faults.overlong(b"more"), BODY + b"more"),
        (faults.flip_byte(0), b"\xff" + BODY[1:]),
        (faults.flip_byte(300_000), BODY[:300_000] + bytes([BODY[300_000] ^ 255]) + BODY[300_001:]),
    ],
)
def test_wrong_bytes_end_properly(
    emulator: RunningEmulator,
    http: httpx.Client,
    file_id: str,
    fault: faults.Fault,
    expected: bytes,
) -> None:
    """A wrong body is well-formed HTTP and still announces the right hash."""
    emulator.faults.add(fault, path="/content$")
    response = get(http, file_id)
    assert expected == response.content
    digest = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    assert digest == response.headers["content-md5"]
    assert len(expected) == emulator.log.bytes_sent("content")


def test_wrong_headers(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """The hash can be wrong or missing, and any header something else."""
    emulator.faults.add(faults.wrong_md5())
    emulator.faults.add(faults.without_md5(), first=2)
    emulator.faults.add(faults.with_headers({"Content-Encoding": "gzip"}, status=203), first=3)
    assert "1B2M2Y8AsgTpgAmY7PhCfg==" == get(http, file_id).headers["content-md5"]
    assert "content-md5" not in get(http, file_id).headers
    with http.stream("GET", f"{FILES}/{file_id}/content") as response:
        assert (203, "gzip") == (response.status_code, response.headers["content-encoding"])


def test_wrong_ranges(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """A range can be another than was asked for, openly or under a false name."""
    emulator.behaviour.honour_range = True
    lie = faults.with_headers({"content-range": f"bytes 10-19/{len(BODY)}"})
    emulator.faults.add(faults.with_range("bytes=20-29"))
    emulator.faults.add(faults.combined(lie, faults.with_range("bytes=20-29")), first=2)
    asked = {"range": "bytes=10-19"}
    shifted, lying, right = (
        http.get(f"{FILES}/{file_id}/content", headers=asked) for _ in range(3)
    )
    assert f"bytes 20-29/{len(BODY)}" == shifted.headers["content-range"]
    assert f"bytes 10-19/{len(BODY)}" == lying.headers["content-range"]
    assert (BODY[20:30], BODY[20:30], BODY[10:20]) == (
        shifted.content,
        lying.content,
        right.content,
    )


def test_amended_records(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """Fields of a JSON answer can be changed, added and removed."""
    emulator.faults.add(faults.amended(id="claude_file_01other", md5=..., more=1))
    record = http.get(f"{FILES}/{file_id}").json()
    assert ("claude_file_01other", 1) == (record["id"], record["more"])
    assert "md5" not in record


@pytest.mark.parametrize(
    ("fault", "size"),
    [(faults.hang(), 0), (faults.stall_after(0), 0), (faults.stall_after(300_000), 300_000)],
)
def test_answers_without_an_end(
    emulator: RunningEmulator,
    http: httpx.Client,
    file_id: str,
    fault: faults.Fault,
    size: int,
) -> None:
    """A stalled answer stays open until the client gives up; exactly the bytes named have come."""
    emulator.faults.add(fault)
    assert (size, httpx.ReadTimeout) == fetch(http, file_id, timeout_s=0.05)
    emulator.log.wait_idle()
    assert not emulator.log.entries()[0].is_complete


def test_stalls_hold_json_too(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """A record can stall as well as content."""
    emulator.faults.add(faults.stall_after(10))
    with pytest.raises(httpx.ReadTimeout):
        http.get(f"{FILES}/{file_id}", timeout=0.05)
    emulator.log.wait_idle()


def test_cut_between_chunks(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """A body that is cut has no proper end."""
    emulator.faults.add(faults.cut_after(300_000))
    assert (300_000, httpx.RemoteProtocolError) == fetch(http, file_id)


def test_delay(emulator: RunningEmulator, http: httpx.Client, file_id: str) -> None:
    """A delayed answer is right."""
    emulator.faults.add(faults.delay(0.05))
    began = time.monotonic()
    assert BODY == get(http, file_id).content
    assert time.monotonic() - began >= 0.05
