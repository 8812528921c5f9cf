"""How far a long task is, in words that can be trusted: a bar on a terminal, else a line now and then."""

import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

import client

_BAR_S = 0.25
_LINE_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """One moment of a task: so many of so many, and what goes with it; `total` None while it is not known.

    Shape: `facts` are short words ("12,000 files"); `waiting` says what it waits for, None while it works;
    `least_s` is how long the rest takes at the least, whatever the pace was until now.
    """

    done: int
    total: int | None
    unit: str
    facts: tuple[str, ...] = ()
    waiting: str | None = None
    least_s: float = 0.0


class Pace:
    """How fast a task goes, and how long it will take at that pace.

    Units: seconds of any steady clock.
    """

    def __init__(self, now: float) -> None:
        self._started = now
        self._done_before: int | None = None

    def words(self, state: State, now: float) -> list[str]:
        """Return the pace and the time left; nothing while there is nothing to tell it from."""
        if self._done_before is None:
            self._done_before = state.done
        done, elapsed_s = state.done - self._done_before, now - self._started
        if done <= 0 or elapsed_s < 1:
            return []
        per_s = done / elapsed_s
        pace = f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s * 60:,.0f}/min"
        if state.total is None or state.total <= state.done:
            return [pace]
        left_s = max((state.total - state.done) / per_s, state.least_s)
        return [pace, f"{duration(left_s)} left"]


def duration(seconds: float) -> str:
    """Return a time for a person: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def what_holds(budget: client.Budget) -> str | None:
    """Say in words what requests wait for; None when none does."""
    if not budget.waiting:
        return None
    if budget.blocked_for_s > 0:
        return f"the service asked to, for {duration(budget.blocked_for_s)}"
    if budget.remaining == 0 and budget.reset_in_s is not None:
        return f"the organization's requests are used up, for {duration(budget.reset_in_s)}"
    if budget.max_rpm is not None and budget.used_last_minute >= budget.max_rpm:
        return f"{budget.max_rpm} requests a minute, as --max-rpm says"
    return None


def line_of(state: State, pace: list[str]) -> str:
    """Return one line about a moment."""
    total = "" if state.total is None else f" of {state.total:,}"
    words = [f"{state.done:,}{total} {state.unit}", *state.facts, *pace]
    if state.waiting:
        words.append(f"waiting: {state.waiting}")
    return ", ".join(words)


@asynccontextmanager
async def shown(look: Callable[[], State]) -> AsyncIterator[None]:
    """Show how a task goes on while the context is open, on stderr; the last moment is always shown.

    Errors: those of the task, as they are.
    """
    pace = Pace(time.monotonic())
    is_terminal = sys.stderr.isatty()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_draw if is_terminal else _print_lines, look, pace)
        try:
            yield
        except Exception as error:
            failure = error  # raised outside, since in here it would become a group
        finally:
            nursery.cancel_scope.cancel()
            if not is_terminal:
                _print(look, pace)
    if failure:
        raise failure


async def _print_lines(look: Callable[[], State], pace: Pace) -> None:
    while True:
        await trio.sleep(_LINE_S)
        _print(look, pace)


def _print(look: Callable[[], State], pace: Pace) -> None:
    state = look()
    print(line_of(state, pace.words(state, time.monotonic())), file=sys.stderr, flush=True)


async def _draw(look: Callable[[], State], pace: Pace) -> None:
    columns = (BarColumn(30), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        bar.add_task("", total=None)
        try:
            while True:
                _refresh(bar, look, pace)
                await trio.sleep(_BAR_S)
        finally:
            _refresh(bar, look, pace)


def _refresh(bar: Progress, look: Callable[[], State], pace: Pace) -> None:
    state = look()
    text = line_of(state, pace.words(state, time.monotonic()))
    (task,) = bar.task_ids
    bar.update(task, completed=state.done, total=state.total, description=text)
    bar.refresh()
