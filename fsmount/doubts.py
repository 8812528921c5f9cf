"""Deletions whose answer never came: finding out, by asking for the record, what became of them."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio

import client
from fsmount.deletion import OUTCOME_DELETED, OUTCOME_FAILED, OUTCOME_UNKNOWN, Journal, note_outcome
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
        """Find out about the deletions that an earlier mount did not see the end of, as its log tells."""
        pending = await trio.to_thread.run_sync(
            lambda: unresolved(entries()), abandon_on_cancel=True
        )
        for claude_file_id in pending:
            await self._resolve(claude_file_id)

    async def resolve_new(self, claude_file_id: str) -> None:
        """Find out about a deletion whose answer has just been lost."""
        await trio.sleep(_PAUSE_S)
        await self._resolve(claude_file_id)

    async def _resolve(self, claude_file_id: str) -> None:
        try:
            if await self._is_gone(claude_file_id):
                await self._forget(claude_file_id)
        except Exception:
            log.exception("could not find out what became of the deletion of %s", claude_file_id)

    async def _is_gone(self, claude_file_id: str) -> bool:
        """Ask, and note what the answer means; without one, the doubt stays for the next mount."""
        try:
            await self._service.ask(claude_file_id)
        except client.NotFoundError as error:
            note_outcome(self._journal, claude_file_id, OUTCOME_DELETED, error, is_resolved=True)
            return True
        except Exception as error:
            log.warning(
                "what became of the deletion of %s is still unknown: %s", claude_file_id, error
            )
            return False
        note_outcome(self._journal, claude_file_id, OUTCOME_FAILED, None, is_resolved=True)
        return False


def unresolved(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the deletions whose outcome the log does not know: file id to the request's seq."""
    pending: dict[str, int] = {}
    for entry in entries:
        claude_file_id = str(entry.get("claude_file_id"))
        if entry.get("event") == "delete_requested":
            pending[claude_file_id] = int(str(entry.get("seq", 0)))
        elif entry.get("event") == "delete_outcome" and entry.get("outcome") != OUTCOME_UNKNOWN:
            pending.pop(claude_file_id, None)
    return pending
