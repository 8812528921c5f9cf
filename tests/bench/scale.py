"""How cost grows with the number of files: collecting, the catalog, mounting, listing, memory.

`python -m tests.bench.scale [--files N ...] [--json FILE] [--plot FILE]` makes a case of each size. The walk
is fed from memory, so that the server is not what is measured; listing is compared with a stub that lists as
many constant names, in the same run.
"""

import argparse
import dataclasses
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

import client
from client._walk import read_page
from fsmount.case import Case
from fsmount.collect import Collector
from fsmount.collection import Collection, Wanted
from tests.bench import plot
from tests.bench.mounts import floor
from tests.support.mounts import MountedProcess, require_fuse, run

MIB = 1 << 20
FILES_PER_CHAT = 10
SIZES = [100, 1_000, 10_000, 100_000, 1_000_000]
TITLE = "seconds against the number of files"
USERS = 50
_LISTINGS = 9
FIND_UP_TO = 100_000  # find opens every directory: four requests to the mount for each


class Service:
    """Chats with files, made up as they are asked for; answers are JSON, as over the wire."""

    def __init__(self, chats: int) -> None:
        self._chats = chats
        self.requests = 0

    async def get(self, step: client.Step) -> client.Page:
        """Answer one step."""
        self.requests += 1
        await trio.lowlevel.checkpoint()
        kind = step.listing.kind
        if kind == "chats":
            document = self._list(int(step.cursor or 0), step.limit)
        elif kind == "messages":
            document = self._messages(int(step.listing.owner[-12:]))
        else:
            document = {"data": [], "has_more": False, "next_page": None}
        return read_page(step, {}, json.dumps(document).encode())

    def _list(self, start: int, limit: int) -> dict[str, object]:
        stop = min(start + limit, self._chats)
        chats = [self._chat(number) for number in range(start, stop)]
        return {"data": chats, "has_more": stop < self._chats, "last_id": str(stop)}

    @staticmethod
    def _chat(number: int) -> dict[str, object]:
        user = number % USERS
        at = f"2026-{1 + number % 12:02d}-{1 + number % 28:02d}T10:00:00.000{number % 1000:03d}Z"
        return {
            "id": f"claude_chat_01{number:022d}",
            "name": f"Chat about subject {number}",
            "created_at": at,
            "updated_at": at,
            "deleted_at": None,
            "organization_uuid": "00000000-0000-4000-8000-000000000001",
            "project_id": None,
            "user": {"id": f"user_01{user:022d}", "email_address": f"user{user}@example.com"},
        }

    def _messages(self, number: int) -> dict[str, object]:
        files = [
            {
                "id": f"claude_file_01{number * FILES_PER_CHAT + place:022d}",
                "created_at": "2026-03-02T09:15:15.015105Z",
                "filename": f"document {number * FILES_PER_CHAT + place}.txt",
                "mime_type": "text/plain",
                "size_bytes": 20_000 + place,
                "md5": f"{number * FILES_PER_CHAT + place:032x}",
            }
            for place in range(FILES_PER_CHAT)
        ]
        message = {
            "id": f"claude_chat_msg_01{number:022d}",
            "role": "user",
            "created_at": "2026-03-02T09:15:15.015105Z",
            "content": [{"type": "text", "text": "Look at these. " * 20}],
            "files": files,
            "generated_files": None,
            "artifacts": None,
        }
        return {**self._chat(number), "chat_messages": [message], "has_more": False}


@dataclasses.dataclass
class Row:
    """What one size costs. Units: seconds, bytes, files a second."""

    files: int
    collect_per_s: float
    rerun_requests: int
    catalog_bytes_per_file: float
    ready_s: float
    ls_s: float
    ls_floor_s: float
    find_s: float | None
    rss_idle: int
    rss_after: int


def collect(case: Case, service: Service) -> float:
    """Fill the case; return how long that took."""
    started = time.perf_counter()
    wanted = Wanted()
    with Collection(case.catalog_path, wanted) as collection:
        collection.begin()
        lists = [*wanted.scope.chat_listings(), *wanted.scope.project_listings()]
        trio.run(Collector(service, collection, lists).run)
        collection.finish()
    return time.perf_counter() - started


def measure(files: int, directory: Path) -> Row:
    """Measure one size, on a new case."""
    case = Case.open(directory / f"case{files}")
    took = collect(case, Service(files // FILES_PER_CHAT))
    again = Service(files // FILES_PER_CHAT)
    collect(case, again)
    size = sum(path.stat().st_size for path in case.path.glob("catalog.sqlite3*"))
    mountpoint = directory / "mnt"
    started = time.perf_counter()
    with MountedProcess(case.path, mountpoint, "--offline") as mount:
        ready = time.perf_counter() - started
        rss_idle = mount.rss_bytes()
        ls = listed(mountpoint, files + 3)  # the dots, and by-user
        find = None
        if files <= FIND_UP_TO:
            started = time.perf_counter()
            found = run(["find", str(mountpoint), "-type", "f"], timeout_s=600)
            find = time.perf_counter() - started
            assert found.stdout.count(b"\n") == 2 * files, found.stderr
        rss_after = mount.rss_bytes()
    with floor(directory, files, 0) as stub:
        ls_floor = listed(stub.path, files)
    return Row(
        files,
        files / took,
        again.requests,
        size / files,
        ready,
        ls,
        ls_floor,
        find,
        rss_idle,
        rss_after,
    )


def listed(directory: Path, expected: int) -> float:
    """List a directory as `ls -f | wc -l` does, again and again; return the median."""
    times = []
    for _ in range(_LISTINGS):
        started = time.perf_counter()
        done = run(["bash", "-c", f"ls -f '{directory}' | wc -l"], timeout_s=300)
        times.append(time.perf_counter() - started)
        assert int(done.stdout) == expected, done.stdout
    return statistics.median(times)


def curves(rows: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return seconds against the number of files, for a plot."""
    found = [(float(row.files), row.find_s) for row in rows if row.find_s is not None]
    return {
        "collect": [(row.files, row.files / row.collect_per_s) for row in rows],
        "mount ready": [(row.files, row.ready_s) for row in rows],
        "ls -f": [(row.files, row.ls_s) for row in rows],
        "ls -f of the stub": [(row.files, row.ls_floor_s) for row in rows],
        "find -type f": found,
    }


def print_table(rows: Sequence[Row]) -> None:
    """Print what each size costs."""
    table = Table(
        "files",
        "collect",
        "catalog",
        "mount ready",
        "ls -f",
        "floor",
        "ratio",
        "find -type f",
        "memory",
        title="cost against the number of files",
    )
    for row in rows:
        table.add_row(
            f"{row.files:,}",
            f"{row.collect_per_s:,.0f} files/s",
            f"{row.catalog_bytes_per_file:,.0f} B/file",
            f"{row.ready_s:.2f} s",
            f"{row.ls_s:.2f} s",
            f"{row.ls_floor_s:.2f} s",
            f"{row.ls_s / row.ls_floor_s:.2f}",
            "" if row.find_s is None else f"{row.find_s:.1f} s",
            f"{row.rss_idle / MIB:.0f} / {row.rss_after / MIB:.0f} MiB",
        )
    Console(width=130).print(table)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"requests of a run with nothing new: {[row.rerun_requests for row in rows]}")
    print(f"memory of the process that collected, most: {own:.0f} MiB")


def main() -> None:
    """Measure every size and print it."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.bench.scale")
    parser.add_argument("--files", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", type=Path, help="write the results there as well")
    parser.add_argument("--plot", type=Path, help="draw seconds against the number of files there")
    arguments = parser.parse_args()
    require_fuse()
    with tempfile.TemporaryDirectory(prefix="fsmount-scale-") as directory:
        rows = [measure(files, Path(directory)) for files in arguments.files]
    print_table(rows)
    if arguments.plot:
        arguments.plot.write_text(plot.draw(TITLE, "files", "seconds", curves(rows)))
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows]) + "\n")


if __name__ == "__main__":
    main()
