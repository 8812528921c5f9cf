"""Deleting through a real mount: only with --allow-delete, only what is meant, never without a trace."""

import json
import os
from pathlib import Path

import pytest

from fsmount.custody import check, iter_entries
from tests.support.emulator import RunningEmulator
from tests.support.faults import acted_then, server_error
from tests.support.mounts import run, shell

MOVERS = {
    "mv": "mv {id}/a.txt {target}/",
    "rsync": "rsync --remove-source-files -a {id}/ {target}/",
    "zip": "zip -qm {target}/a.zip {id}/a.txt",
    "tar": "tar --remove-files -cf {target}/a.tar {id}/a.txt",
}


@pytest.fixture
def file_id(emulator: RunningEmulator) -> str:
    """Add a file that the tests try to delete."""
    return emulator.corpus.add_file(b"evidence", filename="a.txt", mime_type="text/plain")


def outcomes(case: Path) -> list[tuple[object, object]]:
    """Return (event, outcome) of everything about deleting in a custody log."""
    return [
        (entry["event"], entry.get("outcome"))
        for entry in iter_entries(case / "custody.jsonl")
        if str(entry["event"]).startswith("delete_")
    ]


@pytest.mark.parametrize("command", [*MOVERS.values(), "rm -rf {id}", "find . -type f -delete"])
def test_the_default_mount_lets_nothing_be_deleted(mount, emulator, file_id, command, tmp_path):
    """Moving and removing change nothing: the kernel itself refuses."""
    target = tmp_path / "target"
    target.mkdir()
    with mount(emulator, ids=[file_id]) as mounted:
        shell(command.format(id=file_id, target=target), cwd=mounted.path)
        assert b"evidence" == (mounted.path / file_id / "a.txt").read_bytes()
    assert 0 == emulator.log.count("delete")


@pytest.mark.parametrize("command", [MOVERS["mv"], MOVERS["rsync"], MOVERS["zip"]])
def test_a_process_that_has_read_a_file_may_not_delete_it(
    mount, emulator, file_id, command, tmp_path
):
    """With --allow-delete, moving out of the mount is refused, and the log says why and how."""
    target = tmp_path / "target"
    target.mkdir()
    may_log = ["allow-move", "meta.json goes with the content"]
    with mount(
        emulator, "--allow-delete", ids=[file_id], key=emulator.delete_key, may_log=may_log
    ) as mounted:
        shell(command.format(id=file_id, target=target), cwd=mounted.path)
        assert b"evidence" == (mounted.path / file_id / "a.txt").read_bytes()
        assert "allow-move" in mounted.log
    assert 0 == emulator.log.count("delete")


def test_with_allow_move_mv_moves(mount, emulator, file_id, tmp_path):
    """Who says that moving is meant gets what mv does everywhere: a copy, and the original deleted."""
    options = ["--allow-delete", "--allow-move"]
    with mount(emulator, *options, ids=[file_id], key=emulator.delete_key) as mounted:
        done = shell(f"mv {file_id}/a.txt {tmp_path}/moved", cwd=mounted.path)
        assert (0, "") == (done.returncode, done.stderr)
    assert b"evidence" == (tmp_path / "moved").read_bytes()
    assert 1 == emulator.log.count("delete")


def test_rm_r_deletes_one_file_for_ever(mount, emulator, file_id):
    """One DELETE; the directory, the record and the stored bytes are gone, and stay so after a remount."""
    other = emulator.corpus.add_file(b"other", filename="b.txt", mime_type="text/plain")
    with mount(
        emulator, "--allow-delete", ids=[file_id, other], key=emulator.delete_key
    ) as mounted:
        run(["cat", mounted.path / file_id / "a.txt"])
        done = run(["rm", "-r", mounted.path / file_id])
        assert (0, b"") == (done.returncode, done.stderr)
        assert [other] == os.listdir(mounted.path)
        assert not (mounted.path / file_id).exists()
        assert b"other" == (mounted.path / other / "b.txt").read_bytes()
    assert 1 == emulator.log.count("delete")
    assert not list(mounted.case.rglob(file_id))
    assert [("delete_requested", None), ("delete_outcome", "deleted")] == outcomes(mounted.case)
    with mount(emulator) as mounted:
        assert [other] == os.listdir(mounted.path)


def test_the_custody_log_names_who_and_what(mount, emulator, file_id):
    """The entry before the request has the record and the caller, the one after it the request id."""
    with mount(emulator, "--allow-delete", ids=[file_id], key=emulator.delete_key) as mounted:
        run(["rm", "-f", mounted.path / file_id / "a.txt"])
    log = mounted.case / "custody.jsonl"
    requested = next(e for e in iter_entries(log) if e["event"] == "delete_requested")
    assert ("rm", os.getuid(), file_id) == (
        requested["comm"],
        requested["uid"],
        requested["claude_file_id"],
    )
    record = requested["record"]
    assert isinstance(record, dict)
    assert "a.txt" == record["filename"]
    assert () == check(log).problems
    text = log.read_text()
    assert emulator.delete_key not in text
    assert ["mounted", "unmounted"] == [e["event"] for e in iter_entries(log)][
        :: len(text.splitlines()) - 1
    ]


def test_meta_json_goes_only_with_the_content(mount, emulator, file_id):
    """Unlinking meta.json while there is content is refused; of a file without content it deletes."""
    bare = emulator.corpus.add_file(None, filename="out", mime_type=None)
    with mount(
        emulator,
        "--allow-delete",
        ids=[file_id, bare],
        key=emulator.delete_key,
        may_log=["meta.json goes with the content"],
    ) as mounted:
        done = run(["rm", "-f", mounted.path / file_id / "meta.json"])
        assert b"Operation not permitted" in done.stderr
        assert 0 == emulator.log.count("delete")
        assert 0 == run(["rm", "-rf", mounted.path / bare]).returncode
        assert 1 == emulator.log.count("delete")
        done = run(["rmdir", mounted.path / file_id])
        assert b"not empty" in done.stderr


def test_without_the_scope_nothing_happens_and_the_log_says_which(mount, emulator, file_id):
    """A read key gets EACCES, and the message names the missing scope."""
    with mount(
        emulator, "--allow-delete", ids=[file_id], may_log=["delete:compliance_user_data"]
    ) as mounted:
        done = run(["rm", "-f", mounted.path / file_id / "a.txt"])
        assert b"Permission denied" in done.stderr
        assert b"evidence" == (mounted.path / file_id / "a.txt").read_bytes()
    assert [("delete_requested", None), ("delete_outcome", "refused")] == outcomes(mounted.case)


def test_a_file_that_is_already_gone_is_removed(mount, emulator, file_id):
    """404 confirms the deletion as well."""
    with mount(emulator, "--allow-delete", ids=[file_id], key=emulator.delete_key) as mounted:
        (mounted.path / file_id / "meta.json").read_bytes()
        emulator.corpus.delete_file(file_id)
        assert 0 == run(["rm", "-rf", mounted.path / file_id]).returncode
        assert [] == os.listdir(mounted.path)
    assert ("delete_outcome", "already gone") in outcomes(mounted.case)


def test_a_deletion_without_an_answer_is_resolved_by_asking(mount, emulator, file_id):
    """After a 500 that did delete, the caller gets EIO, DELETE is not repeated, and the record tells."""
    emulator.faults.add(acted_then(server_error()), method="DELETE")
    with mount(
        emulator, "--allow-delete", ids=[file_id], key=emulator.delete_key, may_log=["500"]
    ) as mounted:
        done = run(["rm", "-f", mounted.path / file_id / "a.txt"])
        assert b"Input/output error" in done.stderr
        waited = shell(
            f"for i in $(seq 50); do test -e {file_id} || exit 0; sleep 0.1; done; exit 1",
            cwd=mounted.path,
        )
        assert 0 == waited.returncode
    assert 1 == emulator.log.count("delete")
    expected = [
        ("delete_requested", None),
        ("delete_outcome", "unknown"),
        ("delete_outcome", "deleted"),
    ]
    assert expected == outcomes(mounted.case)


def test_a_crash_in_between_is_resolved_by_the_next_mount(mount, emulator, file_id):
    """A request without an outcome in the log is found at the next mount, by asking for the record."""
    with mount(emulator, ids=[file_id]) as mounted:
        (mounted.path / file_id / "meta.json").read_bytes()
    from fsmount.custody import CustodyLog

    log = CustodyLog(mounted.case / "custody.jsonl")
    log.append("delete_requested", {"claude_file_id": file_id}, durable=True)
    log.close()
    emulator.corpus.delete_file(file_id)
    with mount(emulator) as mounted:
        done = shell(
            f"for i in $(seq 50); do test -e {file_id} || exit 0; sleep 0.1; done; exit 1",
            cwd=mounted.path,
        )
        assert 0 == done.returncode
    assert ("delete_outcome", "deleted") == outcomes(mounted.case)[-1]


def test_the_log_command_prints_and_proves(mount, emulator, file_id):
    """`fsmount log` prints the entries, --check proves the chain and finds a changed line."""
    import sys

    with mount(emulator, ids=[file_id]) as mounted:
        (mounted.path / file_id / "a.txt").read_bytes()
    command = [sys.executable, "-m", "fsmount", "log", str(mounted.case)]
    events = [json.loads(line)["event"] for line in run(command).stdout.splitlines()]
    assert ["mounted", "acquired", "unmounted"] == events
    assert 0 == run([*command, "--check"]).returncode
    log = mounted.case / "custody.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"acquired"', b'"Acquired"'))
    done = run([*command, "--check"])
    assert (1, True) == (done.returncode, b"line 3" in done.stdout)
