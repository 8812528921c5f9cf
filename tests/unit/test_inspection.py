"""What a status document, or its absence, says to people."""

import errno
import json
from pathlib import Path

import pytest

from fsmount import inspection
from fsmount.errors import MountError
from fsmount.mountpoint import FS_TYPE, Mounted


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, bytes]]:
    """Stand in for a mount of ours; the last of the list is what reading its document gives."""
    told: list[tuple[int | None, bytes]] = []
    mounted = Mounted("/mnt", FS_TYPE, "case", 42)
    monkeypatch.setattr(inspection, "find_mount", lambda _: mounted)
    monkeypatch.setattr(inspection, "read", lambda *_: told[-1])
    return told


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((None, b""), "does not answer within 5 s; to take it away: fsmount unmount /mnt"),
        ((errno.ENOTCONN, b""), "is dead: its process has ended; clear it with: fsmount unmount"),
        ((errno.EACCES, b""), "belongs to another user"),
        ((errno.EIO, b""), "gives no status: Input/output error"),
        ((0, b"{"), "may be of another version"),
        ((0, b"[]"), "may be of another version"),
    ],
)
def test_every_failure_says_what_to_do(answers, answer, says):
    """In one line."""
    answers.append(answer)
    with pytest.raises(MountError, match=says):
        inspection.status_of(Path("/mnt"))


def test_documents_of_other_versions_are_shown_as_far_as_they_go(answers):
    """Missing parts are left out, parts of another kind too."""
    answers.append((0, json.dumps({"case": "c", "content": 7, "new": {}}).encode()))
    assert [("case", "c")] == inspection.rows_of(inspection.status_of(Path("/mnt")))


def test_only_what_is_known_of_the_budget_is_shown():
    """Unknown is not zero."""
    document = {
        "service": {"state": "reachable", "budget": {"limit": None, "reset_in_s": 3.14159}},
        "readers": {"denied": 0},
    }
    expected = [
        ("denied to programs", "0"),
        ("service", "reachable"),
        ("request budget", "reset in 3.1 s"),
    ]
    assert expected == inspection.rows_of(document)
