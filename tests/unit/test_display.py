"""Tables, lines and progress: what a person sees, and what a stranger's name can't do there."""

import io
import sys

import pytest

from fsmount import display


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_names_do_nothing_to_a_terminal(monkeypatch, stream):
    """Escape sequences and markup are shown, not obeyed."""
    stdout = stream()
    monkeypatch.setattr(sys, "stdout", stdout)
    display.show_table([("\x1b[31mred\x07", "[bold]b[/bold]")], ("a", "b"))
    out = stdout.getvalue()
    assert "\x1b[31mred" not in out
    assert "\\x1b[31mred\\x07" in out
    assert "[bold]b[/bold]" in out


def test_without_a_terminal_a_row_is_a_line(capsys):
    """With tabs between its cells, for cut and awk, whatever its length."""
    display.show_table([("a", "b" * 500), ("c", "d")], ("x", "y"), title="no title here")
    assert f"a\t{'b' * 500}\nc\td\n" == capsys.readouterr().out


def test_lines_tell_at_once_why_nothing_moves(capsys):
    """The beginning of a wait is told at once; another reason to wait is not, and neither is every file."""
    with display.progress("exporting", 9) as shown:
        for _ in range(5):
            shown.advance(1000)
        shown.waits("waiting for the budget")
        shown.waits("waiting for the budget")
        shown.waits("waiting for the service")
    assert "exporting: 5 of 9 files, 4.9 KiB; waiting for the budget\n" == capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch):
    """With files, size and the reason to wait."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "120")  # room for all of it
    with display.progress("exporting", 2) as shown:
        shown.advance(2048)
        shown.waits("waiting for the budget")
    for said in ("exporting", "1/2", "2.0 KiB", "waiting for the budget"):
        assert said in stderr.getvalue()


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (5 << 40, "5.0 TiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes_are_readable(size_bytes, text):
    """In binary units."""
    assert text == display.size_text(size_bytes)
