"""Log lines are whole, can't be forged by names, and never carry the key."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount import logs

KEY = 'sk-ant-api01-"quoted"-key'
LOUD = ("httpx", "httpcore", "pyfuse3")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Leave logging to other tests as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def fail_with(message: str) -> None:
    raise ValueError(message)


def log_failure(message: str) -> None:
    try:
        fail_with(message)
    except ValueError:
        logging.getLogger("fsmount.test").exception("it failed")


def test_text_is_one_line_of_level_message_and_fields(capsys: pytest.CaptureFixture[str]):
    """A field that is not one plain word is quoted."""
    logs.configure("text", "info")
    fields = {"claude_file_id": "claude_file_1", "size_bytes": 3, "called": 'a "b"', "none": ""}
    logging.getLogger("fsmount.test").warning("read of %s failed", "x", extra=fields)
    expected = "WARNING fsmount.test: read of x failed claude_file_id=claude_file_1 size_bytes=3"
    assert f'{expected} called="a \\"b\\"" none=""\n' == capsys.readouterr().err


def test_a_file_has_times(tmp_path, monkeypatch):
    """Nobody else notes them there, as the journal does; on a terminal they are in the way."""
    with (tmp_path / "mount.log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure("text", "info")
        logging.getLogger("fsmount.test").warning("careful")
    line = (tmp_path / "mount.log").read_text()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 WARNING fsmount.test: careful\n", line
    )


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]):
    """Fields stand beside the message, and a traceback is one of them."""
    logs.configure("json", "info")
    logging.getLogger("fsmount.test").info("started\n%s", "ü", extra={"size_bytes": 3})
    log_failure("why")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert ("info", "fsmount.test") == (first["level"], first["logger"])
    assert ("started\nü", 3) == (first["message"], first["size_bytes"])
    assert first["time"].endswith("+00:00")
    assert "ValueError: why" in second["traceback"]


def test_below_the_level_nothing_is_written(capsys: pytest.CaptureFixture[str]):
    """The level is the least important one that is written."""
    logs.configure("text", "warning")
    logging.getLogger("fsmount.test").info("quiet")
    logging.getLogger("fsmount.test").warning("loud")
    assert "WARNING fsmount.test: loud\n" == capsys.readouterr().err


@pytest.mark.parametrize("name", LOUD)
@pytest.mark.parametrize("level", ["info", "warning"])
def test_libraries_stay_quiet(capsys: pytest.CaptureFixture[str], name: str, level: logs.LogLevel):
    """Libraries tell of each request at lower levels; they are heard from WARNING on."""
    logs.configure("text", level)
    logging.getLogger(name).info("every request")
    logging.getLogger(name).warning("trouble")
    assert f"WARNING {name}: trouble\n" == capsys.readouterr().err


@pytest.mark.parametrize("name", LOUD)
def test_libraries_are_heard_when_a_bug_is_looked_for(
    capsys: pytest.CaptureFixture[str], name: str
):
    """At debug they tell everything; a later configuration makes them quiet again."""
    logs.configure("text", "debug")
    logging.getLogger(name).debug("each step")
    logs.configure("text", "error")
    logging.getLogger(name).warning("trouble")
    assert f"DEBUG {name}: each step\n" == capsys.readouterr().err


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_key_is_never_written(capsys: pytest.CaptureFixture[str], log_format: logs.LogFormat):
    """Not in messages, arguments, fields or tracebacks, whoever logs, and not escaped either."""
    logs.configure(log_format, "debug", secret=KEY)
    logging.getLogger("httpx").warning("header %r and %s", KEY, KEY, extra={"header": f"x {KEY}"})
    logging.getLogger("fsmount.test").debug(f"key {KEY}")
    log_failure(f"illegal header {KEY}")
    written = capsys.readouterr().err
    for form in (KEY, json.dumps(KEY)[1:-1], "quoted"):
        assert form not in written
    assert written.count("[key]") >= 5


def test_names_can_not_forge_lines(capsys: pytest.CaptureFixture[str]):
    """Whatever ends a line or acts on a terminal is escaped."""
    logs.configure("text", "info")
    logging.getLogger("fsmount.test").warning("read %s", "a\nERROR forged\x1b[2J\u2028\u202e")
    assert (
        "WARNING fsmount.test: read a\\nERROR forged\\x1b[2J\\u2028\\u202e\n"
        == capsys.readouterr().err
    )


def test_undecodable_bytes_of_a_name_are_escaped():
    """A lone surrogate, which no stream could encode, is escaped like a control character."""
    assert r"caf\udce9" == logs.one_line(os.fsdecode(b"caf\xe9"))


@given(st.text())
def test_one_line_keeps_what_can_be_printed(text: str):
    """The result is always printable, and printable texts stay as they are."""
    result = logs.one_line(text)
    assert result.isprintable()
    assert (result == text) == text.isprintable()


def test_the_journal_gets_priorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where stderr is the journal, each line starts with its priority, those of a traceback too."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure("text", "info")
        logging.getLogger("fsmount.test").warning("careful")
        log_failure("why")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert "<4>WARNING fsmount.test: careful" == lines[0]
    assert all(line.startswith("<3>") for line in lines[1:])
    assert len(lines) > 3


def test_another_stream_than_the_journal_gets_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """A service whose stderr was sent to a file gets plain lines, though the variable is set."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    logs.configure("text", "info")
    logging.getLogger("fsmount.test").error("plain")
    assert "ERROR fsmount.test: plain\n" == capsys.readouterr().err


def test_configuring_again_replaces_only_ours(capsys: pytest.CaptureFixture[str]):
    """One message is written once, and other handlers stay."""
    theirs = logging.NullHandler()
    logging.getLogger().addHandler(theirs)
    logs.configure("text", "info")
    logs.configure("json", "info")
    logging.getLogger("fsmount.test").info("once")
    assert 1 == len(capsys.readouterr().err.splitlines())
    assert theirs in logging.getLogger().handlers
