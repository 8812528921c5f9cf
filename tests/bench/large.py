"""One large file: read cold and again, at full speed and throttled, at random places, its first byte."""

import dataclasses
import os
import random
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from tests.bench import loops, mounts
from tests.bench.mounts import Mount
from tests.bench.servers import Servers
from tests.bench.stub import FILE_NAME
from tests.bench.suite import GIB, KIB, MIB, US, Suite, drain, drop_pages, timed
from tests.support.process import Load

_BLOCK = 4 * KIB
_DISTANCE = 16 * MIB  # between reads at random, which come in any order: no one helps another
_STORED_S = 60.0
_FULL = "rclone mount, full"

Make = Callable[[], AbstractContextManager[Mount]]


def sequential(suite: Suite) -> None:
    """Read 1 GiB from loopback, then again warm, then again without the page cache of the mount."""
    with Servers(_large(suite)) as servers:
        for _ in range(suite.rounds):
            for who, make in _mounts(suite, servers).items():
                with make() as mount:
                    _read_thrice(suite, who, mount, _path(mount, servers))
            with mounts.floor(suite.directory, 1, _size(servers)) as mount:
                _read_thrice(
                    suite, "stub", mount, next(mount.path.iterdir()) / os.fsdecode(FILE_NAME)
                )
            _read_local(suite, servers)
            target = suite.directory / "sdk"
            took = timed(loops.sdk_to_file, servers, servers.ids()[-1], target)
            target.unlink()
            _add_rate(suite, "cold", "SDK, to a file", servers, took)
            took = loops.curl_timing(servers, servers.ids()[-1], "time_total")
            _add_rate(suite, "cold", "curl", servers, took)


def throttled(suite: Suite) -> None:
    """Read 1 GiB cold from a server that gives 50 MB/s and takes 100 ms a request."""
    load = dataclasses.replace(_large(suite), latency_s=0.1, bytes_per_s=50e6)
    with Servers(load) as servers:
        for _ in range(1 if suite.is_quick else min(suite.rounds, 2)):
            for who, make in _mounts(suite, servers, "naive mount", _FULL).items():
                with make() as mount:
                    took = timed(drain, _path(mount, servers))
                    _add_rate(suite, "cold, 50 MB/s and 100 ms", who, servers, took, mount)
            took = loops.curl_timing(servers, servers.ids()[-1], "time_total")
            _add_rate(suite, "cold, 50 MB/s and 100 ms", "curl", servers, took)


def first_byte(suite: Suite) -> None:
    """Open a file of 1 GiB and read one byte."""
    with Servers(_large(suite)) as servers:
        for _ in range(max(suite.rounds, 3)):
            for who, make in _mounts(suite, servers, "naive mount").items():
                with make() as mount:
                    path = _path(mount, servers)
                    path.stat()
                    milliseconds = timed(_read_one, path) * 1e3
                    suite.add("first byte", who, milliseconds, "ms", mount=mount)
            seconds = loops.curl_first_byte(servers, servers.ids()[-1])
            suite.add("first byte", "curl", seconds * 1e3, "ms")


def random_with_ranges(suite: Suite) -> None:
    """Read 4 KiB at random places where the server honours ranges, at once and at 100 ms."""
    for latency_s, label in ((0.0, "no latency"), (0.1, "100 ms")):
        measure = f"random 4 KiB, ranges, {label}"
        load = dataclasses.replace(_large(suite), honour_range=True, latency_s=latency_s)
        with Servers(load) as servers:
            for _ in range(suite.rounds):
                for who, make in _mounts(suite, servers, "naive mount", _FULL).items():
                    with make() as mount:
                        fd = os.open(_path(mount, servers), os.O_RDONLY)
                        times, wrong = _read_randomly(servers, partial(_pread, fd))
                        os.close(fd)
                        milliseconds = statistics.median(times) * 1e3
                        note = f"{wrong} wrong" if wrong else ""
                        suite.add(measure, who, milliseconds, "ms", mount=mount, note=note)
                ranges = loops.Ranges(servers, servers.ids()[-1])
                times, _ = _read_randomly(servers, ranges.read)
                ranges.close()
                suite.add(measure, "HTTP request", statistics.median(times) * 1e3, "ms")


def random_without_ranges(suite: Suite) -> None:
    """Read 4 KiB at random places where the server gives the whole file each time."""
    with Servers(_large(suite)) as servers:
        for _ in range(suite.rounds):
            with mounts.fsmount(suite.directory, servers) as mount:
                servers.reset()
                fd = os.open(_path(mount, servers), os.O_RDONLY)
                times, wrong = _read_randomly(servers, partial(_pread, fd))
                os.close(fd)
                traffic = servers.traffic()
                share = traffic.bytes_sent / _size(servers)
                note = f"{share:.2f} of the file, {sum(times):.1f} s, {wrong} wrong"
                measure = "random 4 KiB, no ranges"
                suite.add(measure, US, traffic.contents, "downloads", mount=mount, note=note)


def _read_thrice(suite: Suite, who: str, mount: Mount, path: Path) -> None:
    size = path.stat().st_size
    for measure in ("cold", "warm", "pages dropped"):
        started = time.perf_counter()
        assert drain(path) == size
        rate = size / (time.perf_counter() - started) / 1e6
        suite.add(f"{measure} read", who, rate, "MB/s", mount=mount, more_is_better=True)
        if measure == "cold" and mount.case is not None:
            _wait_stored(mount.case, path.parent.name)
        if measure == "warm":
            drop_pages(path)


def _wait_stored(case: Path, file_id: str) -> None:
    deadline = time.monotonic() + _STORED_S
    while not list((case / "content").rglob(file_id)):
        assert time.monotonic() < deadline, f"{file_id} was not stored in {_STORED_S} s"
        time.sleep(0.05)


def _read_local(suite: Suite, servers: Servers) -> None:
    """Read a file on the local disk that is in the page cache."""
    path = suite.directory / "local"
    with path.open("wb") as file:
        for _ in range(_size(servers) // MIB):
            file.write(bytes(MIB))
    drain(path)
    rate = _size(servers) / timed(drain, path) / 1e6
    suite.add("warm read", "local disk", rate, "MB/s", more_is_better=True)
    path.unlink()


def _read_randomly(servers: Servers, read: Callable[[int, int], bytes]) -> tuple[list[float], int]:
    """Return how long each read took, and how many gave other bytes than the file has."""
    file = servers.corpus.find_listed(servers.ids()[-1])
    assert file is not None
    assert file.content is not None
    rng = random.Random(1)
    places = list(range(_DISTANCE, _size(servers) - _DISTANCE, _DISTANCE))
    rng.shuffle(places)
    times, wrong = [], 0
    for place in places:
        offset = place + rng.randrange(_DISTANCE // 2 // _BLOCK) * _BLOCK
        started = time.perf_counter()
        data = read(offset, _BLOCK)
        times.append(time.perf_counter() - started)
        wrong += data != bytes(file.content.read(offset, _BLOCK))
    return times, wrong


def _pread(fd: int, offset: int, size: int) -> bytes:
    return os.pread(fd, size, offset)


def _read_one(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        assert len(file.read(1)) == 1


def _add_rate(
    suite: Suite,
    measure: str,
    who: str,
    servers: Servers,
    seconds: float,
    mount: Mount | None = None,
) -> None:
    rate = _size(servers) / seconds / 1e6
    suite.add(f"{measure} read", who, rate, "MB/s", mount=mount, more_is_better=True)


def _mounts(suite: Suite, servers: Servers, *without: str) -> dict[str, Make]:
    place = suite.directory
    made: dict[str, Make] = {
        US: partial(mounts.fsmount, place, servers),
        "rclone mount": partial(mounts.rclone, place, servers),
        _FULL: partial(mounts.rclone, place, servers, mode="full"),
        "naive mount": partial(mounts.naive, place, servers),
    }
    return {who: make for who, make in made.items() if who not in without}


def _large(suite: Suite) -> Load:
    return Load(chats=1, files_per_chat=1, large_sizes=(suite.pick(GIB, GIB // 8),))


def _size(servers: Servers) -> int:
    return servers.load.large_sizes[0]


def _path(mount: Mount, servers: Servers) -> Path:
    file_id = servers.ids()[-1]
    return mount.path / file_id / servers.name_of(file_id)
