"""Requests as data, and what an answer means: records, ranges, digests, errors.

Knows the API's paths, headers and bodies, and nothing of sending: no HTTP library, no waiting.
"""

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Literal

from client import _errors as errors
from client._errors import InvalidResponseError

Kind = Literal["metadata", "content", "delete"]

_ERROR_OF: Mapping[int, type[errors.APIError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    416: errors.RangeNotSatisfiableError,
    429: errors.RateLimitError,
    500: errors.InternalServerError,
    502: errors.ServiceUnavailableError,
    503: errors.ServiceUnavailableError,
    504: errors.ServiceUnavailableError,
    529: errors.OverloadedError,
}
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """One family of objects: where its records and contents are, and what deleting confirms.

    `deleted_type` None: the family has no DELETE endpoint.
    """

    path: str
    deleted_type: str | None = None


FILES = Collection("/v1/compliance/apps/chats/files", "claude_file_deleted")
GENERATED_FILES = Collection("/v1/compliance/apps/chats/generated-files")
ARTIFACTS = Collection("/v1/compliance/apps/artifacts")


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request to send: `about` is the id that errors name."""

    method: str
    path: str
    kind: Kind
    about: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where the bytes of an answer belong in the file, and what the server vouches for.

    Shape: `end` and `total` None when not announced; `content_md5` lowercase hex, only where it is the digest
    of the whole file.
    """

    start: int
    end: int | None
    honoured_range: bool
    total: int | None
    content_md5: str | None


def get_record(collection: Collection, object_id: str) -> Request:
    """Return the request for one record."""
    return Request("GET", _path(collection, object_id), "metadata", object_id)


def get_content(
    collection: Collection,
    object_id: str,
    *,
    offset: int = 0,
    end: int | None = None,
    ask_range: bool = False,
) -> Request:
    """Return the request for content, with a Range header where one is to be asked for.

    Errors: ValueError for an impossible range, or an offset without asking for it.
    """
    if offset < 0 or (end is not None and end <= offset):
        raise ValueError(f"not a range: {offset} to {end}")
    if not ask_range and (offset or end is not None):
        raise ValueError("a range can only be had by asking for it")
    headers = {}
    if ask_range:
        headers["range"] = f"bytes={offset}-{'' if end is None else end - 1}"
    return Request("GET", f"{_path(collection, object_id)}/content", "content", object_id, headers)


def delete_object(collection: Collection, object_id: str) -> Request:
    """Return the request that deletes for ever."""
    return Request("DELETE", _path(collection, object_id), "delete", object_id)


def _path(collection: Collection, object_id: str) -> str:
    if not _SAFE_ID.fullmatch(object_id):
        raise ValueError(f"not an id: {object_id!r}")
    return f"{collection.path}/{object_id}"


def error_of(
    request: Request, status: int, headers: Mapping[str, str], body: bytes
) -> errors.APIError:
    """Return the error that a non-2xx answer stands for."""
    error_type, message = _error_fields(body)
    kind = _ERROR_OF.get(status, errors.APIError)
    error = kind(status, error_type, message, headers.get("request-id"), about=request.about)
    if isinstance(error, errors.RateLimitError):
        error.retry_after_s = retry_after_s(headers)
    if isinstance(error, errors.RangeNotSatisfiableError):
        match = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", ""))
        error.total = int(match[1]) if match else None
    return error


def _error_fields(body: bytes) -> tuple[str | None, str | None]:
    try:
        document = json.loads(body)
    except ValueError:
        return None, None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return None, None
    error_type, message = error.get("type"), error.get("message")
    return (
        error_type if isinstance(error_type, str) else None,
        " ".join(message.split())[:500] if isinstance(message, str) else None,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the server's floor for the next try, in seconds; None when it named none."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def decode_record(
    request: Request, body: bytes, headers: Mapping[str, str], *, id_field: str
) -> Mapping[str, object]:
    """Return a record, checked to be the one that was asked for.

    Errors: InvalidResponseError.
    """
    record = _decode_object(request, body, headers)
    if record.get(id_field) != request.about:
        raise InvalidResponseError(
            f"{request.about}: the answer is about {record.get(id_field)!r}{_request_note(headers)}"
        )
    return record


def check_deleted(
    request: Request, body: bytes, headers: Mapping[str, str], deleted_type: str
) -> None:
    """Make sure that an answer confirms a deletion.

    Errors: InvalidResponseError: whether it was deleted is unknown then.
    """
    record = _decode_object(request, body, headers)
    if record.get("type") != deleted_type:
        raise InvalidResponseError(
            f"{request.about}: the answer does not confirm the deletion, its type is"
            f" {record.get('type')!r}{_request_note(headers)}"
        )


def _decode_object(
    request: Request, body: bytes, headers: Mapping[str, str]
) -> Mapping[str, object]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise InvalidResponseError(
            f"{request.about}: the answer is not JSON{_request_note(headers)}"
        ) from error
    if not isinstance(document, dict):
        raise InvalidResponseError(
            f"{request.about}: the answer is no JSON object{_request_note(headers)}"
        )
    return document


def placement_of(
    request: Request,
    status: int,
    headers: Mapping[str, str],
    *,
    offset: int = 0,
    end: int | None = None,
) -> Placement:
    """Say where the body of a 2xx answer belongs; refuse one that is not what was asked for.

    Errors: InvalidResponseError before any byte of it is used.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise _refusal(request, headers, f"the body is encoded ({encoding})")
    if status == 200:
        total = _content_length(headers)
        return Placement(
            0, total, honoured_range=False, total=total, content_md5=content_md5(headers)
        )
    if status != 206 or "range" not in request.headers:
        raise _refusal(request, headers, f"status {status} does not answer the request")
    return _partial_placement(request, headers, offset, end)


def _partial_placement(
    request: Request, headers: Mapping[str, str], offset: int, end: int | None
) -> Placement:
    announced = headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(announced.strip())
    if not match:
        raise _refusal(request, headers, f"Content-Range is {announced!r}")
    start, stop = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    due = min((bound for bound in (end, total) if bound is not None), default=None)
    if start != offset or stop <= start or (due is not None and stop != due):
        raise _refusal(request, headers, f"asked for {request.headers['range']}, got {announced!r}")
    length = _content_length(headers)
    if length is not None and length != stop - start:
        raise _refusal(request, headers, f"Content-Length {length} does not fit {announced!r}")
    is_whole = start == 0 and stop == total
    digest = (
        content_md5(headers) if is_whole else None
    )  # of a part, it might be the part's or the whole's
    return Placement(start, stop, honoured_range=True, total=total, content_md5=digest)


def content_md5(headers: Mapping[str, str]) -> str | None:
    """Return Content-MD5 as lowercase hex; None when it is absent or not an MD5."""
    try:
        digest = base64.b64decode(headers.get("content-md5", ""), validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 16 else None


def _content_length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isdecimal() else None


def _refusal(request: Request, headers: Mapping[str, str], what: str) -> InvalidResponseError:
    return InvalidResponseError(f"{request.about}: {what}{_request_note(headers)}")


def _request_note(headers: Mapping[str, str]) -> str:
    request_id = headers.get("request-id")
    return f" (request {request_id})" if request_id else ""
