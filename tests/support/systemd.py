"""A real systemd for tests, booted in namespaces of its own: the machine's own one is not touched.

It sees the machine's files, but what is written in there stays in there, apart from the test's own temporary
directory. Network and time are the machine's, so an emulator in the test process can be reached.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from fsmount import connection
from fsmount.mountpoint import FS_TYPE, Mounted, mounts
from fsmount.mountpoint import _parse as parse_mount
from tests.support.mounts import require_fuse, run, wait_until

_SCRIPT = Path(__file__).with_name("boot-systemd")
_REPOSITORY = Path(__file__).parents[2]
_BOOT_S = 20.0
_COMMAND_S = 30.0


class BootedSystemd:
    """The service manager, for the length of a `with` block; fails where it can't be booted."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._name = f"fsmount-test-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0  # as the machine sees it

    def __enter__(self) -> Self:
        require_fuse()
        assert os.geteuid() == 0, "booting a systemd of its own takes root; run these tests as root"
        namespaces = ["--mount", "--propagation=slave", "--pid", "--uts", "--ipc"]
        # All of it ends with us, however we end.
        unshare = ["setpriv", "--pdeathsig=KILL", "unshare", *namespaces, "--fork", "--kill-child"]
        with (self._place / "systemd.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*unshare, "bash", str(_SCRIPT)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "PLACE": str(self._place),
                    "NAME": self._name,
                    "PROGRAM": str(Path(sys.executable).with_name("fsmount")),
                    "REPOSITORY": str(_REPOSITORY),
                },
            )
        try:
            wait_until(self._is_up, within_s=_BOOT_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def log(self) -> str:
        """What the manager itself has said."""
        return (self._place / "systemd.log").read_text(errors="replace")

    def log_of(self, unit: str) -> str:
        """Return what a service has said; "" when it never did."""
        with contextlib.suppress(FileNotFoundError):
            return self.file(f"/run/log/{unit}").read_text(errors="replace")
        return ""

    def file(self, path: str) -> Path:
        """Return the path by which the test reaches a file in there; never one inside a mount."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file in there."""
        file = self.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def run(
        self, *command: str, timeout_s: float = _COMMAND_S
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command beside the services, as somebody on that machine would."""
        return run(self.beside(*command), timeout_s=timeout_s)

    def beside(self, *command: str) -> list[str]:
        """Return the command line that runs a command beside the services."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "--", *command]

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run systemctl."""
        return self.run("systemctl", *words)

    def show(self, unit: str) -> Mapping[str, str]:
        """Return a unit's properties."""
        lines = self.systemctl("show", unit).stdout.decode().splitlines()
        return {name: value for line in lines for name, _, value in [line.partition("=")]}

    def mount_on(self, path: str) -> Mounted | None:
        """Return the topmost mount on a path, as everybody on that machine sees it.

        The table is read and the path left alone: looking at it counts as using it.
        """
        return next((mount for mount in reversed(self._mounts()) if mount.path == path), None)

    def mounted(self, path: str) -> str:
        """Return the type of what is mounted on a path; "" where there is nothing."""
        mount = self.mount_on(path)
        return mount.fs_type if mount else ""

    def _is_up(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"systemd can't be booted here ({code}):\n{self.log}"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        if not children:
            return False
        self.pid = int(children.split()[0])
        if Path(f"/proc/{self.pid}/comm").read_text() != "systemd\n":
            return False
        return self.systemctl("is-system-running").stdout in {b"running\n", b"degraded\n"}

    def _end(self) -> None:
        assert self._process is not None
        others = {mount.number for mount in mounts()}  # the machine's, which may be seen in there
        for number in {m.number for m in self._mounts() if m.fs_type == FS_TYPE} - others:
            connection.abort(number)  # nobody waits for it, and so everybody can be killed
        with contextlib.suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)  # the first of its PID namespace: all end with it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        remove = f'mount -t cgroup2 none "$0" && find "$0/{self._name}" -depth -type d -delete'
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            wait_until(
                lambda: not run(["unshare", "-m", "sh", "-c", remove, self._place]).returncode,
                within_s=5,
            )

    def _mounts(self) -> list[Mounted]:
        with contextlib.suppress(OSError):
            table = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
            return [parse_mount(line) for line in table]
        return []
