"""The mounts that are compared, each in a guarded process: fsmount, rclone, a naive one, the floor.

All show `<id>/<name>`. Nothing here stays behind: a mount that does not end has its connection cut.
"""

import contextlib
import dataclasses
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from fsmount import connection
from fsmount.mountpoint import find_mount
from tests.bench.servers import Servers
from tests.support.mounts import MountedProcess, run, wait_until

RCLONE = Path(__file__).parents[2] / ".bench" / "bin" / "rclone"
NO_LIMIT_RPM = 1_000_000_000

_START_S = 60.0  # the naive mount walks all chats first
_END_S = 20.0
_LARGE_BYTES = 1 << 20


@dataclasses.dataclass
class Mount:
    """A mounted tree at `path`, served by `pid`."""

    path: Path
    pid: int
    case: Path | None = None

    def rss_bytes(self) -> int:
        """Return the most memory that the serving process has had."""
        match = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(match[1]) * 1024 if match else 0


MakeMount = Callable[[Path, Servers], AbstractContextManager[Mount]]


@contextlib.contextmanager
def fsmount(
    directory: Path,
    servers: Servers | None,
    *options: str,
    case: Path | None = None,
    max_rpm: int = NO_LIMIT_RPM,
) -> Iterator[Mount]:
    """Mount a collected case, a new one unless `case` names one; without servers, offline."""
    service: Sequence[str] = ["--offline"]
    key = None
    if servers is not None:
        service = ["--base-url", servers.api_url, "--max-rpm", str(max_rpm)]
        key = servers.read_key
    with _place(directory) as place:
        if case is None:
            assert servers is not None
            case = place / "case"
            collect(servers, case)
        with MountedProcess(
            case, place / "mnt", "--no-views", *service, *options, key=key
        ) as mounted:
            yield Mount(mounted.path, mounted.pid, case)


def collect(servers: Servers, case: Path) -> None:
    """Run `fsmount collect`, which costs a request a chat."""
    case.parent.mkdir(exist_ok=True, parents=True)
    key = case.parent / "collect-key"
    key.touch(mode=0o600)
    key.write_text(f"{servers.read_key}\n")
    service = [
        "--base-url",
        servers.api_url,
        "--key-file",
        str(key),
        "--max-rpm",
        str(NO_LIMIT_RPM),
    ]
    command = [sys.executable, "-m", "fsmount", "collect", str(case), *service]
    done = run(command, timeout_s=300)
    assert done.returncode == 0, done.stderr.decode()


@contextlib.contextmanager
def rclone(directory: Path, servers: Servers, *, mode: str = "off") -> Iterator[Mount]:
    """Mount the facade with `rclone mount` over its `http` backend."""
    with _place(directory) as place:
        command = [
            str(RCLONE),
            "mount",
            ":http:",
            str(place / "mnt"),
            f"--http-url={servers.files_url}/",
            "--read-only",
            f"--vfs-cache-mode={mode}",
            f"--cache-dir={place / 'cache'}",
            "--config=/dev/null",
        ]
        with _guarded(command, place / "mnt") as mount:
            yield mount


@contextlib.contextmanager
def naive(directory: Path, servers: Servers) -> Iterator[Mount]:
    """Mount with the program that a user of the SDK would write first."""
    with _place(directory) as place:
        command = [sys.executable, "-m", "tests.bench.naive", servers.api_url, servers.read_key]
        with _guarded([*command, str(place / "mnt")], place / "mnt") as mount:
            yield mount


@contextlib.contextmanager
def floor(directory: Path, directories: int, size_bytes: int) -> Iterator[Mount]:
    """Mount the stub, which answers with constants; see `tests.bench.stub`."""
    with _place(directory) as place:
        command = [sys.executable, "-m", "tests.bench.stub", str(directories), str(size_bytes)]
        with _guarded([*command, str(place / "mnt")], place / "mnt") as mount:
            yield mount


@contextlib.contextmanager
def _place(directory: Path) -> Iterator[Path]:
    """Make room for a case, a cache and a mountpoint, and give the large files' room back.

    The rest stays until the benchmark ends: ext4 looks past every inode that was freed in the last minutes
    whenever it makes a file. After 1,000 small files were removed, a new one took 0.7 ms instead of 12 us, at
    the expense of those who store what they fetch.
    """
    place = Path(tempfile.mkdtemp(dir=directory))
    try:
        yield place
    finally:
        if find_mount(place / "mnt") is None:  # else something would be removed through the mount
            for path in place.rglob("*"):
                if path.is_file() and path.stat().st_size >= _LARGE_BYTES:
                    path.unlink()


@contextlib.contextmanager
def _guarded(command: Sequence[str], mountpoint: Path) -> Iterator[Mount]:
    mountpoint.mkdir(parents=True)
    log_path = mountpoint.parent / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def is_up() -> bool:
        assert process.poll() is None, f"{command[0]} ended:\n{log_path.read_text()}"
        return find_mount(mountpoint) is not None

    try:
        wait_until(is_up, within_s=_START_S)
        yield Mount(mountpoint, process.pid)
    finally:
        _end(process, mountpoint)


def _end(process: subprocess.Popen[bytes], mountpoint: Path) -> None:
    """Unmount lazily, wait for the process, and cut its connection when it does not end."""
    mounted = find_mount(mountpoint)
    if mounted is not None:
        run(["umount", "-l", mountpoint], timeout_s=10)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        if mounted is not None:
            connection.abort(mounted.number)
        process.kill()
        process.wait(10)
