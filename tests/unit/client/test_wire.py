"""Requests, and what answers mean."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import client
from client import _wire as wire
from tests.support.network import FILE_ID

GET = wire.get_record(wire.FILES, FILE_ID)
DELETE = wire.delete_object(wire.FILES, FILE_ID)


def refused(request: wire.Request, status: int, body: object = None, **headers: str):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.error_of(request, status, fields, data)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GET, ("GET", f"/v1/compliance/apps/chats/files/{FILE_ID}")),
        (
            wire.get_content(wire.FILES, FILE_ID),
            ("GET", f"/v1/compliance/apps/chats/files/{FILE_ID}/content"),
        ),
        (DELETE, ("DELETE", f"/v1/compliance/apps/chats/files/{FILE_ID}")),
        (
            wire.get_record(wire.GENERATED_FILES, "g1"),
            ("GET", "/v1/compliance/apps/chats/generated-files/g1"),
        ),
        (
            wire.get_content(wire.ARTIFACTS, "v1"),
            ("GET", "/v1/compliance/apps/artifacts/v1/content"),
        ),
    ],
)
def test_requests_go_to_the_documented_paths(request_, expected):
    """Every endpoint is asked where the API documents it."""
    assert expected == (request_.method, request_.path)


@pytest.mark.parametrize(
    "object_id",
    ["", "a/b", "../x", "..", ".", "a b", "a\nb", "a\x00b", "a\\b", "\x85", "x" * 257, "\ud800"],
)
def test_what_cannot_be_an_id_is_refused(object_id):
    """An id that would lead to another path never gets into a request."""
    with pytest.raises(ValueError, match=r"id|surrogate"):
        wire.get_record(wire.FILES, object_id)


@given(st.text(max_size=20))
def test_an_id_stays_one_segment_of_the_path(object_id):
    """Whatever is taken for an id is one segment of the path, in ASCII, without a query."""
    try:
        path = wire.get_record(wire.FILES, object_id).path
    except ValueError:
        return
    segment = path.removeprefix("/v1/compliance/apps/chats/files/")
    assert path.isascii()
    assert not set(segment) & set("/?#\\ ")
    assert segment not in {"", ".", ".."}


@pytest.mark.parametrize(
    ("offset", "end", "expected"),
    [(0, None, "bytes=0-"), (5, None, "bytes=5-"), (5, 6, "bytes=5-5"), (0, 10, "bytes=0-9")],
)
def test_a_range_is_asked_for_with_an_inclusive_end(offset, end, expected):
    """The Range header names the last byte wanted, not the one after it."""
    request = wire.get_content(wire.FILES, FILE_ID, offset=offset, end=end, ask_range=True)
    assert expected == request.headers["range"]


@pytest.mark.parametrize(
    ("offset", "end", "ask_range"),
    [(-1, None, True), (5, 5, True), (5, None, False), (0, 5, False)],
)
def test_an_impossible_range_is_refused(offset, end, ask_range):
    """A range that is empty, negative or not asked for is the caller's mistake."""
    with pytest.raises(ValueError, match="range"):
        wire.get_content(wire.FILES, FILE_ID, offset=offset, end=end, ask_range=ask_range)


FAMILY = {
    400: client.BadRequestError,
    401: client.AuthenticationError,
    403: client.PermissionDeniedError,
    404: client.NotFoundError,
    409: client.ConflictError,
    416: client.RangeNotSatisfiableError,
    429: client.RateLimitError,
    500: client.InternalServerError,
    502: client.ServiceUnavailableError,
    503: client.ServiceUnavailableError,
    504: client.ServiceUnavailableError,
    529: client.OverloadedError,
}


@pytest.mark.parametrize("status", [*FAMILY, 302, 405, 418, 501])
def test_every_documented_status_has_its_class(status):
    """Each documented status has a class of its own; any other is an APIError with its status."""
    error = refused(GET, status, {"error": {"type": "t", "message": "m"}}, request_id="req_9")
    assert FAMILY.get(status, client.APIError) is type(error)
    assert (status, "t", "m", "req_9") == (
        error.status,
        error.type,
        error.message,
        error.request_id,
    )


def test_every_class_of_status_is_public():
    """No error class of the family is hidden from callers."""
    assert {error.__name__ for error in FAMILY.values()} <= set(client.__all__)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"error": "x"}', b'{"error": {"type": 1}}', b"[" * 100_000],
)
def test_an_error_without_a_documented_body_is_told_by_its_status(body):
    """Whatever stands in the body, the status decides and the message is readable."""
    error = refused(GET, 503, body)
    assert client.ServiceUnavailableError is type(error)
    assert f"{FILE_ID}: 503: HTTP status 503" == str(error)


@given(st.text(), st.text(max_size=10))
def test_an_error_message_is_one_printable_line(message, kind):
    """Text that a server put into an error can't break a log line or a terminal."""
    error = refused(GET, 404, {"error": {"type": kind, "message": message}})
    assert str(error).isprintable()
    assert FILE_ID in str(error)


def test_a_rate_limit_tells_its_floor():
    """Retry-after is on the error, None when the server named none or nonsense."""
    assert 7.5 == refused(GET, 429, retry_after="7.5").retry_after_s
    assert refused(GET, 429).retry_after_s is None
    assert refused(GET, 429, retry_after="soon").retry_after_s is None
    assert refused(GET, 429, retry_after="-1").retry_after_s is None


@pytest.mark.parametrize(
    ("until", "now", "seconds"),
    [
        ("Fri, 27 Nov 2026 10:00:30 GMT", "Fri, 27 Nov 2026 10:00:00 GMT", 30),
        ("Fri, 27 Nov 2026 10:00:00 GMT", "Fri, 27 Nov 2026 10:00:30 GMT", 0),
        ("Fri, 27 Nov 2026 10:00:30 GMT", "", None),  # our own clock may be off by any time
        ("Fri, 27 Nov 2026 10:00:30 +99999999999999999", "Fri, 27 Nov 2026 10:00:00 GMT", None),
    ],
)
def test_a_time_to_wait_until_is_held_against_the_servers_own_clock(until, now, seconds):
    """The API gives seconds; what stands in front of it may give a date."""
    assert seconds == refused(GET, 429, retry_after=until, date=now).retry_after_s


def test_a_deterministic_failure_is_final():
    """x-should-retry: false is kept on the error."""
    assert refused(GET, 500, x_should_retry="false").is_final
    assert not refused(GET, 500).is_final


def test_a_range_beyond_the_end_tells_the_size():
    """A 416 that names the size hands it on."""
    assert 9 == refused(GET, 416, content_range="bytes */9").total
    assert refused(GET, 416).total is None


def read(body: object, headers: dict[str, str] | None = None, request=GET, id_field="id"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.read_record(request, headers or {}, data, id_field, client.File.from_dict)


def test_a_record_is_read():
    """A record that is the one asked for comes back as a File."""
    assert client.File(FILE_ID, filename="a") == read({"id": FILE_ID, "filename": "a"})


@pytest.mark.parametrize(
    "body",
    [
        {"id": "claude_file_other"},
        {},
        {"id": None},
        [],
        b"",
        b"{",
        b"<html>captive portal</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        {"id": FILE_ID, "size_bytes": "12"},
    ],
)
def test_an_answer_that_is_not_the_record_asked_for_is_refused(body):
    """Another file's record, a portal's page or a broken document never passes for the record."""
    with pytest.raises(client.InvalidResponseError, match=FILE_ID) as caught:
        read(body, {"request-id": "req_7"})
    assert "req_7" == caught.value.request_id
    assert 1 == str(caught.value).count("req_7")


def test_an_encoded_record_is_refused():
    """An encoding that was not asked for is refused before it is read."""
    with pytest.raises(client.InvalidResponseError, match="encoded"):
        read({"id": FILE_ID}, {"content-encoding": "gzip"})


def test_a_deletion_is_confirmed_by_type_and_id():
    """Only the documented confirmation of this very file counts."""
    confirmation = {"id": FILE_ID, "type": "claude_file_deleted"}
    wire.check_deleted(DELETE, {}, json.dumps(confirmation).encode(), wire.FILES)
    for wrong in ({"type": "file"}, {"type": None}, {"id": "claude_file_other"}):
        with pytest.raises(client.InvalidResponseError):
            wire.check_deleted(
                DELETE, {}, json.dumps({**confirmation, **wrong}).encode(), wire.FILES
            )


def test_foreign_text_is_bounded():
    """A long message is cut."""
    assert 500 == len(refused(GET, 400, {"error": {"message": "x" * 10_000}}).message)
