"""What an exported tree holds: nothing whole is forgotten, nothing half is believed."""

import contextlib
from pathlib import Path

import pytest

from fsmount.errors import ExportError
from fsmount.ledger import Exported, Ledger
from fsmount.manifests import Written

FACTS = {"case": "c", "case_created_at": "2026"}


def exported(claude_file_id: str, size_bytes: int = 1) -> Exported:
    payload = Written(f"data/{claude_file_id}/\u00fc", size_bytes, "m", "s")
    tag = Written(f"metadata/{claude_file_id}/meta.json", 2, "m", "s")
    return Exported(claude_file_id, payload, (tag,), 3, 4, "req", "2026", "content-md5")


@contextlib.contextmanager
def ledger_at(path: Path, **facts: str):
    with contextlib.closing(Ledger(path, FACTS | facts)) as ledger:
        yield ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "out" / "metadata").mkdir(parents=True)
    return tmp_path / "out" / "metadata" / "export.jsonl"


def test_what_was_added_is_there_the_next_time(path):
    """In the order of ids; of several lines about a file the last one counts."""
    without_content = Exported("a", None, (), 0)
    with ledger_at(path) as ledger:
        ledger.add(exported("c"))
        ledger.add(exported("b"))
        ledger.add(exported("c", size_bytes=99))
        ledger.add(without_content)
        expected = [without_content, exported("b"), exported("c", size_bytes=99)]
        assert expected == list(ledger)
    with ledger_at(path) as ledger:
        assert (expected, 3) == (list(ledger), len(ledger))
        assert exported("b") == ledger.find("b")
        assert ledger.find("d") is None


def test_what_was_dropped_is_gone_until_it_is_added_again(path):
    """Also the next time."""
    with ledger_at(path) as ledger:
        ledger.add(exported("a"))
        ledger.add(exported("b"))
        ledger.drop("a")
        assert [exported("b")] == list(ledger)
    with ledger_at(path) as ledger:
        assert [exported("b")] == list(ledger)
        ledger.add(exported("a"))
    with ledger_at(path) as ledger:
        assert [exported("a"), exported("b")] == list(ledger)


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_was_cut_short_is_dropped(path, cut):
    """By a kill or a full disk; what comes after it is readable."""
    with ledger_at(path) as ledger:
        ledger.add(exported("a"))
        ledger.add(exported("b"))
    path.write_bytes(path.read_bytes()[:-cut])
    with ledger_at(path) as ledger:
        assert [exported("a")] == list(ledger)
        ledger.add(exported("c"))
    with ledger_at(path) as ledger:
        assert [exported("a"), exported("c")] == list(ledger)


def test_a_line_longer_than_a_read_is_read(path):
    """Provenance may make them long."""
    tags = tuple(Written("x" * 100, n, "m" * 32, "s" * 64) for n in range(1000))
    long = Exported("a", None, tags, 0)
    with ledger_at(path) as ledger:
        ledger.add(long)
        ledger.add(exported("b"))
        assert [long, exported("b")] == list(ledger)


@pytest.mark.parametrize("facts", [{"case": "other"}, {"case_created_at": "2025"}])
def test_the_ledger_of_another_case_is_refused(path, facts):
    """Also if the other case has the same name: evidence is not mixed."""
    with ledger_at(path):
        pass
    with (
        pytest.raises(ExportError, match="holds an export of the case 'c'"),
        ledger_at(path, **facts),
    ):
        pass


def test_one_export_at_a_time_has_a_tree(path):
    """The second one says so, and the first is not disturbed."""
    with ledger_at(path) as ledger:
        with pytest.raises(ExportError, match="another export"), ledger_at(path):
            pass
        ledger.add(exported("a"))
        assert [exported("a")] == list(ledger)


@pytest.mark.parametrize("content", [b"no json\n", b"[]\n", b'{"fsmount_export": 99}\n'])
def test_what_is_no_ledger_is_not_overwritten(path, content):
    """One line says so."""
    path.write_bytes(content)
    with pytest.raises(ExportError), ledger_at(path):
        pass
    assert content == path.read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        b'{"claude_file_id": "a"}',
        b'{"claude_file_id": "a", "payload": null, "tags": [{"path": "x"}], "mtime_ns": 0}',
        b'{"claude_file_id": "a", "payload": null, "mtime_ns": 0, "tags": [{"path": "../x",'
        b' "size_bytes": 0, "md5": "", "sha256": ""}]}',
        b'{"claude_file_id": "a", "payload": {"path": "/etc/passwd", "size_bytes": 0, "md5": "",'
        b' "sha256": ""}, "mtime_ns": 0, "tags": []}',
    ],
)
def test_a_line_that_we_did_not_write_is_refused(path, line):
    """Above all one that names a file outside of the tree."""
    with ledger_at(path):
        pass
    with path.open("ab") as lines:
        lines.write(line + b"\n")
    with ledger_at(path) as ledger, pytest.raises(ExportError, match="is damaged"):
        ledger.find("a")
