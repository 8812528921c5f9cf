"""The mount's own document, `.fsmount/status.json`: what stat said of it is what a reader then gets."""

from collections.abc import Callable

import trio

from fsmount.file_nodes import NAME_S, UNSETTLED_S
from fsmount.inodes import STATUS
from fsmount.tree import Attributes, file_attributes

_MEMORY_S = 1.0  # so long the document stays as it is, for who asked how long it is


class StatusFile:
    """The document as `render` makes it, for a moment."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render
        self._document = b""
        self._until = 0.0

    def document(self) -> bytes:
        """Return the document."""
        now = trio.current_time()
        if now >= self._until:
            self._document, self._until = self._render(), now + _MEMORY_S
        return self._document

    def renewed(self) -> bytes:
        """Return the document as it is now."""
        self._until = 0.0
        return self.document()

    def attributes(self) -> Attributes:
        """Return what the document looks like."""
        size_bytes = len(self.document())
        return file_attributes(
            STATUS, size_bytes, 0, attr_timeout_s=UNSETTLED_S, entry_timeout_s=NAME_S
        )
