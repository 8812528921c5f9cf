"""What was looked up in the database a moment ago, for who asks again.

One visit to a file looks it up several times: for its attributes, to list it, to open it. The kernel may
believe an answer for seconds without asking, so what another process changed may as well be noticed a
tenth of a second later; what this one changes is seen at once.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_UNNOTICED_S = 0.1  # how long a change by another process may go unnoticed
# A shell that is given a wildcard lists all directories before the first file is opened. 2 KiB each.
_MOST = 16_384


class Recent(Generic[K, V]):
    """Answers of `look_up`, as long as nothing has changed.

    `version` returns another number after a change by another connection. `forget` belongs to our own
    changes, may be called from any thread, and comes after the change.
    """

    def __init__(
        self,
        look_up: Callable[[K], V],
        version: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._version = version
        self._clock = clock
        self._seen_version = -1
        self._fresh_until = 0.0
        self._answers: dict[K, V] = {}

    def get(self, key: K) -> V:
        """Return the answer for a key, looked up or remembered."""
        if self._clock() >= self._fresh_until:
            self._compare_versions()
        # Looked up for this dictionary: `forget` meanwhile, in a thread, has put another in its place.
        answers = self._answers
        if key in answers:
            return answers[key]
        answer = self._look_up(key)
        if len(answers) >= _MOST:
            del answers[next(iter(answers))]
        answers[key] = answer
        return answer

    def forget(self) -> None:
        """Forget everything: it has been changed."""
        self._answers = {}

    def _compare_versions(self) -> None:
        self._fresh_until = self._clock() + _UNNOTICED_S
        version = self._version()
        if version != self._seen_version:
            self._seen_version = version
            self._answers = {}
