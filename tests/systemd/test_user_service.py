"""The service that a user runs for himself, under a user's service manager."""

import pytest

from tests.systemd.conftest import CONTENT

MANAGER = """\
[Service]
Type=notify
User=examiner
Delegate=yes
TimeoutStopSec=1
Environment=XDG_RUNTIME_DIR=/run/user/examiner
Environment=SYSTEMD_UNIT_PATH=/run/systemd/system:/usr/local/lib/systemd/user SYSTEMD_LOG_TARGET=console
ExecStart=/lib/systemd/systemd --user --unit=basic.target
"""


@pytest.fixture
def as_examiner(machine):
    """Start the manager of a user, and return a function that runs commands as he would."""
    machine.add_user("examiner")
    for place in ("/run/user/examiner", "/var/examiner/.config"):
        machine.run("install", "-d", "-o", "examiner", "-m", "700", place)
    machine.write("/run/systemd/system/manager.service", MANAGER)
    done = machine.systemctl("start", "manager")
    assert 0 == done.returncode, machine.log_of("manager.service")

    def run(*command: str):
        become = ["setpriv", "--reuid=examiner", "--regid=examiner", "--clear-groups", "env"]
        return machine.run(
            *become, "XDG_RUNTIME_DIR=/run/user/examiner", "HOME=/var/examiner", *command
        )

    yield run
    machine.systemctl("stop", "manager")


def test_a_user_mounts_a_case_for_himself(machine, as_examiner):
    """Without any right to mount of his own; stopping leaves nothing mounted."""
    machine.configure("mine", place="/var/examiner/.config/fsmount", owner="examiner")
    mountpoint = "/run/user/examiner/fsmount/mine"
    done = as_examiner("systemctl", "--user", "start", "fsmount@mine")
    assert 0 == done.returncode, machine.log_of("manager.service") + machine.log_of(
        "fsmount@mine.service"
    )
    assert "fuse.fsmount" == machine.mounted(mountpoint)
    path = f"{mountpoint}/{machine.file_id}/a.bin"
    assert CONTENT == as_examiner("cat", path).stdout
    assert b"Permission denied" in machine.run("cat", path).stderr
    assert 0 == as_examiner("systemctl", "--user", "stop", "fsmount@mine").returncode
    assert "" == machine.mounted(mountpoint)
