"""The command line: which source of an option wins, which exit code an end has, one line for each error."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import client
import fsmount
from fsmount import config
from fsmount.case import Case
from fsmount.cli import run_command
from fsmount.collect_settings import CollectSettings
from fsmount.config import KEY_VARIABLE, MountSettings
from fsmount.custody import CustodyLog
from fsmount.errors import CaseLockedError, UsageError
from tests.support.commands import KEY, Room, clean_surroundings

Run = Callable[[MountSettings], int]


class Mounts(Room[MountSettings]):
    """Stands for the module that mounts."""


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with clean_surroundings(monkeypatch):
        yield


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> Mounts:
    fake = Mounts()
    fake.stand_in_for("fsmount.mount", monkeypatch)
    return fake


def mount(*options: str) -> int:
    return run_command(["mount", "c", "/mnt", *options])


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Make a case whose custody log has two entries."""
    made = Case.open(tmp_path / "case")
    journal = CustodyLog(made.custody_path)
    journal.append("mounted", {"name": "ü\n"})
    journal.append("unmounted", {})
    journal.close()
    return made


def test_defaults_are_those_that_are_promised(mounts: Mounts):
    """Without options a mount is read-only, keeps to its limits and belongs to who mounts."""
    assert 0 == mount()
    expected = MountSettings(
        case="c",
        mountpoint=Path("/mnt"),
        base_url="https://api.anthropic.com",
        key=mounts.settings.key,
        ids_file=None,
        allow_delete=False,
        allow_move=False,
        verified_open_bytes=16 * 1024**2,
        deny_programs=config.DEFAULT_DENY_PROGRAMS,
        offline=False,
        max_rpm=540,
        timeout_s=90.0,
        cache_bytes=10 * 1024**3,
        allow_other=False,
        uid=os.getuid(),
        gid=os.getgid(),
        umask=0o077,
        foreground=False,
    )
    assert expected == mounts.settings
    assert mounts.settings.key is not None
    assert KEY == mounts.settings.key.reveal()


def test_every_option_reaches_the_mount(mounts: Mounts, tmp_path: Path):
    """Each option changes what it says, and nothing else."""
    options = [
        "--base-url",
        "http://localhost:1/",
        "--ids-file",
        "-",
        "--allow-delete",
        "--allow-move",
    ]
    options += [
        "--verified-open",
        "all",
        "--deny-programs",
        "rg",
        "--max-rpm",
        "60",
        "--timeout",
        "5",
    ]
    options += [
        "--cache-size",
        "0",
        "--allow-other",
        "--uid",
        "1",
        "--gid",
        "2",
        "--umask",
        "027",
        "-f",
    ]
    assert 0 == mount(*options)
    expected = MountSettings(
        case="c",
        mountpoint=Path("/mnt"),
        base_url="http://localhost:1",
        key=mounts.settings.key,
        ids_file=Path("-"),
        allow_delete=True,
        allow_move=True,
        verified_open_bytes=None,
        deny_programs=frozenset({"rg"}),
        max_rpm=60,
        timeout_s=5.0,
        cache_bytes=0,
        allow_other=True,
        uid=1,
        gid=2,
        umask=0o027,
        foreground=True,
    )
    assert expected == mounts.settings


def test_the_mountpoint_is_absolute(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A background mount leaves the directory in which a relative name meant something."""
    monkeypatch.chdir(tmp_path)
    run_command(["mount", "c", "mnt"])
    assert tmp_path / "mnt" == mounts.settings.mountpoint


@pytest.mark.parametrize(
    ("from_environment", "option", "expected"),
    [(None, None, 10), ("20", None, 20), (None, "30", 30), ("20", "30", 30)],
)
def test_command_line_before_environment_before_file(
    mounts: Mounts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    from_environment: str | None,
    option: str | None,
    expected: int,
):
    """The nearer source wins; what it leaves open comes from the next one."""
    file = tmp_path / "fsmount.toml"
    file.write_text('max_rpm = 10\ncache_size = "1GiB"')
    if from_environment:
        monkeypatch.setenv("FSMOUNT_MAX_RPM", from_environment)
    assert 0 == mount("--config", str(file), *(["--max-rpm", option] if option else []))
    assert (expected, 1 << 30) == (mounts.settings.max_rpm, mounts.settings.cache_bytes)


def test_the_file_may_be_named_in_the_environment(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """FSMOUNT_CONFIG is --config."""
    file = tmp_path / "fsmount.toml"
    file.write_text('verified_open = 4096\nallow_delete = true\ndeny_programs = ["rg", "grep"]')
    monkeypatch.setenv("FSMOUNT_CONFIG", str(file))
    assert 0 == mount()
    settings = mounts.settings
    assert (4096, True) == (settings.verified_open_bytes, settings.allow_delete)
    assert frozenset({"rg", "grep"}) == settings.deny_programs


def test_commands_share_one_file(
    mounts: Mounts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    case: Case,
    capsys: pytest.CaptureFixture[str],
):
    """What is an option of another command is passed over; each takes what is its own."""
    file = tmp_path / "fsmount.toml"
    text = (
        'timeout = 5\nuser = ["a@example.com", "b@example.com"]\nformat = "dfxml"\noffline = true\n'
    )
    file.write_text(text)
    assert 0 == mount("--config", str(file))
    assert (5.0, True) == (mounts.settings.timeout_s, mounts.settings.offline)
    walks = Room[CollectSettings]()
    walks.stand_in_for("fsmount.gathering", monkeypatch)
    assert 0 == run_command(["collect", "c", "--config", str(file)])
    assert [("a@example.com", "b@example.com")] == [settings.users for settings in walks.told]
    capsys.readouterr()
    assert 1 == run_command(["export", str(case.path), str(tmp_path), "--config", str(file)])
    assert "the case has no catalog yet" in only_line(
        capsys
    )  # which is looked for after the options
    run_command(["doctor", "--config", str(file)])  # what it finds is the machine's


@pytest.mark.parametrize(
    "command", [["mount", "c", "/mnt"], ["collect", "c"], ["export", "c", "d"], ["doctor"]]
)
def test_what_no_command_knows_is_no_option(
    mounts: Mounts, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
):
    """The nearest name may be another command's; --config can't name a further file."""
    file = tmp_path / "fsmount.toml"
    for key, near in (("formad", "format"), ("time_out", "timeout"), ("confik", "")):
        file.write_text(f'{key} = "x"')
        assert 2 == run_command([*command, "--config", str(file)])
        line = only_line(capsys)
        assert f"there is no option '{key}'; the nearest option is {near}" in line
        assert "nearest option is config" not in line


@pytest.mark.parametrize(
    ("own", "file", "expected"),
    [
        (None, "", "https://common.example"),
        (None, 'base_url = "https://file.example"', "https://common.example"),
        ("https://own.example", "", "https://own.example"),
    ],
)
def test_the_common_base_url_is_an_environment_variable_like_ours(
    mounts: Mounts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str | None,
    file: str,
    expected: str,
):
    """ANTHROPIC_BASE_URL wins over the file, and FSMOUNT_BASE_URL over it."""
    (tmp_path / "fsmount.toml").write_text(file)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://common.example")
    if own:
        monkeypatch.setenv("FSMOUNT_BASE_URL", own)
    assert 0 == mount("--config", str(tmp_path / "fsmount.toml"))
    assert expected == mounts.settings.base_url


@pytest.mark.parametrize(
    "name", ["ALLOW_DELETE", "KEY_FILE", "UID", "LOG_LEVEL", "DENY_PROGRAMS", "BASE_URL"]
)
def test_a_variable_set_to_nothing_is_not_set(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch, name: str
):
    """Whatever the option's type, the default stays."""
    assert 0 == mount()
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(f"FSMOUNT_{name}", "")
    assert 0 == mount()
    without, with_it = (dataclasses.replace(told, key=None, offline=True) for told in mounts.told)
    assert without == with_it


def test_a_flag_of_the_environment_can_be_taken_back(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch
):
    """The command line wins over the environment for flags too."""
    monkeypatch.setenv("FSMOUNT_ALLOW_OTHER", "1")
    assert 0 == mount("--allow-other=false")
    assert not mounts.settings.allow_other


def test_arguments_never_come_from_the_environment(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A variable can't stand in for a forgotten mountpoint."""
    monkeypatch.setenv("FSMOUNT_MOUNTPOINT", "/mnt")
    assert 2 == run_command(["mount", "c"])
    assert "MOUNTPOINT is missing" in capsys.readouterr().err


def test_commands_without_these_options_do_not_mind_them(
    monkeypatch: pytest.MonkeyPatch, case: Case
):
    """Settings for mounts in the environment do not disturb other commands."""
    monkeypatch.setenv("FSMOUNT_CONFIG", "/none")
    monkeypatch.setenv("FSMOUNT_CHECK", "nonsense")
    assert 0 == run_command(["log", str(case.path)])


def test_no_child_inherits_the_key(mounts: Mounts):
    """The key is gone from the environment by the time the mount runs."""
    mount()
    assert KEY_VARIABLE not in os.environ


def test_a_warning_about_the_key_file_is_logged(
    mounts: Mounts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A key file that others can read is a warning, and the mount goes on."""
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    assert 0 == mount("--key-file", str(path))
    written = capsys.readouterr().err
    assert written.startswith(
        f"WARNING fsmount.commands.keys: the key file {path} can be read by others"
    )
    assert KEY not in written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frob"], "frob"),
        (["mount"], "CASE is missing (see fsmount mount --help)"),
        (["mount", "c", "/m", "extra"], "unexpected argument 'extra'"),
        (["mount", "c", "/m", "--ofline"], "--offline"),
        (["mount", "c", "/m", "--max-rpm", "many"], "--max-rpm"),
        (["mount", "c", "/m", "--max-rpm"], "--max-rpm needs a value"),
        (["mount", "c", "/m", "--max-rpm", "0"], "--max-rpm must be at least 1"),
        (["mount", "c", "/m", "--timeout", "nan"], "--timeout"),
        (["mount", "c", "/m", "--umask", "999"], "--umask"),
        (["mount", "c", "/m", "--cache-size", "1.5G"], "--cache-size"),
        (["mount", "c", "/m", "--verified-open", "some"], "--verified-open"),
        (["mount", "c", "/m", "--log-format", "xml"], "--log-format"),
        (["mount", "c", "/m", "--base-url", "http://[x"], "--base-url"),
        (["mount", "c", "/m", "--base-url", "http://example.com"], "--insecure-http"),
        (["mount", "c", "/m", "--allow-move"], "--allow-delete"),
        (["mount", "c", "/m", "--key-file", "/none"], "/none"),
        (["mount", "c", "/m", "--config", "/none"], "/none"),
        (["unmount"], "MOUNTPOINT is missing"),
        (["log", "a b"], "'a b'"),
        (["demo", "--port", "65536"], "--port"),
    ],
)
def test_wrong_usage_is_2_and_one_line(
    mounts: Mounts, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    """Wrong usage names the option in one line on stderr and mounts nothing."""
    assert 2 == run_command(arguments)
    assert said in only_line(capsys)
    assert [] == mounts.told


def test_without_a_key_the_message_says_where_one_could_be(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A missing key is wrong usage; an offline mount needs none."""
    monkeypatch.delenv(KEY_VARIABLE)
    assert 2 == mount()
    line = only_line(capsys)
    assert "--key-file" in line
    assert KEY_VARIABLE in line
    assert 0 == mount("--offline")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CaseLockedError("case 'c' is in use"), 1, "case 'c' is in use"),
        (UsageError("not like this"), 2, "not like this"),
        (client.AuthenticationError(401, "authentication_error", "bad key", "req_1"), 1, "req_1"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (OSError("odd"), 1, "odd"),
        (CaseLockedError("two\nlines \x1b[31m"), 1, "two lines \\x1b[31m"),
        (RuntimeError("boom"), 1, "unexpected RuntimeError, please report it: boom"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no"), 1, "unexpected UnicodeEncodeError"),
    ],
)
def test_every_failure_is_one_line(
    mounts: Mounts, capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
):
    """Whatever goes wrong ends in an exit code and one line, without a traceback."""
    mounts.error = error
    assert code == mount()
    line = only_line(capsys)
    assert line.startswith("fsmount: ")
    assert said in line
    assert line[:-1].isprintable()


@pytest.mark.parametrize("how", ["-v", "--verbose", "--log-level=debug", "variable"])
def test_the_details_of_a_bug_are_shown_on_request(
    mounts: Mounts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: str,
):
    """A verbose run shows the traceback too, without the key."""
    mounts.error = RuntimeError(f"boom {KEY}")
    if how == "variable":
        monkeypatch.setenv("FSMOUNT_VERBOSE", "1")
        assert 1 == mount()
    else:
        assert 1 == mount(how)
    traceback = capsys.readouterr().err.partition("fsmount: ")[0]
    assert "Traceback" in traceback
    assert "RuntimeError: boom [key]" in traceback
    assert KEY not in traceback


def test_the_mounts_exit_code_is_ours(mounts: Mounts):
    """What the mount returns is the exit code."""
    mounts.code = 1
    assert 1 == mount()


def test_ctrl_c_is_130(mounts: Mounts, capsys: pytest.CaptureFixture[str]):
    """Ctrl-C outside of a mount ends as shells expect, without a word."""
    mounts.error = KeyboardInterrupt()
    assert 130 == mount()
    assert "" == capsys.readouterr().err


def test_unmounting_what_is_not_mounted_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The line names the mountpoint."""
    assert 1 == run_command(["unmount", str(tmp_path)])
    assert str(tmp_path) in only_line(capsys)


def test_the_log_is_printed_as_it_is_stored(case: Case, capsysbinary: pytest.CaptureFixture[bytes]):
    """Byte for byte, also where somebody edited it."""
    with case.custody_path.open("ab") as log:
        log.write(b'{"seq": 3, "not": "canonical"}\nno entry\n')
    assert 0 == run_command(["log", str(case.path)])
    assert case.custody_path.read_bytes() == capsysbinary.readouterr().out


def test_a_whole_chain_is_0(case: Case, capsys: pytest.CaptureFixture[str]):
    """--check says how many entries there are."""
    assert 0 == run_command(["log", str(case.path), "--check"])
    assert "2 entries, chain is whole\n" == capsys.readouterr().out


def test_a_broken_chain_is_1(case: Case, capsys: pytest.CaptureFixture[str]):
    """--check names the lines and fails."""
    lines = case.custody_path.read_bytes().replace(b'"mounted"', b'"Mounted"', 1)
    case.custody_path.write_bytes(lines)
    assert 1 == run_command(["log", str(case.path), "--check"])
    written = capsys.readouterr().out
    assert "line 2: does not follow from the line before it" in written
    assert written.endswith("BROKEN\n")


def test_asking_for_a_log_makes_no_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A mistyped case is an error, not a new case."""
    assert 1 == run_command(["log", str(tmp_path / "none")])
    assert "there is no case" in only_line(capsys)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_a_case_without_a_log_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
):
    """Nothing is wrong with its disk."""
    Case.open(tmp_path / "case")
    assert 1 == run_command(["log", str(tmp_path / "case"), *options])
    assert "no custody log yet" in only_line(capsys)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["mount"],
        ["unmount"],
        ["export"],
        ["status"],
        ["verify"],
        ["doctor"],
        ["log"],
        ["demo"],
        ["completion"],
    ],
)
def test_help_is_0(command: list[str], capsys: pytest.CaptureFixture[str]):
    """Every command explains itself on stdout."""
    assert 0 == run_command([*command, "--help"])
    assert capsys.readouterr().out.startswith("Usage: fsmount")


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]):
    """No option of `mount` is without a sentence."""
    run_command(["mount", "--help"])
    entries = capsys.readouterr().out.split("\n│ --")[1:]
    assert len(entries) >= 20
    assert all(len(entry.split()) > 4 for entry in entries)


def test_version(capsys: pytest.CaptureFixture[str]):
    """The version is that of the package."""
    assert 0 == run_command(["--version"])
    assert f"fsmount {fsmount.__version__}\n" == capsys.readouterr().out


def test_the_command_line_loads_no_room_that_it_may_not_need():
    """--help and `log` wait for neither libfuse nor SQLite nor the demonstration's server."""
    heavy = "{'pyfuse3', 'sqlite3', 'starlette', 'hypercorn', 'fsmount.mount', 'fsmount.demo'}"
    script = f"import sys, fsmount.cli; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (0, b"\n", b"") == (done.returncode, done.stdout, done.stderr)


def log_into(stdout: int, case: Case, *options: str) -> tuple[int, bytes]:
    """Run `log` with buffered output, as a user does; return the exit code and stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "fsmount", "log", str(case.path), *options]
    done = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_a_reader_that_has_seen_enough_is_no_error(case: Case, options: tuple[str, ...]):
    """`fsmount log CASE | head` says nothing on stderr."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    assert (1, b"") == log_into(write_fd, case, *options)
    os.close(write_fd)


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_output_that_can_not_be_written_is_an_error(case: Case, options: tuple[str, ...]):
    """A full disk is noticed, also at the last flush."""
    with open("/dev/full", "wb") as full:
        ended = log_into(full.fileno(), case, *options)
    assert (1, b"fsmount: No space left on device\n") == ended


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was written to stderr, which is one line, with nothing on stdout."""
    written = capsys.readouterr()
    assert "" == written.out
    assert 1 == written.err.count("\n"), written.err
    return written.err


def test_ctrl_c_while_the_program_is_being_loaded_is_quiet():
    """Loading takes a fifth of a second, in which people change their minds too."""
    script = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'fsmount.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from fsmount.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=False
    )
    assert (130, b"") == (done.returncode, done.stderr)


def test_a_misspelt_variable_is_told(mounts, monkeypatch, capsys):
    """A limit that is passed over without a word would be believed to hold."""
    monkeypatch.setenv("FSMOUNT_MAX_RMP", "3")
    monkeypatch.setenv("FSMOUNT_VERBOSE", "0")
    assert 0 == mount("--offline")
    said = capsys.readouterr().err
    assert "FSMOUNT_MAX_RMP is set in the environment, and is no option; the nearest one is" in said
    assert 1 == said.count("WARNING")
