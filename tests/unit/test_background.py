"""Whoever starts a mount in the background waits for the child's word and ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.mounts import state_of

BEGIN = """
import os, pathlib, signal, sys, time
from fsmount.background import fork_to_background
place = pathlib.Path(sys.argv[1])
starter = os.getpid()
readiness = fork_to_background(place / "mnt", place / "mount.log")
"""


def start(tmp_path: Path, program: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Run a program that goes to the background and then does something as the child."""
    (tmp_path / "mnt").mkdir(exist_ok=True)
    command = [sys.executable, "-c", BEGIN + program, str(tmp_path)]
    environment = {name: text for name, text in os.environ.items() if name != "JOURNAL_STREAM"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment)


def outcome(tmp_path: Path, program: str) -> tuple[int, bytes, bytes]:
    """Return exit code, output and errors of the one who waits."""
    with start(tmp_path, program) as process:
        stdout, stderr = process.communicate(timeout=20)
        return process.returncode, stdout, stderr


def test_a_ready_child_ends_the_wait(tmp_path):
    """Exit code 0, nothing printed, while the child goes on."""
    program = "readiness.ready(); time.sleep(0.3); (place / 'after').touch()"
    assert (0, b"", b"") == outcome(tmp_path, program)
    deadline = time.monotonic() + 5
    while not (tmp_path / "after").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_that_failed_has_the_last_word(tmp_path):
    """Its line is printed by the one who waits, with exit code 1."""
    program = "print(readiness.failed('the catalog is corrupt'), readiness.failed('again'))"
    assert (1, b"", b"fsmount: the catalog is corrupt\n") == outcome(tmp_path, program)


def test_a_child_that_was_killed_is_noticed(tmp_path):
    """Nobody waits for ever."""
    code, _, stderr = outcome(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert (1, b"fsmount: the mount process ended before it was ready\n") == (code, stderr)


def test_a_mount_that_does_not_answer_is_ended(tmp_path):
    """The child's word is not enough: another process has a look."""
    program = "(place / 'mnt').rmdir(); readiness.ready(); time.sleep(60)"
    code, _, stderr = outcome(tmp_path, program)
    assert (1, True) == (code, b"does not answer" in stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ending_the_one_who_waits_ends_the_child(tmp_path, number):
    """Ctrl-C during a long start means the mount, not only the waiting."""
    program = "(place / 'pid').write_text(str(os.getpid()) + '.'); time.sleep(60)"
    with start(tmp_path, program) as process:
        deadline = time.monotonic() + 10
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith("."):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child = os.pidfd_open(int((tmp_path / "pid").read_text()[:-1]))
        process.send_signal(number)
        assert 128 + number == process.wait(10)
    os.close(child)


def test_the_child_is_the_service_managers(tmp_path):
    """Not of the one who waits: systemd does not wait for the end of another one's children."""
    program = """
time.sleep(0.2)
(place / "parent").write_text(f"{os.getppid()} {starter}")
readiness.ready()
"""
    assert (0, b"", b"") == outcome(tmp_path, program)
    parent, starter = (tmp_path / "parent").read_text().split()
    assert parent != starter
    assert "" == state_of(int(starter))


def test_the_child_is_on_its_own(tmp_path):
    """Its own session, no terminal, no directory in use; its messages go to the log."""
    program = """
print("to nowhere", flush=True)
print(os.getsid(0) == os.getpid(), os.getcwd(), file=sys.stderr, flush=True)
readiness.ready()
"""
    assert (0, b"", b"") == outcome(tmp_path, program)
    assert "True /\n" == (tmp_path / "mount.log").read_text()
    assert 0o600 == (tmp_path / "mount.log").stat().st_mode & 0o777


def test_messages_go_on_to_a_file_that_stderr_is(tmp_path):
    """Who redirected them knows where to look."""
    with (tmp_path / "errors").open("wb") as errors:
        program = "print('here', file=sys.stderr, flush=True); readiness.ready()"
        with start(tmp_path, program, errors.fileno()) as process:
            assert 0 == process.wait(20)
    assert "here\n" == (tmp_path / "errors").read_text()
    assert not (tmp_path / "mount.log").exists()


def test_a_parent_that_was_killed_does_not_end_the_mount(tmp_path):
    """Telling somebody who is gone is no error."""
    program = """
os.kill(starter, signal.SIGKILL)
time.sleep(0.2)
readiness.ready()
(place / "after").touch()
"""
    assert -signal.SIGKILL == outcome(tmp_path, program)[0]
    deadline = time.monotonic() + 5
    while not (tmp_path / "after").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_log_that_cannot_be_written_is_said(tmp_path):
    """A full or read-only disk ends the start with a line, not in silence."""
    (tmp_path / "mount.log").mkdir()
    code, _, stderr = outcome(tmp_path, "")
    assert (1, True) == (code, b"mount.log can't be written" in stderr)
