"""Many files listed, and how every cost grows with their number."""

from fsmount.case import Case
from tests.bench import mounts, scale
from tests.bench.suite import US, Suite


def list_many(suite: Suite) -> None:
    """`ls -f` of 100,000 entries, beside the stub."""
    count = suite.pick(100_000, 10_000)
    case = Case.open(suite.directory / "listed")
    scale.collect(case, scale.Service(count // scale.FILES_PER_CHAT))
    for _ in range(suite.rounds):
        with mounts.fsmount(suite.directory, None, case=case.path) as mount:
            seconds = scale.listed(mount.path, count + 2)
            suite.add("ls -f", US, seconds, "s", mount=mount, note=f"{count:,} entries")
        with mounts.floor(suite.directory, count, 0) as mount:
            suite.add("ls -f", "stub", scale.listed(mount.path, count), "s", mount=mount)
