"""`fsmount status` tells what a mount does, and says what is wrong with one that does not answer."""

import json
import os
import signal
import subprocess
import time

import pytest

from fsmount import inspection
from fsmount.cli import run_command
from tests.support.faults import hang
from tests.support.mounts import run, wait_until


def test_a_living_mount_tells_what_it_does(mount, emulator, capsys):
    """As a table of lines, and as its own document."""
    file_id = emulator.corpus.add_file(b"x" * 99, filename="a.txt", mime_type="text/plain")
    with mount(emulator, ids=[file_id]) as mounted:
        assert 0 == run(["cat", mounted.path / file_id / "a.txt"]).returncode
        assert 0 == run_command(["status", str(mounted.path)])
        out = capsys.readouterr().out
        for row in ("case\tcase", "files\t1", "service\treachable", "wrong hashes met\t0"):
            assert f"{row}\n" in out
        assert (
            "requests sent\tmetadata 1, content 1, delete 0, listing 0, retries 0, throttled 0\n"
            in out
        )
        assert 0 == run_command(["status", str(mounted.path), "--json"])
        document = json.loads(capsys.readouterr().out)
        assert (1, "reachable") == (document["files"], document["service"]["state"])


def test_waiting_readers_do_not_keep_it_waiting(mount, emulator, capsys):
    """It is answered from memory, whatever the service does."""
    file_id = emulator.corpus.add_file(b"x" * 99, filename="a.txt", mime_type="text/plain")
    emulator.faults.add(hang(), path=file_id, times=None)
    with mount(emulator, ids=[file_id], may_log=[file_id]) as mounted:
        reader = subprocess.Popen(["stat", mounted.path / file_id / "a.txt"])
        emulator.log.wait_for(1)
        assert 0 == run_command(["status", str(mounted.path)])
        assert reader.poll() is None
        reader.kill()
        reader.wait(5)
    assert "requests sent\tmetadata 1, content 0," in capsys.readouterr().out


def test_a_stopped_mount_is_given_up(mount, emulator, capsys, monkeypatch):
    """Within the limit, with a line that says how to take it away."""
    monkeypatch.setattr(inspection, "_LIMIT_S", 0.5)
    with mount(emulator, ids=[]) as mounted:
        os.kill(mounted.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            assert 1 == run_command(["status", str(mounted.path)])
            assert time.monotonic() - started < 5
        finally:
            os.kill(mounted.pid, signal.SIGCONT)
        assert f"fsmount unmount {mounted.path}" in capsys.readouterr().err
        wait_until(lambda: run_command(["status", str(mounted.path)]) == 0, within_s=10)


def test_a_dead_mount_is_called_dead(mount, emulator, capsys):
    """And the line names the command that clears it, which does."""
    with mount(emulator, ids=[]) as mounted:
        mounted.kill()
        assert 1 == run_command(["status", str(mounted.path)])
        err = capsys.readouterr().err
        assert "is dead: its process has ended" in err
        assert 0 == run_command(err.strip().partition("with: fsmount ")[2].split())
        assert 1 == run_command(["status", str(mounted.path)])
        assert f"nothing is mounted on {mounted.path}" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/proc", "/nowhere/at/all"])
def test_what_is_no_mount_of_ours_is_not_asked(path, capsys):
    """One line says what it is instead."""
    assert 1 == run_command(["status", path])
    err = capsys.readouterr().err
    assert "not a mount of fsmount" in err or "nothing is mounted" in err
    assert 1 == err.count("\n")
