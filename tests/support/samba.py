"""A Samba server of our own for tests: own configuration, port and state, seen by this machine alone."""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.mounts import run, wait_until

_CONFIGURATION = """
[global]
server role = standalone server
interfaces = lo
bind interfaces only = yes
smb ports = {port}
disable netbios = yes
disable spoolss = yes
load printers = no
map to guest = Bad User
log file = {state}/log
lock directory = {state}
state directory = {state}
cache directory = {state}
pid directory = {state}
private dir = {state}
ncalrpc dir = {state}/rpc
[{share}]
path = {path}
read only = yes
guest only = yes
force user = {user}
"""
_SHARE = "case"
_START_S = 15.0
_END_S = 10.0


class Samba:
    """Exports a directory, for the length of a `with` block; fails where smbd can't be had.

    Files are read as the user who mounted them, so the mount needs no --allow-other.
    """

    def __init__(self, path: Path, place: Path) -> None:
        self._place = place
        self._state = place / "samba"
        self._state.mkdir()
        self._configuration = place / "smb.conf"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        values = {"port": self._port, "state": self._state, "share": _SHARE, "path": path}
        self._configuration.write_text(_CONFIGURATION.format(**values, user="root"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert os.geteuid() == 0, "smbd has to be started as root; run these tests as root"
        program = ["smbd", "--foreground", "--no-process-group", "-s", str(self._configuration)]
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self._place / "smbd.log").open("wb") as log:
            self._process = subprocess.Popen(
                # Everything it starts ends with it, and it ends with us, however we end.
                ["setpriv", "--pdeathsig=KILL", *program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"},
            )
        try:
            wait_until(self._answers, within_s=_START_S)
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

    def ask(self, commands: str, *, into: Path) -> subprocess.CompletedProcess[bytes]:
        """Run commands of smbclient; what they fetch goes below `into`."""
        share = [f"//127.0.0.1/{_SHARE}", "-p", str(self._port)]
        command = ["smbclient", *share, "-s", str(self._configuration), "-N", "-c", commands]
        return run(command, cwd=into)

    def _answers(self) -> bool:
        assert self._process is not None
        ended = self._process.poll()
        assert ended is None, f"smbd ended with {ended}: {self._said()}"
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except ConnectionRefusedError:
            return False
        return True

    def _said(self) -> str:
        logs = [self._place / "smbd.log", self._state / "log"]
        return "\n".join(log.read_text(errors="replace")[-800:] for log in logs if log.exists())

    def _end(self) -> None:
        """End the server and the processes it started, which are all in its own session."""
        process = self._process
        assert process is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
