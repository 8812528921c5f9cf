"""A mount exported by Samba, which is how Windows workstations get at it: the same bytes and names."""

import hashlib
import os
import random
from pathlib import Path

import pytest

from tests.support.collecting import collect
from tests.support.emulator import RunningEmulator
from tests.support.mounts import run
from tests.support.samba import Samba

# Allowed by Windows, once they are shown as this file system shows them.
ALLOWED = [
    "plain.txt",
    "\u00dcbersicht \u6982\u8981.txt",
    "e\u0301.txt",  # the same to a reader, but not to a computer
    "\u00e9.txt",
    "emoji \U0001f600.txt",
    "../../etc/passwd",
    ".hidden",
    "-rf",
    "meta.json",
    "invoice\u202efdp.exe",
    "new\nline",
    "x" * 300 + ".txt",
    "\u6982" * 120 + ".pdf",
    "desktop.ini",
    "50%41.txt",
]
# Not allowed by Windows: Samba gives them a short name of its own.
FORBIDDEN = ['a:b*?"<>|.txt', "back\\slash.txt", "trailing blank ", "dots...", "CON", "aux.txt"]


@pytest.fixture
def files(emulator: RunningEmulator) -> dict[str, bytes]:
    """Add a chat with files of all these names; return their contents by id."""
    emulator.behaviour.requests_per_minute = 10_000
    chat = emulator.corpus.add_chat("Names", user=emulator.corpus.add_user("a@example.com", "A"))
    bodies = {}
    for number, name in enumerate(ALLOWED + FORBIDDEN):
        body = random.Random(number).randbytes(1_000 + number * 60_000)
        bodies[emulator.corpus.add_file(body, filename=name, mime_type="text/plain")] = body
    emulator.corpus.add_message(chat, "look", files=list(bodies))
    return bodies


def hashes(directory: Path) -> dict[str, str]:
    """Return the hashes of all files below a directory, behind links too, by path."""
    return {
        os.path.relpath(os.path.join(parent, name), directory): hashlib.sha256(
            Path(parent, name).read_bytes()
        ).hexdigest()
        for parent, _, names in os.walk(directory)
        for name in names
    }


def test_samba_serves_the_same_names_and_bytes(mount, emulator, files, tmp_path):
    """Of files and of the links of the views, each fetched once; short names only where Windows has to."""
    collect(emulator, tmp_path / "case")
    emulator.log.reset()
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    with mount(emulator) as mounted, Samba(mounted.path, tmp_path) as samba:
        done = samba.ask("recurse; prompt; mget *", into=fetched)
        assert (0, False) == (done.returncode, b"NT_STATUS" in done.stdout), done.stdout
        assert {"content": len(files)} == emulator.log.counts()
        expected, found = hashes(mounted.path), hashes(fetched)
    short = {path: value for path, value in found.items() if path not in expected}
    shortened = {path: value for path, value in expected.items() if path not in found}
    assert {p: v for p, v in expected.items() if p in found} == {
        p: v for p, v in found.items() if p in expected
    }
    assert sorted(shortened.values()) == sorted(short.values())
    assert 2 * len(FORBIDDEN) == len(short)  # each in its own directory and in by-user
    assert all("~" in os.path.basename(path) for path in short)
    for file_id, body in files.items():
        (name,) = set(os.listdir(fetched / file_id)) - {"meta.json"}
        assert hashlib.sha256(body).hexdigest() == found[f"{file_id}/{name}"]


def test_samba_lets_nobody_change_anything(mount, emulator, files, tmp_path):
    """Not even in a mount that allows deleting: the share is read-only."""
    collect(emulator, tmp_path / "case")
    key = emulator.delete_key
    file_id = next(iter(files))
    source = tmp_path / "source"
    source.write_text("new")
    with (
        mount(emulator, "--allow-delete", key=key) as mounted,
        Samba(mounted.path, tmp_path) as samba,
    ):
        for commands in (
            f"del {file_id}\\plain.txt",
            f"put {source} {file_id}\\new.txt",
            f"rename {file_id}\\plain.txt {file_id}\\x.txt",
            "mkdir new",
            f"rmdir {file_id}",
        ):
            refused = samba.ask(commands, into=tmp_path)
            refusals = (b"NT_STATUS_ACCESS_DENIED", b"NT_STATUS_MEDIA_WRITE_PROTECTED")
            assert any(refusal in refused.stdout for refusal in refusals), (commands, refused)
        assert 0 == emulator.log.count("delete")
        assert files[file_id] == run(["cat", mounted.path / file_id / "plain.txt"]).stdout
