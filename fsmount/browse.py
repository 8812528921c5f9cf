"""The views: by-user and by-project, where people look for files instead of reading ids.

    by-user/<e-mail>/<date chat name>/<content name>
    by-project/<project>/<date chat name>/<content name>, and attachments/<content name>

What lies at the end are symbolic links into the directories of the files, so whoever walks everything sees
each byte once. Everything is answered from the catalog; nothing here waits or asks the service.
"""

import dataclasses
from collections.abc import Callable, Iterator

from fsmount.answers import Absent, DirEntry
from fsmount.errors import AbsentError, NotADirectoryHereError, RefusedError
from fsmount.folders import Folder, Folders, Group, Link, LinkTarget
from fsmount.inodes import ROOT, Inode, ViewKind, ViewNode, inode_of_view
from fsmount.tree import Attributes, directory_attributes, link_attributes

BY_USER = ViewNode(ViewKind.BY_USER)
BY_PROJECT = ViewNode(ViewKind.BY_PROJECT)

_ATTACHMENTS = b"attachments"
_ROOTS = {b"by-user": BY_USER, b"by-project": BY_PROJECT}
_NAMES = {node.kind: name for name, node in _ROOTS.items()}
_FIRST_POSITION = 1 << 62  # in the root's listing, behind all files
_UP_TO_ROOT = b"../../../"
_PAGE_ENTRIES = 500
_FOUND_S = 60.0
_ABSENT_S = 2.0  # a walk may bring the name at any moment
_NEVER_S = 60.0  # no name in a view begins with a dot; file managers probe for such all day

_GROUP_OF: dict[ViewKind, Group] = {
    ViewKind.BY_USER: "person",
    ViewKind.PERSON: "person",
    ViewKind.BY_PROJECT: "project",
    ViewKind.PROJECT: "project",
}
_MEMBER = {"person": ViewKind.PERSON, "project": ViewKind.PROJECT}
_GROUP_OF_CHAT: dict[ViewKind, Group] = {
    ViewKind.CHAT_OF_PERSON: "person",
    ViewKind.CHAT_OF_PROJECT: "project",
}
_CHAT = {"person": ViewKind.CHAT_OF_PERSON, "project": ViewKind.CHAT_OF_PROJECT}
_LINK = {
    ViewKind.CHAT_OF_PERSON: ViewKind.LINK_OF_PERSON,
    ViewKind.CHAT_OF_PROJECT: ViewKind.LINK_OF_PROJECT,
    ViewKind.ATTACHMENTS: ViewKind.LINK_OF_ATTACHMENT,
}
_HOLDER = {link: holder for holder, link in _LINK.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Views:
    """Answers for every node of the views, in the file system's own types."""

    folders: Folders

    # -- in the root -----------------------------------------------------------------------------

    def is_root_name(self, name: bytes) -> bool:
        """Say whether a name in the root is that of a view."""
        return name in _ROOTS

    def lookup_in_root(self, name: bytes) -> Attributes | Absent:
        """Return a view; one without anything in it is not shown."""
        node = _ROOTS[name]
        is_shown = self.folders.has_groups(_GROUP_OF[node.kind])
        return _directory(node) if is_shown else Absent(_ABSENT_S)

    def entries_of_root(self, start: int) -> Iterator[DirEntry]:
        """Yield the views that are shown, behind all files."""
        for number, (name, node) in enumerate(_ROOTS.items()):
            position = _FIRST_POSITION + number
            if position > start and self.folders.has_groups(_GROUP_OF[node.kind]):
                yield DirEntry(name, _directory(node), position)

    # -- below it --------------------------------------------------------------------------------

    def lookup(self, parent: ViewNode, name: bytes) -> Attributes | Absent:
        """Find a name in a directory of the views."""
        if name.startswith(b"."):
            return Absent(_NEVER_S)
        found = self._find(parent, name)
        return Absent(_ABSENT_S) if found is None else found

    def getattr(self, node: ViewNode) -> Attributes:
        """Return the attributes of a node.

        Errors: AbsentError for a link whose file is not shown any more.
        """
        if node.kind in _HOLDER:
            return _link(node, self._target(node))
        if node.kind in (ViewKind.CHAT_OF_PERSON, ViewKind.CHAT_OF_PROJECT):
            chat = self.folders.chat(node.number)
            return _directory(node, chat.mtime_ns if chat else 0)
        return _directory(node)

    def parent(self, node: ViewNode) -> Inode:
        """Return the directory that a node is in.

        Errors: AbsentError for a chat that is not known.
        """
        if node.kind in (ViewKind.BY_USER, ViewKind.BY_PROJECT):
            return ROOT
        return inode_of_view(self._parent(node))

    def _parent(self, node: ViewNode) -> ViewNode:
        match node.kind:
            case ViewKind.PERSON:
                return BY_USER
            case ViewKind.PROJECT:
                return BY_PROJECT
            case ViewKind.ATTACHMENTS:
                return ViewNode(ViewKind.PROJECT, node.number)
            case ViewKind.CHAT_OF_PERSON | ViewKind.CHAT_OF_PROJECT:
                group = _GROUP_OF_CHAT[node.kind]
                holder = self.folders.holder_of_chat(group, node.number)
                if holder is None:
                    raise AbsentError("the chat is not known")
                return ViewNode(_MEMBER[group], holder)
        return ViewNode(_HOLDER[node.kind], node.number)

    def readlink(self, node: ViewNode) -> bytes:
        """Return where a link leads, relative to where it is.

        Errors: AbsentError, likewise.
        """
        if node.kind not in _HOLDER:
            raise RefusedError("this is no link")
        return _UP_TO_ROOT + self._target(node).target

    def opendir(self, node: ViewNode) -> Callable[[int], Iterator[DirEntry]]:
        """Return what yields the entries of a directory behind a position."""
        match node.kind:
            case ViewKind.BY_USER | ViewKind.BY_PROJECT:
                return lambda start: self._members(node, start)
            case ViewKind.PERSON | ViewKind.PROJECT:
                return lambda start: self._chats(node, start)
        if node.kind not in _LINK:
            raise NotADirectoryHereError("a link of the views is not a directory")
        # As they are now, for the whole listing.
        links = list(enumerate(self._links(node), start=1))

        def behind(start: int) -> Iterator[DirEntry]:
            for position, link in links[start:]:
                yield DirEntry(link.name, _link(_child(node, link), link), position)

        return behind

    def describe(self, node: ViewNode) -> str:
        """Return a node in words, for messages."""
        name = _NAMES.get(node.kind)
        return name.decode() if name else f"a view ({node.kind.name.lower().replace('_', ' ')})"

    # -- pieces ----------------------------------------------------------------------------------

    def _find(self, parent: ViewNode, name: bytes) -> Attributes | None:
        group = _GROUP_OF.get(parent.kind)
        if parent.kind in (ViewKind.BY_USER, ViewKind.BY_PROJECT):
            assert group is not None
            return _folder(_MEMBER[group], self.folders.group_named(group, name))
        if group:
            if group == "project" and name == _ATTACHMENTS:
                is_shown = self.folders.has_attachments(parent.number)
                return _directory(_attachments(parent)) if is_shown else None
            chat = self.folders.chat_named(group, parent.number, name)
            return _folder(_CHAT[group], chat)
        if parent.kind not in _LINK:
            raise NotADirectoryHereError("a link of the views is not a directory")
        link = next((link for link in self._links(parent) if link.name == name), None)
        return _link(_child(parent, link), link) if link else None

    def _members(self, node: ViewNode, start: int) -> Iterator[DirEntry]:
        group, after = _GROUP_OF[node.kind], start
        while page := self.folders.groups(group, after, _PAGE_ENTRIES):
            for folder in page:
                yield _entry(_MEMBER[group], folder)
            after = page[-1].number

    def _chats(self, node: ViewNode, start: int) -> Iterator[DirEntry]:
        group, after = _GROUP_OF[node.kind], start
        while page := self.folders.chats(group, node.number, after, _PAGE_ENTRIES):
            for folder in page:
                yield _entry(_CHAT[group], folder)
            after = page[-1].number
        has_more = group == "project" and start < _FIRST_POSITION
        if has_more and self.folders.has_attachments(node.number):
            yield DirEntry(_ATTACHMENTS, _directory(_attachments(node)), _FIRST_POSITION)

    def _links(self, node: ViewNode) -> list[Link]:
        if node.kind is ViewKind.ATTACHMENTS:
            return self.folders.files_of_project(node.number)
        return self.folders.files_of_chat(node.number)

    def _target(self, node: ViewNode) -> LinkTarget:
        """Find where a link leads, without the others beside it: `ls -l` asks for one after the other."""
        is_of_project = node.kind is ViewKind.LINK_OF_ATTACHMENT
        find = self.folders.file_of_project if is_of_project else self.folders.file_of_chat
        found = find(node.number, node.file)
        if found is None:
            raise AbsentError("the file of this link is gone")
        return found


def _attachments(project: ViewNode) -> ViewNode:
    return ViewNode(ViewKind.ATTACHMENTS, project.number)


def _child(holder: ViewNode, link: Link) -> ViewNode:
    return ViewNode(_LINK[holder.kind], holder.number, link.file)


def _folder(kind: ViewKind, folder: Folder | None) -> Attributes | None:
    return _directory(ViewNode(kind, folder.number), folder.mtime_ns) if folder else None


def _entry(kind: ViewKind, folder: Folder) -> DirEntry:
    attributes = _directory(ViewNode(kind, folder.number), folder.mtime_ns)
    return DirEntry(folder.name, attributes, folder.number)


def _directory(node: ViewNode, mtime_ns: int = 0) -> Attributes:
    return directory_attributes(
        inode_of_view(node),
        mtime_ns,
        writable=False,
        attr_timeout_s=_FOUND_S,
        entry_timeout_s=_FOUND_S,
    )


def _link(node: ViewNode, link: Link | LinkTarget) -> Attributes:
    return link_attributes(
        inode_of_view(node),
        _UP_TO_ROOT + link.target,
        link.mtime_ns,
        attr_timeout_s=_ABSENT_S,  # the file may go, and with it the link
        entry_timeout_s=_ABSENT_S,
    )
