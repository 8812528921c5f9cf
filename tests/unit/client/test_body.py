"""Where the bytes of an answer belong, and whether they add up."""

import base64
import hashlib

import pytest

import client
from client import _wire as wire
from client._body import BoundCheck, LengthCheck, Placement, WholeCheck, content_md5, placement_of
from tests.support.network import FILE_ID

MD5 = hashlib.md5(b"hello").hexdigest()
MD5_HEADER = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
CHUNKED = {"transfer-encoding": "chunked"}


def place(status: int, headers: dict[str, str], offset: int = 0, end: int | None = None):
    request = wire.get_content(wire.FILES, FILE_ID, offset=offset, end=end, ask_range=True)
    return placement_of(request, status, headers, offset=offset, end=end)


def part(content_range: str, **headers: str) -> dict[str, str]:
    return {**CHUNKED, "content-range": content_range, **headers}


def test_a_200_starts_at_the_beginning_whatever_was_asked():
    """A server that ignores ranges sends the whole, and its digest is the whole's."""
    headers = {**CHUNKED, "content-md5": MD5_HEADER}
    assert Placement(0, None, False, None, MD5) == place(200, headers, offset=3)


def test_a_length_announces_the_end_of_a_200():
    """With a Content-Length the total is known from the head."""
    assert Placement(0, 5, False, 5, None) == place(200, {"content-length": "5"})


@pytest.mark.parametrize(
    ("content_range", "offset", "end", "expected"),
    [
        ("bytes 3-9/10", 3, None, Placement(3, 10, True, 10, None)),
        ("bytes 3-5/10", 3, 6, Placement(3, 6, True, 10, None)),
        ("bytes 3-9/10", 3, 99, Placement(3, 10, True, 10, None)),
        ("bytes 3-5/*", 3, 6, Placement(3, 6, True, None, None)),
        ("bytes 0-9/10", 0, None, Placement(0, 10, True, 10, MD5)),
    ],
)
def test_a_206_that_is_the_range_asked_for_is_taken(content_range, offset, end, expected):
    """The range asked for is honoured; only a range that is the whole has a usable digest."""
    headers = part(content_range, **{"content-md5": MD5_HEADER})
    assert expected == place(206, headers, offset, end)


@pytest.mark.parametrize(
    ("content_range", "offset", "end"),
    [
        ("bytes 0-9/10", 3, None),  # starts elsewhere
        ("bytes 4-9/10", 3, None),
        ("bytes 3-8/10", 3, None),  # ends before the end
        ("bytes 3-4/10", 3, 6),
        ("bytes 3-9/10", 3, 6),  # goes on beyond what was asked
        ("bytes 3-10/10", 3, None),  # beyond the total
        ("bytes 3-2/10", 3, None),  # nothing
        ("bytes 3-9/*", 3, None),  # nobody knows whether this is to the end
        ("bytes 3-4/*", 3, 6),
        ("bytes */10", 3, None),
        ("bytes=3-9/10", 3, None),
        ("items 3-9/10", 3, None),
        ("", 3, None),
        ("bytes ٣-9/10", 3, None),
        ("bytes 3-9/10, bytes 3-9/10", 3, None),
    ],
)
def test_a_206_that_is_another_range_is_refused(content_range, offset, end):
    """A shifted, short, long or unclear range is never used."""
    with pytest.raises(client.InvalidResponseError, match=FILE_ID):
        place(206, part(content_range), offset, end)


def test_a_multipart_206_is_refused():
    """Several ranges in one answer were not asked for; such an answer has no Content-Range."""
    headers = {**CHUNKED, "content-type": "multipart/byteranges; boundary=x"}
    with pytest.raises(client.InvalidResponseError, match="Content-Range"):
        place(206, headers)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {**CHUNKED, "content-encoding": "gzip"}),
        (200, {**CHUNKED, "content-range": "bytes 3-9/10"}),
        (200, {}),  # would end with the connection
        (200, {"content-length": "five"}),
        (200, {"content-length": "-5"}),
        (206, {"content-range": "bytes 0-9/10", "content-length": "9"}),
        (206, {"content-range": "bytes 0-9/10"}),
        (201, CHUNKED),
        (204, {}),
        (203, CHUNKED),
    ],
)
def test_an_answer_that_is_no_content_is_refused(status, headers):
    """Encoded, contradictory, endless or of another status: nothing of it is used."""
    with pytest.raises(client.InvalidResponseError):
        place(status, headers)


def test_a_206_without_a_range_asked_for_is_refused():
    """Who asked for the whole takes no part."""
    with pytest.raises(client.InvalidResponseError):
        placement_of(wire.get_content(wire.FILES, FILE_ID), 206, part("bytes 0-9/10"))


def test_identity_is_no_encoding():
    """An answer that says that it is plain is plain."""
    assert 0 == place(200, {**CHUNKED, "content-encoding": "Identity"}).start


@pytest.mark.parametrize("value", ["", "x", MD5, MD5_HEADER[:-4], MD5_HEADER + "AAAA", "é"])
def test_what_is_no_md5_vouches_for_nothing(value):
    """Only base64 of 16 bytes is a Content-MD5."""
    assert content_md5({"content-md5": value}) is None


PLACE = Placement(3, 8, True, 10, None)


def test_a_body_has_to_reach_its_announced_end():
    """Fewer bytes than announced are a cut body."""
    check = LengthCheck(FILE_ID, PLACE, "req_1")
    check.take(b"1234")
    with pytest.raises(client.TruncatedError, match=r"byte 7, announced were 8 \(request req_1\)"):
        check.finish()


def test_a_body_must_not_go_beyond_its_announced_end():
    """One byte more than announced is refused when it comes."""
    check = LengthCheck(FILE_ID, PLACE, None)
    check.take(b"12345")
    check.finish()
    with pytest.raises(client.InvalidResponseError, match="beyond"):
        check.take(b"6")


def test_the_digest_is_compared_at_the_end():
    """Other bytes than promised are a mismatch that names both digests."""
    whole = Placement(0, None, False, None, MD5)
    good, bad = (WholeCheck(FILE_ID, whole, "req_1") for _ in range(2))
    good.take(b"hel")
    good.take(b"lo")
    good.finish()
    bad.take(b"hellO")
    with pytest.raises(client.ContentMismatchError, match=MD5) as caught:
        bad.finish()
    assert hashlib.md5(b"hellO").hexdigest() in str(caught.value)


def test_json_is_bounded():
    """A record that does not end is refused before it fills the memory."""
    check = BoundCheck(FILE_ID, 10, None)
    check.take(b"x" * 10)
    check.finish()
    with pytest.raises(client.InvalidResponseError, match="too large"):
        check.take(b"x")
