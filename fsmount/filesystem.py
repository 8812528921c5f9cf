"""The file system in our own types: lookup, getattr, unlink; `directories` lists, `files` reads.

What the case knows is answered by the `_nowait` methods; their partners wait where those return None. Every
answer comes from memory or the catalog's index, except four things that may ask the service: the
first look into a directory whose record is not known yet, the size of a content entry that no record
tells, content that is not stored, and a deletion. The kernel's side of all this is in `operations`.
"""

import os
from collections.abc import Callable

import client
from fsmount.answers import Absent, MountCounters, Rules, Stale, StatFs
from fsmount.browse import Views
from fsmount.callers import Caller
from fsmount.catalog import Catalog, Entry
from fsmount.content import Contents
from fsmount.deletion import Deleter, Readers
from fsmount.directories import STATUS_NAME, Directories, number_of_directory
from fsmount.entries import Entries
from fsmount.errors import AbsentError, NoAttributeError, RefusedError
from fsmount.file_nodes import ABSENT_S, NAME_S, FileNodes
from fsmount.gate import Gate
from fsmount.inodes import (
    HIDDEN_DIR,
    ROOT,
    STATUS,
    Handle,
    Inode,
    Kind,
    directory_of,
    inode_of,
    is_given_out,
    split,
    view_node,
)
from fsmount.names import META_NAME, is_file_id
from fsmount.open_files import OpenFiles
from fsmount.removal import Removal
from fsmount.service import Service
from fsmount.status_file import StatusFile
from fsmount.tree import Attributes, directory_attributes

HIDDEN_NAME = b".fsmount"
_DOTS = (b".", b"..")
_FIXED = frozenset({ROOT, HIDDEN_DIR, STATUS})


class Filesystem:
    """The tree of one case.

    Shape: `directories` and `files` are what is open; names are bytes as the kernel has them.
    Errors: the classes of `errors`, and the client's where the service was asked.
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
        self.counters = MountCounters()
        self._catalog = catalog
        self._on_stale = on_stale
        self._views = views
        self._status = StatusFile(status)
        self._nodes = FileNodes(contents, is_writable=rules.allow_delete)
        gate = Gate(rules.deny_programs, self.counters)
        self._entries = Entries(
            catalog,
            contents,
            service,
            self._nodes,
            gate=gate,
            verified_open_bytes=rules.verified_open_bytes,
            on_gone=on_gone,
        )
        self._removal = Removal(catalog, contents, self._entries, deleter)
        self.directories = Directories(catalog, self._entries, self._nodes, self._status, views)
        self.files = OpenFiles(
            self._entries,
            self._nodes,
            gate,
            self._status,
            self.counters,
            on_open=on_open,
            on_reader=readers.note if rules.allow_delete else lambda _number, _caller: None,
        )

    # -- names and attributes --------------------------------------------------------------------

    def lookup_nowait(self, parent: Inode, name: bytes) -> Attributes | Absent | None:
        """Return what `lookup` does if the case knows it, else None."""
        if name in _DOTS:
            return self.getattr_nowait(self._by_number(parent, name))
        if parent == ROOT:
            return self._lookup_in_root(name)
        if parent == HIDDEN_DIR:
            return self._status.attributes() if name == STATUS_NAME else Absent(ABSENT_S)
        if (node := view_node(parent)) and self._views:
            return self._views.lookup(node, name)
        number = number_of_directory(parent)
        if name.startswith(b"."):  # no content name does, so no record is needed to know
            return Absent(ABSENT_S)
        entry = self._entries.get(number)
        return self._lookup_in_file(entry, name) if self._entries.suffices(entry) else None

    async def lookup(self, parent: Inode, name: bytes, caller: Caller) -> Attributes | Absent:
        """Find one name; a name that can't exist costs nothing and is remembered by the kernel."""
        found = self.lookup_nowait(parent, name)
        if found is not None:
            return found
        if name in _DOTS:
            return await self.getattr(self._by_number(parent, name), caller)
        if parent == ROOT:
            named = await self._entries.named(name)
            return self._nodes.directory(named) if named else Absent(ABSENT_S)
        entry = self._entries.get(number_of_directory(parent))
        entry = await self._entries.with_record(entry, caller)
        found = self._lookup_in_file(entry, name)
        return await self._entries.content_attributes(entry, caller) if found is None else found

    def _lookup_in_root(self, name: bytes) -> Attributes | Absent | None:
        if name == HIDDEN_NAME:
            return self._fixed_directory(HIDDEN_DIR)
        if self._views and self._views.is_root_name(name):
            return self._views.lookup_in_root(name)
        if not is_file_id(name):
            return Absent(ABSENT_S)
        entry = self._entries.named_nowait(name)
        return self._nodes.directory(entry) if entry else None

    def _lookup_in_file(self, entry: Entry, name: bytes) -> Attributes | Absent | None:
        """Find a name in the directory of a file; None for content of unknown size."""
        if name == META_NAME and self._entries.has_name(entry, name):
            return self._nodes.meta(entry)
        if name == entry.content_name and entry.has_content and self._entries.has_name(entry, name):
            return self._entries.content_attributes_nowait(entry)
        return Absent(ABSENT_S)

    def parent_of_open(self, handle: Handle) -> Inode:
        """Return which directory the open one is in."""
        return self._by_number(self.directories.inode_of(handle), b"..")

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

    def getattr_nowait(self, inode: Inode) -> Attributes | None:
        """Return what `getattr` does if the case knows it, else None."""
        if inode in (ROOT, HIDDEN_DIR):
            return self._fixed_directory(inode)
        if inode == STATUS:
            return self._status.attributes()
        if (node := view_node(inode)) and self._views:
            return self._views.getattr(node)
        return self._getattr_of_file(*self._known_node(inode))

    def _getattr_of_file(self, entry: Entry, kind: Kind) -> Attributes | None:
        if kind is Kind.DIRECTORY:
            return self._nodes.directory(entry)
        if not self._entries.suffices(entry):
            return None
        if kind is Kind.META:
            return self._nodes.meta(entry)
        return self._entries.content_attributes_nowait(entry)

    async def getattr(self, inode: Inode, caller: Caller | None) -> Attributes:
        """Return the attributes of a node that the kernel knows."""
        found = self.getattr_nowait(inode)
        if found is not None:
            return found
        entry, kind = self._known_node(inode)
        entry = await self._entries.with_record(entry, caller)
        if kind is Kind.META:
            return self._nodes.meta(entry)
        return await self._entries.content_attributes(entry, caller)

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
        return self._nodes.xattr(*self._known_node(inode), name)

    def listxattr(self, inode: Inode) -> list[bytes]:
        """Return the names of the extended attributes of a node."""
        if _is_our_own(inode):
            return []
        return sorted(self._nodes.xattrs(*self._known_node(inode)))

    def statfs(self) -> StatFs:
        """Return the number of files in the case."""
        return StatFs(files=self._catalog.count())

    # -- deleting --------------------------------------------------------------------------------

    async def unlink(self, parent: Inode, name: bytes, caller: Caller) -> None:
        """Delete a file for ever, or take away what a deleted one left behind."""
        if _is_our_own(parent):
            self._removal.require_allowed()
            raise RefusedError("only the content of a file can be deleted")
        number, _ = split(parent)
        if await self._removal.unlink(number, name, caller):
            self.counters.deleted += 1
            # Whoever has it open sees no more of it than an error, not even what the kernel still holds.
            self._on_stale(inode_of(number, Kind.CONTENT))

    async def rmdir(self, parent: Inode, name: bytes) -> None:
        """Remove the empty directory that a deleted file left behind."""
        if parent != ROOT:
            self._removal.require_allowed()
            raise RefusedError("only directories of deleted files can be removed")
        self._removal.rmdir(name)

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

    # -- pieces ----------------------------------------------------------------------------------

    def _known_node(self, inode: Inode) -> tuple[Entry, Kind]:
        number, kind = split(inode)
        return self._entries.get(number), kind

    @staticmethod
    def _fixed_directory(inode: Inode) -> Attributes:
        return directory_attributes(
            inode, 0, writable=False, attr_timeout_s=NAME_S, entry_timeout_s=NAME_S
        )


def _is_our_own(inode: Inode) -> bool:
    """Say whether a node belongs to the mount itself, or its views, and to no file."""
    return inode in _FIXED or view_node(inode) is not None
