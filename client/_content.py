"""Contents on their way: the streams that the endpoints hand out, async and ordinary.

A stream opens its connection at the first step and closes it by itself: at the end, on an error, when it is
closed or left. No generator holds a connection, so nothing depends on when one is collected.
"""

from typing import Self

import httpx

from client._body import LengthCheck, Placement, WholeCheck, placement_of
from client._errors import TruncatedError
from client._pace import Priority
from client._receiving import AsyncBody, Body
from client._transport import AsyncTransport, Transport
from client._wire import Request, request_id_of


class ContentStream:
    """The content of one file as it comes over the wire.

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
        self.request_id = request_id_of(response.headers)
        check = LengthCheck(request.about, placement, self.request_id)
        self._body = AsyncBody(response, request.about, check)

    async def receive(self) -> bytes:
        """Return the next bytes as they come from the wire; b"" only after a properly ended body.

        It does not hash: whoever puts pieces together compares with `content_md5`.
        Errors: TruncatedError (the end came early), InvalidResponseError (more bytes than announced),
        APITimeoutError (silence), APIConnectionError. After an error or a cancellation: TruncatedError.
        """
        return await self._body.receive()

    async def aclose(self) -> None:
        """Close the connection at once; what is left of the content is not read."""
        await self._body.aclose()


class AsyncDownloadStream:
    """A file's content, chunk by chunk: `async for chunk in files.download_stream(id)`.

    It is an async context manager too; use it as one where the loop may be left early.
    Shape: `md5` (of the bytes, lowercase hex) is known at the end, `content_md5` (what the answer promised)
    and `request_id` from the first step on; None before, or when the answer named none.
    Errors of a step: as `AsyncFiles.get`; at the end TruncatedError or ContentMismatchError when the bytes
    do not add up, in which case what came before is not to be trusted. A stream that failed or was closed
    before its end goes on with TruncatedError: it never looks finished.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        request: Request,
        chunk_size: int,
        priority: Priority,
        max_retries: int | None = None,
    ) -> None:
        self.md5: str | None = None
        self.content_md5: str | None = None
        self.request_id: str | None = None
        self._transport = transport
        self._request = request
        self._chunk_size = _checked_size(chunk_size)
        self._priority = priority
        self._max_retries = max_retries
        self._body: AsyncBody | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self.md5 is not None:
            raise StopAsyncIteration
        if self._is_closed:
            raise _given_up(self._request, self.request_id)
        try:
            chunk = await self._step()
        except BaseException:
            await self.aclose()
            raise
        if not chunk:
            await self.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Close the connection; what is left of the content is not read."""
        self._is_closed = True
        if self._body is not None:
            await self._body.aclose()

    async def _step(self) -> bytes:
        if self._body is None:
            response = await self._transport.open(self._request, self._priority, self._max_retries)
            try:
                self._check = _check_of(self._request, response)
            except BaseException:
                await response.aclose()
                raise
            self.content_md5 = self._check.content_md5
            self.request_id = request_id_of(response.headers)
            self._body = AsyncBody(response, self._request.about, self._check, self._chunk_size)
        chunk = await self._body.receive()
        if not chunk:
            self.md5 = self._check.md5
        return chunk


class DownloadStream:
    """A file's content, chunk by chunk: `for chunk in files.download_stream(id)`.

    Shape and errors: as for `AsyncDownloadStream`.
    """

    def __init__(
        self,
        transport: Transport,
        request: Request,
        chunk_size: int,
        priority: Priority,
        max_retries: int | None = None,
    ) -> None:
        self.md5: str | None = None
        self.content_md5: str | None = None
        self.request_id: str | None = None
        self._transport = transport
        self._request = request
        self._chunk_size = _checked_size(chunk_size)
        self._priority = priority
        self._max_retries = max_retries
        self._body: Body | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self.md5 is not None:
            raise StopIteration
        if self._is_closed:
            raise _given_up(self._request, self.request_id)
        try:
            chunk = self._step()
        except BaseException:
            self.close()
            raise
        if not chunk:
            self.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Close the connection; what is left of the content is not read."""
        self._is_closed = True
        if self._body is not None:
            self._body.close()

    def _step(self) -> bytes:
        if self._body is None:
            response = self._transport.open(self._request, self._priority, self._max_retries)
            try:
                self._check = _check_of(self._request, response)
            except BaseException:
                response.close()
                raise
            self.content_md5 = self._check.content_md5
            self.request_id = request_id_of(response.headers)
            self._body = Body(response, self._request.about, self._check, self._chunk_size)
        chunk = self._body.receive()
        if not chunk:
            self.md5 = self._check.md5
        return chunk


def _checked_size(chunk_size: int) -> int:
    if chunk_size < 1:
        raise ValueError("chunk_size must be at least 1")
    return chunk_size


def _check_of(request: Request, response: httpx.Response) -> WholeCheck:
    placement = placement_of(request, response.status_code, response.headers)
    return WholeCheck(request.about, placement, request_id_of(response.headers))


def _given_up(request: Request, request_id: str | None) -> TruncatedError:
    what = f"{request.about}: the content was given up before its end"
    return TruncatedError(what, request_id=request_id)
