"""Stored files that were changed since they were recorded: each is read once, beside everything else.

Reading a large one takes longer than an operation may wait, so it goes on when its askers give up, and its
result is kept for the next one. Large ones have a thread to themselves, and so have small ones: everything
else goes on meanwhile.
"""

import threading
from collections.abc import Callable

import trio

from fsmount.errors import LostError
from fsmount.store import ContentStore
from fsmount.stored_file import StoppedError

_LARGE_BYTES = 16 << 20


class Recheck:
    """Looks at changed files, one after the other; `on_lost` is told of each loss once, with the reason."""

    def __init__(
        self, store: ContentStore, nursery: trio.Nursery, on_lost: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._nursery = nursery
        self._on_lost = on_lost
        self._large, self._small = trio.CapacityLimiter(1), trio.CapacityLimiter(2)
        self._is_ending = threading.Event()
        self._under_way: dict[str, _Check] = {}

    async def wait(self, claude_file_id: str) -> None:
        """Wait until a file was looked at, by whoever asked for that first.

        Errors: OSError where it can't be read; CaseError.
        """
        check = self._under_way.get(claude_file_id)
        if check is None:
            check = _Check()
            self._nursery.start_soon(self._run, claude_file_id, check)
            self._under_way[claude_file_id] = check
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
            row = self._store.find(claude_file_id)
            is_large = row is not None and (row.size_bytes or 0) > _LARGE_BYTES
            limiter = self._large if is_large else self._small
            await trio.to_thread.run_sync(look, limiter=limiter, abandon_on_cancel=True)
        except LostError as error:
            self._on_lost(claude_file_id, str(error))
        except StoppedError:
            check.error = OSError("the mount ends")
        except Exception as error:  # for those who wait; nothing may end the nursery
            check.error = error
        except BaseException:  # cancelled
            check.error = OSError("the mount ends")
            raise
        finally:
            del self._under_way[claude_file_id]
            check.done.set()


class _Check:
    """One file being looked at, and what kept that from its end."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.error: Exception | None = None
