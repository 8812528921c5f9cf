"""The views of a made-up case, and how to walk them."""

import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fsmount.answers import Absent, DirEntry
from fsmount.browse import Views
from fsmount.database import connect
from fsmount.folders import Folders
from fsmount.inodes import ViewNode, view_node
from fsmount.objects import State
from fsmount.tree import Attributes

from .organization import (
    Organization,
    artifact_entry,
    file_entry,
    generated_entry,
)


@contextmanager
def views_of(path: Path) -> Iterator[Views]:
    with closing(Folders(path)) as folders:
        yield Views(folders)


def node_of(attributes: Attributes | Absent) -> ViewNode:
    """Return the node that an answer is about."""
    assert isinstance(attributes, Attributes)
    node = view_node(attributes.inode)
    assert node is not None
    return node


def tree(views: Views) -> dict[str, str]:
    """Return every path below the views, with what a link says, or "" for a directory."""
    found: dict[str, str] = {}

    def visit(entry: DirEntry, above: str) -> None:
        node, name = node_of(entry.attributes), above + entry.name.decode()
        if stat.S_ISLNK(entry.attributes.mode):
            found[name] = views.readlink(node).decode()
            assert len(found[name].encode()) == entry.attributes.size_bytes
            return
        found[name] = ""
        for child in views.opendir(node)(0):
            visit(child, name + "/")

    for entry in views.entries_of_root(0):
        visit(entry, "")
    return found


def set_state(path: Path, name: str, state: State) -> None:
    with closing(connect(path)) as db:
        db.execute("UPDATE file SET state = ? WHERE claude_file_id = ?", (state, f"claude_{name}"))


def small() -> Organization:
    """Return a chat of alice in a project, with a file of each family, and an attachment."""
    made = Organization()
    project = made.add_project("p", attachments=[file_entry("b")])
    made.add_message(
        made.add_chat("Plan", project=project),
        files=[file_entry("a")],
        generated=[generated_entry("g")],
        artifacts=[artifact_entry("v")],
    )
    return made
