"""Collecting as a process: what it finds and costs, whatever interrupts it, and what it says in the end."""

import json
import signal
import subprocess
import sys

import pytest
from claude_compliance_sdk import ComplianceClient

from fsmount.custody import check, iter_entries
from fsmount.demo.generated import GeneratedCorpus
from tests.support.collecting import CollectProcess, collect, collected_ids
from tests.support.emulator import RunningEmulator
from tests.support.faults import answer, delay, rate_limited, server_error

CHATS = 120
PER_CHAT = 10


@pytest.fixture
def many():
    """Yield an emulator with more chats than one page of a list holds in a test that is worth its time."""
    corpus = GeneratedCorpus(chats=CHATS, files_per_chat=PER_CHAT)
    with RunningEmulator(source=corpus) as running:
        running.behaviour.requests_per_minute = 1_000_000
        yield running


def test_a_walk_finds_what_the_independent_client_finds(many, tmp_path):
    """Same server, same files: ours asks once a chat, and once for each page of lists."""
    said = collect(many, tmp_path / "case", "--max-rpm", "1000000")
    assert {"other": CHATS + 2} == many.log.counts()  # and one list of chats, one of projects
    with ComplianceClient(many.read_key, base_url=many.url) as sdk:
        theirs = [
            str(file["id"])
            for chat in sdk.chats.iter()
            for message in sdk.chats.iter_messages(chat.id)
            for file in message.files or []
        ]
    assert CHATS * PER_CHAT == len(theirs)
    assert sorted(theirs) == sorted(collected_ids(tmp_path / "case"))
    assert "1,200 files in case case, 1,200 of them new" in said


@pytest.mark.parametrize("kills", [1, 3])
def test_a_walk_that_is_killed_goes_on_where_it_was(many, tmp_path, kills):
    """What was answered is never asked for again: a crash costs the requests that were under way."""
    many.faults.add(delay(0.01), times=None)
    for _ in range(kills):
        before = many.log.count()
        process = CollectProcess(many, tmp_path / "case", "--max-rpm", "1000000")
        many.log.wait_for(before + 25, timeout_s=20)
        process.kill()
    collect(many, tmp_path / "case", "--max-rpm", "1000000")
    assert CHATS * PER_CHAT == len(collected_ids(tmp_path / "case"))
    assert many.log.count() <= CHATS + (kills + 1) * 2 + kills * 8
    before = many.log.count()
    collect(many, tmp_path / "case")
    assert 2 == many.log.count() - before  # the end of the list of chats, and the projects


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_walk_that_is_stopped_says_how_to_go_on(many, tmp_path, number):
    """Exit 1, the log knows of it, and the next run goes on."""
    many.faults.add(delay(0.02), times=None)
    process = CollectProcess(many, tmp_path / "case", "--max-rpm", "1000000")
    many.log.wait_for(20, timeout_s=20)
    assert 1 == process.end(number)
    assert "still to be read; run the same command again to go on" in process.said
    last = list(iter_entries(tmp_path / "case" / "custody.jsonl"))[-1]
    assert ("collected", "stopped") == (last["event"], last["outcome"])
    collect(many, tmp_path / "case", "--max-rpm", "1000000")
    assert CHATS * PER_CHAT == len(collected_ids(tmp_path / "case"))
    assert not check(tmp_path / "case" / "custody.jsonl").problems


def test_a_budget_is_kept_and_its_waits_are_told(many, tmp_path):
    """With 60 requests a window, no request goes beyond them; who watches is told why nothing happens."""
    many.behaviour.requests_per_minute, many.behaviour.window_s = 60, 4.0
    said = collect(many, tmp_path / "case", "--max-rpm", "1000000")
    assert [] == [entry for entry in many.log.entries() if entry.status == 429]
    assert "waiting: the organization's requests are used up, for " in said
    assert CHATS * PER_CHAT == len(collected_ids(tmp_path / "case"))


def test_a_storm_of_refusals_costs_one_request_each_time(many, tmp_path):
    """While others spend the budget, each refusal is met by what was under way, and no cursor is lost."""
    many.faults.add(rate_limited(1), first=5, times=1)
    many.faults.add(rate_limited(1), first=40, times=1)
    many.faults.add(rate_limited(None), first=80, times=1)
    said = collect(many, tmp_path / "case", "--max-rpm", "1000000")
    refused = [entry for entry in many.log.entries() if entry.status == 429]
    assert 3 == len(refused)
    assert CHATS + 2 + 3 == many.log.count()
    assert CHATS * PER_CHAT == len(collected_ids(tmp_path / "case"))
    assert "3 refused for now" in said


def test_an_outage_is_waited_for(many, tmp_path):
    """While the service is away nothing is lost, and it goes on when it is back."""
    many.faults.add(delay(0.01), times=None)
    process = CollectProcess(many, tmp_path / "case", "--max-rpm", "1000000")
    many.log.wait_for(30, timeout_s=20)
    with many.down():
        pass
    assert 0 == process.wait(), process.said
    assert CHATS * PER_CHAT == len(collected_ids(tmp_path / "case"))


def test_a_chat_that_can_not_be_read_is_left_out_and_told(emulator, tmp_path):
    """The others are read; exit 1, and the next run asks for that one alone."""
    good = emulator.corpus.add_chat("good")
    bad = emulator.corpus.add_chat("bad")
    kept = emulator.corpus.add_file(b"1", filename="1.txt")
    lost = emulator.corpus.add_file(b"2", filename="2.txt")
    emulator.corpus.add_message(good, files=[kept])
    emulator.corpus.add_message(bad, files=[lost])
    fault = emulator.faults.add(server_error(should_retry=False), path=bad, times=None)
    process = CollectProcess(emulator, tmp_path / "case")
    assert 1 == process.wait()
    assert f"missing: {bad}: 500" in process.said
    assert "1 chat still to be read; run the same command again to go on" in process.said
    assert 1 == fault.hits
    assert [kept] == collected_ids(tmp_path / "case")
    emulator.faults.clear()
    emulator.log.reset()
    collect(emulator, tmp_path / "case")
    assert {kept, lost} == set(collected_ids(tmp_path / "case"))
    assert [f"/v1/compliance/apps/chats/{bad}/messages"] == [
        entry.path for entry in emulator.log.entries() if entry.path.endswith("/messages")
    ]


def test_a_key_that_is_refused_is_one_line(emulator, tmp_path):
    """The scope that is missing is named; nothing is tried a second time."""
    emulator.corpus.add_chat("a")
    fault = emulator.faults.add(
        answer(403, message="Missing required scopes. Needed: [read:compliance_user_data]"),
        times=None,
    )
    process = CollectProcess(emulator, tmp_path / "case")
    assert 1 == process.wait()
    assert "read:compliance_user_data" in process.said
    assert "Traceback" not in process.said
    assert 1 == fault.hits


def test_people_are_found_by_their_addresses(demo_emulator, tmp_path):
    """An address costs two requests the first time, and none later."""
    case = tmp_path / "case"
    collect(demo_emulator, case, "--user", "Ana@example.com")
    first = [entry.path for entry in demo_emulator.log.entries()]
    assert "/v1/compliance/organizations" in first
    of_chats = collected_ids(case, "--user", "ana@example.com")
    assert len(of_chats) >= 4
    assert set(of_chats) <= set(collected_ids(case))  # and what is attached to projects of theirs
    demo_emulator.log.reset()
    collect(demo_emulator, case, "--user", "ana@example.com")
    assert not [e for e in demo_emulator.log.entries() if "organizations" in e.path]
    process = CollectProcess(demo_emulator, case, "--user", "nobody@example.com")
    assert 2 == process.wait()
    assert "no member of the organization has the address nobody@example.com" in process.said


def test_a_wider_wish_costs_no_second_look_at_a_chat(demo_emulator, tmp_path):
    """What an answer named beyond the wish is kept, and shown as soon as it is wished for."""
    case = tmp_path / "case"
    collect(demo_emulator, case, "--since", "2030-01-01")
    assert [] == collected_ids(case)
    collect(demo_emulator, case)
    uploaded = set(collected_ids(case))
    demo_emulator.log.reset()
    collect(demo_emulator, case, "--include", "generated,artifacts")
    assert not [e for e in demo_emulator.log.entries() if e.path.endswith("/messages")]
    more = set(collected_ids(case)) - uploaded
    assert {"claude_gen", "claude_art"} == {key[:10] for key in more}


def test_a_dry_run_counts_and_reads_nothing(many, tmp_path):
    """It says what reading will take; what it has listed is not listed again."""
    said = collect(many, tmp_path / "case", "--dry-run")
    assert 2 == many.log.count()
    assert f"{CHATS} chats to be read: {CHATS} requests or a few more" in said
    assert [] == collected_ids(tmp_path / "case")
    collect(many, tmp_path / "case", "--max-rpm", "1000000")
    assert CHATS + 2 + 1 == many.log.count()  # one looks whether the list has grown


def test_two_walks_of_one_case_exclude_each_other(many, tmp_path):
    """The second is told who is at work."""
    many.faults.add(delay(0.1), times=None)
    first = CollectProcess(many, tmp_path / "case", "--max-rpm", "1000000")
    many.log.wait_for(3, timeout_s=20)
    second = CollectProcess(many, tmp_path / "case")
    assert 1 == second.wait()
    assert f"is being collected: collecting by root (pid {first.pid} on " in second.said
    first.end(signal.SIGTERM)


def test_the_log_says_who_collected_what(demo_emulator, tmp_path):
    """One entry a run, with scope and counts; the key appears nowhere in the case."""
    case = tmp_path / "case"
    collect(demo_emulator, case, "--user", "ana@example.com", "--until", "2026-12-31")
    (entry,) = [e for e in iter_entries(case / "custody.jsonl") if e["event"] == "collected"]
    scope = {
        "users": ["ana@example.com"],
        "until": "2027-01-01T00:00:00+00:00",
        "include": ["file"],
    }
    assert (scope, "whole") == (entry["scope"], entry["outcome"])
    assert int(str(entry["files_new"])) == len(collected_ids(case))
    for path in case.rglob("*"):
        assert not path.is_file() or demo_emulator.read_key.encode() not in path.read_bytes()


def test_provenance_is_listed(demo_emulator, tmp_path):
    """`files --json` tells which message of which chat of whom named a file."""
    case = tmp_path / "case"
    collect(demo_emulator, case)
    process = CollectProcess(demo_emulator, case)  # a second run changes nothing of it
    assert 0 == process.wait()
    command = [
        sys.executable,
        "-m",
        "fsmount",
        "files",
        str(case),
        "--json",
        "--name",
        "MINUTES.md",
    ]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    (item,) = json.loads(done.stdout)
    (origin,) = item["origins"]
    assert ("ana@example.com", "Quarterly report", "Audit 2026", "user") == (
        origin["user_email"],
        origin["chat_name"],
        origin["project_name"],
        origin["role"],
    )
