"""The command line of `collect`: what reaches the walk, and what is refused before anything is asked."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import client
from client import Family
from fsmount.cli import run_command
from fsmount.collect_settings import CollectSettings
from fsmount.config import KEY_VARIABLE
from fsmount.errors import CollectError
from tests.support.commands import KEY, Room, clean_surroundings


class Walks(Room[CollectSettings]):
    """Stands for the module that collects."""


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with clean_surroundings(monkeypatch):
        yield


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> Walks:
    fake = Walks()
    fake.stand_in_for("fsmount.gathering", monkeypatch)
    return fake


def collect(*options: str) -> int:
    return run_command(["collect", "c", *options])


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was written to stderr, which is one line, with nothing on stdout."""
    written = capsys.readouterr()
    assert "" == written.out
    assert 1 == written.err.count("\n"), written.err
    return written.err


def test_without_options_the_whole_organization_is_collected(walks: Walks):
    """Files alone, at the pace that is promised."""
    assert 0 == collect()
    expected = CollectSettings(case="c", key=walks.settings.key)
    assert expected == walks.settings
    assert (KEY, 540, True) == (
        expected.key.reveal(),
        expected.max_rpm,
        walks.settings.looks_for_chats,
    )


def test_every_option_reaches_the_walk(walks: Walks):
    """Each option changes what it says, and nothing else."""
    options = ["--user", "u1", "--user", "a@example.com", "--chat", "c1", "--chat", "c2"]
    options += [
        "--project",
        "p1",
        "--project",
        "p2",
        "--organization",
        "o1",
        "--organization",
        "o2",
    ]
    options += [
        "--since",
        "2026-01-31",
        "--until",
        "2026-02-28",
        "--include",
        "generated,artifacts",
    ]
    options += [
        "--ids-file",
        "-",
        "--dry-run",
        "--base-url",
        "http://localhost:1/",
        "--max-rpm",
        "60",
    ]
    assert 0 == collect(*options)
    expected = CollectSettings(
        case="c",
        key=walks.settings.key,
        base_url="http://localhost:1",
        users=("u1", "a@example.com"),
        chats=("c1", "c2"),
        projects=("p1", "p2"),
        organizations=("o1", "o2"),
        since=datetime(2026, 1, 31, tzinfo=UTC),
        until=datetime(2026, 3, 1, tzinfo=UTC),
        ids_file=Path("-"),
        families=frozenset(Family),
        dry_run=True,
        max_rpm=60,
    )
    assert expected == walks.settings


def test_families_may_be_given_one_by_one(walks: Walks):
    """Like every option that may be given several times."""
    assert 0 == collect("--include", "generated", "--include", "artifacts")
    assert frozenset(Family) == walks.settings.families


def test_options_come_from_the_environment_too(walks: Walks, monkeypatch: pytest.MonkeyPatch):
    """As they do for `mount`; the command line wins."""
    monkeypatch.setenv("FSMOUNT_MAX_RPM", "20")
    monkeypatch.setenv("FSMOUNT_SINCE", "2026-01-31")
    assert 0 == collect("--since", "2026-02-01")
    assert (20, datetime(2026, 2, 1, tzinfo=UTC)) == (walks.settings.max_rpm, walks.settings.since)


def test_the_key_may_be_in_a_file(walks: Walks, tmp_path: Path):
    """The file counts before the environment."""
    path = tmp_path / "key"
    path.write_text("sk-ant-api01-of-the-file\n")
    path.chmod(0o600)
    assert 0 == collect("--key-file", str(path))
    assert "sk-ant-api01-of-the-file" == walks.settings.key.reveal()


def test_without_a_key_nothing_is_collected(
    walks: Walks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It is wrong usage, and the line says where a key could be."""
    monkeypatch.delenv(KEY_VARIABLE)
    assert 2 == collect()
    line = only_line(capsys)
    assert "--key-file" in line
    assert KEY_VARIABLE in line
    assert [] == walks.told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["extra"], "unexpected argument 'extra'"),
        (["--chats", "c1"], "--chat"),
        (["--user"], "--user needs a value"),
        (["--user", "a b"], "--user: 'a b' is neither an id nor an e-mail address"),
        (["--chat", "a/b"], "--chat: 'a/b' can't be an id"),
        (["--project", ""], "--project: ''"),
        (["--organization", "a@b"], "--organization: 'a@b'"),
        (["--since", "yesterday"], "--since: 'yesterday' is no time"),
        (["--until", "2026-01-31T12:00"], "--until: '2026-01-31T12:00' has no time zone"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], "--since must be before --until"),
        (["--include", "everything"], "--include: 'everything'"),
        (["--max-rpm", "0"], "--max-rpm must be at least 1"),
        (["--max-rpm", "many"], "--max-rpm"),
        (["--base-url", "http://example.com"], "--insecure-http"),
        (["--key-file", "/none"], "/none"),
        (["--config", "/none"], "/none"),
        (["--log-format", "xml"], "--log-format"),
    ],
)
def test_wrong_usage_is_2_and_one_line(
    walks: Walks, capsys: pytest.CaptureFixture[str], options: list[str], said: str
):
    """Wrong usage names the option in one line on stderr, and nothing is asked for."""
    assert 2 == collect(*options)
    assert said in only_line(capsys)
    assert [] == walks.told


def test_a_case_has_to_be_named(walks: Walks, capsys: pytest.CaptureFixture[str]):
    """There is no case by default."""
    assert 2 == run_command(["collect"])
    assert "CASE is missing (see fsmount collect --help)" in only_line(capsys)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CollectError("the service has been away"), "the service has been away"),
        (client.AuthenticationError(401, "authentication_error", "bad key", "req_1"), "req_1"),
    ],
)
def test_every_failure_is_one_line(
    walks: Walks, capsys: pytest.CaptureFixture[str], error: Exception, said: str
):
    """Whatever goes wrong ends in 1 and one line, without a traceback."""
    walks.error = error
    assert 1 == collect()
    assert said in only_line(capsys)


def test_what_is_missing_is_1(walks: Walks):
    """The walk's exit code is ours."""
    walks.code = 1
    assert 1 == collect()


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]):
    """No option of `collect` is without a sentence."""
    assert 0 == run_command(["collect", "--help"])
    entries = capsys.readouterr().out.split("\n│ --")[1:]
    assert len(entries) >= 15
    assert all(len(entry.split()) > 4 for entry in entries)
