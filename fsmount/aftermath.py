"""What a mount that did not end well has left: put right before anything is served.

What nothing vouches for is thrown away, what was deleted is forgotten, bytes that no row knows are removed.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping

from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.custody import CustodyLog, iter_entries
from fsmount.doubts import deleted
from fsmount.objects import State
from fsmount.store import ContentStore, Discarded

log = logging.getLogger(__name__)


def deletions(case: Case, before_seq: int) -> Iterator[Mapping[str, object]]:
    """Yield what the custody log says of deletions before entry `before_seq`, the oldest first."""
    for entry in iter_entries(case.custody_path):
        seq = entry.get("seq")
        is_old = not isinstance(seq, int) or seq < before_seq
        if is_old and str(entry.get("event", "")).startswith("delete_"):
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
    for claude_file_id in deleted(deletions(case, before_seq)):
        await _finish_deletion(catalog, store, claude_file_id)
    for content in store.discard_unverified():
        _note(journal, content, "not verified")
    for content in store.discard_unknown():
        _note(journal, content, "not recorded")
    journal.append("discarded", {"unfinished_bytes": unfinished_bytes, "why": "unclean end"})
    log.warning("the last mount of this case did not end well; unverified bytes were discarded")


async def _finish_deletion(catalog: Catalog, store: ContentStore, claude_file_id: str) -> None:
    entry = catalog.find(claude_file_id)
    if entry and entry.state is not State.DELETED:
        await catalog.mark_deleted(claude_file_id)
    if store.find(claude_file_id):
        store.discard(claude_file_id)


def _note(journal: CustodyLog, content: Discarded, why: str) -> None:
    journal.append("discarded", {**dataclasses.asdict(content), "why": why})
