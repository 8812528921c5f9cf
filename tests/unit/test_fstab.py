"""What mount(8) asks for becomes a command line of `fsmount mount`, or one line and mount(8)'s exit code."""

import contextlib
import inspect
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount import fstab
from fsmount.commands import mounting
from fsmount.errors import UsageError
from fsmount.fstab import Order, arguments_of, known_options, read_order, split_options
from tests.support.mounts import state_of, wait_until

KNOWN = {"allow_delete": True, "allow_other": True, "max_rpm": False, "key_file": False}


def arguments(options: str, **switches: bool) -> list[str]:
    order = Order("case", "/mnt", tuple(split_options(options)), **switches)
    first, *rest, dashes, case, mountpoint = arguments_of(order, KNOWN)
    assert ["mount", "--", "case", "/mnt"] == [first, dashes, case, mountpoint]
    return rest


def test_the_command_line_of_mount_is_read_in_any_order():
    """mount(8) puts the places first; a person may not."""
    expected = Order("case42", "/mnt", ("ro", "max_rpm=3"), is_verbose=True)
    words = ["case42", "/mnt", "-v", "-n", "-t", "fuse.fsmount", "-o", "ro,max_rpm=3"]
    assert expected == read_order(words)
    assert expected == read_order(["-o", "ro", "-nv", "case42", "-o", "max_rpm=3", "/mnt"])
    assert Order("-c", "/m", is_fake=True, is_sloppy=True) == read_order(["-sf", "--", "-c", "/m"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "a case and a mountpoint"),
        (["case"], "a case and a mountpoint"),
        (["case", "/mnt", "more"], "a case and a mountpoint"),
        (["case", "/mnt", "-o"], "option -o requires argument"),
        (["case", "/mnt", "-x"], "option -x not recognized"),
        (["case", "/mnt", "-N", "/proc/1/ns/mnt"], "nsenter"),
        (["case", "/mnt", "-o", 'key_file="/a,b'], "not closed"),
        (["case", "/mnt", "-o", "max_rmp=3"], "no option 'max_rmp'; the nearest one is max_rpm"),
        (["case", "/mnt", "-o", "fsname=x"], "there is no option 'fsname'"),
        (["case", "/mnt", "-o", "foreground"], "there is no option 'foreground'"),
        (["case", "/mnt", "-o", "allow_delete=no"], "allow_delete takes no value"),
        (["case", "/mnt", "-o", "max_rpm"], "max_rpm needs a value"),
        (["case", "/mnt", "-o", "remount,ro"], "remount is not possible"),
        (["case", "/mnt", "-o", "ro,allow-delete"], "contradict"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_1(words, line, monkeypatch, capsys):
    """As mount(8) has it; nothing is mounted."""
    monkeypatch.setattr(fstab, "_run_in_child", None)
    assert 1 == fstab.run(words)
    error = capsys.readouterr().err
    assert error.startswith("mount.fsmount: ")
    assert (1, True) == (error.count("\n"), line in error), error


def test_flags_and_values_become_options():
    """Underscores are dashes on the command line; either is understood."""
    assert ["--allow-delete", "--max-rpm=3", "--key-file=/a=b"] == arguments(
        "allow_delete,max-rpm=3,rw,key_file=/a=b"
    )
    assert ["--allow-other", "--verbose"] == arguments("allow_other", is_verbose=True)


@pytest.mark.parametrize(
    "options",
    [
        "rw,nosuid,nodev,noexec,relatime,user=ada,noauto,nofail,_netdev,defaults,comment=x y",
        "ro,suid,dev,exec,auto,nouser,users,noatime,x-systemd.automount,x-gvfs-hide,X-mount.mkdir=0755",
        "",
        ",,",
    ],
)
def test_what_is_no_business_of_a_file_system_is_passed_over(options):
    """The kernel is told nosuid,nodev,noexec,noatime in any case."""
    assert [] == arguments(options)


def test_sloppy_passes_over_the_unknown():
    """-s is mount(8)'s way to say so."""
    assert ["--max-rpm=3"] == arguments("what=ever,max_rpm=3", is_sloppy=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b=c", ["a", "b=c"]),
        (r"deny_programs=default\054rg,ro", ["deny_programs=default,rg", "ro"]),
        (r"a=x\,y,b", ["a=x,y", "b"]),
        ('deny_programs="default,rg",ro', ["deny_programs=default,rg", "ro"]),
        (r"key_file=/my\040key", ["key_file=/my key"]),
        (r"a=\134\"", ['a=\\"']),
        ("a=\\", ["a=\\"]),
        ("", []),
    ],
)
def test_commas_in_values_can_be_written(text, expected):
    """As fstab, libfuse and mount(8) each have it."""
    assert expected == split_options(text)


def escaped(option: str) -> str:
    return "".join(
        f"\\{ord(character):03o}" if character in ' ,"\\' else character for character in option
    )


@given(st.lists(st.text(min_size=1)))
def test_escaped_options_come_out_as_they_went_in(options):
    """Whatever characters they are made of."""
    assert options == split_options(",".join(map(escaped, options)))


@given(st.text())
def test_any_text_is_options_or_wrong_usage(text):
    """There is no third way."""
    with contextlib.suppress(UsageError):
        assert all(read_order(["case", "/mnt", "-o", text]).options)


def test_every_option_of_mount_can_be_written_here():
    """All but the one for staying in the foreground: a helper returns when the mount is there."""
    known = known_options()
    keywords = inspect.getfullargspec(mounting.mount).kwonlyargs
    assert set(keywords) - {"foreground"} == set(known)
    assert (True, False) == (known["allow_delete"], known["uid"])


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (1, 32), (2, 1), (130, 8), (-15, 8), (-9, 32)]
)
def test_exit_codes_are_those_of_mount(code, expected, monkeypatch):
    """A wrong value is wrong usage, too."""
    monkeypatch.setattr(fstab, "_run_in_child", lambda _: code)
    assert expected == fstab.run(["case", "/mnt"])


def test_a_fake_mount_does_everything_but_mounting(monkeypatch):
    """-f checks the options."""
    monkeypatch.setattr(fstab, "_run_in_child", None)
    assert 0 == fstab.run(["case", "/mnt", "-f"])


@pytest.mark.parametrize(("word", "says"), [("--help", "usage:"), ("-V", "mount.fsmount ")])
def test_help_and_version(word, says, capsys):
    """On standard output."""
    assert 0 == fstab.run([word])
    assert capsys.readouterr().out.startswith(says)


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        ("offline", 32, b"does not exist"),
        ("offline,cache_size=much", 1, b"not a size"),
        ("offline,allow_delete", 1, b"--offline makes no requests"),
    ],
)
def test_a_failed_mount_is_one_line(tmp_path, options, code, line):
    """The code of the process that goes to the background is translated."""
    command = [sys.executable, "-c", "from fsmount.fstab import main; main()"]
    places = [str(tmp_path / "case"), str(tmp_path / "mnt")]
    done = subprocess.run(
        [*command, *places, "-o", options], capture_output=True, timeout=30, check=False
    )
    assert (code, 1) == (done.returncode, done.stderr.count(b"\n")), done.stderr
    assert line in done.stderr


def test_ending_the_helper_ends_the_mount(tmp_path):
    """A mount that comes up after its caller has given up would be a surprise."""
    program = """
import os, pathlib, time
from fsmount import fstab
def run_command(arguments):
    pathlib.Path(arguments[-1]).write_text(f"{os.getpid()}.")
    time.sleep(60)
fstab.run_command = run_command
fstab.main()
"""
    told = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", program, "case", str(told)]) as process:
        wait_until(lambda: told.exists() and told.read_text().endswith("."), within_s=10)
        child = int(told.read_text().rstrip("."))
        process.terminate()
        assert 8 == process.wait(10)
    assert "" == state_of(child)
