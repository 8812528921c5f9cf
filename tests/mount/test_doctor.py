"""`fsmount doctor` asks a real server one request, and never shows the key."""

import json

import pytest

from fsmount.cli import run_command
from tests.support.faults import answer, with_headers


@pytest.fixture
def doctor(emulator, tmp_path, capsys):
    """Return a function that runs `doctor` with a key and returns code, findings by subject, and output."""

    def run(key: str, *options: str):
        key_file = tmp_path / "key"
        key_file.write_text(key)
        key_file.chmod(0o600)
        where = ["--base-url", emulator.url, "--key-file", str(key_file)]
        code = run_command(["doctor", *where, "--json", *options])
        written = capsys.readouterr()
        assert key not in written.out + written.err
        document = json.loads(written.out)
        return code, {f["subject"]: (f["level"], f["says"]) for f in document["findings"]}

    return run


def test_a_good_key_costs_one_request(doctor, emulator):
    """And tells the way, the key, the scopes, the clock and the budget."""
    code, findings = doctor(emulator.read_key)
    assert 0 == code
    assert 1 == emulator.log.count()
    for subject in ("service", "key", "scopes", "clock", "budget"):
        assert "ok" == findings[subject][0], findings[subject]
    assert "599 of 600" in findings["budget"][1]


def test_a_refused_key_is_a_problem(doctor):
    """401."""
    code, findings = doctor("sk-ant-api01-nobody-knows-this-one")
    assert (1, "problem", "ok") == (code, findings["key"][0], findings["service"][0])


def test_missing_scopes_are_named(doctor, emulator):
    """403, in the service's own words."""
    says = "Missing required scopes. Got: [] Needed: [read:compliance_user_data]"
    emulator.faults.add(answer(403, message=says), path="files")
    code, findings = doctor(emulator.read_key)
    assert (1, "problem") == (code, findings["scopes"][0])
    assert says in findings["scopes"][1]


def test_a_clock_that_is_wrong_is_found(doctor, emulator):
    """By the date of the answer."""
    emulator.faults.add(
        with_headers({"date": "Thu, 01 Jan 2026 00:00:00 GMT"}), path="files", times=None
    )
    code, findings = doctor(emulator.read_key)
    assert (1, "problem") == (code, findings["clock"][0])


def test_a_server_that_is_down_is_a_problem(doctor, emulator):
    """With what the network said."""
    with emulator.down():
        code, findings = doctor(emulator.read_key)
    assert (1, "problem") == (code, findings["service"][0])


def test_offline_asks_nothing(doctor, emulator):
    """Also with a key."""
    code, findings = doctor(emulator.read_key, "--offline")
    assert (0, 0) == (code, emulator.log.count())
    assert "service" not in findings
