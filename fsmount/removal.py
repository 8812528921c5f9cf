"""What unlink and rmdir come to: which names may go, and what goes with a file that is deleted for ever.

The guards and the custody entries around the request are in `deletion`.
"""

import functools

from fsmount.callers import Caller
from fsmount.catalog import Catalog, Entry
from fsmount.content import Contents
from fsmount.deletion import Deleter
from fsmount.entries import Entries
from fsmount.errors import AbsentError, NotEmptyError, ReadOnlyError, RefusedError
from fsmount.names import META_NAME
from fsmount.objects import State, is_deletable


class Removal:
    """Takes files out of the tree, where the mount lets anything be deleted at all (`deleter` not None)."""

    def __init__(
        self, catalog: Catalog, contents: Contents, entries: Entries, deleter: Deleter | None
    ) -> None:
        self._catalog = catalog
        self._contents = contents
        self._entries = entries
        self._deleter = deleter

    def require_allowed(self) -> Deleter:
        """Return what deletes.

        Errors: ReadOnlyError.
        """
        if self._deleter is None:
            raise ReadOnlyError("nothing can be deleted in this mount")
        return self._deleter

    async def unlink(self, number: int, name: bytes, caller: Caller) -> bool:
        """Delete file `number`, or take away what it left when it was deleted; say whether it was now.

        Errors: AbsentError, RefusedError; those of `Deleter.delete`.
        """
        deleter = self.require_allowed()
        remains = self._entries.remains.of(number)
        if remains is not None:
            if name not in remains:
                raise AbsentError("it has been deleted")
            remains.discard(name)
            return False
        # For nobody in particular: deleting pulls no content, so no program is kept from it.
        entry = await self._entries.with_record(self._entries.get(number), None)
        _check(entry, name)
        deleter.check(number, entry.claude_file_id, caller)
        record = entry.record.raw if entry.record else None
        forget = functools.partial(self._forget, entry, {META_NAME} - {name})
        await deleter.delete(entry.claude_file_id, record, caller, forget)
        return True

    def rmdir(self, name: bytes) -> None:
        """Remove the empty directory of a deleted file, by its name in the root.

        Errors: RefusedError, NotEmptyError.
        """
        self.require_allowed()
        entry = self._catalog.find(name.decode(errors="replace"))
        if entry is None:
            raise RefusedError("only directories of deleted files can be removed")
        remains = self._entries.remains.of(entry.number)
        if remains is None or remains:
            raise NotEmptyError(f"{entry.claude_file_id}: its content still exists")
        self._entries.remains.clear(entry.number)

    async def forget(self, claude_file_id: str) -> bool:
        """Take out a file that turned out to be deleted; say whether anything of it was left."""
        entry = self._catalog.find(claude_file_id)
        if entry is None:
            return False
        is_left = (
            entry.state is not State.DELETED or self._contents.find(claude_file_id) is not None
        )
        if is_left:
            await self._forget(entry)
        return is_left

    async def _forget(self, entry: Entry, remains: set[bytes] | None = None) -> None:
        if remains is not None:
            self._entries.remains.leave(entry.number, remains)
        await self._catalog.mark_deleted(entry.claude_file_id)
        await self._contents.discard(entry.claude_file_id)


def _check(entry: Entry, name: bytes) -> None:
    if name not in (entry.content_name, META_NAME):
        raise AbsentError(f"{entry.claude_file_id} has no such entry")
    if name == META_NAME and entry.has_content:
        raise RefusedError(
            f"{entry.claude_file_id}: meta.json goes with the content; delete the content instead"
        )
    if not is_deletable(entry.claude_file_id):
        raise RefusedError(
            f"{entry.claude_file_id}: the service can't delete what was made in chats"
        )
