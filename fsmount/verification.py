"""Checks stored content against what was recorded when it was acquired.

It runs beside a mount, which may evict or delete a file at any moment: what does not fit is looked up
again, and only what the database still says counts as a finding.
"""

import dataclasses
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal

from fsmount.actor import actor
from fsmount.case import Case
from fsmount.content_rows import StoredContent
from fsmount.custody import CustodyLog
from fsmount.digest import RunningDigest
from fsmount.inventory import Counts, Inventory
from fsmount.store import content_path

Kind = Literal["mismatch", "missing", "unreadable"]

_BLOCK_BYTES = 1 << 20
_THREADS = min(4, os.cpu_count() or 1)  # hashing leaves the interpreter free for the others
_AHEAD = 4 * _THREADS  # files handed to the threads before the first is taken back
_NOTED_PROBLEMS = 100  # in the custody log, whose entries have a bounded size


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One file whose stored bytes are not what was acquired."""

    claude_file_id: str
    kind: Kind
    what: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    `checked` and `checked_bytes` count what was read, good or bad; `counts` says what the case lacks.
    """

    case: str
    checked: int
    checked_bytes: int
    problems: tuple[Problem, ...]
    counts: Counts


def verify(case: Case, on_checked: Callable[[int], None] = lambda _size_bytes: None) -> Report:
    """Read all stored content of a case, several files at once, and record in its custody log what came out.

    `on_checked` is told the size of each file that has been read, for progress.
    Errors: CaseError, CustodyError.
    """
    with (
        closing(CustodyLog(case.custody_path)) as journal,
        Inventory(case.catalog_path) as inventory,
    ):
        checked, checked_bytes, problems = 0, 0, []
        for row, problem in _outcomes(inventory, case.content_dir):
            if problem and inventory.find_content(row.claude_file_id) != row:
                continue  # evicted, deleted or fetched anew since
            checked += 1
            checked_bytes += row.size_bytes or 0
            if problem:
                problems.append(problem)
            on_checked(row.size_bytes or 0)
        report = Report(case.name, checked, checked_bytes, tuple(problems), inventory.counts())
        journal.append("checked", _entry(report), durable=True)
    return report


def _outcomes(
    inventory: Inventory, content_dir: Path
) -> Iterator[tuple[StoredContent, Problem | None]]:
    """Yield each stored file with what is wrong with it, in order; a bounded number is under way."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify")
    # An interrupted check must not first read a file of many GiB to its end.
    is_ending = threading.Event()
    under_way: deque[tuple[StoredContent, Future[Problem | None]]] = deque()
    try:
        for row in inventory.stored():
            under_way.append((row, pool.submit(check, row, content_dir, is_ending)))
            if len(under_way) >= _AHEAD:
                first, outcome = under_way.popleft()
                yield first, outcome.result()
        while under_way:
            first, outcome = under_way.popleft()
            yield first, outcome.result()
    finally:
        is_ending.set()
        pool.shutdown(cancel_futures=True)


def check(row: StoredContent, content_dir: Path, is_ending: threading.Event) -> Problem | None:
    """Read one file's stored bytes; return what is wrong with them, nothing once `is_ending` is set."""
    path = content_path(content_dir, row.claude_file_id)
    digest = RunningDigest()
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update([block])
                if is_ending.is_set():
                    return None
    except FileNotFoundError:
        return Problem(row.claude_file_id, "missing", f"{path} is not there")
    except OSError as error:
        what = f"{path} can't be read: {error.strerror or error}"
        return Problem(row.claude_file_id, "unreadable", what)
    found = difference(row, digest)
    return Problem(row.claude_file_id, "mismatch", f"{path}: {found}") if found else None


def difference(row: StoredContent, digest: RunningDigest) -> str | None:
    """Return in what the bytes that were read differ from what was recorded; None when in nothing."""
    if digest.position != row.size_bytes:
        return f"it has {digest.position} bytes, recorded are {row.size_bytes}"
    md5, sha256 = digest.hexdigests()
    for name, got, recorded in (("MD5", md5, row.md5), ("SHA-256", sha256, row.sha256)):
        if got != recorded:
            return f"its {name} is {got}, recorded is {recorded}"
    return None


def _entry(report: Report) -> dict[str, object]:
    noted = [dataclasses.asdict(problem) for problem in report.problems[:_NOTED_PROBLEMS]]
    return {
        **actor(),
        "files": report.checked,
        "bytes": report.checked_bytes,
        "problems": len(report.problems),
        "found": noted,
    }
