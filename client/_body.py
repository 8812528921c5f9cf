"""Whether the bytes of a body add up: its announced end, its proper end, its digest."""

import hashlib

from client._errors import ContentMismatchError, InvalidResponseError, TruncatedError
from client._wire import Placement


class Meter:
    """Counts the bytes of one answer against what its head announced."""

    def __init__(self, about: str, placement: Placement, request_id: str | None) -> None:
        self._about = about
        self._end = placement.end
        self._position = placement.start
        self._request = f" (request {request_id})" if request_id else ""

    def take(self, size_bytes: int) -> None:
        """Count bytes that came.

        Errors: InvalidResponseError when there are more than announced.
        """
        self._position += size_bytes
        if self._end is not None and self._position > self._end:
            raise InvalidResponseError(
                f"{self._about}: the body goes on beyond its announced end {self._end}{self._request}"
            )

    def finish(self) -> None:
        """Check the end.

        Errors: TruncatedError when bytes are missing.
        """
        if self._end is not None and self._position < self._end:
            raise TruncatedError(
                f"{self._about}: the body ended at byte {self._position}, announced were {self._end}"
                f"{self._request}"
            )


class BodyCheck:
    """Counts and hashes a whole body."""

    def __init__(self, about: str, placement: Placement, request_id: str | None) -> None:
        self._about = about
        self._request_id = request_id
        self._meter = Meter(about, placement, request_id)
        self._promised = placement.content_md5
        self._md5 = hashlib.md5(usedforsecurity=False)

    def take(self, chunk: bytes) -> None:
        """Count and hash bytes that came; errors as for `Meter.take`."""
        self._meter.take(len(chunk))
        self._md5.update(chunk)

    def finish(self) -> None:
        """Check the end and the digest.

        Errors: TruncatedError; ContentMismatchError when the digest of the answer is another.
        """
        self._meter.finish()
        if self._promised is not None and self._md5.hexdigest() != self._promised:
            raise ContentMismatchError(
                f"{self._about}: the MD5 of the bytes is {self._md5.hexdigest()}, the server promised"
                f" {self._promised} (request {self._request_id})"
            )
