"""Callers are told apart by what /proc says of them, and nothing it says can do harm."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fsmount import callers
from fsmount.callers import is_killed, program_of
from fsmount.config import DEFAULT_DENY_PROGRAMS

NOBODY = 2**22 + 1  # beyond the largest process id


def wait_until(is_so: Callable[[], object], limit_s: float = 5.0) -> bool:
    deadline = time.monotonic() + limit_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(is_so())


@pytest.fixture
def fake_proc(tmp_path, monkeypatch):
    """Return a function that writes the status of process 7 in a /proc of our own."""
    monkeypatch.setattr(callers, "_PROC", tmp_path)

    def write(command: str = "", **fields: str) -> int:
        (tmp_path / "7").mkdir(exist_ok=True)
        (tmp_path / "7" / "cmdline").write_text("".join(f"{word}\0" for word in command.split()))
        name = os.path.basename(command.partition(" ")[0])[:15]  # as the kernel cuts it
        (tmp_path / "7" / "comm").write_text(f"{name}\n")
        lines = [f"{name}:\t{value}\n" for name, value in fields.items()]
        (tmp_path / "7" / "status").write_text("".join(lines))
        return 7

    return write


def test_a_living_process_is_not_killed():
    """Nobody has sent this process a fatal signal."""
    assert is_killed(os.getpid()) is False


def test_a_thread_is_a_caller_too():
    """Requests come from threads, which /proc answers for although it does not list them."""
    ids: list[int] = []
    stop = threading.Event()

    def work() -> None:
        ids.append(threading.get_native_id())
        stop.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert wait_until(lambda: ids)
        assert is_killed(ids[0]) is False
        assert os.getpid() == program_of(ids[0]).tgid
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("tid", [0, -1, NOBODY])
def test_who_cannot_be_seen_is_neither_alive_nor_dead(tid):
    """Another process namespace (0), or a /proc that hides others: nothing is known."""
    assert is_killed(tid) is None
    program = program_of(tid)
    assert (0, "?", frozenset()) == (program.tgid, program.comm, program.names)


def test_a_killed_process_that_nobody_waited_for_is_killed():
    """A zombie reads no answer."""
    with subprocess.Popen(["sleep", "60"]) as process:
        assert is_killed(process.pid) is False
        process.kill()
        assert wait_until(lambda: is_killed(process.pid))


@pytest.mark.parametrize("where", ["SigPnd", "ShdPnd"])
def test_a_pending_kill_is_seen_while_the_process_waits(fake_proc, where):
    """A caller in the kernel keeps its fatal signal pending, for the thread or for the process."""
    assert is_killed(fake_proc(State="D (disk sleep)", **{where: "0000000000000100"})) is True


@pytest.mark.parametrize(
    ("handling", "expected"),
    [({}, True), ({"SigCgt": "4"}, False), ({"SigIgn": "4"}, False), ({"SigBlk": "4"}, False)],
)
def test_a_signal_that_dumps_core_counts_unless_it_is_handled(fake_proc, handling, expected):
    """SIGQUIT (bit 2) stays itself in the masks, so what the program does about it decides."""
    assert expected is is_killed(fake_proc(State="D", ShdPnd="4", **handling))


@pytest.mark.parametrize("signals", ["2", "4000", "10000", "20000"])
def test_signals_that_the_program_handles_change_nothing(fake_proc, signals):
    """A pending SIGINT, SIGTERM or SIGCHLD that is still there after the kernel looked is not fatal."""
    assert is_killed(fake_proc(State="D", SigPnd=signals, ShdPnd=signals)) is False


@pytest.mark.parametrize("status", ["", "garbage", "SigPnd:\tzz\nTgid:\tx\n", "\0\xff\n:\n"])
def test_nonsense_in_proc_does_no_harm(fake_proc, tmp_path, status):
    """A status that can't be read is no reason to give up an operation, or to fail."""
    fake_proc()
    (tmp_path / "7" / "status").write_bytes(status.encode("latin-1"))
    assert is_killed(7) is False
    assert "unknown:7" == program_of(7).identity


def test_a_program_is_known_by_its_name_and_by_its_first_argument():
    """The kernel cuts names at 15 characters; the command line has them whole."""
    program = program_of(os.getpid())
    assert os.getpid() == program.tgid
    assert Path(f"/proc/{os.getpid()}/comm").read_text().strip() == program.comm
    arguments = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().split(b"\0")
    assert {program.comm, os.fsdecode(os.path.basename(arguments[0]))} == program.names
    assert program.identity == program_of(os.getpid()).identity


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("tumblerd", "tumblerd", True),
        ("tumblerd2", "tumblerd", False),
        ("baloo_file_extr", "baloo_file*", True),
        ("evince-thumbnailer", "*-thumbnailer", True),
        ("gdk-pixbuf-thum", "gdk-pixbuf-thumbnailer", True),  # cut by the kernel
        ("gdk-pixbuf", "gdk-pixbuf-thumbnailer", False),
    ],
)
def test_patterns_match_names_as_the_kernel_shows_them(name, pattern, expected):
    """A trailing or leading star stands for anything, and a cut name matches its whole one."""
    program = callers.Program(1, name, "1:1", frozenset({name}))
    assert expected is program.matches(frozenset({pattern}))


@pytest.mark.parametrize(
    ("command", "is_denied"),
    [
        ("/usr/lib/x86_64-linux-gnu/tumbler-1/tumblerd", True),
        ("/usr/bin/gdk-pixbuf-thumbnailer -s 256 file:///mnt/p.jpg /tmp/p.png", True),
        ("/usr/bin/totem-video-thumbnailer -s 256 /mnt/v.mp4 /tmp/v.png", True),
        ("ffmpegthumbnailer -i /mnt/v.mp4 -o /tmp/v.png", True),
        ("/usr/libexec/glycin-thumbnailer -i file:///mnt/p.jpg", True),
        (
            "/usr/libexec/kf5/kioslave5 /usr/lib/plugins/kf5/kio/thumbnail.so thumbnail local:/a",
            True,
        ),
        (
            "/usr/libexec/kf6/kioworker /usr/lib/plugins/kf6/kio/thumbnail.so thumbnail local:/a",
            True,
        ),
        ("/usr/libexec/kf6/kioworker /usr/lib/plugins/kf6/kio/file.so file local:/a", False),
        ("/usr/bin/baloo_file_extractor", True),
        ("/usr/libexec/tracker-extract-3 --socket-fd 3", True),
        ("/usr/libexec/localsearch-extractor-3", True),
        ("updatedb.plocate", True),
        ("thunar /mnt/thumbnailer", False),
        ("nautilus --new-window /mnt", False),
        ("dolphin /mnt", False),
        ("cp /mnt/thumbnail.so /tmp", False),
        ("sha256sum tumblerd", False),
    ],
)
def test_the_default_list_knows_thumbnailers_and_indexers(fake_proc, command, is_denied):
    """As desktops start them; the file managers themselves, and what people run, are not meant."""
    program = program_of(fake_proc(command, Tgid="7"))
    assert is_denied is program.matches(DEFAULT_DENY_PROGRAMS)
