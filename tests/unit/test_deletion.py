"""Deleting: the guard that forgets nothing, outcomes that claim nothing, and what must go with the file."""

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import client
from fsmount import store as store_module
from fsmount.aftermath import clean_up, deletions
from fsmount.callers import Caller, is_running, program_of
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.custody import CustodyLog, iter_entries, require_there
from fsmount.deletion import Deleter, Readers, outcome_of
from fsmount.doubts import unresolved
from fsmount.errors import CaseError, CustodyError, UnreachableError
from fsmount.objects import State
from fsmount.service import Service
from fsmount.store import ContentStore, content_path
from tests.support.cases import file_id, make_case

ME = Caller(os.getpid(), os.getuid(), os.getgid())


def caller(number: int) -> Caller:
    """Return a caller of whom nothing can be known but that it is not another one."""
    return Caller(-number, 0, 0)


# -- the guard against moving ----------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60))
def test_who_has_read_is_never_forgotten(opens):
    """However little memory there is for it: rather is a process refused that has not read this file."""
    readers = Readers(max_entries=5)
    for number, who in opens:
        readers.note(number, caller(who))
    assert all(readers.has_read(number, caller(who)) for number, who in opens)
    assert not readers.has_read(0, caller(4))


def test_with_memory_to_spare_nobody_is_refused_for_nothing():
    """The guard is about the file that was read."""
    readers = Readers(max_entries=5)
    for number in range(5):
        readers.note(number, caller(1))
        readers.note(number, caller(1))
    assert [True] * 5 + [False] == [readers.has_read(number, caller(1)) for number in range(6)]


def test_processes_that_have_ended_are_forgotten_first():
    """`find -exec` opens each file in another process; those would fill the memory in vain."""
    readers = Readers(max_entries=3)
    readers.note(0, ME)
    for number in range(1, 6):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            identity = program_of(child.pid).identity
            readers.note(number, Caller(child.pid, 0, 0))
            assert is_running(identity)
            assert readers.has_read(number, Caller(child.pid, 0, 0))
        assert not is_running(identity)
    assert (True, False) == (readers.has_read(0, ME), readers.has_read(1, ME))


# -- outcomes --------------------------------------------------------------------------------------


def _family(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


SURELY_NOT = (client.BudgetExhaustedError("no", wait_s=1), UnreachableError("no"))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (client.AuthenticationError(401, None, None, "req"), "refused"),
        (client.PermissionDeniedError(403, None, None, "req"), "refused"),
        (client.ConflictError(409, None, None, "req"), "not deleted"),
        (client.RateLimitError(429, None, None, "req"), "not deleted"),
        (client.BadRequestError(400, None, None, "req"), "not deleted"),
        (client.InternalServerError(500, None, None, "req"), "unknown"),
        (client.OverloadedError(529, None, None, "req"), "unknown"),
        (client.APIConnectionError("no", bytes_sent=False), "not deleted"),
        (client.APIConnectionError("no", bytes_sent=True), "unknown"),
        (client.APITimeoutError("no", bytes_sent=True), "unknown"),
        (client.InvalidResponseError("no"), "unknown"),
        *((error, "not deleted") for error in SURELY_NOT),
        (OverflowError("a bug of our own, after the answer came"), "unknown"),
        (ValueError("another"), "unknown"),
    ],
)
def test_only_what_surely_was_not_sent_counts_as_not_deleted(error, outcome):
    """Whatever else happens, the file may be gone, and somebody has to ask."""
    assert outcome == outcome_of(error)


def test_an_error_that_nobody_has_thought_of_is_a_doubt():
    """Every class of the client without a rule of its own."""
    for kind in _family(client.ComplianceError):
        if not issubclass(kind, client.APIError | client.APIConnectionError):
            error = kind.__new__(kind)
            known = isinstance(error, client.BudgetExhaustedError)
            assert ("not deleted" if known else "unknown") == outcome_of(error), kind


# -- the custody entries ---------------------------------------------------------------------------


class Files:
    """A service that confirms deletions, after having done `meanwhile`."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.deleted: list[str] = []

    async def delete(self, claude_file_id: str) -> str:
        self.meanwhile()
        self.deleted.append(claude_file_id)
        await trio.lowlevel.checkpoint()
        return "req_deleted"


async def test_the_loop_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    """A disk that takes its time keeps nobody else waiting, and the request waits for it."""
    hanging, files = trio.Event(), Files()
    real = os.fsync

    def fsync(fd: int) -> None:
        trio.from_thread.run(hanging.wait)  # the loop has to turn, or this never ends
        real(fd)

    async with trio.open_nursery() as nursery:
        with contextlib.closing(CustodyLog(tmp_path / "custody.jsonl")) as log:
            monkeypatch.setattr(os, "fsync", fsync)
            deleter = _deleter(nursery, files, log)
            nursery.start_soon(deleter.delete, "claude_file_1", None, ME, trio.lowlevel.checkpoint)
            await trio.testing.wait_all_tasks_blocked(0.05)
            log.append("mismatch", {})  # nor does who writes without waiting for the disk
            assert [] == files.deleted
            hanging.set()
            while not files.deleted:
                await trio.sleep(0.01)
            while len(list(iter_entries(log.path))) < 3:
                await trio.sleep(0.01)
    events = [entry["event"] for entry in iter_entries(tmp_path / "custody.jsonl")]
    assert ["delete_requested", "mismatch", "delete_outcome"] == events


async def test_an_answer_is_written_down_though_nobody_waits_for_it(tmp_path):
    """Who asked was killed while the service answered."""
    with contextlib.closing(CustodyLog(tmp_path / "custody.jsonl")) as log:
        async with trio.open_nursery() as nursery:
            doubts: list[str] = []
            with trio.CancelScope() as scope:
                files = Files(meanwhile=scope.cancel)
                deleter = _deleter(nursery, files, log, doubts)
                await deleter.delete("claude_file_1", None, ME, trio.lowlevel.checkpoint)
        outcomes = [entry.get("outcome") for entry in iter_entries(log.path)]
    assert ([None, "unknown"], ["claude_file_1"]) == (outcomes, doubts)


async def test_what_is_deleted_is_so_though_the_log_takes_nothing_more(tmp_path, caplog):
    """The disk was filled meanwhile: the file goes from the case, and the next mount asks about it."""
    with contextlib.closing(CustodyLog(tmp_path / "custody.jsonl")) as log:
        async with trio.open_nursery() as nursery:
            append = log.append

            def refuse_outcomes(event: str, data: Any, *, durable: bool = False) -> int:
                if event == "delete_outcome":
                    raise CustodyError("No space left on device")
                return append(event, data, durable=durable)

            cast("Any", log).append = refuse_outcomes
            deleter = _deleter(nursery, Files(), log)
            await deleter.delete("claude_file_1", None, ME, trio.lowlevel.checkpoint)
        assert ["claude_file_1"] == unresolved(iter_entries(log.path))
    assert "the outcome for claude_file_1 (deleted) is not on record" in caplog.text


def _deleter(
    nursery: trio.Nursery, files: Files, log: CustodyLog, doubts: list[str] | None = None
) -> Deleter:
    service = Service(cast("Any", files), nursery)
    doubted = [] if doubts is None else doubts
    return Deleter(service, log, Readers(), nursery, allow_move=False, on_doubt=doubted.append)


def test_a_log_whose_disk_hangs_is_left_open(tmp_path, monkeypatch):
    """The end of a mount does not hang with it, and the thread can't write into another file."""
    log = CustodyLog(tmp_path / "custody.jsonl")
    monkeypatch.setattr("fsmount.custody._CLOSE_S", 0.01)
    with log._on_disk:
        log.close()
    log.append("mounted", {})
    log.close()
    with pytest.raises(CustodyError):
        log.append("unmounted", {})


async def test_who_deletes_does_not_wait_for_what_has_to_be_tried_again(
    tmp_path, autojump_clock, caplog
):
    """Another process may hold the database: the file is deleted all the same, and forgotten later."""
    tries: list[float] = []

    async def forget() -> None:
        tries.append(trio.current_time())
        if len(tries) < 3:
            raise CaseError("the catalog is held by another process")

    with contextlib.closing(CustodyLog(tmp_path / "custody.jsonl")) as log:
        async with trio.open_nursery() as nursery:
            started = trio.current_time()
            await _deleter(nursery, Files(), log).delete("claude_file_1", None, ME, forget)
            assert trio.current_time() - started < 1
    assert 3 == len(tries)
    assert 2 == caplog.text.count("what the case has of it is not yet")


async def test_the_confirmation_is_on_record_with_its_request(tmp_path):
    """What can't be undone can be asked about: the service knows its requests by their ids."""
    with contextlib.closing(CustodyLog(tmp_path / "custody.jsonl")) as log:
        async with trio.open_nursery() as nursery:
            await _deleter(nursery, Files(), log).delete(
                "claude_file_1", None, ME, trio.lowlevel.checkpoint
            )
        (outcome,) = (e for e in iter_entries(log.path) if e["event"] == "delete_outcome")
    assert ("deleted", "req_deleted") == (outcome["outcome"], outcome["request_id"])


def test_a_log_that_was_removed_is_missed(tmp_path):
    """The note of its last line tells that there was one."""
    path = tmp_path / "custody.jsonl"
    with pytest.raises(CaseError, match="no custody log yet"):
        require_there(path)
    with contextlib.closing(CustodyLog(path)) as log:
        log.append("mounted", {})
        log.append("unmounted", {})
    require_there(path)
    path.unlink()
    with pytest.raises(CustodyError, match="is missing, but 2 entries were written"):
        require_there(path)


# -- after an unclean end --------------------------------------------------------------------------


async def _clean_up(case: Case, *, before_seq: int = 1000) -> None:
    with (
        contextlib.closing(Catalog(case.catalog_path)) as catalog,
        contextlib.closing(ContentStore(case.catalog_path, case.content_dir)) as store,
        contextlib.closing(CustodyLog(case.custody_path)) as log,
    ):
        store.mark_running(running=True)
        await clean_up(case, catalog, store, log, before_seq)


def _state(case: Case, number: int) -> tuple[State | None, bool, bool]:
    with (
        contextlib.closing(Catalog(case.catalog_path)) as catalog,
        contextlib.closing(ContentStore(case.catalog_path, case.content_dir)) as store,
    ):
        entry = catalog.find(file_id(number))
        path = store.content_path(file_id(number))
        state = entry.state if entry else None
        return state, store.find(file_id(number)) is not None, path.exists()


def test_what_was_deleted_is_not_served_after_a_crash(tmp_path):
    """The service had confirmed, and the log said so, when the mount was killed."""
    case = make_case(tmp_path / "case", {"a": b"1", "b": b"22"})
    with contextlib.closing(CustodyLog(case.custody_path)) as log:
        log.append("delete_requested", {"claude_file_id": file_id(0)})
        log.append("delete_outcome", {"claude_file_id": file_id(0), "outcome": "deleted"})
    trio.run(_clean_up, case)
    assert (State.DELETED, False, False) == _state(case, 0)
    assert (State.LIVE, True, True) == _state(case, 1)


@pytest.fixture
def orphaned(tmp_path, monkeypatch):
    """Return a case whose last mount was killed between placing bytes and recording them."""
    monkeypatch.setattr(store_module, "_UNKNOWN_FOR_NS", -(10**9))
    case = make_case(tmp_path / "case", {"a": b"1", "b": b"22"})
    _note_in_log(case, "mounted", {})
    return case, _place(case, "claude_file_01xx")


def _note_in_log(case: Case, event: str, data: Mapping[str, object]) -> int:
    with contextlib.closing(CustodyLog(case.custody_path)) as log:
        return log.append(event, data)


def _place(case: Case, name: str) -> Path:
    path = content_path(case.content_dir, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"12345")
    return path


def test_bytes_that_were_not_recorded_any_more_are_removed(orphaned):
    """They would take room for ever; what is recorded stays."""
    case, orphan = orphaned
    trio.run(_clean_up, case)
    assert (False, (State.LIVE, True, True)) == (orphan.exists(), _state(case, 0))
    notes = [e for e in iter_entries(case.custody_path) if e.get("why") == "not recorded"]
    assert [("claude_file_01xx", 5)] == [(e["claude_file_id"], e["size_bytes"]) for e in notes]


def test_what_has_come_just_now_may_be_an_exports(orphaned, monkeypatch):
    """It works beside a mount, and places bytes a moment before it records them."""
    case, orphan = orphaned
    monkeypatch.setattr(store_module, "_UNKNOWN_FOR_NS", 60 * 10**9)
    trio.run(_clean_up, case)
    assert orphan.exists()


def test_evidence_is_kept_though_the_catalog_does_not_know_it(orphaned):
    """The catalog may be a copy from before; or a new one, after the damaged one was moved away."""
    case, _ = orphaned
    acquired = _place(case, "claude_file_01yy")
    _note_in_log(case, "acquired", {"claude_file_id": "claude_file_01yy"})
    for path in case.path.glob("catalog.sqlite3*"):
        path.unlink()
    _note_in_log(case, "mounted", {})
    trio.run(_clean_up, case)
    assert acquired.exists()
    assert 2 == sum(path.is_file() for path in case.content_dir.rglob("claude_file_01case*"))


def test_without_a_mount_in_the_log_nothing_is_removed(orphaned):
    """Nobody knows then what came from it."""
    case, orphan = orphaned
    trio.run(functools.partial(_clean_up, case, before_seq=1))
    assert orphan.exists()


def test_only_deletions_of_earlier_mounts_are_looked_at(tmp_path):
    """One that is under way has no outcome either, and is no doubt."""
    case = make_case(tmp_path / "case", {})
    with contextlib.closing(CustodyLog(case.custody_path)) as log:
        log.append("delete_requested", {"claude_file_id": "old"})
        mounted = log.append("mounted", {})
        log.append("delete_requested", {"claude_file_id": "new"})
    with case.custody_path.open("a") as lines:
        lines.write(json.dumps({"event": "delete_requested", "claude_file_id": "odd"}) + "\n")
    found = [entry["claude_file_id"] for entry in deletions(case, mounted)]
    assert ["old", "odd"] == found
