"""What keeps fsmount from working is found, and every finding that needs it says how to mend it."""

import contextlib
import json
import os
import resource
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import client
from fsmount import connection, diagnosis
from fsmount.case import Case
from fsmount.cli import run_command
from fsmount.custody import CustodyLog
from fsmount.diagnosis import Finding
from fsmount.store import ContentStore
from tests.support.cases import make_case


def found(findings: Iterable[Finding], subject: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding


@pytest.fixture
def case(tmp_path: Path) -> Case:
    made = make_case(tmp_path / "case", {"a": b"1", "b": b"2"}, not_stored=("c",))
    with contextlib.closing(CustodyLog(made.custody_path)) as journal:
        journal.append("mounted", {})
        journal.append("unmounted", {})
    return made


@pytest.mark.parametrize(
    ("device", "says", "mend"),
    [("/dev/none", "is not there", "modprobe fuse"), ("/proc", "can't be opened", "0666")],
)
def test_a_missing_or_closed_device_is_a_problem(monkeypatch, device, says, mend):
    """Nothing can be mounted without it."""
    monkeypatch.setattr(diagnosis, "_DEVICE", Path(device))
    finding = found(diagnosis.of_machine(), device)
    assert "problem" == finding.level
    assert says in finding.says
    assert mend in finding.mend


def test_a_library_that_can_not_be_loaded_is_a_problem(monkeypatch):
    """As after an upgrade of the system."""
    monkeypatch.setitem(sys.modules, "fsmount.attach", None)
    monkeypatch.delattr("fsmount.attach", raising=False)
    assert "problem" == found(diagnosis.of_machine(), "libfuse").level


@pytest.mark.parametrize(("uid", "level"), [(0, "ok"), (1000, "problem")])
def test_only_root_mounts_without_the_helper(monkeypatch, uid, level):
    """Everybody else needs fusermount3."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert level == found(diagnosis.of_machine(), "fusermount3").level


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "root only"),
        ("#user_allow_other\n", "root only"),
        (" user_allow_other \n", "for all"),
    ],
)
def test_who_may_let_others_in_is_told(monkeypatch, tmp_path, content, says):
    """Whatever the file says, mounting works; so it is no warning."""
    conf = tmp_path / "fuse.conf"
    if content is not None:
        conf.write_text(content)
    monkeypatch.setattr(connection, "FUSE_CONF", conf)
    finding = found(diagnosis.of_machine(), str(conf))
    assert ("ok", True) == (finding.level, says in finding.says)


@pytest.mark.parametrize(
    ("limit_s", "level"), [(None, "ok"), (600, "ok"), (120, "warning"), (15, "warning")]
)
def test_a_kernel_that_cuts_requests_short_is_a_warning(monkeypatch, limit_s, level):
    """The mount adapts, at the price of shorter waits."""
    monkeypatch.setattr(connection, "request_timeout_s", lambda: limit_s)
    assert level == found(diagnosis.of_machine(), "fs.fuse.max_request_timeout").level


def test_small_limits_are_warnings(monkeypatch, tmp_path):
    """Of open files, and of reads at once where the kernel bounds them for users."""
    (tmp_path / "max_user_bgreq").write_text("12\n")
    monkeypatch.setattr(diagnosis, "_PARAMETERS", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    findings = list(diagnosis.of_machine())
    assert "warning" == found(findings, "fuse.max_user_bgreq").level
    assert "warning" == found(findings, "open files").level


@pytest.mark.parametrize(
    ("error", "subject", "level"),
    [
        (None, "scopes", "ok"),
        (client.NotFoundError(404, None, "no such file"), "scopes", "ok"),
        (client.AuthenticationError(401, None, "invalid"), "key", "problem"),
        (client.PermissionDeniedError(403, None, "Needed: [x]"), "scopes", "problem"),
        (client.APIConnectionError("refused"), "service", "problem"),
        (client.APITimeoutError("late"), "service", "problem"),
        (client.RateLimitError(429, None, "slow down"), "service", "problem"),
        (client.InvalidResponseError("a web page"), "service", "problem"),
    ],
)
def test_every_answer_is_judged(error, subject, level):
    """One line each, and what is a problem has a remedy."""
    finding = found(diagnosis._judged(error, "https://api"), subject)
    assert level == finding.level
    assert finding.mend or level == "ok"


@pytest.mark.parametrize(
    ("ahead_s", "level", "says"),
    [
        (1.9, "ok", "agrees"),
        (-4.9, "ok", "agrees"),
        (30, "warning", "30 s ahead"),
        (-30, "warning", "30 s behind"),
        (-3600, "problem", "3600 s behind"),
    ],
)
def test_clocks_apart_are_told(ahead_s, level, says):
    """A second or two are the answer's way."""
    finding = diagnosis._clock(ahead_s)
    assert (level, True) == (finding.level, says in finding.says)


def test_a_healthy_case_is_all_ok(case):
    """With its numbers."""
    findings = list(diagnosis.of_case(case.path))
    assert {"ok"} == {finding.level for finding in findings if finding.subject != "disk"}
    assert "3 files, 2 stored and verified" in found(findings, "catalog").says
    assert "2 entries, chain is whole" == found(findings, "custody log").says
    assert "nobody" in found(findings, "holder").says


def test_a_new_case_is_all_ok(tmp_path):
    """What the first mount will make is not missed."""
    Case.open(tmp_path / "case")
    findings = list(diagnosis.of_case(tmp_path / "case"))
    assert {"ok"} == {finding.level for finding in findings if finding.subject != "disk"}


def _break_chain(case: Case) -> None:
    case.custody_path.write_bytes(case.custody_path.read_bytes().replace(b"mounted", b"xxunted", 1))


def _mark_running(case: Case) -> None:
    with contextlib.closing(ContentStore(case.catalog_path, case.content_dir)) as store:
        store.mark_running(running=True)


@pytest.mark.parametrize(
    ("harm", "subject", "level"),
    [
        (_break_chain, "custody log", "problem"),
        (lambda case: case.catalog_path.write_bytes(b"x" * 5000), "catalog", "problem"),
        (lambda case: case.path.chmod(0o755), "case", "warning"),
        (lambda case: (case.path / "case.json").write_text("{"), "case", "problem"),
        (_mark_running, "last mount", "warning"),
    ],
)
def test_what_is_wrong_with_a_case_is_found(case, harm, subject, level):
    """And does not keep the rest from being looked at."""
    harm(case)
    assert level == found(diagnosis.of_case(case.path), subject).level


@pytest.mark.parametrize(
    ("free_bytes", "level"), [(1 << 20, "problem"), (1 << 30, "warning"), (1 << 40, "ok")]
)
def test_a_full_disk_is_found(case, monkeypatch, free_bytes, level):
    """Before a mount fails on it."""
    monkeypatch.setattr(Case, "free_bytes", free_bytes)
    assert level == found(diagnosis.of_case(case.path), "disk").level


def test_who_holds_the_case_is_told(case):
    """As it is no fault, it is ok; a mark of a mount at work is none either."""
    _mark_running(case)
    with case.lock("mounted at /mnt"):
        findings = list(diagnosis.of_case(case.path))
    assert "mounted at /mnt by" in found(findings, "holder").says
    assert "last mount" not in {finding.subject for finding in findings}


def test_without_a_key_nothing_is_asked_and_the_rest_is_looked_at(case, capsys, monkeypatch):
    """It says so, and goes on."""
    monkeypatch.delenv("ANTHROPIC_COMPLIANCE_ACCESS_KEY", raising=False)
    run_command(["doctor", str(case.path)])
    out = capsys.readouterr().out
    assert "warning\tservice\twas not asked, for want of a key\t-> name a file" in out
    assert "ok\tcustody log\t" in out
    assert out.endswith("requests made: none\n")


def test_a_key_that_can_not_be_read_is_a_problem_among_others(tmp_path, capsys):
    """Not the end of the examination; and a case that is none is one more."""
    options = ["--key-file", str(tmp_path / "none"), "--json"]
    assert 1 == run_command(["doctor", str(tmp_path / "no-case"), *options])
    findings = json.loads(capsys.readouterr().out)["findings"]
    problems = {finding["subject"] for finding in findings if finding["level"] == "problem"}
    assert {"key", "case"} <= problems
