"""Shows a run: one table, and JSON with the versions of everything that took part."""

import dataclasses
import json
import os
import platform
import subprocess
from importlib import metadata

from rich.console import Console
from rich.table import Table

from tests.bench.mounts import RCLONE
from tests.bench.suite import MIB, US, Row, Suite
from tests.bench.targets import MOST_RSS_BYTES, judged

_PACKAGES = ("pyfuse3", "trio", "httpx", "hypercorn", "claude-compliance-sdk")


def print_table(suite: Suite) -> None:
    """Print medians, our ratio to each competitor (above 1: we are better) and targets."""
    table = Table(
        "measure",
        "who",
        "median",
        "ratio",
        "target",
        "memory",
        "note",
        title="ratio: how many times as good as this fsmount is",
    )
    shown = ""
    for row in sorted(
        suite.rows.values(), key=lambda row: list(_measures(suite)).index(row.measure)
    ):
        if row.measure != shown:
            table.add_section()
        name, shown = (row.measure if row.measure != shown else ""), row.measure
        table.add_row(name, *_cells(suite, row))
    most = most_rss_bytes(suite)
    verdict = "met" if most < MOST_RSS_BYTES else "MISSED"
    target = f"below {MOST_RSS_BYTES / MIB:.0f} MiB: {verdict}"
    table.add_section()
    table.add_row("memory, most of all", US, f"{most / MIB:.0f} MiB", "", target)
    Console(width=150).print(table)


def document(suite: Suite) -> str:
    """Return the run as JSON."""
    rows = [
        dataclasses.asdict(row)
        | {
            "median": row.median,
            "ratio": suite.ratio(row),
            "targets": {target.says: is_met for target, is_met in judged(suite, row)},
        }
        for row in suite.rows.values()
    ]
    content = {
        "versions": versions(),
        "rounds": suite.rounds,
        "is_quick": suite.is_quick,
        "most_rss_bytes": most_rss_bytes(suite),
        "rows": rows,
    }
    return json.dumps(content, indent=2) + "\n"


def versions() -> dict[str, object]:
    """Return what was compared with what, on what."""
    return {name: metadata.version(name) for name in _PACKAGES} | {
        "curl": _first_line("curl", "--version"),
        "rclone": _first_line(str(RCLONE), "version"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
    }


def most_rss_bytes(suite: Suite) -> int:
    """Return the most memory that a mount of ours took in any measure."""
    return max((row.rss_bytes for row in suite.rows.values() if row.who == US), default=0)


def _measures(suite: Suite) -> dict[str, None]:
    return dict.fromkeys(row.measure for row in suite.rows.values())


def _cells(suite: Suite, row: Row) -> list[str]:
    ratio = suite.ratio(row)
    targets = [f"{target.says}: {'met' if ok else 'MISSED'}" for target, ok in judged(suite, row)]
    return [
        row.who,
        f"{row.median:,.4g} {row.unit}",
        "" if ratio is None else f"{ratio:.2f}",
        "; ".join(targets),
        f"{row.rss_bytes / MIB:.0f} MiB" if row.rss_bytes else "",
        row.note,
    ]


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.splitlines()[0]
