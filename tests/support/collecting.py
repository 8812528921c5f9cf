"""`fsmount collect` in a process of its own, as a person or a timer runs it."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .emulator import RunningEmulator

_LIMIT_S = 90.0


class CollectProcess:
    """One run; `wait` returns its exit code, `said` what it wrote to either output."""

    def __init__(self, emulator: RunningEmulator, case: Path, *options: str, key: str = "") -> None:
        key_file = case.parent / "collect-key"
        key_file.touch(mode=0o600)
        key_file.write_text(f"{key or emulator.read_key}\n")
        service = ["--base-url", emulator.url, "--key-file", str(key_file)]
        self._output = case.parent / f"collect.{time.monotonic_ns()}.log"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FSMOUNT_", "ANTHROPIC_"))
        }
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fsmount", "collect", str(case), *service, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment | {"LC_ALL": "C.UTF-8"},
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def said(self) -> str:
        """What it has written until now."""
        return self._output.read_text(errors="replace")

    def wait(self) -> int:
        """Wait for the end, within limits."""
        try:
            return self._process.wait(_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise

    def end(self, number: int) -> int:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        assert -signal.SIGKILL == self.end(signal.SIGKILL)


def collect(emulator: RunningEmulator, case: Path, *options: str, key: str = "") -> str:
    """Collect to the end, which has to be a good one; return what was said."""
    process = CollectProcess(emulator, case, *options, key=key)
    code = process.wait()
    assert code == 0, f"collect ended with {code}:\n{process.said}"
    assert "Traceback" not in process.said, process.said
    return process.said


def collected_ids(case: Path, *filters: str) -> list[str]:
    """Return the ids that `fsmount files` lists."""
    command = [sys.executable, "-m", "fsmount", "files", str(case), "--csv", *filters]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [row["claude_file_id"] for row in csv.DictReader(io.StringIO(done.stdout))]
