"""Deleting a file for ever: the guards before, and the custody entries around.

Nothing is sent before the intention is on disk in the custody log, and nothing is removed locally before
the service has confirmed. Where the answer never comes, `doubts` finds out later what happened.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import trio

import client
from fsmount.callers import Caller, program_of
from fsmount.errors import RefusedError
from fsmount.service import Service

log = logging.getLogger(__name__)

_REMAINS_S = 10.0  # how long a deleted file's directory waits for `rm -r` to come to it

OUTCOME_DELETED = "deleted"
OUTCOME_ALREADY_GONE = "already gone"
OUTCOME_REFUSED = "refused"
OUTCOME_FAILED = "not deleted"
OUTCOME_UNKNOWN = "unknown"


class Journal(Protocol):
    """The custody log, as far as deleting needs it."""

    def append(self, event: str, data: Mapping[str, object], *, durable: bool = False) -> object:
        """Write one entry; with `durable`, only return once it is on disk."""
        ...


class Readers:
    """Which processes have opened which content, for the guard against moving out of the mount.

    `mv`, `rsync --remove-source-files` and `zip -m` copy first and unlink then; whoever does that to a
    mount of evidence seldom means to destroy the original for the whole organization.
    """

    def __init__(self, max_entries: int = 100_000) -> None:
        self._max_entries = max_entries
        self._pairs: dict[tuple[int, str], None] = {}

    def note(self, number: int, caller: Caller) -> None:
        """Remember that the caller's process opened content number `number`."""
        key = (number, self._identity(caller))
        self._pairs.pop(key, None)
        self._pairs[key] = None
        while len(self._pairs) > self._max_entries:
            del self._pairs[next(iter(self._pairs))]

    def has_read(self, number: int, caller: Caller) -> bool:
        """Say whether the caller's process has opened it in this mount."""
        return (number, self._identity(caller)) in self._pairs

    @staticmethod
    def _identity(caller: Caller) -> str:
        return program_of(caller.tid).identity


class Remains:
    """What the directories of just deleted files still show, so that `rm -r` can finish what it began."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[set[bytes], float]] = {}

    def leave(self, number: int, names: set[bytes]) -> None:
        """Keep these names of file `number` for a while."""
        self._left[number] = (names, trio.current_time() + _REMAINS_S)

    def of(self, number: int) -> set[bytes] | None:
        """Return the names that are left, to be taken from; None for a file that was not just deleted."""
        names, until = self._left.get(number, (None, 0.0))
        if names is not None and trio.current_time() > until:
            self.clear(number)
            return None
        return names

    def clear(self, number: int) -> None:
        """Show nothing of it any more."""
        self._left.pop(number, None)


class Deleter:
    """Carries one deletion through, with its custody entries."""

    def __init__(
        self,
        service: Service,
        journal: Journal,
        readers: Readers,
        *,
        allow_move: bool,
        on_doubt: Callable[[str], None],
    ) -> None:
        self._service = service
        self._journal = journal
        self._readers = readers
        self._allow_move = allow_move
        self._on_doubt = on_doubt

    def check(self, number: int, claude_file_id: str, caller: Caller) -> None:
        """Raise RefusedError where the guard against moving applies."""
        if not self._allow_move and self._readers.has_read(number, caller):
            raise RefusedError(
                f"{claude_file_id}: refused to delete it for the process that has just read it"
                f" ({program_of(caller.tid).comm}, pid {caller.tid}): moving out of the mount would destroy"
                " the original; mount with --allow-move if that is meant"
            )

    async def delete(
        self, claude_file_id: str, record: Mapping[str, object] | None, caller: Caller
    ) -> None:
        """Ask the service to delete; returns once it is known to be gone.

        Errors: CustodyError before anything was sent; the client's errors, with the outcome in the log.
        """
        program = program_of(caller.tid)
        requested = {
            "claude_file_id": claude_file_id,
            "record": record,
            "uid": caller.uid,
            "pid": caller.tid,
            "comm": program.comm,
        }
        self._journal.append("delete_requested", requested, durable=True)
        try:
            await self._service.delete(claude_file_id)
        except client.NotFoundError as error:
            note_outcome(self._journal, claude_file_id, OUTCOME_ALREADY_GONE, error)
        except Exception as error:
            outcome = outcome_of(error)
            note_outcome(self._journal, claude_file_id, outcome, error)
            if outcome == OUTCOME_UNKNOWN:
                self._on_doubt(claude_file_id)
            raise
        except BaseException as error:  # cancelled: the answer may be lost on the way
            note_outcome(self._journal, claude_file_id, OUTCOME_UNKNOWN, error)
            self._on_doubt(claude_file_id)
            raise
        else:
            note_outcome(self._journal, claude_file_id, OUTCOME_DELETED, None)


def note_outcome(
    journal: Journal,
    claude_file_id: str,
    outcome: str,
    error: BaseException | None,
    *,
    is_resolved: bool = False,
) -> None:
    """Write to the custody log what became of a deletion; `is_resolved`: found out later, by asking."""
    data: dict[str, object] = {
        "claude_file_id": claude_file_id,
        "outcome": outcome,
        "request_id": getattr(error, "request_id", None),
    }
    if error is not None and not isinstance(error, client.NotFoundError):
        data["error"] = str(error) or type(error).__name__
    if is_resolved:
        data["resolved_by"] = "asking for the record"
    journal.append("delete_outcome", data, durable=True)


def outcome_of(error: Exception) -> str:
    """Say what an error tells about whether the file still exists."""
    if isinstance(error, client.AuthenticationError | client.PermissionDeniedError):
        return OUTCOME_REFUSED
    if isinstance(error, client.APIConnectionError):
        return OUTCOME_UNKNOWN if error.bytes_sent else OUTCOME_FAILED
    if isinstance(error, client.APIError):
        return OUTCOME_UNKNOWN if error.status >= 500 else OUTCOME_FAILED
    return OUTCOME_UNKNOWN if isinstance(error, client.InvalidResponseError) else OUTCOME_FAILED
