"""What a mount that did not end well has left: put right before anything is served.

What nothing vouches for is thrown away, what was deleted is forgotten, and bytes that the end kept from being
recorded are removed. Nothing else is: whatever the log names as acquired stays, also where the catalog does
not know it, since that may be an older copy.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime

import trio

from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.custody import CustodyLog, iter_entries
from fsmount.display import size_text
from fsmount.doubts import deleted
from fsmount.objects import State
from fsmount.store import ContentStore, Discarded

log = logging.getLogger(__name__)


def deletions(case: Case, before_seq: int) -> Iterator[Mapping[str, object]]:
    """Yield what the custody log says of deletions before entry `before_seq`, and of mounts between them."""
    for entry in _entries(case, before_seq):
        event = str(entry.get("event", ""))
        if event == "mounted" or event.startswith("delete_"):
            yield entry


def _entries(case: Case, before_seq: int) -> Iterator[Mapping[str, object]]:
    for entry in iter_entries(case.custody_path):
        seq = entry.get("seq")
        if not isinstance(seq, int) or seq < before_seq:
            yield entry


async def clean_up(
    case: Case, catalog: Catalog, store: ContentStore, journal: CustodyLog, before_seq: int
) -> None:
    """Clean up after an unclean end, if the last mount had one; `before_seq` is where this mount begins.

    Errors: CaseError, CustodyError, OSError.
    """
    unfinished_bytes = case.clear_spool()
    if not store.is_marked_running:
        return
    discarded = 0
    gone = await trio.to_thread.run_sync(lambda: deleted(deletions(case, before_seq)))
    for claude_file_id in gone:
        await _finish_deletion(catalog, store, claude_file_id)
    for content in store.discard_unverified():
        _note(journal, content, "not verified")
        discarded += content.size_bytes
    for content in await trio.to_thread.run_sync(lambda: _unrecorded(case, store, before_seq)):
        store.remove_unknown(content.claude_file_id)
        _note(journal, content, "not recorded")
        discarded += content.size_bytes
    journal.append("discarded", {"unfinished_bytes": unfinished_bytes, "why": "unclean end"})
    log.warning(
        "the last mount of this case did not end well; %s of unverified content were discarded",
        size_text(discarded + unfinished_bytes),
    )


async def _finish_deletion(catalog: Catalog, store: ContentStore, claude_file_id: str) -> None:
    entry = catalog.find(claude_file_id)
    if entry and entry.state is not State.DELETED:
        await catalog.mark_deleted(claude_file_id)
    if store.find(claude_file_id):
        store.discard(claude_file_id)


def _unrecorded(case: Case, store: ContentStore, before_seq: int) -> list[Discarded]:
    """Return bytes that the last mount placed and did not come to record."""
    began_ns = None
    for entry in _entries(case, before_seq):
        if entry.get("event") == "mounted":
            began_ns = _time_ns(entry.get("time"))
    unknown = (
        {} if began_ns is None else {c.claude_file_id: c for c in store.find_unknown(began_ns)}
    )
    for entry in _entries(case, before_seq) if unknown else ():
        if entry.get("event") == "acquired":
            unknown.pop(str(entry.get("claude_file_id")), None)
    return list(unknown.values())


def _time_ns(text: object) -> int | None:
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1e9)
    except ValueError:
        return None


def _note(journal: CustodyLog, content: Discarded, why: str) -> None:
    journal.append("discarded", {**dataclasses.asdict(content), "why": why})
