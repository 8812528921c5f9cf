"""Many small files: searched cold at several latencies and budgets, and read again from the case."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from tests.bench import loops, mounts
from tests.bench.mounts import Mount
from tests.bench.servers import Servers
from tests.bench.suite import US, Suite, grep, timed
from tests.support.mounts import run
from tests.support.process import Load

FILE_BYTES = 4096
BUDGET_RPM = 600
_PER_CHAT = 10
_SAMPLE = 100  # of those that take one file after the other, at a latency
_LATENCY_S = 0.1


def search_with_latency(suite: Suite) -> None:
    """Cold `grep -r` over 1,000 files where a request takes 100 ms."""
    _search(suite, "grep, 100 ms", Load(latency_s=_LATENCY_S), sample=suite.pick(_SAMPLE, 20))


def search_without_latency(suite: Suite) -> None:
    """Cold `grep -r` over 1,000 files on loopback."""
    _search(suite, "grep, no latency", Load(), sample=None)


def search_within_budget(suite: Suite) -> None:
    """Cold `grep -r` with 600 requests a minute and 100 ms, over a few files more than the minutes allow.

    The server counts in fixed minutes from the first request on, so the last files can't come before they
    have passed: that time is the limit which the budget sets, and the share is how near it was.
    """
    minutes = suite.pick(2, 1)
    count = minutes * BUDGET_RPM + _PER_CHAT
    load = _small(Load(latency_s=_LATENCY_S, requests_per_minute=BUDGET_RPM), count)
    case = suite.directory / "budget" / "case"
    with Servers(load) as servers:
        mounts.collect(servers, case)
        with mounts.fsmount(suite.directory, servers, case=case, max_rpm=BUDGET_RPM) as mount:
            servers.reset()
            seconds = timed(grep, [mount.path])
            seen = servers.traffic()
            note = f"{seen.requests} requests in {seen.seconds:.1f} s, {seen.refused} refused"
            suite.add("grep, 600 a minute", US, seconds, "s", mount=mount, note=note)
            share = minutes * 60 / seen.seconds
            suite.add("share of the budget", US, share, "", mount=mount, more_is_better=True)


def stored_files(suite: Suite) -> None:
    """`cat */*` over 10,000 stored files of 4 KiB, offline, on a new mount, beside the stub."""
    count = suite.pick(10_000, 1000)
    case = suite.directory / "stored" / "case"
    with Servers(_small(Load(), count)) as servers:
        mounts.collect(servers, case)
        with mounts.fsmount(suite.directory, servers, case=case) as mount:
            grep([mount.path])
    for _ in range(suite.rounds):
        with mounts.fsmount(suite.directory, None, case=case) as mount:
            suite.add("cat */*, stored", US, _cat_all(mount), "s", mount=mount)
        with mounts.floor(suite.directory, count, FILE_BYTES) as mount:
            suite.add("cat */*, stored", "stub", _cat_all(mount), "s", mount=mount)


def _search(suite: Suite, measure: str, load: Load, *, sample: int | None) -> None:
    with Servers(_small(load, 1000)) as servers:
        ids = servers.ids()
        for _ in range(suite.rounds):
            for who, make in _mounts(suite, servers).items():
                some = ids[:sample] if who != US else ids
                with make() as mount:
                    servers.reset()
                    # Whole, only the root is named, as a person would.
                    paths = [mount.path / each for each in some] if sample else [mount.path]
                    seconds = timed(grep, [mount.path] if who == US else paths)
                    requests = servers.traffic().requests / len(some)
                    note = f"{requests:.2f} requests a file" + _from(len(some), len(ids))
                    scaled = seconds * len(ids) / len(some)
                    suite.add(measure, who, scaled, "s", mount=mount, note=note)
                    if who == US:
                        name = f"requests a file, {measure}"
                        suite.add(name, who, requests, "", mount=mount)
            for who, work in _loops(servers).items():
                is_parallel = "8" in who
                some = ids if is_parallel else ids[:sample]
                scaled = timed(work, some) * len(ids) / len(some)
                suite.add(measure, who, scaled, "s", note=_from(len(some), len(ids)).lstrip(", "))


def _mounts(
    suite: Suite, servers: Servers
) -> dict[str, Callable[[], AbstractContextManager[Mount]]]:
    place = suite.directory
    return {
        US: partial(mounts.fsmount, place, servers),
        "rclone mount": partial(mounts.rclone, place, servers),
        "rclone mount, full": partial(mounts.rclone, place, servers, mode="full"),
        "naive mount": partial(mounts.naive, place, servers),
    }


def _loops(servers: Servers) -> dict[str, Callable[[list[str]], None]]:
    return {
        "SDK": partial(loops.sdk_many, servers),
        "SDK, 8 at once": partial(loops.sdk_many, servers, parallel=8),
        "curl": partial(loops.curl_many, servers),
        "curl -Z, 8 at once": partial(loops.curl_many, servers, parallel=8),
    }


def _small(load: Load, count: int) -> Load:
    return Load(
        chats=count // _PER_CHAT,
        files_per_chat=_PER_CHAT,
        file_bytes=FILE_BYTES,
        latency_s=load.latency_s,
        requests_per_minute=load.requests_per_minute,
    )


def _from(some: int, of: int) -> str:
    return "" if some == of else f", extrapolated from {some} files"


def _cat_all(mount: Mount) -> float:
    """Run `cat` in the mount: with whole paths, its arguments would be too long."""
    script = f"cd '{mount.path}' && cat */* >/dev/null"
    started = time.perf_counter()
    done = run(["bash", "-c", script], timeout_s=300)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    return seconds
