"""A machine with systemd, and cases that it can mount."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fsmount.demo.contents import PatternContent
from tests.support.emulator import RunningEmulator
from tests.support.systemd import BootedSystemd

CONTENT = bytes(PatternContent(1000).read(0, 1000))


class Machine(BootedSystemd):
    """A booted systemd beside an emulator that serves one file."""

    def __init__(self, place: Path, emulator: RunningEmulator) -> None:
        super().__init__(place)
        self.emulator = emulator
        self.key = emulator.read_key
        self.file_id = emulator.corpus.add_file(
            PatternContent(1000), filename="a.bin", mime_type="text/plain"
        )

    def configure(
        self,
        name: str,
        *,
        unit: str = "",
        key: str | None = None,
        place: str = "/etc/fsmount",
        owner: str = "root",
        **options: str,
    ) -> None:
        """Describe a case as an administrator would; `unit` is what `systemctl edit` would be told."""
        settings = {"base_url": self.emulator.url, "ids_file": f"{place}/ids", **options}
        lines = [f'{option} = "{value}"\n' for option, value in settings.items()]
        self.write(f"{place}/{name}.toml", "".join(lines))
        self.write(f"{place}/ids", self.file_id)
        self.write(f"{place}/{name}.key", self.key if key is None else key, mode=0o600)
        self.run("chown", "-R", owner, place)
        if unit:
            self.write(f"/run/systemd/system/fsmount@{name}.service.d/override.conf", unit)
            self.systemctl("daemon-reload")

    def fstab(self, *lines: str) -> None:
        """Write /etc/fstab and have it taken in."""
        self.write("/etc/fstab", "".join(f"{line}\n" for line in lines))
        assert 0 == self.systemctl("daemon-reload").returncode

    def options(self, name: str, place: str = "/etc/fsmount") -> str:
        """Return the options of a case for fstab."""
        return f"config={place}/{name}.toml,key_file={place}/{name}.key"

    def add_user(self, name: str) -> None:
        """Add a user with a home of his own."""
        self.write(f"/run/{name}.conf", f"u {name} - - /var/{name}\n")
        self.run("systemd-sysusers", f"/run/{name}.conf")
        self.run("install", "-d", "-o", name, "-m", "700", f"/var/{name}")

    def command_of(self, unit: str) -> str:
        """Return what a service runs, as a unit file has it."""
        return self.show(unit)["ExecStart"].partition("argv[]=")[2].partition(" ;")[0]

    def kill(self, unit: str, signal: str) -> None:
        """Send a signal to the process of a service."""
        pid = self.show(unit)["MainPID"]
        assert 0 == self.run("sh", "-c", f"kill -{signal} {pid}").returncode

    def read(self, mountpoint: str) -> bytes:
        """Return the content of the file, as read by somebody beside the service."""
        return self.run("cat", f"{mountpoint}/{self.file_id}/a.bin").stdout

    def is_there(self, mountpoint: str) -> bool:
        """Say whether the file can be read, without waiting for it."""
        return self.mounted(mountpoint) == "fuse.fsmount" and self.read(mountpoint) == CONTENT


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot one machine for all the tests here; each uses cases of its own."""
    with (
        RunningEmulator() as emulator,
        Machine(tmp_path_factory.mktemp("machine"), emulator) as booted,
    ):
        yield booted
