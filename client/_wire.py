"""Requests as data, and what an answer means: a record, a confirmation, an error.

Knows the API's paths, headers and JSON, and nothing of sending: no HTTP library, no waiting. Contents and
where their bytes belong are in `_body`.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeVar
from urllib.parse import quote, urlencode

from client import _errors as errors
from client._errors import InvalidResponseError

Kind = Literal["metadata", "content", "delete", "listing"]
Record = TypeVar("Record")

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
# Ids are opaque, so their alphabet is open; what would make another path of them is not.
_POSSIBLE_ID = re.compile(r"[^\s/\\\x00-\x1f\x7f-\x9f]{1,256}")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """One family of objects: where its records and contents are, what names one, what confirms a deletion.

    `deleted_type` None: the family has no DELETE endpoint.
    """

    path: str
    id_field: str = "id"
    deleted_type: str | None = None


FILES = Collection("/v1/compliance/apps/chats/files", deleted_type="claude_file_deleted")
GENERATED_FILES = Collection("/v1/compliance/apps/chats/generated-files")
ARTIFACTS = Collection("/v1/compliance/apps/artifacts", id_field="version_id")


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request to send: `about` is the id that errors name."""

    method: str
    path: str
    kind: Kind
    about: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def get_record(collection: Collection, object_id: str) -> Request:
    """Return the request for one record.

    Errors: ValueError for what can't be an id; so have the other requests.
    """
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

    Errors: ValueError for an impossible range, or an offset or end without asking for it.
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


def get_listing(path: str, query: Sequence[tuple[str, str]], about: str) -> Request:
    """Return the request for one page of a list; `path` is made with `segment` where an id is in it."""
    # The brackets of `user_ids[]` stay as the documentation writes them.
    words = urlencode(query, safe="[]")
    return Request("GET", f"{path}?{words}" if words else path, "listing", about)


def segment(object_id: str) -> str:
    """Return an id as one segment of a path.

    Errors: ValueError for what can't be an id.
    """
    if not _POSSIBLE_ID.fullmatch(object_id) or object_id in {".", ".."}:
        raise ValueError(f"not an id: {object_id!r:.200}")
    return quote(object_id, safe="")


def _path(collection: Collection, object_id: str) -> str:
    return f"{collection.path}/{segment(object_id)}"


def error_of(
    request: Request, status: int, headers: Mapping[str, str], body: bytes
) -> errors.APIError:
    """Return the error that an answer without success stands for."""
    error_type, message = _error_fields(body)
    # Fronts have numbers of their own for a service that they can't reach (520 to 527, 530).
    default = errors.ServiceUnavailableError if status >= 520 else errors.APIError
    kind = _ERROR_OF.get(status, default)
    error = kind(status, error_type, message, request_id_of(headers), about=request.about)
    error.is_final = headers.get("x-should-retry", "").strip().lower() == "false"
    error.retry_after_s = retry_after_s(headers)
    if isinstance(error, errors.RangeNotSatisfiableError):
        match = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", "").strip())
        error.total = int(match[1]) if match else None
    return error


def _error_fields(body: bytes) -> tuple[str | None, str | None]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return None, None
    error_type, message = error.get("type"), error.get("message")
    return (
        one_line(error_type, 100) if isinstance(error_type, str) else None,
        one_line(message, 500) if isinstance(message, str) else None,
    )


def one_line(text: str, max_chars: int) -> str:
    """Return foreign text fit for a log: one line, bounded, without control characters."""
    words = " ".join(text[: 4 * max_chars].split())
    return "".join(char if char.isprintable() else "?" for char in words)[:max_chars]


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the server's name for the request; None when it gave none."""
    return one_line(headers.get("request-id", ""), 100) or None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long the server asks to wait, at the least; None when it does not say.

    The API gives seconds; what stands between may give a time, which is held against its own clock.
    """
    seconds = number(headers.get("retry-after"))
    if seconds is None:
        until, now = date_of(headers, "retry-after"), date_of(headers, "date")
        seconds = max(0.0, (until - now).total_seconds()) if until and now else None
    return seconds


def date_of(headers: Mapping[str, str], name: str) -> datetime | None:
    """Return a header's date (RFC 9110), aware; None when it is absent, or none at all."""
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        date = parsedate_to_datetime(headers[name])
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None


def number(text: str | None) -> float | None:
    """Return a header's number; None when it is absent, negative, or none at all."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def read_record(
    request: Request,
    headers: Mapping[str, str],
    body: bytes,
    id_field: str,
    from_dict: Callable[[object], Record],
) -> Record:
    """Return a record, checked to be the one that was asked for.

    Errors: InvalidResponseError.
    """
    fields = decode_object(request, headers, body)
    _require_same_id(request, headers, fields, id_field)
    try:
        return from_dict(fields)
    except InvalidResponseError as error:
        raise InvalidResponseError(str(error), request_id=request_id_of(headers)) from error


def check_deleted(
    request: Request, headers: Mapping[str, str], body: bytes, collection: Collection
) -> str | None:
    """Make sure that an answer confirms the deletion that was asked for; return its request id.

    Errors: InvalidResponseError: whether it was deleted is unknown then.
    """
    fields = decode_object(request, headers, body)
    _require_same_id(request, headers, fields, collection.id_field)
    if fields.get("type") != collection.deleted_type:
        what = f"the answer does not confirm the deletion, its type is {fields.get('type')!r:.100}"
        raise refusal(request, headers, what)
    return request_id_of(headers)


def _require_same_id(
    request: Request, headers: Mapping[str, str], fields: Mapping[str, object], id_field: str
) -> None:
    if fields.get(id_field) != request.about:
        raise refusal(request, headers, f"the answer is about {fields.get(id_field)!r:.200}")


def decode_object(
    request: Request, headers: Mapping[str, str], body: bytes
) -> Mapping[str, object]:
    """Return the JSON object that an answer is.

    Errors: InvalidResponseError.
    """
    require_plain(request, headers)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise refusal(request, headers, "the answer is not JSON") from error
    if not isinstance(document, dict):
        raise refusal(request, headers, "the answer is no JSON object")
    return document


def require_plain(request: Request, headers: Mapping[str, str]) -> None:
    """Refuse an encoded body: it was not asked for, and digests and ranges are of the plain one.

    Errors: InvalidResponseError.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise refusal(request, headers, f"the body is encoded ({one_line(encoding, 50)})")


def refusal(request: Request, headers: Mapping[str, str], what: str) -> InvalidResponseError:
    """Return the error for an answer that is not what the API documents."""
    return InvalidResponseError(f"{request.about}: {what}", request_id=request_id_of(headers))
