"""The case directory: made on first use, private, held by one, and clear about what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsmount.case import FORMAT, Case, case_names, case_path
from fsmount.errors import CaseError, CaseLockedError, UsageError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("case42", "/data/fsmount/cases/case42"),
        ("./here", None),
        ("/abs/path", "/abs/path"),
        ("/abs/../other", "/other"),
    ],
)
def test_a_name_lies_in_the_data_home_and_a_path_where_it_says(name, expected):
    """Anything with a slash is a path."""
    assert (expected or os.path.abspath(name)) == str(case_path(name, {"XDG_DATA_HOME": "/data"}))


def test_without_a_data_home_the_usual_place_is_used():
    """As the base directory specification says."""
    assert Path("/h/.local/share/fsmount/cases/x") == case_path("x", {"HOME": "/h"})


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a b", "a\nb", "-x", "x" * 101])
def test_odd_names_are_refused(name):
    """A name is one plain word."""
    with pytest.raises(UsageError):
        case_path(name, {"HOME": "/h"})


def test_an_attempt_on_a_full_disk_stands_in_nobodys_way(tmp_path: Path):
    """What it left behind is no stranger's."""
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "case.new").touch()
    Case.open(tmp_path / "case")
    assert {"case.json", "content", "spool"} == set(os.listdir(tmp_path / "case"))


def test_cases_are_named_for_completion(tmp_path: Path):
    """Only what is a case in the data home, in order; without a data home, none."""
    environ = {"XDG_DATA_HOME": str(tmp_path)}
    assert [] == case_names(environ)
    for name in ("b", "a"):
        Case.open(case_path(name, environ))
    case_path("stranger", environ).mkdir()
    assert ["a", "b"] == case_names(environ)


def test_a_case_is_made_on_first_use_and_opened_again(tmp_path):
    """Its directory is the owner's alone."""
    case = Case.open(tmp_path / "deep" / "case")
    assert 0o700 == case.path.stat().st_mode & 0o777
    assert {"case.json", "content", "spool"} == set(os.listdir(case.path))
    assert case.path == Case.open(case.path, create=False).path


def test_a_case_that_is_not_there_is_only_made_when_asked(tmp_path):
    """Looking at a log makes no case."""
    with pytest.raises(CaseError, match="no case at"):
        Case.open(tmp_path / "case", create=False)
    assert not (tmp_path / "case").exists()


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (json.dumps({"format": FORMAT + 1}), "newer version"),
        ("{broken", "damaged"),
        ("[]", "damaged"),
        (None, "not a case and not empty"),
    ],
)
def test_what_is_no_usable_case_is_left_alone(tmp_path, marker, message):
    """Newer, damaged and foreign directories are each one clear line."""
    (tmp_path / ("case.json" if marker else "letter.txt")).write_text(marker or "dear")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CaseError, match=message):
        Case.open(tmp_path)
    assert before == sorted(os.listdir(tmp_path))


def test_a_file_in_the_way_is_told(tmp_path):
    """The place has to be a directory."""
    (tmp_path / "file").touch()
    with pytest.raises(CaseError, match="can't be used"):
        Case.open(tmp_path / "file")


def test_the_second_holder_is_told_who_is_the_first(tmp_path):
    """With purpose, user, process and host; and the case is free when the first has ended, however."""
    case = Case.open(tmp_path / "case")
    program = (
        "import sys, time; from pathlib import Path; from fsmount.case import Case\n"
        "lock = Case.open(Path(sys.argv[1])).lock('mounted at /mnt/x'); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(case.path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as holder:
        assert holder.stdout is not None
        assert b"held\n" == holder.stdout.readline()
        with pytest.raises(
            CaseLockedError, match=rf"mounted at /mnt/x by .* \(pid {holder.pid} on "
        ):
            case.lock("mounted at /mnt/y")
        holder.kill()
    with case.lock("mounted at /mnt/y"), pytest.raises(CaseLockedError, match="/mnt/y"):
        case.lock("mounted at /mnt/z")


def test_leftovers_of_the_spool_are_cleared(tmp_path):
    """What an earlier mount left unfinished is removed, and how much it was is told."""
    case = Case.open(tmp_path / "case")
    (case.spool_dir / "a.1").write_bytes(b"x" * 10_000)
    assert case.clear_spool() >= 10_000
    assert [] == os.listdir(case.spool_dir)


def test_who_holds_a_case_can_be_asked_without_holding_it(tmp_path):
    """Asking leaves no trace, and does not keep the holder's words for longer than he holds it."""
    case = Case.open(tmp_path / "case")
    assert case.find_holder() is None
    assert "lock" not in os.listdir(case.path)
    with case.lock("mounted at /mnt"):
        assert "mounted at /mnt by " in (case.find_holder() or "")
    assert case.find_holder() is None
