"""The endpoints of files, generated files and artifacts, for async and for ordinary code."""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Generic, TypeVar

import anyio

from client import _wire as wire
from client._content import (
    AsyncDownloadStream,
    ContentStream,
    DownloadStream,
    require_proper_end,
)
from client._errors import FileTooLargeError
from client._models import Artifact, File, GeneratedFile
from client._pace import Priority
from client._transport import AsyncTransport, Transport

Record = TypeVar("Record")

_CHUNK_BYTES = 1 << 20


class AsyncContents(Generic[Record]):
    """Records and contents of one family of objects, for trio and asyncio."""

    _collection: wire.Collection
    _id_field = "id"
    _from_dict: Callable[[object], Record]

    def __init__(self, transport: AsyncTransport, max_download_bytes: int) -> None:
        self._transport = transport
        self._max_download_bytes = max_download_bytes

    async def get(
        self, claude_file_id: str, *, priority: Priority = Priority.INTERACTIVE
    ) -> Record:
        """Fetch one record, without its bytes.

        Shape: what the API does not tell is None, never 0 or "".
        Errors: NotFoundError, PermissionDeniedError, RateLimitError (tries used up), APIConnectionError,
        InvalidResponseError; ValueError for what can't be an id.
        Source: GET on the object.
        """
        request = wire.get_record(self._collection, claude_file_id)
        body, headers = await self._transport.fetch(request, priority)
        return self._from_dict(wire.decode_record(request, body, headers, id_field=self._id_field))

    async def download(self, claude_file_id: str) -> bytes:
        """Fetch the content into memory.

        Errors: as `get`; FileTooLargeError beyond the client's `max_download_bytes`, whatever was announced;
        TruncatedError or ContentMismatchError when the bytes do not add up.
        Source: GET on the object's content.
        """
        parts: list[bytes] = []
        size_bytes = 0
        async with self.download_stream(claude_file_id) as stream:
            async for chunk in stream:
                size_bytes += len(chunk)
                check_size(claude_file_id, size_bytes, self._max_download_bytes)
                parts.append(chunk)
        return b"".join(parts)

    async def download_to_file(self, claude_file_id: str, path: str | os.PathLike[str]) -> Path:
        """Fetch the content into a file, of any size.

        The bytes are checked and on disk before the file gets its name; on an error nothing is left, and
        what was there before stays.
        Errors: as `download`, and OSError.
        """
        with _appearing(Path(path)) as target:
            async with self.download_stream(claude_file_id) as stream:
                async for chunk in stream:
                    await anyio.to_thread.run_sync(target.write, chunk)
            await anyio.to_thread.run_sync(_sync, target)
        return Path(path)

    def download_stream(
        self,
        claude_file_id: str,
        *,
        chunk_size: int = _CHUNK_BYTES,
        priority: Priority = Priority.INTERACTIVE,
    ) -> AsyncDownloadStream:
        """Return the content as an async iterator of chunks; it opens at the first step.

        Units: `chunk_size` in bytes, the most that a step returns.
        Errors: of its steps; see `AsyncDownloadStream`.
        """
        request = wire.get_content(self._collection, claude_file_id)
        return AsyncDownloadStream(self._transport, request, priority, chunk_size)

    @asynccontextmanager
    async def open_stream(
        self,
        claude_file_id: str,
        *,
        offset: int = 0,
        end: int | None = None,
        ask_range: bool = True,
        priority: Priority = Priority.INTERACTIVE,
    ) -> AsyncIterator[ContentStream]:
        """Open the content at an offset, as far as the server can do that.

        The stream says where it really starts: at 0 where the server ignores ranges. A range is asked for at
        offset 0 too, since the answer then tells, at no cost, whether ranges are honoured.
        Units: `offset` and `end` (exclusive) in bytes.
        Errors: as `get`; InvalidResponseError for a range other than the one asked for, before any byte.
        """
        request = wire.get_content(
            self._collection, claude_file_id, offset=offset, end=end, ask_range=ask_range
        )
        response = await self._transport.open(request, priority)
        try:
            placement = wire.placement_of(
                request, response.status_code, response.headers, offset=offset, end=end
            )
            require_proper_end(request, response)
            yield ContentStream(request, response, placement)
        finally:
            await response.aclose()


class AsyncFiles(AsyncContents[File]):
    """Files that people uploaded to chats and projects."""

    _collection = wire.FILES
    _from_dict = File.from_dict

    async def delete(self, claude_file_id: str) -> None:
        """Delete a file for ever, for the whole organization.

        Errors: NotFoundError when it is gone already; PermissionDeniedError without the delete scope; any
        other non-2xx as APIError. After APIConnectionError with `bytes_sent`, a 5xx, or InvalidResponseError
        it is not known whether it was deleted.
        Source: DELETE /v1/compliance/apps/chats/files/{claude_file_id}
        """
        request = wire.delete_object(self._collection, claude_file_id)
        body, headers = await self._transport.fetch(request, Priority.INTERACTIVE)
        wire.check_deleted(request, body, headers, "claude_file_deleted")


class AsyncGeneratedFiles(AsyncContents[GeneratedFile]):
    """Files that were made in chats; they can't be deleted through the API."""

    _collection = wire.GENERATED_FILES
    _from_dict = GeneratedFile.from_dict


class AsyncArtifacts(AsyncContents[Artifact]):
    """Versions of artifacts, by their version id; they can't be deleted through the API."""

    _collection = wire.ARTIFACTS
    _id_field = "version_id"
    _from_dict = Artifact.from_dict


class Contents(Generic[Record]):
    """Records and contents of one family of objects, for ordinary code; see `AsyncContents`."""

    _collection: wire.Collection
    _id_field = "id"
    _from_dict: Callable[[object], Record]

    def __init__(self, transport: Transport, max_download_bytes: int) -> None:
        self._transport = transport
        self._max_download_bytes = max_download_bytes

    def get(self, claude_file_id: str, *, priority: Priority = Priority.INTERACTIVE) -> Record:
        """Fetch one record, without its bytes; see `AsyncContents.get`."""
        request = wire.get_record(self._collection, claude_file_id)
        body, headers = self._transport.fetch(request, priority)
        return self._from_dict(wire.decode_record(request, body, headers, id_field=self._id_field))

    def download(self, claude_file_id: str) -> bytes:
        """Fetch the content into memory; see `AsyncContents.download`."""
        parts: list[bytes] = []
        size_bytes = 0
        with self.download_stream(claude_file_id) as stream:
            for chunk in stream:
                size_bytes += len(chunk)
                check_size(claude_file_id, size_bytes, self._max_download_bytes)
                parts.append(chunk)
        return b"".join(parts)

    def download_to_file(self, claude_file_id: str, path: str | os.PathLike[str]) -> Path:
        """Fetch the content into a file, of any size; see `AsyncContents.download_to_file`."""
        with _appearing(Path(path)) as target:
            with self.download_stream(claude_file_id) as stream:
                for chunk in stream:
                    target.write(chunk)
            _sync(target)
        return Path(path)

    def download_stream(
        self,
        claude_file_id: str,
        *,
        chunk_size: int = _CHUNK_BYTES,
        priority: Priority = Priority.INTERACTIVE,
    ) -> DownloadStream:
        """Return the content as an iterator of chunks; see `AsyncContents.download_stream`."""
        request = wire.get_content(self._collection, claude_file_id)
        return DownloadStream(self._transport, request, priority, chunk_size)


class Files(Contents[File]):
    """Files that people uploaded to chats and projects."""

    _collection = wire.FILES
    _from_dict = File.from_dict

    def delete(self, claude_file_id: str) -> None:
        """Delete a file for ever, for the whole organization; see `AsyncFiles.delete`."""
        request = wire.delete_object(self._collection, claude_file_id)
        body, headers = self._transport.fetch(request, Priority.INTERACTIVE)
        wire.check_deleted(request, body, headers, "claude_file_deleted")


class GeneratedFiles(Contents[GeneratedFile]):
    """Files that were made in chats; they can't be deleted through the API."""

    _collection = wire.GENERATED_FILES
    _from_dict = GeneratedFile.from_dict


class Artifacts(Contents[Artifact]):
    """Versions of artifacts, by their version id; they can't be deleted through the API."""

    _collection = wire.ARTIFACTS
    _id_field = "version_id"
    _from_dict = Artifact.from_dict


def check_size(about: str, size_bytes: int, limit_bytes: int) -> None:
    """Raise FileTooLargeError beyond the limit."""
    if size_bytes > limit_bytes:
        raise FileTooLargeError(
            f"{about}: the content is larger than {limit_bytes} bytes;"
            " download it to a file, or raise max_download_bytes",
            limit_bytes=limit_bytes,
        )


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """Lend a temporary file that takes `path`'s place when the block ends well, and vanishes otherwise."""
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
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
