"""The file system in our own types: lookup, getattr, list, open, read, unlink.

Every answer comes from memory or the catalog's index, except four things that may ask the service: the
first look into a directory whose record is not known yet, the size of a content entry that no record
tells, content that is not stored, and a deletion. The kernel's side of all this is in `operations`.
"""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator

import trio

import client
from fsmount.answers import Absent, Counters, DirEntry, Opened, Rules, Stale, StatFs
from fsmount.body import OpenContent
from fsmount.browse import Views
from fsmount.callers import Caller, program_of
from fsmount.catalog import Catalog, Entry
from fsmount.content import Contents
from fsmount.deletion import Deleter, Readers
from fsmount.entries import Entries
from fsmount.errors import (
    AbsentError,
    AccessRefusedError,
    NoAttributeError,
    NotADirectoryHereError,
    ReadOnlyError,
    RefusedError,
    StaleError,
)
from fsmount.inodes import (
    HIDDEN_DIR,
    ROOT,
    STATUS,
    Handle,
    HandleTable,
    Inode,
    Kind,
    directory_of,
    is_given_out,
    split,
    view_node,
)
from fsmount.listing import EntriesBehind, OpenDirectory
from fsmount.names import META_NAME
from fsmount.removal import Removal
from fsmount.service import Service
from fsmount.tree import Attributes, directory_attributes, file_attributes
from fsmount.view import ABSENT_S, NAME_S, UNSETTLED_S, View

log = logging.getLogger(__name__)

HIDDEN_NAME = b".fsmount"
STATUS_NAME = b"status.json"
_DOTS = (b".", b"..")

_STATUS_MEMORY_S = (
    1.0  # so long the document stays as it is: what stat said is what a reader then gets
)
_FIXED = frozenset({ROOT, HIDDEN_DIR, STATUS})
_PAGE_ENTRIES = 1000
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_TRUNC


@dataclasses.dataclass(frozen=True, slots=True)
class _OpenBytes:
    """A small file whose bytes were made when it was opened."""

    data: bytes


_OpenFile = _OpenBytes | OpenContent


class Filesystem:
    """The tree of one case.

    Names are bytes as the kernel has them; sizes and offsets are in bytes. Errors: the classes of
    `errors`, and the client's where the service was asked.
    """

    def __init__(
        self,
        catalog: Catalog,
        contents: Contents,
        service: Service | None,
        deleter: Deleter | None,
        readers: Readers,
        rules: Rules,
        *,
        status: Callable[[], bytes],
        on_stale: Callable[[Stale], None],
        on_gone: Callable[[str, client.NotFoundError], None],
        on_open: Callable[[Entry], None] = lambda _entry: None,
        views: Views | None = None,
    ) -> None:
        self.counters = Counters()
        self._catalog = catalog
        self._contents = contents
        self._readers = readers
        self._rules = rules
        self._status = status
        self._status_document = b""
        self._status_until = 0.0
        self._on_stale = on_stale
        self._on_open = on_open
        self._views = views
        self._view = View(contents, is_writable=rules.allow_delete)
        self._entries = Entries(
            catalog,
            contents,
            service,
            self._view,
            verified_open_bytes=rules.verified_open_bytes,
            on_gone=on_gone,
        )
        self._removal = Removal(catalog, contents, self._entries, deleter)
        self._files: HandleTable[_OpenFile] = HandleTable()
        self._directories: HandleTable[tuple[Inode, OpenDirectory]] = HandleTable()

    @property
    def allows_delete(self) -> bool:
        """Say whether unlink can reach the service at all."""
        return self._rules.allow_delete

    # -- names and attributes --------------------------------------------------------------------

    async def lookup(self, parent: Inode, name: bytes, caller: Caller) -> Attributes | Absent:
        """Find one name; a name that can't exist costs nothing and is remembered by the kernel."""
        if name in _DOTS:
            return await self.getattr(self._by_number(parent, name), caller)
        if parent == ROOT:
            return await self._lookup_in_root(name)
        if parent == HIDDEN_DIR:
            return self._status_attributes() if name == STATUS_NAME else Absent(ABSENT_S)
        if (node := view_node(parent)) and self._views:
            return self._views.lookup(node, name)
        return await self._lookup_of_file(parent, name, caller)

    async def _lookup_of_file(
        self, parent: Inode, name: bytes, caller: Caller
    ) -> Attributes | Absent:
        number, kind = split(parent)
        if kind is not Kind.DIRECTORY:
            raise NotADirectoryHereError(f"inode {parent} is not a directory")
        if name.startswith(
            b"."
        ):  # no content name begins with a dot, so no record is needed to know
            return Absent(ABSENT_S)
        entry = await self._with_record(self._entries.get(number), caller)
        if name == META_NAME and self._entries.has_name(entry, name):
            return self._view.meta(entry)
        if name == entry.content_name and entry.has_content and self._entries.has_name(entry, name):
            return await self._content_attributes(entry, caller)
        return Absent(ABSENT_S)

    def _by_number(self, inode: Inode, name: bytes) -> Inode:
        """Return a node that the kernel has forgotten, or with `..` the directory that it is in.

        The number comes from outside, from a client of an NFS server, so it may be any.
        """
        if not is_given_out(inode):
            raise AbsentError(f"no node has the number {inode}")
        if name == b".":
            return inode
        if (node := view_node(inode)) and self._views:
            return self._views.parent(node)
        return directory_of(inode)

    async def getattr(self, inode: Inode, caller: Caller | None) -> Attributes:
        """Return the attributes of a node that the kernel knows."""
        if inode in (ROOT, HIDDEN_DIR):
            return self._fixed_directory(inode)
        if inode == STATUS:
            return self._status_attributes()
        if (node := view_node(inode)) and self._views:
            return self._views.getattr(node)
        number, kind = split(inode)
        entry = self._entries.get(number)
        if kind is Kind.DIRECTORY:
            return self._view.directory(entry)
        entry = await self._with_record(entry, caller)
        return (
            self._view.meta(entry)
            if kind is Kind.META
            else await self._content_attributes(entry, caller)
        )

    def readlink(self, inode: Inode) -> bytes:
        """Return where a link of the views leads."""
        node = view_node(inode)
        if node is None or self._views is None:
            raise RefusedError("this is no link")
        return self._views.readlink(node)

    def getxattr(self, inode: Inode, name: bytes) -> bytes:
        """Return one extended attribute, from what is known."""
        if _is_our_own(inode):
            raise NoAttributeError("the mount's own nodes have no attributes")
        return self._view.xattr(*self._known_node(inode), name)

    def listxattr(self, inode: Inode) -> list[bytes]:
        """Return the names of the extended attributes of a node."""
        if _is_our_own(inode):
            return []
        return sorted(self._view.xattrs(*self._known_node(inode)))

    def statfs(self) -> StatFs:
        """Return the number of files in the case."""
        return StatFs(files=self._catalog.count())

    # -- listing ---------------------------------------------------------------------------------

    async def opendir(self, inode: Inode, caller: Caller) -> Handle:
        """Open a directory; one of a file is listed as it is now, the root as it is when read."""
        directory = OpenDirectory(await self._directory(inode, caller), self._catalog.version)
        return self._directories.open((inode, directory))

    def readdir(self, handle: Handle, start: int) -> Iterator[DirEntry]:
        """Yield the entries after position `start`; positions stay valid while files come and go."""
        _, directory = self._directories.get(handle)
        return directory.behind(start)

    def inode_of_open(self, handle: Handle) -> Inode:
        """Return which directory is open: its own entry in its listing."""
        return self._directories.get(handle)[0]

    def parent_of_open(self, handle: Handle) -> Inode:
        """Return which directory the open one is in."""
        return self._by_number(self.inode_of_open(handle), b"..")

    async def _directory(self, inode: Inode, caller: Caller) -> EntriesBehind:
        if inode == ROOT:
            return self._entries_of_root
        if (node := view_node(inode)) and self._views:
            return self._views.opendir(node)
        if inode == HIDDEN_DIR:
            entries = [DirEntry(STATUS_NAME, self._status_attributes(), 3)]
        else:
            number, kind = split(inode)
            if kind is not Kind.DIRECTORY:
                raise NotADirectoryHereError(f"inode {inode} is not a directory")
            entry = await self._with_record(self._entries.get(number), caller)
            entries = list(self._entries_of(entry))
        return lambda start: (entry for entry in entries if entry.next_id > start)

    def releasedir(self, handle: Handle) -> None:
        """Close a directory."""
        self._directories.release(handle)

    def _entries_of_root(self, start: int) -> Iterator[DirEntry]:
        """Walk the catalog page by page: memory stays small, whatever the number of files."""
        after = start
        while page := self._catalog.page(after, _PAGE_ENTRIES):
            yield from self._view.listed(page)
            after = page[-1][0]
        if self._views:
            yield from self._views.entries_of_root(start)

    def _entries_of(self, entry: Entry) -> Iterator[DirEntry]:
        """List content first, so that `rm -r` deletes it before it meets meta.json."""
        if (
            entry.has_content
            and entry.content_name
            and self._entries.has_name(entry, entry.content_name)
        ):
            attributes = self._view.content(entry, self._view.size_bytes(entry))
            yield DirEntry(entry.content_name, attributes, 1)
        if self._entries.has_name(entry, META_NAME):
            yield DirEntry(META_NAME, self._view.meta(entry), 2)

    # -- reading ---------------------------------------------------------------------------------

    async def open(self, inode: Inode, flags: int, caller: Caller) -> Opened:
        """Open a file for reading; a small one only once it is whole and verified."""
        if flags & _WRITE_FLAGS:
            raise ReadOnlyError("files of this mount can't be written")
        if inode == STATUS:
            self._status_until = 0.0
            opened_bytes = _OpenBytes(self._status_bytes())
            return Opened(self._files.open(opened_bytes), keep_cache=False)
        number, kind = split(inode)
        entry = await self._with_record(self._entries.get(number), caller)
        if kind is Kind.META:
            opened = _OpenBytes(self._view.meta_bytes(entry))
            return Opened(self._files.open(opened), keep_cache=False)
        self.counters.opens += 1
        if not self._contents.is_stored(entry.claude_file_id):
            self._refuse_denied_program(entry, caller)
        self._on_open(entry)
        content = await self._entries.open_content(entry)
        if self._rules.allow_delete:
            self._readers.note(number, caller)
        return Opened(self._files.open(content), keep_cache=content.keep_cache)

    async def read(self, handle: Handle, off: int, size: int) -> bytes:
        """Return the bytes of [off, off + size), fewer only at the end of the file."""
        opened = self._files.get(handle)
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
        opened = self._files.release(handle)
        if isinstance(opened, OpenContent):
            opened.close()

    # -- deleting --------------------------------------------------------------------------------

    async def unlink(self, parent: Inode, name: bytes, caller: Caller) -> None:
        """Delete a file for ever, or take away what a deleted one left behind."""
        if _is_our_own(parent):
            self._removal.require_allowed()
            raise RefusedError("only the content of a file can be deleted")
        number, _ = split(parent)
        if await self._removal.unlink(number, name, caller):
            self.counters.deleted += 1

    async def rmdir(self, parent: Inode, name: bytes, caller: Caller) -> None:
        """Remove the empty directory that a deleted file left behind."""
        del caller
        self._removal.rmdir(name if parent == ROOT else b"")

    async def forget(self, claude_file_id: str) -> None:
        """Take a file that is known to be deleted out of the tree, with its stored bytes."""
        if await self._removal.forget(claude_file_id):
            self._on_stale(claude_file_id.encode())

    # -- for messages ----------------------------------------------------------------------------

    def describe(self, inode: Inode, name: bytes | None = None) -> str:
        """Return a node, or a name in it, as a path below the mountpoint; for messages, never raises."""
        path = {ROOT: "", HIDDEN_DIR: ".fsmount", STATUS: ".fsmount/status.json"}.get(inode)
        if path is None and (node := view_node(inode)):
            path = self._views.describe(node) if self._views else "a view"
        if path is None:
            number, kind = split(inode)
            entry = self._catalog.find_number(number)
            path = entry.claude_file_id if entry else f"inode {inode}"
            if entry and kind is not Kind.DIRECTORY:
                leaf = META_NAME if kind is Kind.META else entry.content_name or b"?"
                path += "/" + os.fsdecode(leaf)
        if name is not None:
            path = f"{path}/{os.fsdecode(name)}" if path else os.fsdecode(name)
        return ascii(path)[1:-1] if path else "the root"

    def describe_open(self, handle: Handle) -> str:
        """Return what an open file is, for messages."""
        opened = self._files.get(handle)
        return opened.body.claude_file_id if isinstance(opened, OpenContent) else "metadata"

    # -- entries and records ---------------------------------------------------------------------

    async def _lookup_in_root(self, name: bytes) -> Attributes | Absent:
        if name == HIDDEN_NAME:
            return self._fixed_directory(HIDDEN_DIR)
        if self._views and self._views.is_root_name(name):
            return self._views.lookup_in_root(name)
        entry = await self._entries.named(name)
        return self._view.directory(entry) if entry else Absent(ABSENT_S)

    async def _with_record(self, entry: Entry, caller: Caller | None) -> Entry:
        if not entry.is_settled:
            self._refuse_denied_program(entry, caller)
        return await self._entries.with_record(entry)

    async def _content_attributes(self, entry: Entry, caller: Caller | None) -> Attributes:
        if self._view.size_bytes(entry) is None:
            self._refuse_denied_program(entry, caller)
        return await self._entries.content_attributes(entry)

    def _refuse_denied_program(self, entry: Entry, caller: Caller | None) -> None:
        """Refuse what costs a request to the programs that may cause none."""
        if not self._rules.deny_programs or caller is None:
            return
        program = program_of(caller.tid)
        if program.matches(self._rules.deny_programs):
            self.counters.denied += 1
            raise AccessRefusedError(
                f"{entry.claude_file_id}: {program.comm} may not pull what is not stored"
            )

    def _known_node(self, inode: Inode) -> tuple[Entry, Kind]:
        number, kind = split(inode)
        return self._entries.get(number), kind

    @staticmethod
    def _fixed_directory(inode: Inode) -> Attributes:
        return directory_attributes(
            inode, 0, writable=False, attr_timeout_s=NAME_S, entry_timeout_s=NAME_S
        )

    def _status_bytes(self) -> bytes:
        now = trio.current_time()
        if now >= self._status_until:
            self._status_document, self._status_until = self._status(), now + _STATUS_MEMORY_S
        return self._status_document

    def _status_attributes(self) -> Attributes:
        size_bytes = len(self._status_bytes())
        return file_attributes(
            STATUS, size_bytes, 0, attr_timeout_s=UNSETTLED_S, entry_timeout_s=NAME_S
        )


def _is_our_own(inode: Inode) -> bool:
    """Say whether a node belongs to the mount itself, or its views, and to no file."""
    return inode in _FIXED or view_node(inode) is not None
