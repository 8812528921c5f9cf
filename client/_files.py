"""The endpoints of files, generated files and artifacts, for async and for ordinary code."""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, ClassVar, Generic, TypeVar

import anyio
import httpx

from client import _wire as wire
from client._body import placement_of, require_md5
from client._content import AsyncDownloadStream, ContentStream, DownloadStream
from client._errors import FileTooLargeError, RangeNotSatisfiableError
from client._models import Artifact, File, GeneratedFile
from client._pace import Priority, Urgency
from client._transport import AsyncTransport, Transport

Record = TypeVar("Record", File, GeneratedFile, Artifact)

_CHUNK_BYTES = 1 << 20
_INTERACTIVE = Priority.INTERACTIVE


class AsyncContents(Generic[Record]):
    """Records and contents of one family of objects, for trio and asyncio.

    Shape: everywhere, `priority` says who goes first when the request budget is short, and `max_retries`
    None is the client's.
    """

    _collection: ClassVar[wire.Collection]
    _from_dict: Callable[[object], Record]

    def __init__(self, transport: AsyncTransport, max_download_bytes: int) -> None:
        self._transport = transport
        self._max_download_bytes = max_download_bytes

    async def get(
        self,
        claude_file_id: str,
        *,
        priority: Priority = _INTERACTIVE,
        max_retries: int | None = None,
    ) -> Record:
        """Fetch one record, without its bytes.

        Shape: what the API does not tell is None, never 0 or "".
        Errors: NotFoundError, PermissionDeniedError, RateLimitError (tries used up), APIConnectionError,
        BudgetExhaustedError, InvalidResponseError; ValueError for what can't be an id.
        Source: GET on the object.
        """
        request = wire.get_record(self._collection, claude_file_id)
        answer = await self._transport.fetch(request, priority, max_retries)
        return wire.read_record(
            request, answer.headers, answer.body, self._collection.id_field, self._from_dict
        )

    async def download(self, claude_file_id: str, *, priority: Priority = _INTERACTIVE) -> bytes:
        """Fetch the content into memory, and check it.

        Its MD5 is compared with the answer's Content-MD5; without one, with the record's, which costs
        another request. Only where neither is known is nothing but the proper end checked.
        Errors: as `get`; FileTooLargeError beyond the client's `max_download_bytes`, whatever was announced;
        TruncatedError or ContentMismatchError when the bytes do not add up.
        Source: GET on the object's content.
        """
        parts: list[bytes] = []
        size_bytes = 0
        async with self.download_stream(claude_file_id, priority=priority) as stream:
            async for chunk in stream:
                size_bytes += len(chunk)
                _require_fitting(claude_file_id, size_bytes, self._max_download_bytes)
                parts.append(chunk)
        await self._vouch(claude_file_id, stream, priority)
        return b"".join(parts)

    async def download_to_file(
        self,
        claude_file_id: str,
        path: str | os.PathLike[str],
        *,
        priority: Priority = _INTERACTIVE,
    ) -> Path:
        """Fetch the content into a file of any size, and check it as `download` does.

        The bytes are checked and on disk before the file (mode 0600) gets its name; on an error nothing is
        left, and what was there before stays.
        Errors: as `download`, and OSError.
        """
        with _appearing(Path(path)) as target:
            async with self.download_stream(claude_file_id, priority=priority) as stream:
                async for chunk in stream:
                    await anyio.to_thread.run_sync(target.write, chunk)
            await self._vouch(claude_file_id, stream, priority)
            await anyio.to_thread.run_sync(_sync, target)
        return Path(path)

    def download_stream(
        self,
        claude_file_id: str,
        *,
        chunk_size: int = _CHUNK_BYTES,
        priority: Priority = _INTERACTIVE,
        max_retries: int | None = None,
    ) -> AsyncDownloadStream:
        """Return the content as an async iterator of chunks; it opens at the first step.

        Units: `chunk_size` in bytes, the most that a step returns.
        Errors: of its steps; see `AsyncDownloadStream`. It is tried again only until its answer begins.
        """
        request = wire.get_content(self._collection, claude_file_id)
        return AsyncDownloadStream(self._transport, request, chunk_size, priority, max_retries)

    @asynccontextmanager
    async def open_stream(
        self,
        claude_file_id: str,
        *,
        offset: int = 0,
        end: int | None = None,
        ask_range: bool = True,
        priority: Priority | Urgency = _INTERACTIVE,
        max_retries: int | None = None,
    ) -> AsyncIterator[ContentStream]:
        """Open the content at an offset, as far as the server can do that.

        The stream says where it really starts: at 0 where the server ignores ranges. A range is asked for at
        offset 0 too, since the answer then tells, at no cost, whether ranges are honoured. Leaving the
        context closes the connection at once. An `Urgency` may be raised while the request waits.
        Units: `offset` and `end` (exclusive) in bytes.
        Errors: as `get`; RangeNotSatisfiableError beyond the end; InvalidResponseError for a range other
        than the one asked for, before any byte; ValueError for an offset without asking for a range.
        """
        request = wire.get_content(
            self._collection, claude_file_id, offset=offset, end=end, ask_range=ask_range
        )
        request, response = await self._open(request, offset, priority, max_retries)
        try:
            status, headers = response.status_code, response.headers
            placement = placement_of(request, status, headers, offset=offset, end=end)
            stream = ContentStream(request, response, placement)
        except BaseException:
            await response.aclose()
            raise
        try:
            yield stream
        finally:
            await stream.aclose()

    async def _open(
        self,
        request: wire.Request,
        offset: int,
        priority: Priority | Urgency,
        max_retries: int | None,
    ) -> tuple[wire.Request, httpx.Response]:
        try:
            return request, await self._transport.open(request, priority, max_retries)
        except RangeNotSatisfiableError:
            if offset:
                raise
        # From the first byte on, no range is beyond the end but that of an empty content: only a plain
        # request brings that, with its digest.
        request = wire.get_content(self._collection, request.about)
        return request, await self._transport.open(request, priority, max_retries)

    async def _vouch(
        self, claude_file_id: str, stream: AsyncDownloadStream, priority: Priority
    ) -> None:
        """Compare with the record's digest where the answer named none."""
        if stream.content_md5 is None:
            record = await self.get(claude_file_id, priority=priority)
            _require_recorded(claude_file_id, stream, record.md5)


class AsyncFiles(AsyncContents[File]):
    """Files that people uploaded to chats and projects."""

    _collection = wire.FILES
    _from_dict = File.from_dict

    async def delete(self, claude_file_id: str, *, max_retries: int | None = None) -> str | None:
        """Delete a file for ever, for the whole organization.

        Shape: the request id of the confirmation, None where it has none.
        It is tried again only after a 429 or when no connection was made: never when it may have been done.
        Errors: NotFoundError when it is gone already; PermissionDeniedError without the delete scope; any
        other status as APIError. After APIConnectionError with `bytes_sent`, a 5xx, or InvalidResponseError
        it is not known whether it was deleted.
        Source: DELETE /v1/compliance/apps/chats/files/{claude_file_id}
        """
        request = wire.delete_object(self._collection, claude_file_id)
        answer = await self._transport.fetch(request, _INTERACTIVE, max_retries)
        return wire.check_deleted(request, answer.headers, answer.body, self._collection)


class AsyncGeneratedFiles(AsyncContents[GeneratedFile]):
    """Files that were made in chats; they can't be deleted through the API."""

    _collection = wire.GENERATED_FILES
    _from_dict = GeneratedFile.from_dict


class AsyncArtifacts(AsyncContents[Artifact]):
    """Versions of artifacts, by their version id; they can't be deleted through the API."""

    _collection = wire.ARTIFACTS
    _from_dict = Artifact.from_dict


class Contents(Generic[Record]):
    """Records and contents of one family of objects, for ordinary code; see `AsyncContents`."""

    _collection: ClassVar[wire.Collection]
    _from_dict: Callable[[object], Record]

    def __init__(self, transport: Transport, max_download_bytes: int) -> None:
        self._transport = transport
        self._max_download_bytes = max_download_bytes

    def get(
        self,
        claude_file_id: str,
        *,
        priority: Priority = _INTERACTIVE,
        max_retries: int | None = None,
    ) -> Record:
        """Fetch one record, without its bytes; see `AsyncContents.get`."""
        request = wire.get_record(self._collection, claude_file_id)
        answer = self._transport.fetch(request, priority, max_retries)
        return wire.read_record(
            request, answer.headers, answer.body, self._collection.id_field, self._from_dict
        )

    def download(self, claude_file_id: str, *, priority: Priority = _INTERACTIVE) -> bytes:
        """Fetch the content into memory, and check it; see `AsyncContents.download`."""
        parts: list[bytes] = []
        size_bytes = 0
        with self.download_stream(claude_file_id, priority=priority) as stream:
            for chunk in stream:
                size_bytes += len(chunk)
                _require_fitting(claude_file_id, size_bytes, self._max_download_bytes)
                parts.append(chunk)
        self._vouch(claude_file_id, stream, priority)
        return b"".join(parts)

    def download_to_file(
        self,
        claude_file_id: str,
        path: str | os.PathLike[str],
        *,
        priority: Priority = _INTERACTIVE,
    ) -> Path:
        """Fetch the content into a file, and check it; see `AsyncContents.download_to_file`."""
        with _appearing(Path(path)) as target:
            with self.download_stream(claude_file_id, priority=priority) as stream:
                for chunk in stream:
                    target.write(chunk)
            self._vouch(claude_file_id, stream, priority)
            _sync(target)
        return Path(path)

    def download_stream(
        self,
        claude_file_id: str,
        *,
        chunk_size: int = _CHUNK_BYTES,
        priority: Priority = _INTERACTIVE,
        max_retries: int | None = None,
    ) -> DownloadStream:
        """Return the content as an iterator of chunks; see `AsyncContents.download_stream`."""
        request = wire.get_content(self._collection, claude_file_id)
        return DownloadStream(self._transport, request, chunk_size, priority, max_retries)

    def _vouch(self, claude_file_id: str, stream: DownloadStream, priority: Priority) -> None:
        if stream.content_md5 is None:
            record = self.get(claude_file_id, priority=priority)
            _require_recorded(claude_file_id, stream, record.md5)


class Files(Contents[File]):
    """Files that people uploaded to chats and projects."""

    _collection = wire.FILES
    _from_dict = File.from_dict

    def delete(self, claude_file_id: str, *, max_retries: int | None = None) -> str | None:
        """Delete a file for ever, for the whole organization; see `AsyncFiles.delete`."""
        request = wire.delete_object(self._collection, claude_file_id)
        answer = self._transport.fetch(request, _INTERACTIVE, max_retries)
        return wire.check_deleted(request, answer.headers, answer.body, self._collection)


class GeneratedFiles(Contents[GeneratedFile]):
    """Files that were made in chats; they can't be deleted through the API."""

    _collection = wire.GENERATED_FILES
    _from_dict = GeneratedFile.from_dict


class Artifacts(Contents[Artifact]):
    """Versions of artifacts, by their version id; they can't be deleted through the API."""

    _collection = wire.ARTIFACTS
    _from_dict = Artifact.from_dict


def _require_fitting(about: str, size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise FileTooLargeError(
            f"{about}: the content is larger than {limit_bytes} bytes;"
            " download it to a file, or raise max_download_bytes",
            limit_bytes=limit_bytes,
        )


def _require_recorded(
    about: str, stream: AsyncDownloadStream | DownloadStream, recorded_md5: str | None
) -> None:
    if recorded_md5 is not None and stream.md5 is not None:
        require_md5(about, stream.md5, recorded_md5, stream.request_id)


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """Lend a temporary file that takes `path`'s place when the block ends well, and vanishes otherwise."""
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name[:60]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as target:
            yield target
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _sync(target: IO[bytes]) -> None:
    target.flush()
    os.fsync(target.fileno())
