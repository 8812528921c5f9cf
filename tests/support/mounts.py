"""Real mounts for tests, guarded: nothing that touches a mount runs without a time limit.

A process that waits in a hanging mount can't be killed, so cleaning up aborts the connection first, which
makes the kernel answer everyone, and then unmounts lazily.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fsmount import connection
from fsmount.mountpoint import FS_TYPE, Mounted, detach, find_mount

_CONNECTIONS = Path("/sys/fs/fuse/connections")
_START_S = 15.0
_END_S = 25.0
_TOOL_S = 60.0
_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("FSMOUNT_", "ANTHROPIC_"))
} | {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}


def require_fuse() -> None:
    """Fail, clearly, where no FUSE mount is possible: a skipped test would say that all is well."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        raise AssertionError(
            f"/dev/fuse can't be used here ({error.strerror}), so nothing about real mounts can be tested;"
            " load the fuse module, or give the container the device and the right to mount"
        ) from error
    if not _CONNECTIONS.is_dir() or not os.path.ismount(_CONNECTIONS):
        run(["mount", "-t", "fusectl", "none", str(_CONNECTIONS)])  # what cleaning up aborts with


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    timeout_s: float = _TOOL_S,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a tool with a time limit and return what it said; its exit code is the test's business.

    A tool that can't even be killed is left behind, to be freed when the mount is cleaned up.
    """
    process = subprocess.Popen(
        [os.fspath(word) for word in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=2)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def shell(
    script: str, *, cwd: Path, timeout_s: float = _TOOL_S
) -> subprocess.CompletedProcess[str]:
    """Run a shell script as a person would type it, with a time limit."""
    done = run(["bash", "-c", script], cwd=cwd, timeout_s=timeout_s)
    stdout, stderr = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


def state_of(pid: int) -> str:
    """Return a process's state letter; "" when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def wait_until(is_so: Callable[[], object], *, within_s: float) -> float:
    """Wait for something to become true and return how long that took; fail when it takes longer."""
    started = time.monotonic()
    while not is_so():
        assert time.monotonic() - started < within_s, f"it was not so within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - started


def free(mountpoint: Path) -> None:
    """Take away whatever mount of ours is there, and free everyone who waits in it."""
    while mounted := find_mount(mountpoint):
        assert mounted.fs_type == FS_TYPE
        connection.abort(mounted.number)
        detach(mountpoint)


class MountedProcess:
    """A mount in a process of its own, for the length of a `with` block.

    `may_log` are regular expressions for warnings and errors that the test expects; all others fail it.
    """

    def __init__(
        self,
        case: Path,
        mountpoint: Path,
        *options: str,
        key: str | None = None,
        may_log: Sequence[str] = (),
    ) -> None:
        self.case = case
        self.path = mountpoint
        self.may_log = list(may_log)
        self.options = list(options)
        self._key = key
        self._log_path = case.parent / f"{case.name}.{time.monotonic_ns()}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.may_end_with = {0}
        self._left_behind: Mounted | None = None

    @property
    def pid(self) -> int:
        """The process that serves the mount."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the mount has written to stderr."""
        return self._log_path.read_text(errors="replace")

    def __enter__(self) -> Self:
        require_fuse()
        self.path.mkdir(exist_ok=True)
        self.start()
        try:
            wait_until(self._is_up, within_s=_START_S)
        except BaseException:
            self.end()
            raise
        return self

    def start(self) -> None:
        """Start the process, without waiting for its mount."""
        options = list(self.options)
        if self._key is not None:
            key_file = self.case.parent / "key"
            key_file.touch(mode=0o600)
            key_file.write_text(self._key + "\n")
            options += ["--key-file", str(key_file)]
        command = [sys.executable, "-m", "fsmount", "mount", str(self.case), str(self.path), "-f"]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                # As at a terminal, even if the tests run under nohup or in the background of a script.
                ["env", "--default-signal=HUP,INT", *command, *options],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=_ENVIRONMENT,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        code = self.end()
        if error is None:
            expected = self.may_end_with
            assert code in expected, f"the mount ended with {code}, not {expected}:\n{self.log}"
            is_dead = -signal.SIGKILL in expected
            assert is_dead or not self._left_behind, "the mount was left behind"
            self._check_log()

    def end(self) -> int:
        """End the mount and return its exit code; abort its connection when that takes too long."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            free(self.path)
            self._process.kill()
            return self._process.wait(10)
        finally:
            self._left_behind = find_mount(self.path)
            free(self.path)

    def wait(self, *, within_s: float) -> int:
        """Wait for the process to end by itself and return its exit code; fail when it takes longer."""
        assert self._process is not None
        return self._process.wait(within_s)

    def abort(self) -> None:
        """Cut the connection, as the kernel does to a server that does not answer."""
        mounted = find_mount(self.path)
        assert mounted is not None
        assert connection.abort(mounted.number)

    def kill(self) -> None:
        """End the process as a crash would."""
        assert self._process is not None
        self.may_end_with = {-signal.SIGKILL}
        self._process.kill()
        self._process.wait(10)

    def terminate(self, *, within_s: float) -> int:
        """Ask the process to end and return its exit code; fail when it takes longer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(within_s)

    def rss_bytes(self) -> int:
        """Return the memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    def _is_up(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the mount ended with {code}:\n{self.log}"
        return "mounted case" in self.log

    def _check_log(self) -> None:
        loud = re.findall(r"^(?:\S+ )?(?:WARNING|ERROR) .*$", self.log, re.MULTILINE)
        unexpected = [
            line for line in loud if not any(re.search(pattern, line) for pattern in self.may_log)
        ]
        assert not unexpected, "unexpected in the log:\n" + "\n".join(unexpected)
        assert "Traceback" not in self.log, self.log
