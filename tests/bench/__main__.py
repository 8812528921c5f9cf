"""The benchmark: the mount beside curl, against the same server in the same run.

`python -m tests.bench [--quick] [--json FILE]` prints a table of medians with their ratios, and JSON with
versions. It measures; what must hold is checked by the tests.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.mounts import MountedProcess, require_fuse
from tests.support.process import EmulatorProcess, Load

GIB = 1 << 30
MIB = 1 << 20
SMALL_FILES = 1000
SHAPED_BYTES_PER_S = 50e6
SHAPED_LATENCY_S = 0.1


@dataclasses.dataclass(frozen=True)
class Result:
    """One measured thing: medians in `unit`, and the ratio to its yardstick in the same run."""

    what: str
    unit: str
    ours: float
    yardstick: float | None
    yardstick_name: str
    ratio: float | None


@dataclasses.dataclass
class Bench:
    """Collects results; `rounds` of each, of which the median counts."""

    rounds: int
    directory: Path
    results: list[Result] = dataclasses.field(default_factory=list)
    peak_rss: int = 0

    def add(
        self,
        what: str,
        unit: str,
        ours: list[float],
        yardstick: list[float],
        name: str,
        *,
        rate: bool,
    ) -> None:
        """Record one comparison; with `rate`, larger is better, else smaller."""
        mine = statistics.median(ours)
        theirs = statistics.median(yardstick) if yardstick else None
        ratio = None if not theirs else (mine / theirs if rate else theirs / mine)
        self.results.append(Result(what, unit, mine, theirs, name, ratio))

    @contextlib.contextmanager
    def mounted(
        self, server: EmulatorProcess, *options: str, ids: list[str]
    ) -> Iterator[MountedProcess]:
        """Mount a new case on the server's files."""
        case = Path(tempfile.mkdtemp(dir=self.directory)) / "case"
        ids_file = case.parent / "ids"
        ids_file.write_text("".join(f"{file_id}\n" for file_id in ids))
        options = (
            "--base-url",
            server.url,
            "--ids-file",
            str(ids_file),
            "--max-rpm",
            "1000000",
            *options,
        )
        with MountedProcess(case, case.parent / "mnt", *options, key=server.read_key) as mount:
            yield mount
            self.peak_rss = max(self.peak_rss, peak_rss(mount.pid))
        shutil.rmtree(case.parent)


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Return how many seconds some work takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def run_tool(command: list[str]) -> None:
    """Run a tool to its end, whatever it finds."""
    subprocess.run(command, check=False, timeout=600)


def peak_rss(pid: int) -> int:
    """Return the most memory that a process has had."""
    match = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) * 1024 if match else 0


def drain(path: Path, block: int = 1 << 20) -> None:
    """Read a file to its end as cat does."""
    with path.open("rb", buffering=0) as file:
        while file.read(block):
            pass


def curl(server: EmulatorProcess, file_id: str, fmt: str) -> float:
    """Download one file with curl to nowhere; return what it says about itself."""
    url = f"{server.url}/v1/compliance/apps/chats/files/{file_id}/content"
    command = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        f"%{{{fmt}}}",
        "-H",
        f"x-api-key: {server.read_key}",
        url,
    ]
    return float(
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=900).stdout
    )


def first_byte(path: Path) -> None:
    """Open a file and read one byte."""
    with path.open("rb", buffering=0) as file:
        file.read(1)


def sequential(bench: Bench, size: int, load: Load, label: str) -> None:
    """Cold sequential read of one large file beside curl; then the warm re-read beside the local disk."""
    cold, theirs, warm, local, opened, their_first = [], [], [], [], [], []
    with EmulatorProcess(load) as server:
        file_id = server.corpus.large_ids[0]
        for _ in range(bench.rounds):
            theirs.append(size / curl(server, file_id, "time_total") / 1e6)
            their_first.append(
                curl(server, file_id, "time_starttransfer") * 1e3 if load.bytes_per_s is None else 0
            )
            with bench.mounted(server, ids=[file_id]) as mount:
                directory = mount.path / file_id
                path = directory / next(
                    name for name in os.listdir(directory) if name != "meta.json"
                )
                started = time.perf_counter()
                first_byte(path)
                opened.append((time.perf_counter() - started) * 1e3)
            with bench.mounted(server, ids=[file_id]) as mount:
                directory = mount.path / file_id
                path = directory / next(
                    name for name in os.listdir(directory) if name != "meta.json"
                )
                cold.append(size / timed(drain, path) / 1e6)
                if load.bytes_per_s is None:
                    warm.append(size / timed(drain, path) / 1e6)
                    stored = mount.case / "content" / file_id[-2:].lower() / file_id
                    while not stored.exists():
                        time.sleep(0.1)
                    drain(stored)
                    local.append(size / timed(drain, stored) / 1e6)
    bench.add(f"cold sequential read, {label}", "MB/s", cold, theirs, "curl", rate=True)
    if warm:
        bench.add("warm re-read", "MB/s", warm, local, "local file", rate=True)
        bench.add("first byte of a large file", "ms", opened, their_first, "curl", rate=False)


def small_files(bench: Bench) -> None:
    """Cold and warm grep over many small files, beside curl fetching them one connection after another."""
    load = Load(chats=SMALL_FILES // 10, files_per_chat=10, file_bytes=4096)
    cold, warm, theirs = [], [], []
    with EmulatorProcess(load) as server:
        ids = list(server.corpus.file_ids())
        for _ in range(bench.rounds):
            theirs.append(timed(curl_many, server, ids))
            with bench.mounted(server, ids=ids) as mount:
                grep = ["grep", "-r", "no such words", str(mount.path)]
                cold.append(timed(run_tool, grep))
                warm.append(timed(run_tool, grep))
    name = f"grep -r, {SMALL_FILES} files of 4 KiB"
    bench.add(f"cold {name}", "s", cold, theirs, "curl, one by one", rate=False)
    bench.add(f"warm {name}", "s", warm, theirs, "curl, one by one", rate=False)


def curl_many(server: EmulatorProcess, ids: list[str]) -> None:
    """Download records and contents with one curl and one connection."""
    lines = [f'header = "x-api-key: {server.read_key}"', "silent", "fail"]
    base = f"{server.url}/v1/compliance/apps/chats/files"
    for file_id in ids:
        lines += [f'url = "{base}/{file_id}"', 'output = "/dev/null"']
        lines += [f'url = "{base}/{file_id}/content"', 'output = "/dev/null"']
    config = "\n".join(lines).encode()
    subprocess.run(["curl", "-K", "-"], input=config, check=True, timeout=600)


def memory(bench: Bench, files: int) -> None:
    """Memory of an idle mount with many files, listed once."""
    load = Load(chats=1, files_per_chat=1)
    with EmulatorProcess(load) as server:
        ids = [f"claude_file_01bench{number:012d}" for number in range(files)]
        with bench.mounted(server, ids=ids) as mount:
            seconds = timed(os.listdir, mount.path)
            bench.add(f"ls of {files:,} files", "s", [seconds], [], "", rate=False)
            bench.add(
                f"memory, idle, {files:,} files",
                "MiB",
                [mount.rss_bytes() / MIB],
                [],
                "",
                rate=False,
            )


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="one round of smaller sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the results there as well")
    arguments = parser.parse_args()
    require_fuse()
    size = GIB // 8 if arguments.quick else GIB
    with tempfile.TemporaryDirectory(prefix="fsmount-bench-") as directory:
        bench = Bench(1 if arguments.quick else arguments.rounds, Path(directory))
        sequential(bench, size, Load(chats=1, files_per_chat=1, large_sizes=(size,)), "loopback")
        shaped = Load(
            chats=1,
            files_per_chat=1,
            large_sizes=(size,),
            latency_s=SHAPED_LATENCY_S,
            bytes_per_s=SHAPED_BYTES_PER_S,
        )
        slow = Bench(1, Path(directory), bench.results)
        sequential(slow, size, shaped, "50 MB/s and 100 ms")
        small_files(bench)
        bench.add(
            "memory, most in all of the above",
            "MiB",
            [max(bench.peak_rss, slow.peak_rss) / MIB],
            [],
            "",
            rate=False,
        )
        memory(bench, 10_000 if arguments.quick else 100_000)
    report(bench, arguments.json)


def report(bench: Bench, target: Path | None) -> None:
    """Print the table and the JSON."""
    table = Table(
        "what",
        "fsmount",
        "beside",
        "ratio",
        title="medians; a ratio above 1 is faster than the yardstick",
    )
    for result in bench.results:
        beside = (
            "" if result.yardstick is None else f"{result.yardstick:,.3g} ({result.yardstick_name})"
        )
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        table.add_row(result.what, f"{result.ours:,.4g} {result.unit}", beside, ratio)
    Console(width=110).print(table)
    document = {
        "versions": {name: metadata.version(name) for name in ("pyfuse3", "trio", "httpx")}
        | {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cores": os.cpu_count(),
        },
        "rounds": bench.rounds,
        "results": [dataclasses.asdict(result) for result in bench.results],
    }
    text = json.dumps(document, indent=2)
    if target:
        target.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
