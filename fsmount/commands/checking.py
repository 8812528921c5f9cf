"""`fsmount verify`."""

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from fsmount.verification import Report

_FLAG = Parameter(negative="", show_default=False)


def verify(case: str, /, *, json: Annotated[bool, _FLAG] = False) -> int:
    """Check all stored content of a case against its recorded hashes: exit 1 when anything differs.

    Reads every stored byte, makes no request, and may run beside a mount.

    Parameters
    ----------
    case
        Name or path of the case.
    json
        Print the outcome as JSON.
    """
    from fsmount import display, verification  # noqa: PLC0415 - --help must not wait for SQLite
    from fsmount.case import Case, case_path  # noqa: PLC0415
    from fsmount.inventory import Inventory  # noqa: PLC0415

    opened = Case.open(case_path(case, os.environ), create=False)
    with Inventory(opened.catalog_path) as inventory:
        stored = inventory.counts()
    with display.progress("verifying", stored.verified + stored.unverified) as shown:
        report = verification.verify(opened, shown.advance)
    if json:
        display.show_json(dataclasses.asdict(report))
    else:
        _show(report)
    return 1 if report.problems else 0


def _show(report: "Report") -> None:
    from fsmount import display  # noqa: PLC0415 - see above

    if report.problems:
        found = [
            (problem.claude_file_id, problem.kind, problem.what) for problem in report.problems
        ]
        display.show_table(found, ("file", "problem", "what"), title="What does not fit")
    counts = report.counts
    size = display.size_text(report.checked_bytes)
    rows = [
        ("checked", f"{report.checked} files, {size}"),
        ("as recorded", str(report.checked - len(report.problems))),
        ("not as recorded", str(len(report.problems))),
        ("stored, but never verified: no digest came with them", str(counts.unverified)),
        ("not stored", str(counts.not_stored)),
    ]
    display.show_table(rows, title=f"Stored content of {report.case}")
