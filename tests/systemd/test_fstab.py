"""mount(8), /etc/fstab and automount units on a real systemd."""

import os
import signal

from fsmount import connection
from tests.support.mounts import wait_until
from tests.systemd.conftest import CONTENT

AS_READER = [
    "setpriv",
    "--reuid=reader",
    "--regid=reader",
    "--clear-groups",
    "env",
    "HOME=/var/reader",
]


def test_the_first_access_mounts_and_stopping_unmounts(machine):
    """Nobody waits for ever for a mount that is to be made on access; after a crash a restart mends it."""
    machine.configure("auto")
    machine.run("mkdir", "/mnt/auto")
    options = f"noauto,x-systemd.automount,_netdev,ro,{machine.options('auto')}"
    machine.fstab(f"auto /mnt/auto fsmount {options} 0 0")
    assert 0 == machine.systemctl("start", "mnt-auto.automount").returncode
    assert "autofs" == machine.mounted("/mnt/auto")
    assert CONTENT == machine.read("/mnt/auto")
    assert "active" == machine.show("mnt-auto.mount")["ActiveState"]
    for pid in connection.servers(machine.mount_on("/mnt/auto").number):
        os.kill(pid, signal.SIGKILL)
    assert b"" == machine.read("/mnt/auto")
    assert 0 == machine.systemctl("restart", "mnt-auto.mount").returncode
    assert CONTENT == machine.read("/mnt/auto")
    assert 0 == machine.systemctl("stop", "mnt-auto.mount").returncode
    assert "autofs" == machine.mounted("/mnt/auto")
    assert CONTENT == machine.read("/mnt/auto")
    assert 0 == machine.systemctl("stop", "mnt-auto.automount").returncode
    assert "" == machine.mounted("/mnt/auto")


def test_an_idle_automount_is_unmounted_and_comes_back(machine):
    """And each time the process of the mount ends, so that the case is free."""
    machine.configure("idle")
    machine.run("mkdir", "/mnt/idle")
    options = f"noauto,x-systemd.automount,x-systemd.idle-timeout=1s,{machine.options('idle')}"
    machine.fstab(f"idle /mnt/idle fsmount {options} 0 0")
    assert 0 == machine.systemctl("start", "mnt-idle.automount").returncode
    for _ in range(2):
        assert CONTENT == machine.read("/mnt/idle")
        wait_until(lambda: machine.mounted("/mnt/idle") == "autofs", within_s=10)
    machine.systemctl("stop", "mnt-idle.automount")


def test_the_example_units_mount_a_case(machine):
    """They are what the documentation shows, with another key and service."""
    machine.configure("case42")
    place = "/usr/local/share/doc/fsmount/examples"
    machine.run("sh", "-c", f"cp {place}/mnt-case42.* /run/systemd/system/")
    options = '[Mount]\nOptions=ro,_netdev,deny_programs="default,rg",' + machine.options("case42")
    machine.write("/run/systemd/system/mnt-case42.mount.d/here.conf", options)
    machine.run("mkdir", "/mnt/case42")
    machine.systemctl("daemon-reload")
    assert 0 == machine.systemctl("start", "mnt-case42.automount").returncode
    assert CONTENT == machine.read("/mnt/case42")
    machine.systemctl("stop", "mnt-case42.automount", "mnt-case42.mount")


def test_mount_takes_both_types_and_options_with_commas(machine):
    """From the command line, and from a line of fstab as any other file system."""
    machine.configure("plain", cache_size="0")
    machine.run("mkdir", "/mnt/plain")
    options = machine.options("plain") + ',deny_programs="default,sha1sum"'
    machine.fstab(f"/var/evidence/plain /mnt/plain fsmount noauto,user,{options} 0 0")
    escaped = options.replace('"', "").replace("default,", "default\\054")
    for command in (
        ["mount", "/mnt/plain"],
        ["mount", "-t", "fuse.fsmount", "/var/evidence/plain", "/mnt/plain", "-o", escaped],
    ):
        done = machine.run(*command)
        assert (0, b"") == (done.returncode, done.stderr)
        denied = machine.run("sha1sum", f"/mnt/plain/{machine.file_id}/a.bin")
        assert (1, True) == (denied.returncode, b"Permission denied" in denied.stderr)
        assert CONTENT == machine.read("/mnt/plain")
        assert b"nosuid,nodev,noexec" in machine.run("findmnt", "-n", "/mnt/plain").stdout
        assert 0 == machine.run("umount", "/mnt/plain").returncode


def test_a_user_may_mount_what_fstab_lets_him(machine):
    """With `user` in its line, and with his own key."""
    machine.add_user("reader")
    machine.configure("own", place="/var/reader", owner="reader")
    machine.run("install", "-d", "-o", "reader", "/mnt/own")
    options = machine.options("own", place="/var/reader")
    machine.fstab(f"/var/reader/own /mnt/own fsmount noauto,user,{options} 0 0")
    done = machine.run(*AS_READER, "mount", "/mnt/own")
    assert (0, b"") == (done.returncode, done.stderr)
    path = f"/mnt/own/{machine.file_id}/a.bin"
    assert CONTENT == machine.run(*AS_READER, "cat", path).stdout
    assert 0 == machine.run(*AS_READER, "umount", "/mnt/own").returncode
    assert "" == machine.mounted("/mnt/own")


def test_an_option_that_does_not_exist_is_one_line(machine):
    """With the nearest one, and the exit code of wrong usage; as a unit, it fails with the same."""
    machine.configure("typo")
    machine.run("mkdir", "/mnt/typo")
    machine.fstab(f"typo /mnt/typo fsmount noauto,{machine.options('typo')},max_rmp=3 0 0")
    done = machine.run("mount", "/mnt/typo")
    line = b"mount.fsmount: -o: there is no option 'max_rmp'; the nearest one is max_rpm\n"
    assert (1, line) == (done.returncode, done.stderr)
    assert 1 == machine.systemctl("start", "mnt-typo.mount").returncode
    assert "exit-code" == machine.show("mnt-typo.mount")["Result"]


def test_what_cannot_be_mounted_has_the_exit_code_of_a_failed_mount(machine):
    """32, as for every file system."""
    machine.configure("nowhere")
    done = machine.run(
        "mount", "-t", "fsmount", "nowhere", "/mnt", "-o", machine.options("nowhere")
    )
    assert (32, 1) == (done.returncode, done.stderr.count(b"\n")), done.stderr
