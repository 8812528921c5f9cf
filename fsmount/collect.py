"""Drives a walk: sends its steps within the request budget, stores what comes, and goes on where it stopped.

A step counts only once its page is stored, and storing is one transaction that nothing interrupts, so
whatever ends the process costs no more than the requests that were under way. What a failure means is decided
in one place (`reaction_to`): ask again, wait first, ask for less, leave one chat out and say so, or end.
"""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Literal, Protocol

import trio

import client
from fsmount.agenda import THROUGH
from fsmount.collection import Collection
from fsmount.errors import CollectError, Trouble, trouble_of

log = logging.getLogger(__name__)

# A request takes 0.1 to 0.3 s and the organization has ten a second, so three would do; the rest is for a
# service that is slower. What is under way is what a crash costs, so there are not many more.
_WORKERS = 8
_REFILL_AT = 2 * _WORKERS
_REFILL_CHATS = 256
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_OUTAGE_S = 600.0  # how long the service may be away before the walk ends; the next run goes on
_TRIES = 3  # of one chat that fails while others do not

Reaction = Literal["again", "later", "smaller", "gone", "restart", "skip", "end"]


class Pages(Protocol):
    """The part of `client.AsyncPages` that a walk needs."""

    async def get(self, step: client.Step) -> client.Page:
        """Fetch one page."""
        ...


@dataclasses.dataclass(slots=True)
class Progress:
    """How far a walk is, for whoever shows it; `missing` says what could not be had, and why.

    Units: `paused_until` on trio's clock, None while nothing is wrong.
    """

    is_listing: bool = True
    paused_until: float | None = None
    missing: list[str] = dataclasses.field(default_factory=list)


_REACTIONS: dict[Trouble, Reaction] = {
    "refused": "end",
    "throttled": "again",  # the client holds everything back for as long as it was asked to
    "away": "later",
    "busy": "later",
}


def reaction_to(step: client.Step, error: client.ComplianceError, *, is_resumed: bool) -> Reaction:
    """Return what a failed step means for the walk; `is_resumed`: its cursor is from an earlier run."""
    # Without one chat or project the walk goes on; without a list it would miss nobody knows what.
    otherwise: Reaction = "skip" if step.listing.is_of_files else "end"
    if isinstance(error, client.AnswerTooLargeError) and step.smaller:
        return "smaller"
    if isinstance(error, client.NotFoundError) and step.listing.is_of_files:
        return "gone"
    if isinstance(error, client.BadRequestError) and is_resumed:
        return "restart"
    if isinstance(error, client.APIError) and error.is_final:
        return otherwise
    trouble = trouble_of(error)
    return _REACTIONS[trouble] if trouble else otherwise


class Collector:
    """One walk: over lists, from their stored cursors where they have some, and over the chats they name.

    Chats and projects are listed first and read then; with `counts_only` they are not read.
    Errors of `run`: CollectError where the walk can't go on, the client's for a key that is refused,
    CaseError. What was answered is stored by then.
    """

    def __init__(
        self,
        pages: Pages,
        collection: Collection,
        lists: Sequence[client.Listing],
        progress: Progress | None = None,
        *,
        counts_only: bool = False,
    ) -> None:
        self.progress = progress or Progress()
        self._pages = pages
        self._collection = collection
        self._lists = lists
        self._counts_only = counts_only
        self._walk = client.Walk()
        self._resumed: set[client.Listing] = set()
        self._taken: set[client.Listing] = set()  # what the walk has to read, or has left out
        self._last_pulled = (0, 0)
        self._has_unread = not counts_only
        self._changed = trio.Event()
        self._workers = trio.CancelScope()
        self._failure: Exception | None = None
        self._successes = 0
        # By listing: tries, and how many successes there were at the first.
        self._failures: dict[client.Listing, tuple[int, int]] = {}
        self._outage_since: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    async def run(self) -> None:
        """Walk to the end, or until `stop`."""
        for listing in self._lists:
            cursor = self._collection.cursor_of(listing)
            if cursor is not None:
                self._resumed.add(listing)
            if cursor != THROUGH:
                self._walk.start(listing, cursor)
        self.progress.is_listing = self._walk.is_listing
        with self._workers:
            async with trio.open_nursery() as nursery:
                for _ in range(_WORKERS):
                    nursery.start_soon(self._work)
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Send nothing more; everything that was answered is stored."""
        self._workers.cancel()

    # -- sending ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            await self._take_steps()
        except Exception as error:
            self._end(error)

    async def _take_steps(self) -> None:
        while step := await self._next_step():
            await self._wait_out_pause()
            try:
                page = await self._pages.get(step)
            except (client.ComplianceError, ValueError) as error:
                self._after_failure(step, error)
            else:
                self._successes += 1
                self._failures.pop(step.listing, None)
                self._outage_since, self._pause_s = None, _FIRST_PAUSE_S
                self.progress.paused_until = None
                self._store(step, page)
            self._notify()

    async def _next_step(self) -> client.Step | None:
        """Return the next step, waiting for answers that may bring one; None at the end, or once stopped."""
        while not self._workers.cancel_called:
            self._refill()
            if step := self._walk.next_step():
                return step
            if self._walk.is_idle and not self._has_unread:
                self._notify()
                return None
            await self._changed.wait()
        return None

    def _refill(self) -> None:
        """Hand the walk some of what is still to be read; all of it may be very much."""
        while self._has_unread and self._walk.waiting_reads < _REFILL_AT:
            waiting = self._collection.pending(self._last_pulled, _REFILL_CHATS)
            if not waiting:
                self._has_unread = False
                return
            self._last_pulled = waiting[-1].place
            for pending in waiting:
                if pending.listing not in self._taken:
                    self._taken.add(pending.listing)
                    if pending.cursor is not None:
                        self._resumed.add(pending.listing)
                    self._walk.start(pending.listing, pending.cursor)

    async def _wait_out_pause(self) -> None:
        if self.progress.paused_until is not None:
            await trio.sleep_until(self.progress.paused_until)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- storing ---------------------------------------------------------------------------------

    def _store(self, step: client.Step, page: client.Page) -> None:
        """Store a page, and take the next steps from it.

        On the event loop: this process has nothing else to do, and between the answer and the step behind
        it nothing may come.
        """
        is_to_be_read_again = self._collection.store(step, page)
        for entry in page.entries if step.listing.kind == "organizations" else ():
            assert isinstance(entry, str)
            self._walk.start(client.Listing("users", entry))
        if not step.listing.is_of_files:
            # What it names may come before what was pulled last.
            self._last_pulled, self._has_unread = (0, 0), not self._counts_only
        elif is_to_be_read_again:
            self._walk.start(step.listing)
        elif not page.has_more:
            self._taken.discard(step.listing)
        self._walk.answered(step, page)
        self.progress.is_listing = self._walk.is_listing

    # -- failures --------------------------------------------------------------------------------

    def _after_failure(self, step: client.Step, error: Exception) -> None:
        match self._judged(step, error):
            case "again":
                self._walk.put_back(step)
            case "later":
                self._walk.put_back(step)
                self._pause(error)
            case "smaller":
                self._walk.put_back(step.smaller or step)
            case "gone":
                log.info("%s; it is left out", error)
                self._collection.give_up(step.listing)
                self._walk.give_up(step)
            case "restart":
                log.warning("%s; the list is gone through from its beginning", error)
                self._resumed.discard(step.listing)
                self._collection.forget_cursor(step.listing)
                self._walk.give_up(step)
                self._walk.start(step.listing)
            case "skip":
                self.progress.missing.append(str(error))
                self._walk.give_up(step)
            case "end":
                self._walk.put_back(step)
                self._end(error)

    def _judged(self, step: client.Step, error: Exception) -> Reaction:
        if not isinstance(error, client.ComplianceError):  # an id that can't be one
            return "skip"
        reaction = reaction_to(step, error, is_resumed=step.listing in self._resumed)
        if reaction != "later":
            return reaction
        tries, successes = self._failures.get(step.listing, (0, self._successes))
        # The service is there: it answered others meanwhile, or this one with an error of its own. While it
        # is away, failures say nothing about a chat.
        is_there = self._successes > successes or isinstance(error, client.InternalServerError)
        tries = tries + 1 if is_there else 1
        self._failures[step.listing] = (tries, successes)
        return "skip" if tries >= _TRIES and step.listing.is_of_files else "later"

    def _pause(self, error: Exception) -> None:
        """Wait longer with each failure in a row; end once the service has been away for too long."""
        now = trio.current_time()
        if self._outage_since is None:
            self._outage_since = now
        if now - self._outage_since > _OUTAGE_S:
            self._end(
                CollectError(f"the service has been away for {_OUTAGE_S / 60:.0f} minutes: {error}")
            )
        elif self.progress.paused_until is None or now >= self.progress.paused_until:
            # The first failure after a pause; others were sent together with it and say nothing new.
            log.info("%s; trying again in %.0f s", error, self._pause_s)
            self.progress.paused_until = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _end(self, error: Exception) -> None:
        self._failure = self._failure or error
        self.stop()
