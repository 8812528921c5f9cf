"""Readers who wait for bytes: what is planned for them, and whom to wake."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import trio

from fsmount.readahead import Want


@dataclasses.dataclass(eq=False, slots=True)
class _Waiter:
    """A waiting reader, and the bytes (offset, size) that wake it; None: any news does."""

    want: Want
    span: tuple[int, int] | None
    woken: trio.Event = dataclasses.field(default_factory=trio.Event)


class Waiters:
    """All readers of one download that wait."""

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def wants(self) -> list[Want]:
        """What they wait for."""
        return [waiter.want for waiter in self._waiting]

    @contextlib.contextmanager
    def joined(self, want: Want, span: tuple[int, int] | None) -> Iterator[trio.Event]:
        """Register a waiter for the block; the event is set when the reader should look again."""
        waiter = _Waiter(want, span)
        self._waiting.append(waiter)
        try:
            yield waiter.woken
        finally:
            self._waiting.remove(waiter)

    def wake(self) -> None:
        """Wake all: there is a verdict, a failure, or another plan."""
        for waiter in self._waiting:
            waiter.woken.set()

    def wake_served(self, is_here: Callable[[int, int], bool]) -> None:
        """Wake those whose bytes have come; that the others look in vain would cost more than to ask here."""
        for waiter in self._waiting:
            if waiter.span and is_here(*waiter.span):
                waiter.woken.set()
