"""One run of `collect`: what is told at its end, what the custody log keeps, and how the next goes on."""

import functools
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest
import trio
import trio.testing

import client
from fsmount import gathering
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.collect import Collector
from fsmount.collect_settings import CollectSettings
from fsmount.collection import Collection, Wanted
from fsmount.config import SecretKey
from fsmount.custody import check, iter_entries
from fsmount.errors import CaseLockedError, UsageError
from tests.support.organization import Organization, OrganizationPages, file_entry
from tests.support.walks import Trouble, organization

KEY = "sk-ant-api01-not-a-real-key"
IDLE = client.Budget(540, None, None, None, 0, 0, 0.0)


class Api:
    """Stands for the client: pages of an organization, and what a client counts."""

    def __init__(self, made: Organization, trouble: Trouble) -> None:
        self.pages = OrganizationPages(made, trouble=trouble)
        self.budget = IDLE

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    @property
    def stats(self) -> client.Stats:
        return client.Stats(listing=len(self.pages.steps), retries=2, throttled=1)


class Runs:
    """Runs `collect` on a case, over an organization, on a clock that jumps."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.organization = organization(12)
        self.trouble: Trouble = lambda _: None
        self.api: Api | None = None
        self._monkeypatch = monkeypatch

    def __call__(self, **fields) -> int:
        self.api = Api(self.organization, self.trouble)
        clock = trio.testing.MockClock(autojump_threshold=0)
        with self._monkeypatch.context() as patch:
            patch.setattr(gathering, "_api", lambda _: self.api)
            patch.setattr(trio, "run", functools.partial(trio.run, clock=clock))
            return gathering.run(CollectSettings(case=str(self.path), key=SecretKey(KEY), **fields))

    @property
    def entry(self) -> dict[str, object]:
        """The last entry of the custody log, whose chain holds."""
        path = Case(self.path).custody_path
        assert () == check(path).problems
        return list(iter_entries(path))[-1]

    @property
    def count(self) -> int:
        with closing(Catalog(Case(self.path).catalog_path)) as catalog:
            return catalog.count()


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Leave the umask as it was."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(tmp_path / "case", monkeypatch)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_ids_that_lead_to_nothing_are_doubted(runs, capsys):
    """The service lists nothing for unknown ones: a typo must not read as a person who uploaded nothing."""
    assert 0 == runs(users=("user_nope",))
    assert any("nothing is listed for user_nope: check" in line for line in lines(capsys))
    assert 0 == runs(users=("user_alice",))
    assert 0 == runs(users=("user_alice",))  # nothing new is no reason to doubt
    assert not any("nothing is listed" in line for line in lines(capsys))


def test_a_whole_run_says_what_there_is_and_what_it_cost(runs, capsys):
    """Exit 0; files, chats, requests, and those that had to be repeated."""
    runs.organization.add_project("p", attachments=[file_entry("b")])
    runs.organization.attachments["claude_proj_p"].append({"type": "project_doc", "id": "d"})
    assert 0 == runs()
    assert [
        "13 files in case case, 13 of them new",
        "12 chats and 1 project read, 15 requests (2 retries, 1 refused for now)",
        "left out, since they are no files: 1 text documents of projects",
    ] == lines(capsys)
    assert 13 == runs.count


def test_the_custody_log_has_what_was_wished_for_and_what_came_of_it(runs):
    """Scope and counts, who and where; never the key."""
    assert 0 == runs(users=("user_alice",), families=frozenset(client.Family))
    expected = {
        "event": "collected",
        "uid": os.getuid(),
        "scope": {"users": ["user_alice"], "include": ["artifact", "file", "generated"]},
        "dry_run": False,
        "outcome": "whole",
        "requests": 14,
        "chats_read": 12,
        "projects_read": 0,
        "files_named": 12,
        "files_new": 12,
        "chats_left": 0,
        "projects_left": 0,
        "missing": 0,
    }
    assert expected == {name: runs.entry[name] for name in expected}
    assert KEY not in Case(runs.path).custody_path.read_text()


def test_a_run_that_can_not_go_on_says_why_and_how_to(runs, capsys):
    """Exit 1; the summary and the custody entry are those of any run, and the next one goes on."""
    refusal = client.AuthenticationError(401, "authentication_error", "revoked", "req_1")
    runs.trouble = lambda step: refusal if step.listing.owner == "claude_chat_9" else None
    assert 1 == runs()
    *_, ended, left = lines(capsys)
    assert "ended early: 401 authentication_error: revoked (request req_1)" == ended
    assert left.endswith("still to be read; run the same command again to go on")
    assert (str(refusal), 12) == (
        runs.entry["outcome"],
        int(str(runs.entry["chats_read"])) + int(str(runs.entry["chats_left"])),
    )
    runs.trouble = lambda _: None
    assert 0 == runs()
    assert ("whole", 12) == (runs.entry["outcome"], runs.count)


def test_an_outage_ends_a_run_in_words(runs, capsys):
    """Ten minutes are waited; lines meanwhile say for what."""
    runs.trouble = lambda _: client.APIConnectionError("connection refused")
    assert 1 == runs()
    written = capsys.readouterr()
    assert "ended early: the service has been away for 10 minutes" in written.out
    assert "waiting: the service can't be reached, trying again in " in written.err


def test_what_could_not_be_had_is_told(runs, capsys):
    """Exit 1; ten of them by name, the others by number; all others are there."""
    runs.trouble = lambda step: (
        client.InvalidResponseError(f"{step.listing.owner}: no list")
        if step.listing.owner
        else None
    )
    runs.organization.add_message(runs.organization.add_chat("good"), files=[file_entry("x")])
    assert 1 == runs()
    told = lines(capsys)
    assert 11 == len([line for line in told if line.startswith("missing: ")])
    assert "missing: 3 more" in told
    assert told[-1].startswith("13 chats still to be read")
    assert (13, "13 could not be had") == (runs.entry["missing"], runs.entry["outcome"])


def test_what_does_not_fit_is_missing_too(runs, capsys):
    """An entry that had to be left out is a reason for 1."""
    runs.organization.add_message("claude_chat_1", files=[{"id": "odd id"}])
    assert 1 == runs()
    assert [line for line in lines(capsys) if line.startswith("missing: ")] == [
        "missing: 'odd id': the id can't be the name of a directory"
    ]
    assert 12 == runs.count


def test_what_nobody_knows_is_not_to_be_gone_on_with(runs, capsys):
    """A misspelled id is told, and trying again would not help."""
    assert 1 == runs(chats=("claude_chat_nope",))
    written = capsys.readouterr()
    last = "missing: claude_chat_nope: the service does not know it, or not any more"
    assert last == written.out.splitlines()[-1]
    assert "listed" not in written.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_a_summary(runs, capsys, number):
    """What was answered is kept, and the next run goes on."""

    def send(step: client.Step) -> None:
        if step.listing.owner == "claude_chat_5":
            os.kill(os.getpid(), number)

    runs.trouble = send
    assert 1 == runs()
    assert "stopped before the end" in lines(capsys)
    assert "stopped" == runs.entry["outcome"]
    runs.trouble = lambda _: None
    assert 0 == runs()
    assert 12 == runs.count


def test_a_dry_run_says_what_reading_would_cost(runs, capsys):
    """Nothing is read or added; the run itself lists again what may have changed meanwhile."""
    assert 0 == runs(dry_run=True, users=("user_alice",), max_rpm=6)
    assert [
        "12 chats to be read: 12 requests or a few more",
        "about 2 min 0 s at 6 a minute",
        "2 requests (2 retries, 1 refused for now) to find that out; what was found is kept",
    ] == lines(capsys)
    assert (0, True) == (runs.count, runs.entry["dry_run"])
    assert 0 == runs(users=("user_alice",))
    assert (12, 13) == (runs.count, len(runs.api.pages.steps))


def test_ids_of_a_file_cost_no_request(runs, capsys, tmp_path):
    """They are added, and nothing is walked unless something else was named."""
    path = tmp_path / "ids"
    path.write_text("claude_file_1\n# a comment\nclaude_file_2\nno id\n")
    assert 0 == runs(ids_file=path)
    assert "2 files in case case, 2 of them new" == lines(capsys)[0]
    assert ([], 2) == (runs.api.pages.steps, runs.entry["files_new"])
    assert 0 == runs(ids_file=path, chats=("claude_chat_1",))
    assert "3 files in case case, 1 of them new" == lines(capsys)[0]


def test_an_address_that_nobody_has_is_wrong_usage(runs):
    """Nothing was collected, so nothing is recorded."""
    with pytest.raises(UsageError, match="nobody@"):
        runs(users=("nobody@example.com",))
    assert [] == list(iter_entries(Case(runs.path).custody_path))


def test_one_run_at_a_time(runs):
    """The second one says who is at it."""
    with (
        Case.open(runs.path).lock_for_collecting(),
        pytest.raises(CaseLockedError, match=str(os.getpid())),
    ):
        runs()


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (IDLE, None),
        (client.Budget(540, 600, 0, 23.0, 10, 0, 0.0), None),
        (
            client.Budget(540, 600, 0, 23.0, 10, 3, 0.0),
            "the organization's requests are used up, for 23 s",
        ),
        (client.Budget(540, 600, 9, 23.0, 540, 3, 0.0), "540 requests a minute, as --max-rpm says"),
        (client.Budget(540, 600, 9, 23.0, 10, 3, 0.0), None),
        (client.Budget(540, 600, 9, 23.0, 10, 3, 70.0), "the service asked to, for 1 min 10 s"),
    ],
)
async def test_what_holds_a_walk_back_is_said_in_words(tmp_path, budget, expected):
    """The budget of the organization, our own bound, or the service's word."""
    with Collection(tmp_path / "c.sqlite3", Wanted()) as collection:
        collector = Collector(OrganizationPages(Organization()), collection, [])
        assert expected == gathering._waiting(collector.progress, budget)
