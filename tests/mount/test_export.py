"""Exports of real cases: valid to the tools that receive them, resumable, honest about what is missing."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import trio

from fsmount import custody
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.cli import run_command
from fsmount.demo.contents import PatternContent
from fsmount.store import content_path
from tests.support.collecting import collect
from tests.support.emulator import RunningEmulator
from tests.support.faults import answer, combined, flip_byte, rate_limited, without_md5
from tests.support.mounts import run, wait_until

BAGIT = Path(sys.executable).with_name("bagit.py")
AUDIT = ["hashdeep", "-a", "-r", "-l", "-k", "hashdeep.txt", "data", "metadata"]
DFXML = "{http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML}"

Export = Callable[..., int]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case.open(tmp_path / "case")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def command(emulator: RunningEmulator, case: Case, out: Path, tmp_path: Path):
    """Return a function that makes the arguments of an export."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(emulator.read_key)

    def arguments(*options: str, form: str = "bagit") -> list[str]:
        where = ["--base-url", emulator.url, "--key-file", str(key)]
        return ["export", str(case.path), str(out), "--format", form, *where, *options]

    return arguments


@pytest.fixture
def export(command) -> Export:
    """Return a function that exports and returns the exit code."""
    return lambda *options, form="bagit": run_command(command(*options, form=form))


def list_ids(case: Case, ids: Sequence[str]) -> None:
    """Put files into the catalog of which only the id is known."""
    with contextlib.closing(Catalog(case.catalog_path)) as catalog:
        trio.run(catalog.add_ids, ids)


def add_files(emulator: RunningEmulator, case: Case, count: int, **fields) -> dict[str, bytes]:
    """Add small files and list them; return their bodies by id."""
    bodies = {}
    for number in range(count):
        body = b"%d " % number * (1000 + number)
        name = f"file {number}.txt"
        file_id = emulator.corpus.add_file(body, filename=name, mime_type="text/plain", **fields)
        bodies[file_id] = body
    list_ids(case, list(bodies))
    return bodies


def payload(out: Path) -> dict[str, bytes]:
    """Return what lies in the payload directory, by the id of its directory."""
    found = {path.parent.name: path.read_bytes() for path in out.glob("data/*/*")}
    assert len(found) == len(list(out.glob("data/*/*")))
    return found


def events(case: Case, name: str) -> list[dict[str, Any]]:
    assert not custody.check(case.custody_path).problems
    return [entry for entry in custody.iter_entries(case.custody_path) if entry["event"] == name]


def assert_valid_bag(out: Path) -> None:
    done = run([BAGIT, "--validate", "--quiet", out])
    assert 0 == done.returncode, done.stderr.decode()
    assert b"" == done.stderr


def test_every_format_is_valid_to_its_tools(demo_emulator, case, out, tmp_path, capsys):
    """A corpus with odd names, sizes and records becomes a bag, an audit and a listing of the same tree."""
    ids = [claude_file_id for _, claude_file_id, _ in demo_emulator.corpus.uploads()]
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(demo_emulator.read_key)
    list_ids(case, ids)
    for form in ("bagit", "hashdeep", "dfxml"):
        where = ["--base-url", demo_emulator.url, "--key-file", str(key)]
        assert 0 == run_command(["export", str(case.path), str(out), "--format", form, *where])
        assert_valid_bag(out)
    assert {"metadata": 16, "content": 15} == demo_emulator.log.counts()
    assert 0 == run(AUDIT, cwd=out).returncode
    root = ET.parse(out / "dfxml.xml").getroot()
    listed = {
        file.findtext(f"{DFXML}filename"): file.findtext(f"{DFXML}hashdigest[@type='sha256']")
        for file in root.findall(f"{DFXML}fileobject")
    }
    found = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.glob("data/*/*")
    }
    assert found == listed
    assert 15 == len(found)
    told = [entry["lists"] for entry in events(case, "exported")]
    assert [2, 3, 4] == [len(lists) for lists in told]
    for path, sha256 in told[-1].items():
        assert sha256 == hashlib.sha256((out / path).read_bytes()).hexdigest()


def test_what_is_told_of_a_file_is_added_without_copying_it(emulator, case, out, export):
    """Provenance that the catalog learns later comes into a bag that is there already."""
    bodies = add_files(emulator, case, 2)
    assert 0 == export()
    inodes = {path: path.stat().st_ino for path in out.glob("data/*/*")}
    chat = emulator.corpus.add_chat("Report")
    message = emulator.corpus.add_message(chat, files=list(bodies))
    collect(emulator, case.path)
    assert 0 == export("--offline")
    assert inodes == {path: path.stat().st_ino for path in out.glob("data/*/*")}
    told = {path.parent.name: json.loads(path.read_bytes()) for path in out.glob("*/*/prov*.json")}
    assert set(bodies) == set(told)
    for document in told.values():
        (origin,) = document["named_by"]
        assert (chat, "Report", message) == tuple(
            origin[name] for name in ("chat_id", "chat_name", "message_id")
        )
    assert_valid_bag(out)


def test_a_bag_says_what_it_is(emulator, case, out, export):
    """Its facts, its payload's dates and records, and every tag file in the tag manifests."""
    bodies = add_files(emulator, case, 3)
    assert 0 == export()
    info = (out / "bag-info.txt").read_text()
    total = sum(map(len, bodies.values()))
    for line in (
        f"Payload-Oxum: {total}.3",
        "External-Identifier: case",
        "Fsmount-Files-Missing: 0",
    ):
        assert f"{line}\n" in info
    assert (out / "bagit.txt").read_text().startswith("BagIt-Version: 1.0\n")
    assert 0o700 == out.stat().st_mode & 0o777
    tags = re.findall("  (.*)\n", (out / "tagmanifest-sha256.txt").read_text())
    expected = {
        str(path.relative_to(out))
        for path in out.rglob("*")
        if path.is_file() and "data" not in path.parts and "tagmanifest" not in path.name
    }
    assert (expected, len(expected)) == (set(tags), len(tags))
    for file_id, body in bodies.items():
        record = json.loads((out / "metadata" / file_id / "meta.json").read_bytes())
        (path,) = (out / "data" / file_id).iterdir()
        assert (body, record["filename"]) == (path.read_bytes(), path.name)
        assert path.stat().st_mtime > 0
        assert record["created_at"][:10] == time.strftime(
            "%Y-%m-%d", time.gmtime(path.stat().st_mtime)
        )


def test_what_is_not_stored_is_fetched_once(emulator, case, out, export, capsys):
    """Offline it is listed as missing and the rest is a bag; with the service it is added to it."""
    add_files(emulator, case, 3)
    assert 0 == export()
    bodies = add_files(emulator, case, 2)
    emulator.log.reset()
    assert 1 == export("--offline")
    told = capsys.readouterr().out
    assert all(file_id in told for file_id in bodies)
    assert "run the same command again" in told
    assert 0 == emulator.log.count()
    assert_valid_bag(out)
    lines = (out / "metadata/missing.jsonl").read_text().splitlines()
    missing = [json.loads(line) for line in lines]
    assert set(bodies) == {line["claude_file_id"] for line in missing}
    assert 0 == export()
    assert {"metadata": 2, "content": 2} == emulator.log.counts()
    assert_valid_bag(out)
    assert 5 == len(payload(out))
    assert not (out / "metadata/missing.jsonl").exists()


def test_an_export_that_is_done_writes_no_payload_again(emulator, case, out, export, capsys):
    """Another run reads no content, neither from the service nor from the case."""
    add_files(emulator, case, 3)
    assert 0 == export()
    before = {path: path.stat().st_ino for path in out.glob("data/*/*")}
    for file_id in payload(out):
        content_path(case.content_dir, file_id).write_bytes(b"not looked at")
    capsys.readouterr()
    assert 0 == export("--json")
    outcome = json.loads(capsys.readouterr().out)
    assert (3, 0, []) == (outcome["files"], outcome["added"], outcome["missing"])
    assert before == {path: path.stat().st_ino for path in out.glob("data/*/*")}
    assert_valid_bag(out)


def test_a_tree_that_was_copied_is_gone_on_with(emulator, case, out, export, capsys):
    """Where times were not kept, the bytes are read again, not fetched; what was changed is replaced."""
    bodies = add_files(emulator, case, 3)
    assert 0 == export()
    touched, changed, removed = (next((out / "data" / file_id).iterdir()) for file_id in bodies)
    os.utime(touched)
    changed.write_bytes(bytes(changed.stat().st_size))
    removed.unlink()
    inode = touched.stat().st_ino
    capsys.readouterr()
    assert 0 == export("--json")
    assert 2 == json.loads(capsys.readouterr().out)["added"]
    assert (bodies, inode) == (payload(out), touched.stat().st_ino)
    assert 3 == emulator.log.count("content")
    assert_valid_bag(out)


def test_a_flipped_byte_is_found_and_never_exported(emulator, case, out, export, capsys):
    """By `verify`, and before the copy: what is there is kept apart, and the file is fetched as it was."""
    bodies = add_files(emulator, case, 4)
    assert 0 == export()
    harmed = sorted(bodies)[1]
    (path,) = (out / "data" / harmed).iterdir()
    path.unlink()
    stored = content_path(case.content_dir, harmed)
    stored.write_bytes(bodies[harmed][:-1] + b"!")
    assert 1 == run_command(["verify", str(case.path)])
    assert f"{harmed}\tmismatch" in capsys.readouterr().out
    assert 1 == export("--offline")
    assert harmed not in payload(out)
    (entry,) = events(case, "lost")
    assert (harmed, True) == (entry["claude_file_id"], "its SHA-256 is" in entry["why"])
    (altered,) = (case.path / "altered").iterdir()
    assert bodies[harmed][:-1] + b"!" == altered.read_bytes()
    assert 0 == export()
    assert bodies == payload(out)
    assert_valid_bag(out)


def test_a_killed_export_goes_on_where_it_was(emulator, case, out, command, export):
    """What has a name is whole, and only what was under way is fetched again."""
    bodies = add_files(emulator, case, 30)
    arguments = command("--max-rpm", "10000")
    emulator.behaviour.requests_per_minute = 10_000
    emulator.behaviour.latency_s = 0.05
    process = subprocess.Popen([sys.executable, "-m", "fsmount", *arguments])
    wait_until(lambda: len(list(out.glob("data/*/*"))) > 5, within_s=20)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    emulator.log.wait_idle()
    before = payload(out)
    assert 5 < len(before) < len(bodies)
    assert all(bodies[file_id] == body for file_id, body in before.items())
    assert not (out / "bagit.txt").exists()
    assert 0 == export("--max-rpm", "10000")
    assert bodies == payload(out)
    assert emulator.log.count("content") <= len(bodies) + 4
    assert_valid_bag(out)
    assert {"data", "metadata"} == {path.name for path in out.iterdir() if path.is_dir()}
    assert not list(case.path.glob("export-spool-*"))


def test_an_export_killed_in_a_large_file_leaves_no_half_of_it(
    emulator, case, out, command, export
):
    """Neither under its name, nor under another one after the next run."""
    size = 64 << 20
    file_id = emulator.corpus.add_file(
        PatternContent(size), filename="large.bin", mime_type="text/plain"
    )
    list_ids(case, [file_id])
    assert 0 == export()  # stored now
    (path,) = (out / "data" / file_id).iterdir()
    path.unlink()
    process = subprocess.Popen([sys.executable, "-m", "fsmount", *command()])
    wait_until(lambda: list((out / ".partial").glob("*")), within_s=20)
    process.kill()
    process.wait(10)
    was_cut = not path.exists()
    assert was_cut or path.stat().st_size == size
    assert 0 == export()
    assert size == path.stat().st_size
    assert_valid_bag(out)
    assert 1 == emulator.log.count("content")


def test_ctrl_c_is_recorded(emulator, case, out, command):
    """As an interruption, with exit code 130, and the directory is no bag."""
    add_files(emulator, case, 3)
    emulator.behaviour.latency_s = 5.0
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "fsmount", *command()],
        stderr=subprocess.PIPE,
    )
    emulator.log.wait_for(1, timeout_s=20)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=15)
    assert (130, b"") == (process.returncode, stderr)
    assert 1 == len(events(case, "export_interrupted"))
    assert not (out / "bagit.txt").exists()


@pytest.mark.parametrize(
    ("fault", "says", "requests"),
    [
        (answer(404), "does not have it any more", 1),
        (flip_byte(7), "wrong bytes came", 2),
        (combined(without_md5(), flip_byte(7)), "wrong bytes came", 2),
    ],
)
def test_one_bad_file_does_not_keep_the_others(
    emulator, case, out, export, capsys, fault, says, requests
):
    """It is named with its reason, and the others are a valid bag."""
    bodies = add_files(emulator, case, 3)
    bad = min(bodies)
    emulator.faults.add(fault, path=f"{bad}/content", times=None)
    assert 1 == export()
    assert re.search(f"{bad}\tfile .*{says}", capsys.readouterr().out)
    assert bodies.keys() - {bad} == payload(out).keys()
    assert_valid_bag(out)
    assert 2 + requests == emulator.log.count("content")
    (entry,) = events(case, "exported")
    assert 1 == entry["missing"]
    assert {"version", "user", "uid", "host"} <= entry.keys()


def test_what_nothing_vouches_for_is_not_called_verified(emulator, case, out, export, capsys):
    """Without a digest from anywhere a file is fetched, kept, and not exported."""
    bodies = add_files(emulator, case, 1, md5=None)
    emulator.faults.add(without_md5(), path="content", times=None)
    for _ in range(2):
        assert 1 == export()
        assert "nothing vouches for its bytes" in capsys.readouterr().out
    assert 1 == emulator.log.count("content")
    assert content_path(case.content_dir, next(iter(bodies))).exists()


def test_a_refused_key_costs_next_to_nothing(emulator, case, out, export, capsys):
    """Not a request for each file."""
    add_files(emulator, case, 50)
    emulator.faults.add(answer(403, message="Needed: [x]"), path="files", times=None)
    assert 1 == export()
    assert "Needed: [x]" in capsys.readouterr().out
    assert emulator.log.count() <= 4  # as many as are under way at the same time


def test_waiting_is_explained(emulator, case, out, export, capsys):
    """A 429 is obeyed, and said."""
    add_files(emulator, case, 2)
    emulator.faults.add(rate_limited(2), path="files")
    assert 0 == export()
    assert "waiting: the service asked to, for " in capsys.readouterr().err


def test_it_runs_beside_a_mount(mount, emulator, case, out, export):
    """Both use the case, and the mount goes on."""
    bodies = add_files(emulator, case, 5)
    first, *_, last = bodies
    with mount(emulator) as mounted:
        assert 0 == run(["cat", mounted.path / first / "file 0.txt"]).returncode
        wait_until(content_path(case.content_dir, first).exists, within_s=5)
        assert 0 == export()
        assert bodies == payload(out)
        assert 0 == run_command(["verify", str(case.path)])
        read = run(["cat", mounted.path / last / "file 4.txt"])
        assert bodies[last] == read.stdout
    assert 5 == emulator.log.count("content")


def test_the_bound_of_the_case_is_kept(emulator, case, out, export):
    """What was fetched beyond it is exported and not kept."""
    bodies = add_files(emulator, case, 6)
    assert 0 == export("--cache-size", "8K")
    assert bodies == payload(out)
    kept = sum(path.stat().st_size for path in case.content_dir.glob("*/*"))
    assert kept <= 8192
    assert 0 == export("--offline")


@pytest.mark.parametrize(
    ("where", "code", "says"),
    [
        (lambda case: case.path / "out", 2, "lie in each other"),
        (lambda case: case.path.parent, 2, "lie in each other"),
        (lambda _: Path("/proc/none"), 1, "can't export to /proc/none"),
        (lambda _: Path(__file__).parent, 1, "is not empty"),
    ],
)
def test_impossible_directories_are_one_line(case, capsys, where, code, says):
    """And nothing is written."""
    list_ids(case, [])
    target = where(case)
    arguments = ["export", str(case.path), str(target), "--format", "bagit", "--offline"]
    assert code == run_command(arguments)
    err = capsys.readouterr().err
    assert says in err
    assert 1 == err.count("\n")


def test_another_cases_export_is_not_added_to(emulator, case, out, export, tmp_path, capsys):
    """Also if that case has the same name."""
    add_files(emulator, case, 1)
    assert 0 == export()
    other = Case.open(tmp_path / "elsewhere" / "case")
    list_ids(other, [])
    arguments = ["export", str(other.path), str(out), "--format", "bagit", "--offline"]
    assert 1 == run_command(arguments)
    assert "holds an export of the case 'case'" in capsys.readouterr().err
    assert_valid_bag(out)


def test_without_a_key_the_stored_part_is_exported(emulator, case, out, capsys, monkeypatch):
    """And the rest is listed as missing, with a hint at the key."""
    monkeypatch.delenv("ANTHROPIC_COMPLIANCE_ACCESS_KEY", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    add_files(emulator, case, 1)
    assert 1 == run_command(["export", str(case.path), str(out), "--format", "hashdeep"])
    written = capsys.readouterr()
    assert "--key-file" in written.err
    assert "no request may be made" in written.out
    assert 0 == run(AUDIT, cwd=out).returncode
    assert os.listdir(out / "data") == []
