"""The directories that programs have open, and what is listed in them."""

from collections.abc import Iterator

from fsmount.answers import DirEntry
from fsmount.browse import Views
from fsmount.callers import Caller
from fsmount.catalog import Catalog, Entry
from fsmount.entries import Entries
from fsmount.errors import NotADirectoryHereError
from fsmount.file_nodes import FileNodes
from fsmount.inodes import (
    HIDDEN_DIR,
    ROOT,
    Handle,
    HandleTable,
    Inode,
    Kind,
    split,
    view_node,
)
from fsmount.listing import EntriesBehind, FixedDirectory, OpenDirectory
from fsmount.names import META_NAME
from fsmount.status_file import StatusFile

STATUS_NAME = b"status.json"
_PAGE_ENTRIES = 1000

_Directory = OpenDirectory | FixedDirectory


class Directories:
    """Opens, lists and closes directories.

    Names are bytes as the kernel has them. Errors: the classes of `errors`, and the client's where the
    service was asked.
    """

    def __init__(
        self,
        catalog: Catalog,
        entries: Entries,
        nodes: FileNodes,
        status: StatusFile,
        views: Views | None,
    ) -> None:
        self._catalog = catalog
        self._entries = entries
        self._nodes = nodes
        self._status = status
        self._views = views
        self._open: HandleTable[tuple[Inode, _Directory]] = HandleTable()

    def opendir_nowait(self, inode: Inode) -> Handle | None:
        """Open a directory, if what it holds is known."""
        if inode == ROOT:
            return self._opened(inode, self._growing(self._entries_of_root))
        if (node := view_node(inode)) and self._views:
            return self._opened(inode, self._growing(self._views.opendir(node)))
        if inode == HIDDEN_DIR:
            status = DirEntry(STATUS_NAME, self._status.attributes(), 3)
            return self._opened(inode, FixedDirectory([status]))
        entry = self._entries.get(number_of_directory(inode))
        return self._opened_file(inode, entry) if self._entries.suffices(entry) else None

    async def opendir(self, inode: Inode, caller: Caller) -> Handle:
        """Open a directory; one of a file is listed as it is now, the root as it is when read."""
        handle = self.opendir_nowait(inode)
        if handle is None:
            entry = self._entries.get(number_of_directory(inode))
            handle = self._opened_file(inode, await self._entries.with_record(entry, caller))
        return handle

    def readdir(self, handle: Handle, start: int) -> Iterator[DirEntry]:
        """Yield the entries after position `start`; positions stay valid while files come and go."""
        _, directory = self._open.get(handle)
        return directory.behind(start)

    def inode_of(self, handle: Handle) -> Inode:
        """Return which directory is open."""
        return self._open.get(handle)[0]

    def releasedir(self, handle: Handle) -> None:
        """Close a directory."""
        self._open.release(handle)

    def _opened(self, inode: Inode, directory: _Directory) -> Handle:
        return self._open.open((inode, directory))

    def _opened_file(self, inode: Inode, entry: Entry) -> Handle:
        return self._opened(inode, FixedDirectory(list(self._entries_of(entry))))

    def _growing(self, entries: EntriesBehind) -> OpenDirectory:
        return OpenDirectory(entries, self._catalog.version)

    def _entries_of_root(self, start: int) -> Iterator[DirEntry]:
        """Walk the catalog page by page: memory stays small, whatever the number of files."""
        after = start
        while page := self._catalog.page(after, _PAGE_ENTRIES):
            yield from self._nodes.listed(page)
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
            attributes = self._nodes.content(entry, self._nodes.size_bytes(entry))
            yield DirEntry(entry.content_name, attributes, 1)
        if self._entries.has_name(entry, META_NAME):
            yield DirEntry(META_NAME, self._nodes.meta(entry), 2)


def number_of_directory(inode: Inode) -> int:
    """Return the number of the file that a directory belongs to.

    Errors: NotADirectoryHereError.
    """
    number, kind = split(inode)
    if kind is not Kind.DIRECTORY:
        raise NotADirectoryHereError(f"inode {inode} is not a directory")
    return number
