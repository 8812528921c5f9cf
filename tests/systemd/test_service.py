"""The shipped service on a real systemd, seen from beside it."""

import re
import subprocess
import time

import pytest

from tests.support.faults import hang
from tests.support.mounts import wait_until
from tests.systemd.conftest import CONTENT

# Tests must not wait for what an administrator is glad to have.
QUICK = "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=100ms\n"


def shown(machine, unit, names):
    facts = machine.show(unit)
    return tuple(facts[name] for name in names.split())


def replaced(command):
    return f"ExecStart=\nExecStart={command}\n"


def cgroup_of(machine, unit):
    return f"/sys/fs/cgroup{machine.show(unit)['ControlGroup']}/cgroup.procs"


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

    machine.kill(unit, "KILL")
    wait_until(lambda: machine.show(unit)["NRestarts"] == "1", within_s=10)
    wait_until(lambda: machine.is_there(mountpoint), within_s=10)
    assert "cleared the dead mount of case42" in machine.log_of(unit)

    assert 0 == machine.systemctl("stop", unit).returncode
    assert ("inactive", "success") == shown(machine, unit, "ActiveState Result")
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
    said = machine.systemctl("show", unit).stdout + machine.log_of(unit).encode()
    assert machine.key.encode() not in said
    path = f"/media/fsmount/quiet/{machine.file_id}/a.bin"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", path]
    assert CONTENT == machine.run(*nobody).stdout
    machine.systemctl("stop", unit)


def test_a_crash_leaves_no_dead_mount_behind(machine):
    """Also where the service is not started again."""
    machine.configure("crash", unit="[Service]\nRestart=no\n")
    unit, mountpoint = "fsmount@crash.service", "/media/fsmount/crash"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    machine.kill(unit, "KILL")
    assert "signal" == failed(machine, unit)["Result"]
    assert "" == machine.mounted(mountpoint)


def test_a_setting_too_much_hides_the_mount(machine):
    """Which is why the unit has none of them: nothing fails, and nobody sees the case."""
    machine.configure("hidden", unit="[Service]\nProtectKernelLogs=yes\n")
    unit = "fsmount@hidden.service"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    assert ("active", "success") == shown(machine, unit, "ActiveState Result")
    assert "" == machine.mounted("/media/fsmount/hidden")
    machine.systemctl("stop", unit)


def test_a_mount_that_hangs_is_replaced(machine):
    """A stopped process answers nobody: the watchdog ends it, whoever waited is free, and it is back."""
    machine.configure("hang", unit="[Service]\nWatchdogSec=3\n")
    unit, mountpoint = "fsmount@hang.service", "/media/fsmount/hang"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    machine.kill(unit, "STOP")
    command = machine.beside("ls", mountpoint)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as reader:
        assert 0 != reader.wait(10)
    wait_until(lambda: machine.show(unit)["NRestarts"] == "1", within_s=10)
    wait_until(lambda: machine.is_there(mountpoint), within_s=10)
    machine.systemctl("stop", unit)


def test_a_mount_is_alive_while_the_service_of_the_files_hangs(machine):
    """The watchdog asks for what needs no network, again and again."""
    machine.configure("slow", unit="[Service]\nWatchdogSec=3\n", verified_open="all")
    unit, mountpoint = "fsmount@slow.service", "/media/fsmount/slow"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    machine.emulator.faults.add(hang(), path="/content", times=None)
    try:
        command = machine.beside("cat", f"{mountpoint}/{machine.file_id}/a.bin")
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as reader:
            time.sleep(4)  # longer than the watchdog waits
            assert reader.poll() is None
            assert ("active", "0") == shown(machine, unit, "ActiveState NRestarts")
            reader.kill()
    finally:
        machine.emulator.faults.clear()
    machine.systemctl("stop", unit)


def test_a_mount_in_the_background_says_which_process_counts(machine):
    """The command of such a service ends when the mount answers; what is watched from then on serves it."""
    unit = "fsmount@background.service"
    command = machine.command_of(unit).replace("--foreground ", "")
    machine.configure("background", unit=f"[Service]\nNotifyAccess=all\n{replaced(command)}")
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    assert CONTENT == machine.read("/media/fsmount/background")
    [process] = machine.run("cat", cgroup_of(machine, unit)).stdout.decode().split()
    assert process == machine.show(unit)["MainPID"]
    assert 0 == machine.systemctl("stop", unit).returncode
    assert ("inactive", "success") == shown(machine, unit, "ActiveState Result")
    assert "" == machine.mounted("/media/fsmount/background")


@pytest.mark.parametrize("key", [None, "\n", "two words"])
def test_a_missing_or_unusable_key_is_one_line_and_the_start_is_not_repeated(machine, key):
    """Neither is any other wrong usage: trying again would change nothing."""
    name = f"keyless{len(key or '')}"
    machine.configure(name, key=key)
    if key is None:
        machine.file(f"/etc/fsmount/{name}.key").unlink()
    unit = f"fsmount@{name}.service"
    assert 1 == machine.systemctl("start", unit).returncode
    told = failed(machine, unit)
    assert ("0", "2") == (told["NRestarts"], told["ExecMainStatus"])
    line = "holds no usable key" if key == "two words" else "is missing or empty"
    assert line in told["StatusText"]
    assert f'Status: "{told["StatusText"]}"' in machine.systemctl("status", unit).stdout.decode()
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
    told = failed(machine, unit)
    assert f"somebody (tmpfs) is mounted on {mountpoint} already" in told["StatusText"]
    assert "tmpfs" == machine.mounted(mountpoint)
    machine.run("umount", mountpoint)


def test_two_services_do_not_share_a_case_or_a_mountpoint(machine):
    """The second says who has it, is given up, and does the first no harm, not even by its clean-up."""
    machine.configure("first")
    unit, mountpoint = "fsmount@first.service", "/media/fsmount/first"
    assert 0 == machine.systemctl("start", unit).returncode, machine.log_of(unit)
    pid = machine.show(unit)["MainPID"]

    other = machine.command_of(unit).replace("/first.toml", "/second.toml")
    machine.configure("second", unit=QUICK + replaced(other))
    assert 1 == machine.systemctl("start", "fsmount@second.service").returncode
    told = failed(machine, "fsmount@second.service")
    holder = f"mounted at {mountpoint} by fsmount (pid {pid} "
    assert f"case 'first' is in use: {holder}" in told["StatusText"]

    machine.configure("third", unit=f"{QUICK}Environment=MOUNTPOINT={mountpoint}\n")
    assert 1 == machine.systemctl("start", "fsmount@third.service").returncode
    told = failed(machine, "fsmount@third.service")
    assert f"is mounted on {mountpoint} already" in told["StatusText"]

    assert machine.is_there(mountpoint)
    assert pid == machine.show(unit)["MainPID"]
    machine.systemctl("stop", unit)
