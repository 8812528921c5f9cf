"""The tree on a real mount: what is listed, how it looks, and what it costs."""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fsmount.demo.corpus import Corpus
from fsmount.mountpoint import find_mount
from tests.support.emulator import RunningEmulator
from tests.support.mounts import run, shell

HOSTILE_NAMES = {
    "plain.txt": "plain.txt",
    "with / slash.txt": "with %2F slash.txt",
    "../../etc/passwd": "%2E.%2F..%2Fetc%2Fpasswd",
    ".hidden": "%2Ehidden",
    "-rf": "%2Drf",
    "new\nline.txt": "new%0Aline.txt",
    "right\u202eto left.txt": "right%E2%80%AEto left.txt",
    "META.json": "content-META.json",
    "n" * 300 + ".txt": None,
    "\u00fcber \u6982\u8981.csv": "\u00fcber \u6982\u8981.csv",
    "": "content.txt",
}


def add(corpus: Corpus, content: bytes, name: str | None = "a.txt", **fields: Any) -> str:
    """Add a text file to a corpus and return its id."""
    return corpus.add_file(content, filename=name, mime_type="text/plain", **fields)


@pytest.fixture
def files(emulator: RunningEmulator) -> dict[str, bytes]:
    """Put odd files into the emulator; return their contents by id."""
    bodies = {}
    for number, name in enumerate(HOSTILE_NAMES):
        body = f"content {number}\n".encode() * (number + 1)
        bodies[add(emulator.corpus, body, name)] = body
    for fields in ({"size_bytes": None}, {"md5": None}, {"size_bytes": None, "md5": None}):
        body = os.urandom(5000)
        bodies[add(emulator.corpus, body, "unknown.bin", **fields)] = body
    bodies[add(emulator.corpus, b"", "empty.txt")] = b""
    bodies[add(emulator.corpus, b"", "empty too.txt", size_bytes=None)] = b""
    return bodies


def content_of(mountpoint: Path, file_id: str) -> Path:
    """Return the content entry of a file."""
    names = [name for name in os.listdir(mountpoint / file_id) if name != "meta.json"]
    assert 1 == len(names)
    return mountpoint / file_id / names[0]


def test_every_file_is_byte_exact_with_its_exact_size(mount, emulator, files):
    """Names, sizes and bytes are right for odd names, unknown sizes, unknown hashes and empty files."""
    with mount(emulator, ids=list(files)) as mounted:
        assert sorted(files) == sorted(os.listdir(mounted.path))
        for file_id, body in files.items():
            path = content_of(mounted.path, file_id)
            assert len(body) == path.stat().st_size
            assert body == path.read_bytes()


def test_names_are_safe_and_recognizable(mount, emulator, files):
    """Hostile names are percent-encoded, harmless ones stay as they are."""
    with mount(emulator, ids=list(files)) as mounted:
        for file_id, (name, shown) in zip(files, HOSTILE_NAMES.items(), strict=False):
            entry = content_of(mounted.path, file_id).name
            if shown is not None:
                assert shown == entry
            assert len(os.fsencode(entry)) <= 255
            assert (name or None) == (
                json.loads((mounted.path / file_id / "meta.json").read_bytes())["filename"] or None
            )


def test_modes_times_and_options_are_those_of_evidence(mount, emulator):
    """Directories 0500, files 0400, dated by their upload; mounted ro, nosuid, nodev, noexec, noatime."""
    file_id = add(emulator.corpus, b"x" * 1000, created_at="2026-01-02T03:04:05.678901Z")
    with mount(emulator, ids=[file_id]) as mounted:
        os.listdir(mounted.path / file_id)
        directory = os.stat(mounted.path / file_id)
        content = os.stat(mounted.path / file_id / "a.txt")
        meta = os.stat(mounted.path / file_id / "meta.json")
        assert 0o500 == stat.S_IMODE(directory.st_mode)
        assert 0o400 == stat.S_IMODE(content.st_mode) == stat.S_IMODE(meta.st_mode)
        assert (
            1767323045678901000 == content.st_mtime_ns == meta.st_mtime_ns == directory.st_mtime_ns
        )
        assert 2 == content.st_blocks
        assert 2 == directory.st_nlink
        found = find_mount(mounted.path)
        assert found is not None
        assert ("fuse.fsmount", "case") == (found.fs_type, found.source)
        line = next(
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if str(mounted.path) in line
        )
        assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(line.split()[3].split(","))


def test_meta_json_is_the_record_and_never_downloads(mount, emulator):
    """Keys stand in the documented order, unknown fields are kept, and content is not touched."""
    file_id = add(emulator.corpus, b"x", zeta=[1], alpha={"b": None})
    with mount(emulator, ids=[file_id]) as mounted:
        text = (mounted.path / file_id / "meta.json").read_text()
        assert text.endswith("}\n")
        assert ["id", "created_at", "filename", "mime_type", "size_bytes", "md5"] == list(
            json.loads(text)
        )[:6]
        assert ["alpha", "zeta"] == list(json.loads(text))[-2:]
        assert 0 == emulator.log.count("content")


def test_a_file_without_content_has_only_its_record(mount, emulator):
    """mime_type null means that there is nothing to download."""
    file_id = emulator.corpus.add_file(None, filename="out.png", mime_type=None)
    with mount(emulator, ids=[file_id]) as mounted:
        assert ["meta.json"] == os.listdir(mounted.path / file_id)
        assert 0 == emulator.log.count("content")


def test_names_that_are_no_ids_cost_no_request(mount, emulator):
    """What file managers and shells probe for is absent without asking anybody."""
    with mount(emulator, ids=[]) as mounted:
        for name in (
            ".Trash",
            ".Trash-0",
            "autorun.inf",
            ".hidden",
            "claude_file_",
            "claude_file_a.b",
        ):
            assert not (mounted.path / name).exists()
        assert 0 == emulator.log.count()


def test_an_unlisted_id_can_be_opened_by_path_and_is_listed_then(mount, emulator):
    """One metadata request finds it; an id that does not exist is asked for once a minute."""
    file_id = add(emulator.corpus, b"found")
    with mount(emulator) as mounted:
        assert [] == os.listdir(mounted.path)
        assert b"found" == (mounted.path / file_id / "a.txt").read_bytes()
        assert [file_id] == os.listdir(mounted.path)
        assert {"metadata": 1, "content": 1} == _asked(emulator)
        for _ in range(3):
            assert not (mounted.path / "claude_file_01doesnotexist").exists()
        assert 2 == emulator.log.count("metadata")


def test_three_hundred_files_cost_one_request_each_and_then_none(mount, emulator):
    """Listing costs nothing, a first grep one record and one content a file, everything after it nothing."""
    emulator.behaviour.requests_per_minute = 10_000
    ids = [add(emulator.corpus, f"line {n} NEEDLE\n".encode()) for n in range(300)]
    with mount(emulator, "--max-rpm", "10000", ids=ids) as mounted:
        assert 300 == len(run(["ls", "-l", mounted.path]).stdout.splitlines()) - 1
        assert {} == _asked(emulator)
        grep = ["grep", "-r", "NEEDLE", mounted.path]
        assert 300 == len(run(grep).stdout.splitlines())
        assert {"metadata": 300, "content": 300} == _asked(emulator)
        assert 300 == len(run(grep).stdout.splitlines())
        assert {"metadata": 300, "content": 300} == _asked(emulator)
    emulator.log.reset()
    with mount(emulator) as mounted:
        assert 300 == len(run(["grep", "-r", "NEEDLE", mounted.path]).stdout.splitlines())
        assert {} == _asked(emulator)
    with mount(None, "--offline") as mounted:
        assert 300 == len(run(["grep", "-r", "NEEDLE", mounted.path]).stdout.splitlines())
    assert {} == _asked(emulator)


def test_extended_attributes_come_from_memory(mount, emulator):
    """Type, id, hashes and whether they were verified can be read, and that downloads nothing."""
    body = b"hello"
    file_id = add(emulator.corpus, body)
    with mount(emulator, ids=[file_id]) as mounted:
        path = mounted.path / file_id / "a.txt"
        assert {
            "user.mime_type",
            "user.claude.file_id",
            "user.claude.md5",
            "user.claude.verified",
        } == set(os.listxattr(path))
        assert b"no" == os.getxattr(path, "user.claude.verified")
        assert 0 == emulator.log.count("content")
        path.read_bytes()
        assert b"yes" == os.getxattr(path, "user.claude.verified")
        assert hashlib.sha256(body).hexdigest().encode() == os.getxattr(path, "user.claude.sha256")
        assert 0 == run(["getfattr", "-d", path]).returncode


def test_inodes_are_stable_across_mounts(mount, emulator):
    """A report that names an inode stays right."""
    ids = [add(emulator.corpus, b"1"), add(emulator.corpus, b"2")]

    def inodes(root: Path) -> dict[str, int]:
        return {str(p.relative_to(root)): p.stat().st_ino for p in sorted(root.rglob("*"))}

    with mount(emulator, ids=ids) as mounted:
        first = inodes(mounted.path)
    with mount(emulator) as mounted:
        assert first == inodes(mounted.path)
    assert len(first) == len(set(first.values()))


def test_the_status_file_can_be_read_and_is_never_listed(mount, emulator):
    """.fsmount/status.json answers without being in any listing."""
    with mount(emulator, ids=["claude_file_01x"]) as mounted:
        path = mounted.path / ".fsmount" / "status.json"
        status = json.loads(path.read_bytes())
        assert 1 == status["files"]
        assert "reachable" == status["service"]["state"]
        assert path.stat().st_size == len(path.read_bytes())
        assert [b"claude_file_01x"] == os.listdir(os.fsencode(mounted.path))
        assert emulator.read_key not in path.read_text()


def test_df_and_statfs_answer_from_memory(mount, emulator):
    """The tree has no blocks of its own."""
    with mount(emulator, ids=["claude_file_01x"]) as mounted:
        answer = os.statvfs(mounted.path)
        assert (0, 1, 255) == (answer.f_blocks, answer.f_files, answer.f_namemax)


def test_nothing_can_be_changed(mount, emulator):
    """Writing, creating, renaming, linking, chmod and deleting are refused by the kernel itself."""
    file_id = add(emulator.corpus, b"x")
    script = f"""
    for command in "touch {file_id}/new" "mkdir new" "mv {file_id}/a.txt {file_id}/b.txt" \
        "ln -s x link" "chmod 600 {file_id}/a.txt" "rm -f {file_id}/a.txt" "rm -rf {file_id}" \
        "truncate -s 0 {file_id}/a.txt" "setfattr -n user.x -v y {file_id}/a.txt"; do
        $command 2>/dev/null && echo "allowed: $command"
    done; true
    """
    with mount(emulator, ids=[file_id]) as mounted:
        assert "" == shell(script, cwd=mounted.path).stdout
    assert 0 == emulator.log.count("delete")


def _asked(emulator: RunningEmulator) -> dict[str, int]:
    return {kind: count for kind, count in emulator.log.counts().items() if count}
