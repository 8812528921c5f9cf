"""The benchmark: the mount beside what one would use instead, against the same server in the same run.

`python -m tests.bench [--quick] [--rounds N] [--only NAME ...] [--json FILE] [--plot FILE]` prints a table of
medians with their ratios and targets. It measures; what must hold is checked by the tests.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import large, listing, plot, report, scale, small
from tests.bench.mounts import RCLONE
from tests.bench.suite import Suite
from tests.support.mounts import require_fuse

MEASURES: dict[str, Callable[[Suite], None]] = {
    "latency": small.search_with_latency,
    "budget": small.search_within_budget,
    "no-latency": small.search_without_latency,
    "stored": small.stored_files,
    "sequential": large.sequential,
    "throttled": large.throttled,
    "first-byte": large.first_byte,
    "random": large.random_with_ranges,
    "random-no-ranges": large.random_without_ranges,
    "listing": listing.list_many,
}


def main() -> None:
    """Run what was asked for and print it."""
    arguments = _arguments()
    require_fuse()
    if not RCLONE.exists():
        sys.exit(f"{RCLONE} is missing; `make bench` installs it")
    with tempfile.TemporaryDirectory(prefix="fsmount-bench-") as directory:
        rounds = 1 if arguments.quick else arguments.rounds
        suite = Suite(Path(directory), rounds, arguments.quick)
        with contextlib.suppress(KeyboardInterrupt):  # what there is by then is shown
            for name in arguments.only or MEASURES:
                started = time.monotonic()
                MEASURES[name](suite)
                took = time.monotonic() - started
                print(f"{name}: measured in {took:.0f} s", file=sys.stderr, flush=True)
        report.print_table(suite)
        if arguments.json:
            arguments.json.write_text(report.document(suite))
        if arguments.plot:
            _draw(arguments.plot, Path(directory), is_quick=arguments.quick)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="one round of smaller sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), metavar="NAME")
    parser.add_argument("--json", type=Path, help="write the results there as well")
    parser.add_argument("--plot", type=Path, help="draw cost against the number of files (SVG)")
    return parser.parse_args()


def _draw(target: Path, directory: Path, *, is_quick: bool) -> None:
    sizes = scale.SIZES[:3] if is_quick else scale.SIZES
    rows = [scale.measure(files, directory) for files in sizes]
    scale.print_table(rows)
    target.write_text(plot.draw(scale.TITLE, "files", "seconds", scale.curves(rows)))


if __name__ == "__main__":
    main()
