"""What a service manager hears: one datagram for each message, and nothing where there is none."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount.cli import run_command
from fsmount.notify import ServiceManager, _line


class Listener:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self._socket.bind(address.replace("@", "\0", 1))

    def heard(self) -> list[str]:
        return self._socket.recv(65536).decode().split("\n")

    def heard_nothing(self) -> bool:
        self._socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            self._socket.recv(1)
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """Listen at an address that is a file, and at one that is not."""
    address = str(tmp_path / "s") if request.param == "file" else f"@fsmount-test-{os.getpid()}"
    made = Listener(address)
    yield made
    made.close()


def test_each_message_is_a_datagram_of_assignments(listener: Listener):
    """As sd_notify(3) has them."""
    manager = ServiceManager.take({"NOTIFY_SOCKET": listener.address})
    manager.ready("case c is mounted")
    assert ["READY=1", "STATUS=case c is mounted"] == listener.heard()
    manager.status("busy")
    assert ["STATUS=busy"] == listener.heard()
    manager.alive()
    assert ["WATCHDOG=1"] == listener.heard()
    manager.stopping("unmounting")
    assert ["STOPPING=1", "STATUS=unmounting"] == listener.heard()


def test_a_fork_says_which_process_counts(listener: Listener):
    """The manager would go on watching the parent, which ends."""
    manager = ServiceManager.take({"NOTIFY_SOCKET": listener.address})
    child = os.fork()
    if child == 0:
        try:
            manager.ready("mounted")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert ["READY=1", "STATUS=mounted", f"MAINPID={child}"] == listener.heard()


def test_programs_that_we_start_inherit_nothing_of_it():
    """They would speak for us; everything else stays."""
    environ = {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "PATH": "/bin"}
    ServiceManager.take(environ)
    assert {"PATH": "/bin"} == environ


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_is_named(environ, expected):
    """A period that can't be read is as none."""
    assert expected == ServiceManager.take({"NOTIFY_SOCKET": "/s", **environ}).watchdog_s


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_without_a_manager_nothing_is_sent(address, monkeypatch):
    """Nor is anybody watched."""
    monkeypatch.setattr(socket, "socket", None)
    environ = {"WATCHDOG_USEC": "1"} | ({} if address is None else {"NOTIFY_SOCKET": address})
    manager = ServiceManager.take(environ)
    assert (False, None) == (manager.is_there, manager.watchdog_s)
    manager.ready("x")
    manager.alive()


def test_a_manager_that_is_gone_changes_nothing(tmp_path, caplog):
    """The mount goes on; the log has a line."""
    ServiceManager.take({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("mounted")
    assert 1 == len(caplog.messages)
    assert "READY=1" in caplog.messages[0]


@given(st.text())
def test_a_status_is_one_line_and_so_no_other_message(text):
    """Names that strangers chose may end up in it."""
    assert 1 == len((_line(text) + "x").splitlines())
    assert len(_line(text)) <= 400


def test_the_line_of_a_failed_command_is_its_status(tmp_path, monkeypatch, capsys):
    """`systemctl status` says why a service did not start, beside the log."""
    listener = Listener(str(tmp_path / "s"))
    monkeypatch.setenv("NOTIFY_SOCKET", listener.address)
    code = run_command(["mount", "c", "/mnt", "--config", "/does/not/exist"])
    assert 2 == code
    [heard] = listener.heard()
    assert f"fsmount: {heard.removeprefix('STATUS=')}\n" == capsys.readouterr().err
    assert "NOTIFY_SOCKET" not in os.environ
    assert listener.heard_nothing()
    listener.close()
