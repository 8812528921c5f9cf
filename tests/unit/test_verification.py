"""Stored content is what was acquired, or it is found."""

import dataclasses
import json
from pathlib import Path

import pytest

from fsmount import custody, verification
from fsmount.case import Case
from fsmount.cli import run_command
from fsmount.store import ContentStore, content_path
from fsmount.verification import verify
from tests.support.cases import file_id, make_case

BODIES = {f"{n}.txt": bytes([n]) * n * 100_000 for n in range(20)}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(
        tmp_path / "case", BODIES, unverified={"u.txt": b"nobody vouched"}, not_stored=("n.txt",)
    )


def path_of(case: Case, number: int) -> Path:
    return content_path(case.content_dir, file_id(number))


def flip_byte(path: Path, at: int) -> None:
    body = bytearray(path.read_bytes())
    body[at] ^= 1
    path.write_bytes(body)


def last_entry(case: Case) -> dict[str, object]:
    assert not custody.check(case.custody_path).problems
    return list(custody.iter_entries(case.custody_path))[-1]


def test_whole_content_is_whole(case):
    """Every stored file is read, whether verified or not, and the custody log says so."""
    read: list[int] = []
    report = verify(case, read.append)
    assert (21, ()) == (report.checked, report.problems)
    expected = sum(map(len, BODIES.values())) + len(b"nobody vouched")
    assert expected == report.checked_bytes == sum(read)
    assert (1, 1) == (report.counts.unverified, report.counts.not_stored)
    entry = last_entry(case)
    assert ("checked", 21, expected, 0) == (
        entry["event"],
        entry["files"],
        entry["bytes"],
        entry["problems"],
    )


@pytest.mark.parametrize(
    ("harm", "kind", "says"),
    [
        (lambda path: flip_byte(path, 0), "mismatch", "its MD5 is"),
        (lambda path: flip_byte(path, -1), "mismatch", "its MD5 is"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "mismatch", "recorded are 700000"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "mismatch", "has 700001 bytes"),
        (lambda path: path.unlink(), "missing", "is not there"),
        (lambda path: (path.unlink(), path.mkdir()), "unreadable", "can't be read"),
    ],
)
def test_whatever_differs_is_found(case, harm, kind, says):
    """A changed, shortened, lengthened or missing file is named, and only it."""
    harm(path_of(case, 7))
    (problem,) = verify(case).problems
    assert (file_id(7), kind) == (problem.claude_file_id, problem.kind)
    assert says in problem.what
    assert (1, [dataclasses.asdict(problem)]) == (
        last_entry(case)["problems"],
        last_entry(case)["found"],
    )


def test_what_is_evicted_meanwhile_is_no_finding(case, monkeypatch):
    """A mount beside the check may take bytes away at any moment."""
    store = ContentStore(case.catalog_path, case.content_dir)
    check = verification.check

    def evict_first(row, content_dir, is_ending):
        if row.claude_file_id == file_id(3):
            store.discard(file_id(3))
        return check(row, content_dir, is_ending)

    monkeypatch.setattr(verification, "check", evict_first)
    report = verify(case)
    store.close()
    assert (20, ()) == (report.checked, report.problems)


def test_the_command_tells_all_of_it(case, capsys):
    """Exit 0 and the counts, then exit 1 and the file; the same as JSON."""
    assert 0 == run_command(["verify", str(case.path)])
    assert "as recorded\t21\n" in capsys.readouterr().out
    flip_byte(path_of(case, 2), 5)
    assert 1 == run_command(["verify", str(case.path)])
    out = capsys.readouterr().out
    assert out.startswith(f"{file_id(2)}\tmismatch\t{path_of(case, 2)}: its MD5 is ")
    for line in ("as recorded\t20", "not as recorded\t1", "no digest came with them\t1"):
        assert line in out
    assert 1 == run_command(["verify", str(case.path), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert [file_id(2)] == [problem["claude_file_id"] for problem in document["problems"]]
    assert (21, 1) == (document["checked"], document["counts"]["not_stored"])


def test_a_case_that_is_none_is_1(tmp_path, capsys):
    """A mistyped case is an error and stays none."""
    assert 1 == run_command(["verify", str(tmp_path / "none")])
    assert "there is no case" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_custody_log_says_who_checked(case):
    """And with which version, on which machine."""
    verify(case)
    assert {"version", "user", "uid", "host"} <= last_entry(case).keys()
