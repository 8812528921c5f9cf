"""What commands show: tables and progress bars on a terminal, plain lines elsewhere, JSON on request.

Names and messages may come from strangers: nothing of them reaches a terminal as an escape sequence or as
markup.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from fsmount.logs import one_line

if TYPE_CHECKING:
    from rich import progress as bars

_PLAIN_PAUSE_S = 10.0  # between two lines of progress where there is no terminal
_SHORT_CELL = 36  # ids, for one: such a column is not broken to make room for others
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")

# What a cell may say that is worth a colour.
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"} | dict.fromkeys(
    ("mismatch", "missing", "unreadable"), "bold red"
)


def show_json(document: object) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=2))


def show_table(
    rows: Sequence[Sequence[str]], columns: Sequence[str] = (), *, title: str | None = None
) -> None:
    """Print rows on stdout: as a table on a terminal, elsewhere one line each with a tab between cells."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            print("\t".join(row))
        return
    from rich.console import Console  # noqa: PLC0415 - other commands need not wait for it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, show_header=bool(columns), title_justify="left")
    width = max(map(len, cells), default=0)
    for number, column in enumerate(columns or [""] * width):
        longest = max((len(row[number]) for row in cells), default=0)
        table.add_column(column, overflow="fold", no_wrap=longest <= _SHORT_CELL)
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def size_text(size_bytes: float) -> str:
    """Return a size as people read it."""
    unit = 0
    while size_bytes >= 1024 and unit < len(_UNITS) - 1:
        size_bytes, unit = size_bytes / 1024, unit + 1
    return f"{size_bytes:.0f} {_UNITS[unit]}" if unit == 0 else f"{size_bytes:.1f} {_UNITS[unit]}"


class Progress(Protocol):
    """How far something has come, shown while it runs."""

    def advance(self, size_bytes: int) -> None:
        """Note that one more file is done."""
        ...

    def waits(self, reason: str) -> None:
        """Say what is being waited for; nothing with an empty reason."""
        ...


@contextlib.contextmanager
def progress(what: str, files: int) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, elsewhere a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines(what, files)
        return
    from rich import progress as bars  # noqa: PLC0415 - see above
    from rich.console import Console  # noqa: PLC0415

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[size]}"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[reason]}"),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        yield _Bar(shown, what, files)


class _Bar:
    """Progress as a bar."""

    def __init__(self, shown: "bars.Progress", what: str, files: int) -> None:
        self._shown = shown
        self._task_id = shown.add_task(what, total=files, size="", reason="")
        self._size_bytes = 0

    def advance(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        self._shown.update(self._task_id, advance=1, size=size_text(self._size_bytes))

    def waits(self, reason: str) -> None:
        self._shown.update(self._task_id, reason=reason)


class _Lines:
    """Progress as lines, for logs; the beginning of a wait is told at once."""

    def __init__(self, what: str, files: int) -> None:
        self._what = what
        self._files = files
        self._done = self._size_bytes = 0
        self._reason = ""
        self._said_at = time.monotonic()

    def advance(self, size_bytes: int) -> None:
        self._done += 1
        self._size_bytes += size_bytes
        if time.monotonic() - self._said_at >= _PLAIN_PAUSE_S:
            self._say()

    def waits(self, reason: str) -> None:
        is_new = bool(reason) and not self._reason
        self._reason = reason
        if is_new:
            self._say()

    def _say(self) -> None:
        self._said_at = time.monotonic()
        waiting = f"; {self._reason}" if self._reason else ""
        size = size_text(self._size_bytes)
        print(
            f"{self._what}: {self._done} of {self._files} files, {size}{waiting}",
            file=sys.stderr,
            flush=True,
        )
