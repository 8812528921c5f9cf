"""Deleting a file for ever: the guards before, and the custody entries around.

Nothing is sent before the intention is on disk in the custody log, and nothing is removed locally before
the service has confirmed. Where the answer never comes, `doubts` finds out later what happened.
"""

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import trio

import client
from fsmount.callers import Caller, is_running, program_of
from fsmount.errors import RefusedError, UnreachableError
from fsmount.service import Service

log = logging.getLogger(__name__)

_DISK_S = 20.0  # how long disk and database are waited for, after the answer has come
_FORGET_AGAIN_S = (5.0, 60.0, 0.0)  # another process may hold the database
_REMAINS_S = 10.0  # how long a deleted file's directory waits for `rm -r` to come to it

OUTCOME_DELETED = "deleted"
OUTCOME_ALREADY_GONE = "already gone"
OUTCOME_REFUSED = "refused"
OUTCOME_FAILED = "not deleted"
OUTCOME_UNKNOWN = "unknown"
GONE = (OUTCOME_DELETED, OUTCOME_ALREADY_GONE)


class Journal(Protocol):
    """The custody log, as far as deleting needs it."""

    def append(self, event: str, data: Mapping[str, object], *, durable: bool = False) -> object:
        """Write one entry; with `durable`, only return once it is on disk."""
        ...


class Readers:
    """Which processes have opened which content, for the guard against moving out of the mount.

    `mv`, `rsync --remove-source-files` and `zip -m` copy first and unlink then; whoever does that to a
    mount of evidence seldom means to destroy the original for the whole organization. Memory is bounded: of
    a process that has opened very much, it is only remembered that it has, and then it counts as a reader of
    everything.
    """

    def __init__(self, max_entries: int = 100_000) -> None:
        self._max_entries = max_entries
        self._count = 0
        self._read: dict[str, set[int] | None] = {}  # by process; None: everything

    def note(self, number: int, caller: Caller) -> None:
        """Remember that the caller's process opened content number `number`."""
        read = self._read.setdefault(self._identity(caller), set())
        if read is None or number in read:
            return
        read.add(number)
        self._count += 1
        if self._count > self._max_entries:
            self._forget_the_dead()
            while self._count > self._max_entries:
                self._generalize()

    def has_read(self, number: int, caller: Caller) -> bool:
        """Say whether the caller's process has opened it in this mount, or may have."""
        read = self._read.get(self._identity(caller), ())
        return read is None or number in read

    def _forget_the_dead(self) -> None:
        self._read = {key: read for key, read in self._read.items() if is_running(key)}
        self._count = sum(len(read) for read in self._read.values() if read is not None)

    def _generalize(self) -> None:
        """Give up what the process that has opened most has opened."""
        most = max(self._read, key=lambda key: len(self._read[key] or ()))
        self._count -= len(self._read[most] or ())
        self._read[most] = None

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
    """Carries one deletion through, with its custody entries.

    What follows from an answer is done in the nursery: it comes to its end whoever stops waiting for it.
    """

    def __init__(
        self,
        service: Service,
        journal: Journal,
        readers: Readers,
        nursery: trio.Nursery,
        *,
        allow_move: bool,
        on_doubt: Callable[[str], None],
    ) -> None:
        self._service = service
        self._journal = journal
        self._readers = readers
        self._nursery = nursery
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
        self,
        claude_file_id: str,
        record: Mapping[str, object] | None,
        caller: Caller,
        forget: Callable[[], Awaitable[object]],
    ) -> None:
        """Ask the service to delete; returns once it is known to be gone, and `forget` was done.

        Errors: CustodyError before anything was sent; the client's errors, with the outcome in the log.
        """
        await self._note_request(claude_file_id, record, caller)
        try:
            request_id = await self._service.delete(claude_file_id)
        except client.NotFoundError as error:
            await self._conclude(claude_file_id, OUTCOME_ALREADY_GONE, error, forget)
        except Exception as error:
            await self._conclude(claude_file_id, outcome_of(error), error)
            raise
        except BaseException as error:  # cancelled: the answer may be lost on the way
            await self._conclude(claude_file_id, OUTCOME_UNKNOWN, error)
            raise
        else:
            await self._conclude(claude_file_id, OUTCOME_DELETED, request_id, forget)

    async def _conclude(
        self,
        claude_file_id: str,
        outcome: str,
        told_by: BaseException | str | None,
        forget: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Do what follows from an answer, and wait for it; it goes on when the wait is cancelled."""
        done = trio.Event()
        self._nursery.start_soon(self._follow, claude_file_id, outcome, told_by, forget, done)
        if outcome == OUTCOME_UNKNOWN:
            self._on_doubt(claude_file_id)
        await done.wait()

    async def _follow(
        self,
        claude_file_id: str,
        outcome: str,
        told_by: BaseException | str | None,
        forget: Callable[[], Awaitable[object]] | None,
        done: trio.Event,
    ) -> None:
        """Write down what became of it, and have it forgotten; that one fails does not keep the other."""
        note = functools.partial(note_outcome, self._journal, claude_file_id, outcome, told_by)
        await _within_disk_s(note, f"the outcome for {claude_file_id} ({outcome}) is not on record")
        for pause_s in _FORGET_AGAIN_S if forget else ():
            what = f"{claude_file_id} is deleted, but what the case has of it is not yet"
            if forget and await _within_disk_s(forget, what):
                break
            done.set()  # it is deleted all the same
            await trio.sleep(pause_s)
        done.set()

    async def _note_request(
        self, claude_file_id: str, record: Mapping[str, object] | None, caller: Caller
    ) -> None:
        """Write what is going to be asked for, and by whom; nothing is sent before it is on the disk."""
        requested = {
            "claude_file_id": claude_file_id,
            "record": record,
            "uid": caller.uid,
            "pid": caller.tid,
            "comm": program_of(caller.tid).comm,
        }
        # Cancelled, it may still be written: an intention that came to nothing, which is asked about later.
        await trio.to_thread.run_sync(
            lambda: self._journal.append("delete_requested", requested, durable=True),
            abandon_on_cancel=True,
        )


async def _within_disk_s(work: Callable[[], Awaitable[object]], otherwise: str) -> bool:
    """Do some work on the disk, also at the end of a mount; say whether it was done, and log if not."""
    try:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _DISK_S) as scope:
            await work()
    except Exception as error:
        log.error("%s: %s", otherwise, error)
        return False
    if scope.cancelled_caught:
        log.error("%s: the disk of the case does not answer", otherwise)
    return not scope.cancelled_caught


async def note_outcome(
    journal: Journal,
    claude_file_id: str,
    outcome: str,
    told_by: BaseException | str | None,
    *,
    is_resolved: bool = False,
) -> None:
    """Write to the custody log what became of a deletion, and wait until it is on the disk.

    `told_by` is the error, or the request id of the answer, that tells; `is_resolved`: it was found out later
    by asking.
    """
    is_error = isinstance(told_by, BaseException)
    data: dict[str, object] = {
        "claude_file_id": claude_file_id,
        "outcome": outcome,
        "request_id": getattr(told_by, "request_id", None) if is_error else told_by,
    }
    if is_error and not isinstance(told_by, client.NotFoundError):
        data["error"] = str(told_by) or type(told_by).__name__
    if is_resolved:
        data["resolved_by"] = "asking for the record"
    await trio.to_thread.run_sync(
        lambda: journal.append("delete_outcome", data, durable=True), abandon_on_cancel=True
    )


def outcome_of(error: Exception) -> str:
    """Say what an error tells about whether the file still exists; in doubt, that nobody knows."""
    match error:
        case client.AuthenticationError() | client.PermissionDeniedError():
            return OUTCOME_REFUSED
        case client.APIConnectionError(bytes_sent=False):
            return OUTCOME_FAILED
        case client.BudgetExhaustedError() | UnreachableError():  # before anything was sent
            return OUTCOME_FAILED
        case client.APIError() if error.status < 500:
            return OUTCOME_FAILED
    return OUTCOME_UNKNOWN
