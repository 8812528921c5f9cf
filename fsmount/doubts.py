"""Deletions whose answer never came: finding out, by asking for the record, what became of them."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio

import client
from fsmount.deletion import (
    GONE,
    OUTCOME_DELETED,
    OUTCOME_FAILED,
    OUTCOME_UNKNOWN,
    Journal,
    note_outcome,
)
from fsmount.service import Service

log = logging.getLogger(__name__)

_PAUSE_S = 2.0  # the service may still be carrying out what it did not answer

Entry = Mapping[str, object]


class Doubts:
    """Asks about deletions, notes the answer in the custody log, and has what is gone forgotten.

    `forget` takes a file that turned out to be deleted out of the tree.
    """

    def __init__(
        self, service: Service, journal: Journal, forget: Callable[[str], Awaitable[object]]
    ) -> None:
        self._service = service
        self._journal = journal
        self._forget = forget

    async def resolve_old(self, entries: Callable[[], Iterable[Entry]]) -> None:
        """Bring deletions of earlier mounts to their end, as the log tells of them.

        What was deleted is forgotten where that was kept from happening; what became of the others is asked.
        Nothing in the log may end the mount: its chain is for `fsmount log --check` to judge.
        """
        try:
            found = await trio.to_thread.run_sync(lambda: list(entries()), abandon_on_cancel=True)
        except Exception as error:
            log.error("deletions of earlier mounts can't be looked up: %s", error, exc_info=error)
            return
        for claude_file_id in deleted(found):
            await trio.lowlevel.checkpoint()  # there may be many, of which nothing is left
            await self._take_out(claude_file_id)
        for claude_file_id in unresolved(found):
            await self._resolve(claude_file_id)

    async def resolve_new(self, claude_file_id: str) -> None:
        """Find out about a deletion whose answer has just been lost."""
        await trio.sleep(_PAUSE_S)
        await self._resolve(claude_file_id)

    async def _resolve(self, claude_file_id: str) -> None:
        try:
            is_gone = await self._is_gone(claude_file_id)
        except Exception:
            log.exception("could not find out what became of the deletion of %s", claude_file_id)
        else:
            if is_gone:
                await self._take_out(claude_file_id)

    async def _take_out(self, claude_file_id: str) -> None:
        try:
            await self._forget(claude_file_id)
        except Exception:
            log.exception("%s is deleted, but what the case has of it can't be", claude_file_id)

    async def _is_gone(self, claude_file_id: str) -> bool:
        """Ask, and note what the answer means; without one, the doubt stays for the next mount."""
        try:
            await self._service.ask(claude_file_id)
        except client.NotFoundError as error:
            await note_outcome(
                self._journal, claude_file_id, OUTCOME_DELETED, error, is_resolved=True
            )
            return True
        except Exception as error:
            log.warning(
                "what became of the deletion of %s is still unknown: %s", claude_file_id, error
            )
            return False
        await note_outcome(self._journal, claude_file_id, OUTCOME_FAILED, None, is_resolved=True)
        return False


def unresolved(entries: Iterable[Entry]) -> list[str]:
    """Return the files of which the log does not know whether they were deleted.

    A later request that was refused, or never sent, says nothing of an earlier one without an answer; and who
    asks about an earlier one learns nothing of a later one that is under way.
    """
    unanswered: Counter[str] = Counter()
    doubtful: dict[str, None] = {}
    for entry in entries:
        key = str(entry.get("claude_file_id"))
        outcome = entry.get("outcome")
        match entry.get("event"):
            case "mounted":  # what is unanswered by now will be so for ever
                doubtful |= dict.fromkeys(unanswered)
                unanswered.clear()
            case "delete_requested":
                unanswered[key] += 1
            case "delete_outcome" if outcome in GONE:
                doubtful.pop(key, None)
                unanswered.pop(key, None)
            case "delete_outcome" if entry.get("resolved_by"):
                doubtful.pop(key, None)
            case "delete_outcome":
                unanswered -= Counter([key])
                if outcome == OUTCOME_UNKNOWN:
                    doubtful[key] = None
    return list(doubtful | dict.fromkeys(unanswered))


def deleted(entries: Iterable[Entry]) -> list[str]:
    """Return the files that are gone for ever, as the log tells."""
    gone = {
        str(entry.get("claude_file_id")): None
        for entry in entries
        if entry.get("event") == "delete_outcome" and entry.get("outcome") in GONE
    }
    return list(gone)
