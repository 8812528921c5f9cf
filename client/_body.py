"""Contents: where the bytes of an answer belong, and whether they add up.

The API documents whole, chunked contents and no ranges. What stands between may answer with ranges all the
same, so every answer is checked to be what was asked for before a byte of it is used.
"""

import base64
import binascii
import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Protocol

from client._errors import (
    AnswerTooLargeError,
    ContentMismatchError,
    InvalidResponseError,
    TruncatedError,
)
from client._wire import Request, refusal, require_plain

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,19}")


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where the bytes of an answer belong in the file, and what the server vouches for.

    Shape: `end` (exclusive) and `total` None when not announced; `content_md5` lowercase hex, only where it
    is the digest of the whole file.
    """

    start: int
    end: int | None
    honoured_range: bool
    total: int | None
    content_md5: str | None


def placement_of(
    request: Request,
    status: int,
    headers: Mapping[str, str],
    *,
    offset: int = 0,
    end: int | None = None,
) -> Placement:
    """Say where the body of a successful answer belongs; refuse one that is not what was asked for.

    Errors: InvalidResponseError before any byte of it is used.
    """
    require_plain(request, headers)
    if status == 206 and "range" in request.headers:
        return _place_part(request, headers, offset, end)
    if status != 200:
        raise refusal(request, headers, f"status {status} does not answer the request")
    if "content-range" in headers:
        raise refusal(request, headers, "a whole content can't have a Content-Range")
    total = _content_length(request, headers)
    return Placement(0, total, honoured_range=False, total=total, content_md5=content_md5(headers))


def _place_part(
    request: Request, headers: Mapping[str, str], offset: int, end: int | None
) -> Placement:
    announced = headers.get("content-range", "").strip()
    match = _CONTENT_RANGE.fullmatch(announced)
    if not match:
        raise refusal(request, headers, f"its Content-Range is {announced!r:.100}")
    start, stop = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    # Without a total, the end of what was asked for is the only end that shows nothing is missing.
    due = min((bound for bound in (end, total) if bound is not None), default=None)
    if start != offset or stop <= start or stop != due:
        raise refusal(request, headers, f"asked for {request.headers['range']}, got {announced}")
    length = _content_length(request, headers)
    if length is not None and length != stop - start:
        raise refusal(request, headers, f"Content-Length {length} does not fit {announced}")
    # Of a part, it might be the digest of the part or of the whole.
    is_whole = start == 0 and stop == total
    digest = content_md5(headers) if is_whole else None
    return Placement(start, stop, honoured_range=True, total=total, content_md5=digest)


def content_md5(headers: Mapping[str, str]) -> str | None:
    """Return Content-MD5 (RFC 1864) as lowercase hex; None when it is absent or not an MD5."""
    try:
        digest = base64.b64decode(headers.get("content-md5", ""), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if len(digest) == 16 else None


def _content_length(request: Request, headers: Mapping[str, str]) -> int | None:
    """Return the announced length of the body, None for a chunked one.

    A body with neither would end with its connection: a cut one could not be told from a whole one.
    """
    length = headers.get("content-length")
    if length is not None:
        if not _LENGTH.fullmatch(length):
            raise refusal(request, headers, f"its Content-Length is {length!r:.100}")
        return int(length)
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        raise refusal(request, headers, "the body has neither chunks nor a length")
    return None


class Check(Protocol):
    """What is asked about a body while it comes and at its proper end; raises when it does not add up."""

    def take(self, chunk: bytes) -> None:
        """Look at bytes that came."""

    def finish(self) -> None:
        """Look at the end."""


class BoundCheck:
    """Holds a body of JSON to a size that fits in memory."""

    def __init__(self, about: str, limit_bytes: int, request_id: str | None) -> None:
        self._about = about
        self._left_bytes = limit_bytes
        self._request_id = request_id

    def take(self, chunk: bytes) -> None:
        """Count bytes; AnswerTooLargeError beyond the limit."""
        self._left_bytes -= len(chunk)
        if self._left_bytes < 0:
            raise AnswerTooLargeError(
                f"{self._about}: the answer is too large", request_id=self._request_id
            )

    def finish(self) -> None:
        """Accept any end: JSON shows by itself whether it is whole."""


class LengthCheck:
    """Counts the bytes of one answer against what its head announced."""

    def __init__(self, about: str, placement: Placement, request_id: str | None) -> None:
        self._about = about
        self._end = placement.end
        self._position = placement.start
        self._request_id = request_id

    def take(self, chunk: bytes) -> None:
        """Count bytes; InvalidResponseError when there are more than announced."""
        self._position += len(chunk)
        if self._end is not None and self._position > self._end:
            raise InvalidResponseError(
                f"{self._about}: the body goes on beyond its announced end {self._end}",
                request_id=self._request_id,
            )

    def finish(self) -> None:
        """Check the end; TruncatedError when bytes are missing."""
        if self._end is not None and self._position < self._end:
            raise TruncatedError(
                f"{self._about}: the body ended at byte {self._position}, announced were {self._end}",
                request_id=self._request_id,
            )


class WholeCheck:
    """Counts and hashes a whole content.

    Shape: `content_md5` is what the answer promised, lowercase hex, None when it promised nothing.
    """

    def __init__(self, about: str, placement: Placement, request_id: str | None) -> None:
        self.content_md5 = placement.content_md5
        self._about = about
        self._request_id = request_id
        self._length = LengthCheck(about, placement, request_id)
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        """The MD5 of the bytes so far, lowercase hex."""
        return self._md5.hexdigest()

    def take(self, chunk: bytes) -> None:
        """Count and hash bytes; errors as for `LengthCheck.take`."""
        self._length.take(chunk)
        self._md5.update(chunk)

    def finish(self) -> None:
        """Check the end and the digest; TruncatedError, ContentMismatchError."""
        self._length.finish()
        if self.content_md5 is not None:
            require_md5(self._about, self.md5, self.content_md5, self._request_id)


def require_md5(about: str, md5: str, promised: str, request_id: str | None) -> None:
    """Compare the digest of a content with the promised one.

    Errors: ContentMismatchError.
    """
    if md5 != promised:
        what = f"{about}: the MD5 of the bytes is {md5}, but {promised} was promised"
        raise ContentMismatchError(what, request_id=request_id)
