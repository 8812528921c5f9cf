"""What file managers, thumbnailers and indexers do on their own costs no request over a collected case."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.collecting import collect
from tests.support.emulator import RunningEmulator
from tests.support.mounts import run

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(9_000)
PROBES = (".Trash", ".Trash-0", ".hidden", ".directory", ".sh_thumbnails", "autorun.inf")
ATTRIBUTES = ("user.xdg.comment", "security.selinux", "system.posix_acl_access")


def add_pictures(emulator: RunningEmulator, *all_fields: dict[str, Any]) -> list[str]:
    """Add a chat with pictures whose records differ; return their ids."""
    corpus = emulator.corpus
    files = [
        corpus.add_file(PICTURE, filename="p.png", mime_type="image/png", **fields)
        for fields in all_fields
    ]
    chat = corpus.add_chat("Photos", user=corpus.add_user("ana@example.com", "Ana"))
    corpus.add_message(chat, "look", files=files)
    return files


@pytest.fixture
def pictures(emulator: RunningEmulator) -> list[str]:
    """Add three pictures: one whose record tells everything, one without a size, one older."""
    unsized = {"size_bytes": None}
    return add_pictures(emulator, {}, unsized, unsized | {"is_older": True})


def look_into(directory: Path) -> None:
    """List a directory as file managers do: with attributes, probes, and the number of things inside."""
    for probe in PROBES:
        assert not (directory / probe).exists()
    for name in os.listdir(directory):
        path = directory / name
        path.stat()
        for attribute in ATTRIBUTES:
            with contextlib.suppress(OSError):  # ENODATA, mostly
                os.getxattr(path, attribute)
        if path.is_dir():
            os.listdir(path)


def test_looking_around_costs_no_request(mount, emulator, tmp_path):
    """The root with what is in its directories, a file's directory, and all of by-user."""
    pictures = add_pictures(emulator, {}, {})
    collect(emulator, tmp_path / "case")
    emulator.log.reset()
    with mount(emulator) as mounted:
        look_into(mounted.path)
        look_into(mounted.path / pictures[0])
        for directory, _, _ in os.walk(mounted.path / "by-user"):
            look_into(Path(directory))
        assert {} == emulator.log.counts()


@pytest.mark.parametrize("name", ["tumblerd", "gdk-pixbuf-thumbnailer", "baloo_file_extractor"])
def test_previews_and_indexes_cost_no_request(mount, emulator, pictures, tmp_path, name):
    """Whatever a file's record leaves open; what is stored, they may read."""
    collect(emulator, tmp_path / "case")
    emulator.log.reset()
    program = tmp_path / name
    program.symlink_to("/usr/bin/grep")
    with mount(emulator) as mounted:
        denied = run([program, "-rc", "PNG", mounted.path])
        assert (2, {}) == (denied.returncode, emulator.log.counts())
        status = json.loads((mounted.path / ".fsmount" / "status.json").read_bytes())
        assert len(pictures) <= status["readers"]["denied"]
        assert 0 == run(["grep", "-rc", "PNG", mounted.path]).returncode
        emulator.log.reset()
        allowed = run([program, "-rc", "PNG", mounted.path])
        assert (0, {}) == (allowed.returncode, emulator.log.counts())
        assert 3 == allowed.stdout.count(b"p.png:1")


def test_updatedb_walks_without_a_request(mount, emulator, pictures, tmp_path):
    """Directories of which nothing is known are left out."""
    collect(emulator, tmp_path / "case")
    emulator.log.reset()
    program = tmp_path / "updatedb.plocate"
    program.symlink_to("/usr/bin/find")
    with mount(emulator) as mounted:
        walked = run([program, mounted.path])
        assert {} == emulator.log.counts()
        for file_id in pictures:
            assert file_id.encode() in walked.stdout
        assert b"p.png" in walked.stdout
