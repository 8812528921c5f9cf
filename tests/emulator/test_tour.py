"""`fsmount demo`: the tour over a plain directory, the emulator alone, and what it says when it fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio
from rich.console import Console

from fsmount.demo import tour
from fsmount.demo.behaviour import DELETE_KEY, READ_KEY
from fsmount.demo.corpus import Corpus
from fsmount.demo.mounting import DemoError, mount_command, mounted
from fsmount.demo.requestlog import RequestLog
from fsmount.demo.samples import demo_corpus

DEMO = "import sys; from fsmount.demo.tour import run_demo; sys.exit(run_demo({arguments}))"


def start_demo(arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DEMO.format(arguments=arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "300"},
    )


def lay_out(corpus: Corpus, root: Path) -> None:
    """Write what a mount would show."""
    for file_id, stored in corpus.files.items():
        if file_id.startswith("claude_file_"):
            (root / file_id).mkdir()
            (root / file_id / "meta.json").write_text("{}\n")
            if stored.content is not None:
                data = bytes(stored.content.read(0, stored.content.size_bytes))
                (root / file_id / "content").write_bytes(data)


def spoil_one(root: Path) -> None:
    """Change the content of one file."""
    victim = next(root.glob("*/content"))
    victim.write_bytes(victim.read_bytes() + b"!")


async def test_the_tour_shows_and_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step runs with ordinary tools, and the hashes are compared with what was served."""
    corpus = demo_corpus()
    lay_out(corpus, tmp_path)
    output = Console(width=300)
    assert await tour.show_around(output, tmp_path, corpus, RequestLog())
    shown = capsys.readouterr().out
    for command in ("$ cd", "$ cat claude_file_", "$ grep -rn 'paid twice' .", "-exec md5sum"):
        assert command in shown
    assert "4417" in shown


async def test_the_tour_notices_a_wrong_byte(tmp_path: Path) -> None:
    """One byte that differs from what was served, and the tour has failed."""
    corpus = demo_corpus()
    lay_out(corpus, tmp_path)
    spoil_one(tmp_path)
    output = Console(width=300, quiet=True)
    assert not await tour.show_around(output, tmp_path, corpus, RequestLog())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_only(number: signal.Signals) -> None:
    """The base URL and both keys are printed; a signal ends it with 0."""
    with start_demo("None, once=False, serve_only=True, port=0") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        shown = dict(line.strip().rsplit(maxsplit=1) for line in lines)
        assert (READ_KEY, DELETE_KEY) == (shown["read key"], shown["delete key"])
        headers = {"x-api-key": shown["read key"]}
        answer = httpx.get(f"{shown['base URL']}/v1/compliance/apps/chats", headers=headers)
        assert 200 == answer.status_code
        process.send_signal(number)
        assert 0 == process.wait(5)


def test_a_taken_port_is_one_line() -> None:
    """A port that is taken: one line on stderr, exit 1."""
    with start_demo("None, once=False, serve_only=True, port=0") as first:
        assert first.stdout is not None
        port = first.stdout.readline().strip().rpartition(":")[2]
        with start_demo(f"None, once=False, serve_only=True, port={port}") as second:
            _, errors = second.communicate(timeout=5)
        first.terminate()
    assert 1 == second.returncode
    assert 1 == len(errors.splitlines())
    assert "in use" in errors


def test_missing_packages_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the optional packages it says what to install."""
    monkeypatch.setitem(sys.modules, "hypercorn", None)
    assert 1 == tour.run_demo(None, once=True, serve_only=False, port=0)
    errors = capsys.readouterr().err
    assert 1 == len(errors.splitlines())
    assert "pip install 'fsmount[demo]'" in errors


def test_an_impossible_mountpoint_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mountpoint below a file can't be made: one line, exit 1."""
    (tmp_path / "file").touch()
    mountpoint = tmp_path / "file" / "mount"
    assert 1 == tour.run_demo(mountpoint, once=True, serve_only=False, port=0)
    (line,) = capsys.readouterr().err.splitlines()
    assert "fsmount demo: " in line


def test_a_mount_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the mount dies early its last line is shown; what was made is removed."""
    dying = [sys.executable, "-c", "import sys; sys.exit('first\\nfusermount3: no such device')"]
    monkeypatch.setattr(tour, "mount_command", lambda *_, **__: dying)
    mountpoint = tmp_path / "mount"
    assert 1 == tour.run_demo(mountpoint, once=True, serve_only=False, port=0)
    (line,) = capsys.readouterr().err.splitlines()
    assert "fsmount demo: mounting failed: fusermount3: no such device" == line
    assert not mountpoint.exists()


def test_a_mount_that_dies_later_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that ends while it is in use is an error, unless somebody unmounted it."""
    monkeypatch.setattr("fsmount.demo.mounting.is_mounted", _always_mounted)

    async def run(code: str) -> None:
        # It lives until it is told to end: dead at the first look, it would never have been mounted.
        release = tmp_path / "release"
        waiting = f"while not os.path.exists({str(release)!r}): time.sleep(0.01)"
        program = f"import os, sys, time\n{waiting}\nos.unlink({str(release)!r})\nsys.exit({code})"
        async with mounted([sys.executable, "-c", program], tmp_path) as mount:
            await trio.Path(release).touch()
            await mount.wait_ended()

    trio.run(run, "0")
    with pytest.RaisesGroup(pytest.RaisesExc(DemoError, match="the mount ended: out of memory")):
        trio.run(run, "'out of memory'")


async def _always_mounted(_: Path) -> bool:
    return True


async def test_a_mount_that_never_comes_up_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount process that does nothing is ended after a while."""
    monkeypatch.setattr("fsmount.demo.mounting._MOUNT_LIMIT_S", 0.1)
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.RaisesGroup(DemoError):
        async with mounted(sleeping, tmp_path):
            raise AssertionError("it was never mounted")


def test_the_mount_is_started_without_foreign_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a real key nor settings from the environment reach the demonstration's mount."""
    monkeypatch.setenv("ANTHROPIC_COMPLIANCE_ACCESS_KEY", "secret")
    monkeypatch.setenv("FSMOUNT_ALLOW_DELETE", "1")
    said = tmp_path / "environment"
    telling = [sys.executable, "-c", f"import os; open({str(said)!r}, 'w').write(str(os.environ))"]

    async def run() -> None:
        async with mounted(telling, tmp_path):
            pass

    with pytest.RaisesGroup(DemoError):
        trio.run(run)
    assert "secret" not in said.read_text()
    assert "FSMOUNT_" not in said.read_text()


def test_the_key_is_not_on_the_command_line(tmp_path: Path) -> None:
    """The key goes by file, since anybody can read a command line."""
    command = mount_command(
        tmp_path / "case",
        tmp_path / "mount",
        base_url="http://127.0.0.1:1",
        key_file=tmp_path / "key",
        ids_file=tmp_path / "ids",
    )
    assert not any(READ_KEY in word for word in command)
    assert [sys.executable, "-m", "fsmount", "mount"] == command[:4]
    assert "-f" == command[-1]


def test_the_demonstration_needs_neither_client_nor_kernel() -> None:
    """The emulator shares no code with what it is used to test."""
    code = (
        "import sys, fsmount.demo.app, fsmount.demo.server, fsmount.demo.tour, fsmount.demo.generated;"
        "print(sorted({'client', 'pyfuse3', 'httpx', 'claude_compliance_sdk'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "[]" == finished.stdout.strip()
