"""Bodies on their way: the streams that the endpoints hand out, async and ordinary.

A stream opens its connection at the first step and closes it by itself: at the end, on an error, when it is
closed or left. No generator holds a connection, so nothing depends on when one is collected.
"""

from typing import Self

import httpx

from client._body import BodyCheck, Meter
from client._errors import InvalidResponseError
from client._pace import Priority
from client._transport import AsyncTransport, Transport, translated
from client._wire import Placement, Request, placement_of


class ContentStream:
    """The body of one file as it comes over the wire.

    Shape: `start` is where the first byte that will come belongs, whatever was asked for; `end` (exclusive)
    and `total` None when not announced; `content_md5` (lowercase hex) vouches for the whole file or is None.
    Units: byte offsets.
    """

    def __init__(self, request: Request, response: httpx.Response, placement: Placement) -> None:
        self.claude_file_id = request.about
        self.start = placement.start
        self.end = placement.end
        self.honoured_range = placement.honoured_range
        self.total = placement.total
        self.content_md5 = placement.content_md5
        self.request_id: str | None = response.headers.get("request-id")
        self._request = request
        self._chunks = response.aiter_raw()
        self._meter = Meter(request.about, placement, self.request_id)

    async def receive(self) -> bytes:
        """Return the next bytes as they come from the wire; b"" only after a properly ended body.

        Errors: TruncatedError, InvalidResponseError (more bytes than announced), APITimeoutError (silence),
        APIConnectionError.
        """
        with translated(self._request, bytes_sent=True, request_id=self.request_id):
            async for chunk in self._chunks:
                if chunk:
                    self._meter.take(len(chunk))
                    return chunk
        self._meter.finish()
        return b""


class AsyncDownloadStream:
    """A file's content, chunk by chunk: `async for chunk in files.download_stream(id)`.

    Errors of a step: as `AsyncFiles.get`; at the end TruncatedError or ContentMismatchError when the bytes
    do not add up, in which case what came before is not to be trusted.
    """

    def __init__(
        self, transport: AsyncTransport, request: Request, priority: Priority, chunk_size: int
    ) -> None:
        self._transport = transport
        self._request = request
        self._priority = priority
        self._chunk_size = chunk_size
        self._response: httpx.Response | None = None
        self._check: BodyCheck | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __aiter__(self) -> "AsyncDownloadStream":
        return self

    async def __anext__(self) -> bytes:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            if self._response is None:
                await self._open()
            chunk = await self._next_chunk()
        except BaseException:
            await self.aclose()
            raise
        if not chunk:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Close the connection; what is left of the body is not read."""
        self._is_closed = True
        if self._response is not None:
            await self._response.aclose()

    async def _open(self) -> None:
        self._response = await self._transport.open(self._request, self._priority)
        self._check = check_of(self._request, self._response)
        self._chunks = self._response.aiter_raw(self._chunk_size)

    async def _next_chunk(self) -> bytes:
        assert self._check is not None
        with translated(self._request, bytes_sent=True):
            async for chunk in self._chunks:
                if chunk:
                    self._check.take(chunk)
                    return chunk
        self._check.finish()
        return b""


class DownloadStream:
    """A file's content, chunk by chunk: `for chunk in files.download_stream(id)`.

    Errors: as for `AsyncDownloadStream`.
    """

    def __init__(
        self, transport: Transport, request: Request, priority: Priority, chunk_size: int
    ) -> None:
        self._transport = transport
        self._request = request
        self._priority = priority
        self._chunk_size = chunk_size
        self._response: httpx.Response | None = None
        self._check: BodyCheck | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> "DownloadStream":
        return self

    def __next__(self) -> bytes:
        if self._is_closed:
            raise StopIteration
        try:
            if self._response is None:
                self._open()
            chunk = self._next_chunk()
        except BaseException:
            self.close()
            raise
        if not chunk:
            self.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the connection; what is left of the body is not read."""
        self._is_closed = True
        if self._response is not None:
            self._response.close()

    def _open(self) -> None:
        self._response = self._transport.open(self._request, self._priority)
        self._check = check_of(self._request, self._response)
        self._chunks = self._response.iter_raw(self._chunk_size)

    def _next_chunk(self) -> bytes:
        assert self._check is not None
        with translated(self._request, bytes_sent=True):
            for chunk in self._chunks:
                if chunk:
                    self._check.take(chunk)
                    return chunk
        self._check.finish()
        return b""


def check_of(request: Request, response: httpx.Response) -> BodyCheck:
    """Return the check for the body of an answer.

    Errors: InvalidResponseError for an answer that does not fit the request.
    """
    placement = placement_of(request, response.status_code, response.headers)
    require_proper_end(request, response)
    return BodyCheck(request.about, placement, response.headers.get("request-id"))


def require_proper_end(request: Request, response: httpx.Response) -> None:
    """Refuse a body that ends with its connection: a cut one could not be told from a whole one.

    Errors: InvalidResponseError.
    """
    headers = response.headers
    if (
        "content-length" not in headers
        and "chunked" not in headers.get("transfer-encoding", "").lower()
    ):
        raise InvalidResponseError(f"{request.about}: the body has neither chunks nor a length")
