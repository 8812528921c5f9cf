"""The files that programs have open: content, meta.json, and the mount's own document.

What needs no waiting is answered by the `_nowait` methods; their partners wait where those return None.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator

import client
from fsmount.answers import MountCounters, Opened
from fsmount.body import OpenContent
from fsmount.callers import Caller
from fsmount.catalog import Entry
from fsmount.entries import Entries
from fsmount.errors import ReadOnlyError, StaleError
from fsmount.file_nodes import FileNodes
from fsmount.gate import Gate
from fsmount.inodes import STATUS, Handle, HandleTable, Inode, Kind, split
from fsmount.nowait import Data
from fsmount.status_file import StatusFile

_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_TRUNC


@dataclasses.dataclass(frozen=True, slots=True)
class _OpenBytes:
    """A small file whose bytes were made when it was opened."""

    data: bytes


class OpenFiles:
    """Opens, reads and closes files.

    `on_open` is told of a content's file before it is opened, `on_reader` of who opened it. Offsets and
    sizes are in bytes. Errors: the classes of `errors`, and the client's where the service was asked.
    """

    def __init__(
        self,
        entries: Entries,
        nodes: FileNodes,
        gate: Gate,
        status: StatusFile,
        counters: MountCounters,
        *,
        on_open: Callable[[Entry], None],
        on_reader: Callable[[int, Caller], None],
    ) -> None:
        self._entries = entries
        self._nodes = nodes
        self._gate = gate
        self._status = status
        self._counters = counters
        self._on_open = on_open
        self._on_reader = on_reader
        self._open: HandleTable[_OpenBytes | OpenContent] = HandleTable()

    def open_nowait(self, inode: Inode, flags: int, caller: Caller) -> Opened | None:
        """Open a file for reading, if nothing has to be fetched for that."""
        if flags & _WRITE_FLAGS:
            raise ReadOnlyError("files of this mount can't be written")
        if inode == STATUS:
            return self._opened_bytes(self._status.renewed())
        number, kind = split(inode)
        entry = self._entries.get(number)
        if not self._entries.suffices(entry):
            return None
        if kind is Kind.META:
            return self._opened_bytes(self._nodes.meta_bytes(entry))
        content = self._entries.open_content_nowait(entry)
        if content is None:
            return None
        with _closed_on_error(content):
            self._note(entry)
            return self._opened_content(entry, content, caller)

    async def open(self, inode: Inode, flags: int, caller: Caller) -> Opened:
        """Open a file for reading; a small one only once it is whole and verified."""
        if opened := self.open_nowait(inode, flags, caller):
            return opened
        number, kind = split(inode)
        entry = await self._entries.with_record(self._entries.get(number), caller)
        if kind is Kind.META:
            return self._opened_bytes(self._nodes.meta_bytes(entry))
        if not self._entries.is_stored(entry):
            self._gate.require(entry.claude_file_id, caller)
        self._note(entry)
        content = await self._entries.open_content(entry)
        with _closed_on_error(content):
            return self._opened_content(entry, content, caller)

    def read_nowait(self, handle: Handle, off: int, size: int) -> Data | None:
        """Return what `read` does, if it is in memory."""
        opened = self._open.get(handle)
        if isinstance(opened, _OpenBytes):
            return opened.data[off : off + size]
        return opened.read_nowait(off, size)

    async def read(self, handle: Handle, off: int, size: int) -> Data:
        """Return the bytes of [off, off + size), fewer only at the end of the file."""
        opened = self._open.get(handle)
        if isinstance(opened, _OpenBytes):
            return opened.data[off : off + size]
        try:
            async with self._entries.noting_gone(opened.body.claude_file_id):
                return await opened.read(off, size)
        except client.NotFoundError as error:
            raise StaleError(
                f"{opened.body.claude_file_id}: it was deleted from the service while it was open,"
                f" and its bytes are not stored (request {error.request_id})"
            ) from error

    def release(self, handle: Handle) -> None:
        """Close a file."""
        opened = self._open.release(handle)
        if isinstance(opened, OpenContent):
            opened.close()

    def describe(self, handle: Handle) -> str:
        """Return what an open file is, for messages."""
        opened = self._open.get(handle)
        return opened.body.claude_file_id if isinstance(opened, OpenContent) else "metadata"

    def _note(self, entry: Entry) -> None:
        self._counters.opens += 1
        self._on_open(entry)

    def _opened_bytes(self, data: bytes) -> Opened:
        return Opened(self._open.open(_OpenBytes(data)), keep_cache=False)

    def _opened_content(self, entry: Entry, content: OpenContent, caller: Caller) -> Opened:
        self._on_reader(entry.number, caller)
        return Opened(self._open.open(content), keep_cache=content.keep_cache)


@contextlib.contextmanager
def _closed_on_error(content: OpenContent) -> Iterator[None]:
    try:
        yield
    except BaseException:
        content.close()
        raise
