"""Signals of the mount process: those that mean the end, and the one that keeps the event loop moving.

A mount that is there must be taken away again, so from mounting to the end no signal may end the process
by itself: those that come early wait, and those that come while the end is under way change nothing.
"""

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator

END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_UNFREEZE_S = 2.0


def wanted_end_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end the mount: not SIGHUP under nohup, which says so by ignoring it."""
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in END_SIGNALS if number is not signal.SIGHUP or not is_nohup)


def hold_back(numbers: Iterable[signal.Signals]) -> None:
    """Let signals wait until `let_through`; none of them ends the process by itself from now on."""
    numbers = tuple(numbers)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        # Not SIG_IGN, which would throw away what waits, and which programs that we start would inherit.
        signal.signal(number, _pass_by)


def let_through(numbers: Iterable[signal.Signals]) -> None:
    """Deliver signals that were held back; whoever handles them is ready now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, tuple(numbers))


def ignore(numbers: Iterable[signal.Signals]) -> None:
    """Have signals do nothing for the rest of the process; the interpreter's end takes handlers away."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def handle(numbers: Iterable[signal.Signals], handler: Callable[[int, object], None]) -> None:
    """Handle signals in this way from now on, those that were held back included."""
    numbers = tuple(numbers)
    for number in numbers:
        signal.signal(number, handler)
    let_through(numbers)


@contextlib.contextmanager
def unfreezing() -> Iterator[None]:
    """Interrupt a read of /dev/fuse that blocks the whole loop, every few seconds.

    The library waits until a request is there and then reads it, blocking; a request whose caller was
    killed in between is gone by then, and the read waits for the next one. A signal ends that wait.
    """
    previous = signal.signal(signal.SIGALRM, _pass_by)
    signal.setitimer(signal.ITIMER_REAL, _UNFREEZE_S, _UNFREEZE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _pass_by(_number: int, _frame: object) -> None:
    """Do nothing; that a signal came at all is what interrupts a system call."""
