"""The shipped units: others see the mount, nothing in them is misspelt, and little is exposed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SERVICE = "lib/systemd/system/fsmount@.service"
USER_SERVICE = "lib/systemd/user/fsmount@.service"
EXAMPLES = ("mnt-case42.mount", "mnt-case42.automount")

# With any of these systemd says "active", and nobody beside the service sees the mount.
HIDING = re.findall(
    r"\w+",
    """
    BindPaths BindReadOnlyPaths DynamicUser ExecPaths ExtensionDirectories ExtensionImages InaccessiblePaths
    IPCNamespacePath LogNamespace MountAPIVFS MountFlags MountImages NoExecPaths PrivateDevices PrivateIPC
    PrivateMounts PrivateTmp PrivateUsers ProcSubset ProtectControlGroups ProtectHome ProtectKernelLogs
    ProtectKernelModules ProtectKernelTunables ProtectProc ProtectSystem ReadOnlyPaths ReadWritePaths
    RootDirectory RootHash RootImage TemporaryFileSystem
""",
)
# For a user these imply NoNewPrivileges, with which fusermount3 may not mount.
PRIVILEGE_TAKING = re.findall(
    r"\w+",
    """
    LockPersonality MemoryDenyWriteExecute NoNewPrivileges ProtectClock ProtectHostname
    RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID SystemCallArchitectures
    SystemCallFilter SystemCallLog
""",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install into a directory, as a package would, and return it."""
    root = tmp_path_factory.mktemp("root")
    program = Path(sys.executable).with_name("fsmount")
    settings = [f"DESTDIR={root}", "PREFIX=/usr", f"FSMOUNT={program}"]
    done = subprocess.run(
        ["make", "-s", "-C", REPOSITORY, "install-systemd", *settings],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert (b"", b"") == (done.stdout, done.stderr)
    return root


def settings_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a unit's [Service] section."""
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def hiding(text: str) -> list[str]:
    return [name for name, _ in settings_of(text) if name in HIDING]


def values(text: str, wanted: str) -> list[str]:
    return [value for name, value in settings_of(text) if name == wanted]


def analyze(*words: str | Path, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(place), "SYSTEMD_COLORS": "0"},
    )


def test_everything_has_its_place(installed):
    """Units where systemd looks, the helper where mount(8) does, under both types."""
    expected = {
        "lib/sysusers.d/fsmount.conf",
        SERVICE,
        USER_SERVICE,
        "sbin/mount.fsmount",
        "sbin/mount.fuse.fsmount",
        *(f"share/doc/fsmount/examples/{name}" for name in EXAMPLES),
    }
    found = {path for path in installed.rglob("*") if path.is_symlink() or path.is_file()}
    assert expected == {str(path.relative_to(installed / "usr")) for path in found}
    helper = Path(sys.executable).with_name("mount.fsmount")
    assert str(helper) == os.readlink(installed / "usr/sbin/mount.fsmount")
    assert not any(b"@FSMOUNT@" in path.read_bytes() for path in found if not path.is_symlink())


def test_a_program_that_units_cannot_name_is_refused(tmp_path):
    """A blank in its path would end the command, a percent sign would be replaced."""
    for name in ("my fsmount", "100%/fsmount"):
        settings = [f"DESTDIR={tmp_path}", f"FSMOUNT=/opt/{name}"]
        command = ["make", "-s", "-C", str(REPOSITORY), "install-systemd", *settings]
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
        assert (2, True) == (done.returncode, b"units can't name a program" in done.stderr)
        assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("unit", [SERVICE, USER_SERVICE])
def test_no_setting_hides_the_mount(installed, unit):
    """Each of these makes a mount namespace; systemd gives no hint that the mount is seen by nobody."""
    assert [] == hiding((installed / "usr" / unit).read_text())


@pytest.mark.parametrize("setting", HIDING)
def test_a_setting_that_hides_the_mount_would_be_found(installed, setting):
    """Wherever in the section somebody adds it."""
    text = (installed / "usr" / SERVICE).read_text()
    assert [setting] == hiding(text.replace("[Service]\n", f"[Service]\n{setting}=yes\n"))
    assert [setting] == hiding(text.replace("\n[Install]", f"{setting} = yes\n[Install]"))


def test_mounting_is_permitted(installed):
    """What is left of system calls, devices and capabilities is enough for it."""
    text = (installed / "usr" / SERVICE).read_text()
    allowed, denied = values(text, "SystemCallFilter")
    assert ("@mount" in allowed.split(), "@mount" in denied) == (True, False)
    assert "CAP_SYS_ADMIN" in values(text, "AmbientCapabilities")[0].split()
    assert "CAP_SYS_ADMIN" in values(text, "CapabilityBoundingSet")[0].split()
    assert ["/dev/fuse rw"] == values(text, "DeviceAllow")
    assert (
        "AF_UNIX" in values(text, "RestrictAddressFamilies")[0].split()
    )  # readiness is told by it


def test_the_user_service_keeps_fusermount_able_to_mount(installed):
    """It is setuid, and a user has no other way."""
    names = {name for name, _ in settings_of((installed / "usr" / USER_SERVICE).read_text())}
    assert set() == names & set(PRIVILEGE_TAKING)


@pytest.mark.parametrize("unit", [SERVICE, USER_SERVICE])
def test_the_key_is_a_credential_and_no_core_holds_it(installed, unit):
    """Not an argument, nor in the environment; what the watchdog kills leaves no memory on the disk."""
    text = (installed / "usr" / unit).read_text()
    assert values(text, "LoadCredential")[0].startswith("compliance-access-key:")
    assert not any("KEY" in value for value in values(text, "Environment"))
    assert "--key-file" not in values(text, "ExecStart")[0]
    assert (["SIGKILL"], ["0"]) == (values(text, "WatchdogSignal"), values(text, "LimitCORE"))


@pytest.mark.parametrize(
    "unit", [SERVICE, USER_SERVICE, *(f"share/doc/fsmount/examples/{name}" for name in EXAMPLES)]
)
def test_nothing_is_misspelt(installed, unit, tmp_path):
    """To systemd itself a setting that it does not know is only worth a warning."""
    manager = "--user" if unit == USER_SERVICE else "--system"
    path = installed / "usr" / unit
    done = analyze("verify", manager, "--man=no", "--recursive-errors=no", path, place=tmp_path)
    assert (0, "") == (done.returncode, done.stderr)


def test_little_is_exposed(installed, tmp_path):
    """At most 3.5 of 10: what mounting itself takes, the network, and what would hide the mount.

    This takes systemd 250; older ones judge only what is loaded.
    """
    path = installed / "usr" / SERVICE
    done = analyze("security", "--offline=true", "--threshold=35", path, place=tmp_path)
    assert 0 == done.returncode, done.stdout[-200:] + done.stderr
