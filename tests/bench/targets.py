"""What the figures should be, each beside what it is compared with in the same run."""

import dataclasses
from collections.abc import Callable

from tests.bench.suite import MIB, US, Row, Suite

MOST_RSS_BYTES = 300 * MIB


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """`holds` is given our median and that of `who`; of ourselves where a figure stands alone."""

    measure: str
    who: str
    says: str
    holds: Callable[[float, float], bool]


TARGETS = (
    Target("grep, 100 ms", US, "at most 10 s", lambda ours, _: ours <= 10),
    Target("grep, 100 ms", "rclone mount", "25 times", lambda ours, other: 25 * ours <= other),
    Target("requests a file, grep, 100 ms", US, "exactly 1", lambda ours, _: ours == 1),
    Target("requests a file, grep, no latency", US, "exactly 1", lambda ours, _: ours == 1),
    Target("share of the budget", US, "at least 0.95", lambda ours, _: ours >= 0.95),
    Target("grep, no latency", US, "below 1 s", lambda ours, _: ours < 1),
    Target("grep, no latency", "rclone mount", "faster", lambda ours, other: ours < other),
    Target("cat */*, stored", "stub", "0.77", lambda ours, other: ours <= 1.3 * other),
    Target("cold read", "rclone mount", "1", lambda ours, other: ours >= other),
    Target("cold read", "curl", "0.40", lambda ours, other: ours >= 0.4 * other),
    Target("warm read", "local disk", "0.7", lambda ours, other: ours >= 0.7 * other),
    Target("pages dropped read", "stub", "0.8", lambda ours, other: ours >= 0.8 * other),
    Target("cold, 50 MB/s and 100 ms read", "curl", "0.98", lambda ours, other: ours >= 0.98 * other),
    Target("first byte", "curl", "10 ms more", lambda ours, other: ours <= other + 10),
    Target("first byte", "rclone mount", "faster", lambda ours, other: ours < other),
    *(
        Target(measure, "HTTP request", "0.83", lambda ours, other: ours <= 1.2 * other)
        for measure in ("random 4 KiB, ranges, no latency", "random 4 KiB, ranges, 100 ms")
    ),
    Target("random 4 KiB, no ranges", US, "at most 1", lambda ours, _: ours <= 1),
    Target("ls -f", "stub", "0.67", lambda ours, other: ours <= 1.5 * other),
)  # fmt: skip


def judged(suite: Suite, row: Row) -> list[tuple[Target, bool]]:
    """Return the targets that stand beside a row, and whether each is met."""
    ours = suite.find(row.measure, US)
    if ours is None:
        return []
    return [
        (target, target.holds(ours.median, row.median))
        for target in TARGETS
        if (target.measure, target.who) == (row.measure, row.who)
    ]
