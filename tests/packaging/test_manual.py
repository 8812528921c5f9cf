"""The manual pages: all of --help is in them, they are up to date, and roff's own tools find no fault."""

import contextlib
import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fsmount import fstab, manual, roff
from fsmount.cli import run_command

MAN = Path(__file__).parents[2] / "fsmount" / "man"
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def help_of(*command: str) -> str:
    """Return what is printed for people."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert 0 == run_command([*command, "--help"])
    return out.getvalue()


def rendered(page: Path) -> str:
    """Return a page as it is read, without its emphasis."""
    command = ["mandoc", "-T", "ascii", "-O", "width=1000", str(page)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r".\x08", "", text)


def part(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    start = re.search(rf"^ *{re.escape(heading)}$", text, re.MULTILINE)
    assert start, f"no heading {heading!r}"
    end = re.compile(r"^ {0,3}\S", re.MULTILINE).search(text, start.end())
    return text[start.end() : end.start() if end else None]


@pytest.mark.parametrize("name", manual.PAGES)
def test_pages_are_up_to_date(name: str):
    """Whoever changes an option runs `make man`."""
    assert manual.PAGES[name](manual.date_of(MAN / name)) == (MAN / name).read_text(), (
        "run make man"
    )


def test_every_command_and_option_of_help_is_in_the_page():
    """With its own explanation, below its own command."""
    page = rendered(MAN / "fsmount.1")
    named = re.findall(r"^│ ([a-z]+) ", help_of(), re.MULTILINE)
    assert set(named) >= {"mount", "collect", "files", "export", "doctor", "completion"}
    assert set(named) == set(manual.commands())
    for command in named:
        explained = part(page, f"fsmount {command}")
        shown = set(_OPTION.findall(help_of(command)))
        assert shown <= set(_OPTION.findall(explained)), command
    assert {"--help", "-h", "--version"} <= set(_OPTION.findall(part(page, "OPTIONS")))


def test_every_mount_option_is_in_the_page():
    """All that mount.fsmount takes behind -o, under the names that it takes."""
    options = part(rendered(MAN / "mount.fsmount.8"), "MOUNT OPTIONS")
    listed = set(re.findall(r"^ {5,7}([a-z_]+)(?:=.*| .*|)$", options, re.MULTILINE))
    assert set(fstab.known_options()) <= listed


@pytest.mark.parametrize("name", manual.PAGES)
@pytest.mark.parametrize("check", [["groff", "-man", "-ww", "-Tutf8"], ["mandoc", "-T", "lint"]])
def test_roff_is_clean(name: str, check: Sequence[str]):
    """Neither formatter has anything to say."""
    assert shutil.which(check[0]), f"{check[0]} is missing; make setup-test brings it"
    done = subprocess.run([*check, MAN / name], capture_output=True, text=True, check=False)
    said = done.stderr if check[0] == "groff" else done.stdout + done.stderr
    assert (0, "") == (done.returncode, said)


def test_any_text_shows_as_it_is(tmp_path: Path):
    """Nothing of a text is taken for roff, and quotes and dashes can be pasted into a shell."""
    text = r".SH it's 'a' \fB \e --flag ~/x ^y `z` \"q\" -"
    page = roff.Page("x", 1, date="2026-01-01", source="x", volume="x")
    page.name("x", "y")
    page.section("Text")
    page.paragraphs(f"{text}\n\n'{text}")
    page.example([text, f".{text}", f"'{text}"])
    (tmp_path / "x.1").write_text(page.text())
    shown = " ".join(part(rendered(tmp_path / "x.1"), "TEXT").split())
    words = " ".join(text.split())
    assert f"{words} '{words} {words} .{words} '{words}" == shown


def test_a_page_keeps_its_date_while_its_text_stays(tmp_path: Path):
    """Writing the pages again changes nothing where nothing has changed."""
    manual.write_pages(tmp_path, "2026-01-01")
    manual.write_pages(tmp_path, "2026-01-02")
    page = tmp_path / "fsmount.1"
    assert "2026-01-01" == manual.date_of(page)
    page.write_text(page.read_text().replace("mount", "mound"))
    manual.write_pages(tmp_path, "2026-01-03")
    assert "2026-01-03" == manual.date_of(page)
