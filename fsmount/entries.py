"""One file of the catalog, with what has to be asked for: its record, its size, its content.

Here is decided what the service is asked for at all, and what it means when it does not know a file.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import client
from fsmount.body import OpenContent
from fsmount.callers import Caller
from fsmount.catalog import Catalog, Entry
from fsmount.content import Contents
from fsmount.deletion import Remains
from fsmount.errors import AbsentError, OfflineError
from fsmount.file_nodes import FileNodes
from fsmount.gate import Gate
from fsmount.objects import State
from fsmount.service import Service
from fsmount.tree import Attributes


class Entries:
    """The files of a case as a mount shows them.

    `on_gone` is told of a file that was shown and that the service does not know any more.
    Units: `verified_open_bytes` in bytes, None: without bound.
    Errors: OfflineError, and the client's where the service was asked.
    """

    def __init__(
        self,
        catalog: Catalog,
        contents: Contents,
        service: Service | None,
        nodes: FileNodes,
        *,
        gate: Gate,
        verified_open_bytes: int | None,
        on_gone: Callable[[str, client.NotFoundError], None],
    ) -> None:
        self.remains = Remains()
        self._gate = gate
        self._catalog = catalog
        self._contents = contents
        self._service = service
        self._nodes = nodes
        self._verified_open_bytes = verified_open_bytes
        self._on_gone = on_gone

    def is_stored(self, entry: Entry) -> bool:
        """Say whether the content can be read without a request."""
        return self._contents.is_stored(entry.claude_file_id)

    def named_nowait(self, name: bytes) -> Entry | None:
        """Find an id that is shown in the root."""
        entry = self._catalog.find(name.decode("ascii"))
        return entry if entry and self._is_shown(entry) else None

    async def named(self, name: bytes) -> Entry | None:
        """Find an id in the root; one that the case does not know costs one request."""
        if entry := self.named_nowait(name):
            return entry
        claude_file_id = name.decode("ascii")
        entry = self._catalog.find(claude_file_id)
        if entry and entry.state is State.SEEN:
            await self._catalog.show(claude_file_id)
            return entry
        if self._service is None:
            return None
        try:
            record = await self._service.get(claude_file_id)
        except client.NotFoundError:
            return None
        return await self._catalog.put_record(record)

    def get(self, number: int) -> Entry:
        """Return a file that is shown, by its number.

        Errors: AbsentError.
        """
        entry = self._catalog.find_number(number)
        if entry is None or not self._is_shown(entry):
            raise AbsentError("the file is gone")
        return entry

    def _is_shown(self, entry: Entry) -> bool:
        return entry.is_shown or self.remains.of(entry.number) is not None

    def has_name(self, entry: Entry, name: bytes) -> bool:
        """Say whether a name is still there: of a deleted file they go one by one."""
        remains = self.remains.of(entry.number)
        return remains is None or name in remains

    def suffices(self, entry: Entry) -> bool:
        """Say whether enough is known of a file to show what its directory holds."""
        # Offline, whether there is content can't be found out now.
        return entry.is_settled or (self._service is None and entry.record is not None)

    async def with_record(self, entry: Entry, caller: Caller | None) -> Entry:
        """Return the entry with its record, asking the service where what is known does not suffice.

        Errors: AccessRefusedError, for a caller that may not cause that.
        """
        if self.suffices(entry):
            return entry
        self._gate.require(entry.claude_file_id, caller)
        if self._service is None:
            raise OfflineError(
                f"{entry.claude_file_id}: the case does not hold its record and the mount is offline"
            )
        async with self.noting_gone(entry.claude_file_id):
            record = await self._service.get(entry.claude_file_id)
        return await self._catalog.put_record(record)

    def content_attributes_nowait(self, entry: Entry) -> Attributes | None:
        """Return attributes with the exact size, if it is known."""
        size_bytes = self._nodes.size_bytes(entry)
        return None if size_bytes is None else self._nodes.content(entry, size_bytes)

    async def content_attributes(self, entry: Entry, caller: Caller | None) -> Attributes:
        """Return attributes with the exact size, which may mean fetching the content first.

        Errors: AccessRefusedError, for a caller that may not cause that.
        """
        size_bytes = self._nodes.size_bytes(entry)
        if size_bytes is None:
            self._gate.require(entry.claude_file_id, caller)
            async with self.noting_gone(entry.claude_file_id):
                size_bytes = await self._contents.measure(entry.claude_file_id, _md5(entry))
        return self._nodes.content(entry, size_bytes)

    def open_content_nowait(self, entry: Entry) -> OpenContent | None:
        """Open content that is stored."""
        return self._contents.open_nowait(entry.claude_file_id, _md5(entry))

    async def open_content(self, entry: Entry) -> OpenContent:
        """Open the content; up to the bound only once it is whole and verified."""
        size_bytes = self._nodes.size_bytes(entry)
        bound = self._verified_open_bytes
        whole = size_bytes is None or bound is None or size_bytes <= bound
        async with self.noting_gone(entry.claude_file_id):
            return await self._contents.open(
                entry.claude_file_id, size_bytes, _md5(entry), whole=whole
            )

    @asynccontextmanager
    async def noting_gone(self, claude_file_id: str) -> AsyncIterator[None]:
        """Stop showing a file once the service says that it does not know it; what is stored is kept."""
        try:
            yield
        except client.NotFoundError as error:
            if await self._catalog.mark_gone(claude_file_id):
                self._on_gone(claude_file_id, error)
            raise


def _md5(entry: Entry) -> str | None:
    return entry.record.md5 if entry.record else None
