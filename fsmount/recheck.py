"""Stored files that were changed since they were recorded: each is read once, beside everything else.

Reading a large one takes longer than an operation may wait, so it goes on when its askers give up, and its
result is kept for the next one. It has a thread to itself, so that reading and writing other files goes on.
"""

import logging
import threading
from collections.abc import Callable

import trio

from fsmount.errors import LostError
from fsmount.store import ContentStore
from fsmount.stored_file import StoppedError

log = logging.getLogger(__name__)


class Recheck:
    """Looks at changed files, one after the other; `on_lost` is told of each loss once, with the reason."""

    def __init__(
        self, store: ContentStore, nursery: trio.Nursery, on_lost: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._nursery = nursery
        self._on_lost = on_lost
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._is_ending = threading.Event()
        self._under_way: dict[str, _Check] = {}

    async def wait(self, claude_file_id: str) -> None:
        """Wait until a file was looked at, by whoever asked for that first.

        Errors: OSError where it can't be read; CaseError.
        """
        check = self._under_way.get(claude_file_id)
        if check is None:
            check = self._under_way[claude_file_id] = _Check()
            self._nursery.start_soon(self._run, claude_file_id, check)
        await check.done.wait()
        if check.error:
            raise check.error

    def stop(self) -> None:
        """Read no further; the mount ends."""
        self._is_ending.set()

    async def _run(self, claude_file_id: str, check: "_Check") -> None:
        def look() -> None:
            self._store.check_content(claude_file_id, lambda: not self._is_ending.is_set())

        try:
            await trio.to_thread.run_sync(look, limiter=self._one_at_a_time, abandon_on_cancel=True)
        except LostError as error:
            self._on_lost(claude_file_id, str(error))
        except StoppedError:
            check.error = OSError("the mount ends")
        except Exception as error:  # for those who wait; nothing may end the nursery
            check.error = error
        finally:
            del self._under_way[claude_file_id]
            check.done.set()


class _Check:
    """One file being looked at, and what kept that from its end."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: Exception | None = None
