"""Where bodies come from, as far as a download needs to know: an answer, and how one is opened."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import client


class ByteStream(Protocol):
    """An answer of the service whose body is being received; see `client.ContentStream`."""

    start: int
    end: int | None
    honoured_range: bool
    total: int | None
    content_md5: str | None
    request_id: str | None

    async def receive(self) -> bytes:
        """Return the next bytes; b"" after a properly ended body."""
        ...


class Source(Protocol):
    """Where bodies come from."""

    def open_stream(
        self,
        claude_file_id: str,
        *,
        offset: int,
        end: int | None,
        ask_range: bool,
        urgency: client.Urgency | None,
    ) -> AbstractAsyncContextManager[ByteStream]:
        """Open the body of one file, at `offset` if the service can do that.

        `urgency` may be raised while the request waits; None: as for everything that somebody waits for.
        """
        ...
