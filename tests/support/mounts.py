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
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fsmount.mountpoint import detach, find_mount

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
    """Run a tool with a time limit and return what it said; its exit code is the test's business."""
    return subprocess.run(
        [os.fspath(word) for word in command],
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout_s,
        env=_ENVIRONMENT,
        check=False,
    )


def shell(
    script: str, *, cwd: Path, timeout_s: float = _TOOL_S
) -> subprocess.CompletedProcess[str]:
    """Run a shell script as a person would type it, with a time limit."""
    return subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        env=_ENVIRONMENT,
        text=True,
        errors="surrogateescape",
        check=False,
    )


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
        if self._key is not None:
            key_file = self.case.parent / "key"
            key_file.touch(mode=0o600)
            key_file.write_text(self._key + "\n")
            self.options += ["--key-file", str(key_file)]
        command = [sys.executable, "-m", "fsmount", "mount", str(self.case), str(self.path), "-f"]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self.options], stdin=subprocess.DEVNULL, stderr=log, env=_ENVIRONMENT
            )
        self._wait_until_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        code = self.end()
        if error is None:
            assert code in {0, -signal.SIGKILL}, f"the mount ended with {code}:\n{self.log}"
            assert not find_mount(self.path), "the mount was left behind"
            self._check_log()

    def end(self) -> int:
        """End the mount and return its exit code; abort its connection when that takes too long."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return self._process.wait(5)
        finally:
            self._clean_up()

    def kill(self) -> None:
        """End the process as a crash would."""
        assert self._process is not None
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

    def _wait_until_up(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while "mounted case" not in self.log:
            if self._process.poll() is not None:
                raise AssertionError(
                    f"the mount ended with {self._process.returncode}:\n{self.log}"
                )
            if time.monotonic() > deadline:
                self._clean_up()
                self._process.kill()
                raise AssertionError(f"the mount was not there within {_START_S} s:\n{self.log}")
            time.sleep(0.02)

    def _clean_up(self) -> None:
        mounted = find_mount(self.path)
        if mounted is None:
            return
        abort = Path(f"/sys/fs/fuse/connections/{mounted.minor}/abort")
        with contextlib.suppress(OSError):
            abort.write_text("1")
        detach(self.path)

    def _check_log(self) -> None:
        loud = [line for line in self.log.splitlines() if line.startswith(("WARNING", "ERROR"))]
        unexpected = [
            line for line in loud if not any(re.search(pattern, line) for pattern in self.may_log)
        ]
        assert not unexpected, "unexpected in the log:\n" + "\n".join(unexpected)
        assert "Traceback" not in self.log, self.log
