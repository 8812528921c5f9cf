"""The edge around every handler: a deadline, a look at whether the caller still lives, one error table.

The kernel can't take a request back, so each one is answered: with a result, or with an errno and a line
in the log. Nothing that a handler raises may reach pyfuse3, which would end the mount.
"""

import errno
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

import client
from fsmount.callers import is_killed
from fsmount.errors import (
    AbsentError,
    AccessRefusedError,
    CallerGoneError,
    DeadlineError,
    FsmountError,
    NoAttributeError,
    NotADirectoryHereError,
    NotEmptyError,
    ReadOnlyError,
    errno_for,
    is_expected,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_S = 0.25  # how often waiting callers are looked at; a killed one is released after two looks
# What programs cause all day without anything being wrong.
_EXPECTED = (
    AbsentError,
    AccessRefusedError,
    CallerGoneError,
    NoAttributeError,
    NotADirectoryHereError,
    NotEmptyError,
    ReadOnlyError,
    client.NotFoundError,
)


class RefusedRequest(Exception):  # noqa: N818 - an answer to the kernel, not a fault
    """The errno that a request is answered with."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, str(number)))
        self.errno = number


class _Waiting:
    """One operation under way."""

    def __init__(self, tid: int, scope: trio.CancelScope, since: float) -> None:
        self.tid = tid
        self.scope = scope
        self.since = since
        self.was_seen = False
        self.is_killed = False

    def look(self) -> None:
        """Give up if the caller was killed; who was seen and is not there any more has been, too."""
        verdict = is_killed(self.tid)
        if verdict or (verdict is None and self.was_seen):
            self.is_killed = True
            self.scope.cancel()
        self.was_seen = self.was_seen or verdict is False


class Boundary:
    """Runs operations so that each ends in time, in a result or a `RefusedRequest`.

    Units: `timeout_s` in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._waiting: set[_Waiting] = set()

    async def run(self, what: Callable[[], str], tid: int, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns; `tid` is the calling thread, 0 when it is not known.

        `what` names the operation and the file for the log, and is only asked when something went wrong.

        Errors: RefusedRequest, after one line in the log.
        """
        now = trio.current_time()
        scope = trio.CancelScope(deadline=now + self._timeout_s)
        waiting = _Waiting(tid, scope, now)
        self._waiting.add(waiting)
        try:
            with scope:
                return await work()
            raise self._given_up(waiting)
        except Exception as error:
            log_failure(described(what), error)
            raise RefusedRequest(errno_for(error)) from error
        finally:
            self._waiting.discard(waiting)

    async def watch_callers(self) -> None:
        """Give up operations whose callers were killed; runs for as long as the mount.

        A caller waits uninterruptibly until its request is answered, so a killed one is only gone once
        somebody notices.
        """
        while True:
            await trio.sleep(_LOOK_S)
            before = trio.current_time() - _LOOK_S
            for waiting in list(self._waiting):
                if waiting.tid and waiting.since <= before:
                    waiting.look()

    def _given_up(self, waiting: _Waiting) -> FsmountError:
        if waiting.is_killed:
            return CallerGoneError("the process that asked was killed")
        return DeadlineError(
            f"no answer within {self._timeout_s:g} s; the service or the network is slow."
            " Try again, or mount with a larger --timeout"
        )


def described(what: Callable[[], str]) -> str:
    """Return the words for the log; what can't be described is answered all the same."""
    try:
        return what()
    except Exception:  # the catalog that knows the name may be the very thing that broke
        log.debug("no description", exc_info=True)
        return "an operation"


def log_failure(what: str, error: Exception) -> None:
    """Write the one line of a failed operation, as loud as it deserves."""
    if isinstance(error, _EXPECTED):
        log.debug("%s: %s", what, error)
    elif is_expected(error):
        log.warning("%s: %s", what, error)
    else:
        log.error("%s: unexpected %s, please report it", what, type(error).__name__, exc_info=error)
