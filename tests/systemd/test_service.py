"""The shipped service on a real systemd, seen from beside it."""

import re
import subprocess

import pytest

from tests.support.mounts import wait_until
from tests.systemd.conftest import CONTENT

# Tests must not wait for what an administrator is glad to have.
QUICK = "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=100ms\n"


def failed(machine, unit):
    """Wait until a service is given up, and return its properties."""
    wait_until(lambda: machine.show(unit)["ActiveState"] == "failed", within_s=20)
    return machine.show(unit)


def test_a_case_is_served_survives_a_crash_and_ends_without_a_trace(machine):
    """Started means that it can be read; killed, it is back soon; stopped, nothing is left mounted."""
    machine.configure("case42")
    unit, mountpoint = "fsmount@case42.service", "/media/fsmount/case42"
    started = machine.systemctl("start", unit)
    assert 0 == started.returncode, machine.log_of(unit)
    assert CONTENT == machine.read(mountpoint)
    assert machine.show(unit)["StatusText"].startswith("case case42 is mounted (files: 1, ")

    machine.systemctl("kill", "--signal=KILL", "--kill-whom=main", unit)
    wait_until(lambda: machine.show(unit)["NRestarts"] == "1", within_s=10)
    wait_until(lambda: machine.is_there(mountpoint), within_s=10)
    assert "cleared the dead mount of case42" in machine.log_of(unit)

    assert 0 == machine.systemctl("stop", unit).returncode
    assert ("inactive", "success") == tuple(
        machine.show(unit)[name] for name in ("ActiveState", "Result")
    )
    assert "" == machine.mounted(mountpoint)


def test_the_process_has_one_capability_and_no_key_to_show(machine):
    """It is a user of its own; the key is not in its environment; whom the mode lets in can read."""
    machine.configure("quiet", umask="0022")
    unit = "fsmount@quiet.service"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    pid = machine.show(unit)["MainPID"]
    status = machine.run("cat", f"/proc/{pid}/status").stdout.decode()
    facts = dict(re.findall(r"(\w+):\s*(\S*)", status))
    assert ("0000000000200000", "0000000000200000", "1", "2") == tuple(
        facts[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    )
    assert machine.run("id", "-u", "fsmount").stdout.decode().strip() == facts["Uid"]
    environ = machine.run("cat", f"/proc/{pid}/environ").stdout
    assert machine.key.encode() not in environ
    shown = machine.run("systemctl", "show", unit).stdout + machine.log_of(unit).encode()
    assert machine.key.encode() not in shown
    path = f"/media/fsmount/quiet/{machine.file_id}/a.bin"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", path]
    assert CONTENT == machine.run(*nobody).stdout
    machine.systemctl("stop", unit)


def test_a_crash_leaves_no_dead_mount_behind(machine):
    """Also where the service is not started again."""
    machine.configure("crash", unit="[Service]\nRestart=no\n")
    unit, mountpoint = "fsmount@crash.service", "/media/fsmount/crash"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    machine.systemctl("kill", "--signal=KILL", "--kill-whom=main", unit)
    assert "signal" == failed(machine, unit)["Result"]
    assert "" == machine.mounted(mountpoint)


def test_a_mount_that_hangs_is_replaced(machine):
    """A stopped process answers nobody: the watchdog ends it, whoever waited is free, and it is back."""
    machine.configure("hang", unit="[Service]\nWatchdogSec=3\n")
    unit, mountpoint = "fsmount@hang.service", "/media/fsmount/hang"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    machine.systemctl("kill", "--signal=STOP", "--kill-whom=main", unit)
    command = ["nsenter", "-t", str(machine.pid), "-m", "-p", "--", "ls", mountpoint]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as reader:
        assert 0 != reader.wait(10)
    wait_until(lambda: machine.show(unit)["NRestarts"] == "1", within_s=10)
    wait_until(lambda: machine.is_there(mountpoint), within_s=10)
    machine.systemctl("stop", unit)


@pytest.mark.parametrize("key", [None, "\n", "two words"])
def test_a_missing_or_unusable_key_is_one_line_and_the_start_is_not_repeated(machine, key):
    """Neither is any other wrong usage: trying again would change nothing."""
    name = f"keyless{len(key or '')}"
    machine.configure(name, key=key)
    if key is None:
        machine.file(f"/etc/fsmount/{name}.key").unlink()
    unit = f"fsmount@{name}.service"
    assert 1 == machine.systemctl("start", unit).returncode
    shown = failed(machine, unit)
    assert ("0", "2") == (shown["NRestarts"], shown["ExecMainStatus"])
    line = "holds no usable key" if key == "two words" else "is missing or empty"
    assert line in shown["StatusText"]
    assert f'Status: "{shown["StatusText"]}"' in machine.systemctl("status", unit).stdout.decode()
    assert 1 == len(machine.log_of(unit).splitlines())


def test_an_offline_case_needs_no_key(machine):
    """It is served all the same."""
    machine.configure("offline", offline="true")
    machine.file("/etc/fsmount/offline.key").unlink()
    unit = "fsmount@offline.service"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    assert machine.show(unit)["StatusText"].endswith("the service is offline")
    machine.systemctl("stop", unit)


def test_a_mountpoint_in_use_is_left_as_it_is(machine):
    """The status says what is there; after a few attempts it is given up."""
    machine.configure("taken", unit=QUICK)
    unit, mountpoint = "fsmount@taken.service", "/media/fsmount/taken"
    machine.run("mkdir", "-p", mountpoint)
    machine.run("mount", "-t", "tmpfs", "somebody", mountpoint)
    assert 1 == machine.systemctl("start", unit).returncode
    shown = failed(machine, unit)
    assert f"somebody (tmpfs) is mounted on {mountpoint} already" in shown["StatusText"]
    assert "tmpfs" == machine.mounted(mountpoint)
    machine.run("umount", mountpoint)


def test_two_services_do_not_share_a_case_or_a_mountpoint(machine):
    """The second says who has it, is given up, and does the first no harm, not even by its clean-up."""
    machine.configure("first")
    unit, mountpoint = "fsmount@first.service", "/media/fsmount/first"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    pid = machine.show(unit)["MainPID"]

    command = machine.show(unit)["ExecStart"].partition("argv[]=")[2].partition(" ;")[0]
    other_case = command.replace("/first.toml", "/second.toml").replace("${MOUNTPOINT}", "/mnt/2")
    machine.run("mkdir", "/mnt/2")
    machine.configure("second", unit=f"{QUICK}ExecStart=\nExecStart={other_case}\n")
    assert 1 == machine.systemctl("start", "fsmount@second.service").returncode
    shown = failed(machine, "fsmount@second.service")
    holder = f"mounted at {mountpoint} by fsmount (pid {pid} "
    assert f"case 'first' is in use: {holder}" in shown["StatusText"]

    machine.configure("third", unit=f"{QUICK}Environment=MOUNTPOINT={mountpoint}\n")
    assert 1 == machine.systemctl("start", "fsmount@third.service").returncode
    shown = failed(machine, "fsmount@third.service")
    assert f"is mounted on {mountpoint} already" in shown["StatusText"]

    assert machine.is_there(mountpoint)
    assert pid == machine.show(unit)["MainPID"]
    machine.systemctl("stop", unit)
