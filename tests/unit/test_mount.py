"""Decisions of the mount process that need no mount."""

import os
import sys
from pathlib import Path

import pytest

import client
from fsmount import connection, mount
from fsmount.errors import CaseError, first_of
from fsmount.mount import effective_timeout_s


@pytest.mark.parametrize(
    ("kernels_s", "asked_s", "expected_s"),
    [(None, 90, 90), (300.0, 90, 90), (60.0, 90, 36), (15.0, 1, 1)],
)
def test_operations_end_well_before_the_kernel_loses_patience(
    monkeypatch, caplog, kernels_s, asked_s, expected_s
):
    """It would cut off the whole mount over one old request; a shorter time-out is said."""
    caplog.set_level("INFO")
    monkeypatch.setattr(connection, "request_timeout_s", lambda: kernels_s)
    assert expected_s == effective_timeout_s(asked_s)
    assert (expected_s != asked_s) == bool(caplog.messages)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (CaseError("the catalog is\ncorrupt"), "the catalog is corrupt"),
        (client.APIConnectionError("no route", bytes_sent=False), "no route"),
        (KeyError("x"), "unexpected KeyError, please report it: 'x'"),
    ],
)
def test_what_ended_a_start_is_one_line(error, line):
    """Whatever nurseries have made of it."""
    group = BaseExceptionGroup("outer", [ExceptionGroup("inner", [error])])
    assert line == mount._line_of(first_of(group))


def test_nothing_in_the_process_looks_below_the_mountpoint(monkeypatch, tmp_path):
    """Neither as working directory nor for modules: it would wait for itself."""
    covered = tmp_path / "mnt"
    covered.mkdir()
    (tmp_path / "link").symlink_to(covered)
    monkeypatch.chdir(covered)
    kept = [str(tmp_path / "mnt2"), *sys.path]
    inside = ["", ".", str(covered), f"{covered}/lib", str(tmp_path / "link")]
    monkeypatch.setattr(sys, "path", [*inside, *kept])
    mount._leave_mountpoint(covered)
    assert kept == sys.path
    assert Path("/") == Path(os.getcwd())
