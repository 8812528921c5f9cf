"""What a collection holds, and a walk that fills one without any event loop."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import client
from fsmount.agenda import THROUGH
from fsmount.collection import Collection, Wanted
from fsmount.objects import State

from .organization import Organization, page_of

EVERY_FAMILY = frozenset(client.Family)
CHATS = client.Listing("chats", query=(("order_by", "updated_at"),))
PROJECTS = client.Listing("projects")


def first_step(listing: client.Listing, cursor: str | None = None) -> client.Step:
    """Return the step with which a list begins, or goes on."""
    walk = client.Walk()
    walk.start(listing, cursor)
    step = walk.next_step()
    assert step is not None
    return step


def store_list(
    collection: Collection, organization: Organization, listing: client.Listing
) -> client.Page:
    """Store the rest of one list, from its stored cursor, and return the last page."""
    step: client.Step | None = first_step(listing, collection.cursor_of(listing) or None)
    while step:
        page = page_of(organization, step)
        collection.store(step, page)
        step = first_step(listing, page.cursor) if page.has_more else None
    return page


def store_pending(collection: Collection, organization: Organization) -> None:
    """Read everything that is still to be read."""
    while waiting := collection.pending((0, 0), 100):
        for one in waiting:
            step = first_step(one.listing, one.cursor)
            collection.store(step, page_of(organization, step))


def collect(
    path: Path,
    organization: Organization,
    wanted: Wanted | None = None,
    lists: Iterable[client.Listing] = (CHATS, PROJECTS),
) -> list[str]:
    """Go through lists and what they name, as one run does; return what was asked for."""
    before = len(organization.asked)
    with Collection(path, wanted or Wanted()) as collection:
        collection.begin()
        for listing in lists:
            if collection.cursor_of(listing) != THROUGH:
                store_list(collection, organization, listing)
        store_pending(collection, organization)
        collection.finish()
    return organization.asked[before:]


def rows(path: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    """Return what a query finds in the database."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query, values).fetchall()


def states(path: Path) -> dict[str, State]:
    """Return every file with its state, without what their ids have in common."""
    found = rows(path, "SELECT claude_file_id, state FROM file ORDER BY claude_file_id")
    return {str(key).removeprefix("claude_"): State(int(str(state))) for key, state in found}


def contents_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return everything that was found, without numbers, which go by the order in which it came."""
    queries = {
        "files": (
            "SELECT claude_file_id, state, mtime_ns, content_name, record, told FROM file ORDER BY 1"
        ),
        "origins": (
            "SELECT c.chat_id, f.claude_file_id, message_id, role, at FROM origin"
            " JOIN chat c ON c.number = chat JOIN file f ON f.number = file ORDER BY 1, 2, 3"
        ),
        "attachments": (
            "SELECT p.project_id, f.claude_file_id, at FROM attachment"
            " JOIN project p ON p.number = project JOIN file f ON f.number = file ORDER BY 1, 2"
        ),
        "chats": (
            "SELECT chat_id, c.name, created_at, updated_at, is_deleted, walked_at, has_files, user_id,"
            " project_id, c.view_name FROM chat c LEFT JOIN person p ON p.number = person"
            " LEFT JOIN project j ON j.number = project ORDER BY 1"
        ),
        "people": "SELECT user_id, email, view_name FROM person ORDER BY 1",
        "projects": "SELECT project_id, name, view_name FROM project ORDER BY 1",
        "pending": "SELECT * FROM pending",
    }
    return {name: rows(path, query) for name, query in queries.items()}
