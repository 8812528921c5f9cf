"""Collects what is measured: samples of who took how much for what, of which the median counts."""

import dataclasses
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.mounts import Mount

US = "fsmount"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_TOOL_S = 900


@dataclasses.dataclass
class Row:
    """One competitor in one measure; `values` in `unit`, one a round.

    `more_is_better` says which way a ratio goes. Units: `rss_bytes` is the most memory seen, 0 unknown.
    """

    measure: str
    who: str
    unit: str
    more_is_better: bool
    values: list[float] = dataclasses.field(default_factory=list)
    rss_bytes: int = 0
    note: str = ""

    @property
    def median(self) -> float:
        """Return the value that counts."""
        return statistics.median(self.values)


@dataclasses.dataclass
class Suite:
    """One run: its sizes, its rounds, its results."""

    directory: Path
    rounds: int
    is_quick: bool
    rows: dict[tuple[str, str], Row] = dataclasses.field(default_factory=dict)

    def pick(self, full: int, quick: int) -> int:
        """Return the size that this run takes."""
        return quick if self.is_quick else full

    def add(
        self,
        measure: str,
        who: str,
        value: float,
        unit: str,
        *,
        mount: Mount | None = None,
        more_is_better: bool = False,
        note: str = "",
    ) -> None:
        """Add one sample; a mount, while it lives, tells its memory."""
        fresh = Row(measure, who, unit, more_is_better)
        row = self.rows.setdefault((measure, who), fresh)
        row.values.append(value)
        row.note = note or row.note
        if mount is not None:
            row.rss_bytes = max(row.rss_bytes, mount.rss_bytes())

    def find(self, measure: str, who: str) -> Row | None:
        """Return one competitor's results."""
        return self.rows.get((measure, who))

    def ratio(self, row: Row) -> float | None:
        """Return how many times as good as this competitor we are, in the same measure."""
        ours = self.find(row.measure, US)
        if ours is None or row is ours or not row.median or not ours.median:
            return None
        if row.more_is_better:
            return ours.median / row.median
        return row.median / ours.median


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Return how many seconds some work takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def tool(command: Sequence[str | Path]) -> None:
    """Run a tool to its end, whatever it finds, within a limit; what it reads is thrown away."""
    subprocess.run(command, check=False, timeout=_TOOL_S, stdout=subprocess.DEVNULL)


def grep(paths: Sequence[Path]) -> None:
    """Search for what is nowhere, so that everything is read."""
    tool(["grep", "-r", "no such words", *paths])


def drain(path: Path) -> int:
    """Read a file to its end as cat does; return how long it was."""
    buffer = bytearray(MIB)
    total = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    return total


def drop_pages(path: Path) -> None:
    """Let the kernel forget the pages of one file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
