"""Forensic and everyday tools agree between the mount and a plain directory of the same files."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import RunningEmulator
from tests.support.faults import cut_after
from tests.support.mounts import run, shell

NEEDLE = b"NEEDLE-7731"

# What records may leave open.
UNTOLD: list[dict[str, Any]] = [
    {},
    {"size_bytes": None},
    {"md5": None},
    {"size_bytes": None, "md5": None},
]

# Tools run in the directory $1 and print what does not depend on where it is.
COMMANDS = {
    "sha256sum": "find . -type f -print0 | sort -z | xargs -0 sha256sum",
    "grep": "grep -rc NEEDLE-7731 . | sort",
    "rg": "rg --no-config -uu -c NEEDLE-7731 . | sort",
    "tar": 'tar -c --sort=name --owner=0 --group=0 --mode=a=r --mtime=@0 . | tar -x -C "$OUT"',
    "tar -S": 'tar -cS --sort=name . | tar -x -C "$OUT"',
    "cp": 'cp -r . "$OUT/"',
    "rsync": 'rsync -rc . "$OUT/"',
    "zip": 'zip -qr "$OUT/a.zip" . && cd "$OUT" && unzip -q a.zip && rm a.zip',
    "7z": '7z a -bd -y "$OUT/a.7z" . >/dev/null && cd "$OUT" && 7z x -bd -y a.7z >/dev/null && rm a.7z',
    "hashdeep": "hashdeep -c md5,sha256 -r -l . | grep -v '^##' | grep -v '^%%%%' | sort",
    "md5deep": "md5deep -r -l -z . | sort",
    "wc": "find . -type f -print0 | sort -z | xargs -0 wc -c",
    "tail": "find . -type f -print0 | sort -z | xargs -0 -n1 tail -c 20 | sha256sum",
    "cmp": "find . -type f -print0 | sort -z | xargs -0 -I{} cat {} | sha256sum",
    "file": "find . -type f -print0 | sort -z | xargs -0 file",
    "find -empty": "find . -type f -empty | sort",
    "du": "find . -type f -print0 | xargs -0 du -b | sort",
    "yara": 'yara -r "$RULE" . 2>/dev/null | sort',
    "dd": 'for f in */*; do dd if="$f" bs=512 skip=3 2>/dev/null; done | sha256sum',
    "python mmap": (
        "python3 -c 'import hashlib,mmap,os,pathlib\n"
        'for p in sorted(pathlib.Path().rglob("*")):\n'
        "  if p.is_file() and p.stat().st_size:\n"
        '    f = open(p, "rb"); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n'
        "    print(p, hashlib.sha256(m).hexdigest())'"
    ),
    "python tarfile": (
        "python3 -c 'import tarfile,sys\n"
        't = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")\n'
        't.add(".")\nt.close()\' | tar -x -C "$OUT"'
    ),
}


@pytest.fixture
def bodies(emulator: RunningEmulator) -> dict[str, bytes]:
    """Add files of known and of unknown size; return their contents by path."""
    found = {}
    for number, fields in enumerate(UNTOLD):
        for name, body in {
            "text.txt": b"line\n" * 40_000 + NEEDLE + b"\n",
            "random.bin": os.urandom(300_000 + number),
            "empty.txt": b"",
            "\u00fcber \u6982.csv": NEEDLE + b",1\r\n" * 9,
        }.items():
            file_id = emulator.corpus.add_file(
                body, filename=name, mime_type="application/octet-stream", **fields
            )
            found[f"{file_id}/{name}"] = body
    return found


def digests(directory: Path) -> dict[str, str]:
    """Return the hashes of all files below a directory, without the records."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "meta.json"
    }


def outcome(script: str, directory: Path, out: Path, rule: Path) -> tuple[int, str, dict[str, str]]:
    """Run a command in a directory; return its exit code, its output and the files it wrote."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    done = shell(f"set -o pipefail; export OUT={out} RULE={rule}; {script}", cwd=directory)
    return done.returncode, done.stdout, digests(out)


def test_tools_agree_with_a_plain_directory(mount, emulator, bodies, tmp_path):
    """Every tool says the same about the mount, read for the first time by it, as about plain copies."""
    plain = tmp_path / "plain"
    for path, body in bodies.items():
        (plain / path).parent.mkdir(parents=True)
        (plain / path).write_bytes(body)
    rule = tmp_path / "rule.yar"
    rule.write_text('rule needle { strings: $a = "NEEDLE-7731" condition: $a }')
    ids = sorted({path.split("/")[0] for path in bodies})
    with mount(emulator, ids=ids) as mounted:
        for file_id in ids:
            shutil.copy(mounted.path / file_id / "meta.json", plain / file_id / "meta.json")
    for tool, script in COMMANDS.items():
        expected = outcome(script, plain, tmp_path / "out", rule)
        assert 0 == expected[0], f"{tool} failed on the plain directory: {expected}"
        shutil.rmtree(tmp_path / "case")
        with mount(emulator, ids=ids) as mounted:
            assert expected == outcome(script, mounted.path, tmp_path / "out", rule), tool
    assert emulator.log.count("content") <= len(bodies) * len(COMMANDS)


def test_a_hashdeep_audit_of_the_mount_is_clean(mount, emulator, bodies, tmp_path):
    """Hashes taken of the mount audit clean against it, and against the sources."""
    ids = sorted({path.split("/")[0] for path in bodies})
    with mount(emulator, ids=ids) as mounted:
        done = shell(
            f"hashdeep -c md5,sha256 -r -l . > {tmp_path}/known; hashdeep -a -vv -k {tmp_path}/known -r -l .",
            cwd=mounted.path,
        )
        assert (0, True) == (done.returncode, "Audit passed" in done.stdout), done.stdout


@pytest.fixture(scope="module")
def signature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a signature database of our own that finds the needle."""
    path = tmp_path_factory.mktemp("clam") / "own.ndb"
    path.write_text(f"Own.Needle:0:*:{NEEDLE.hex()}\n")
    return path


def clamscan(signature: Path, path: Path) -> subprocess.CompletedProcess[bytes]:
    """Scan one file."""
    return run(["clamscan", "--no-summary", "-d", signature, path], timeout_s=60)


@pytest.mark.parametrize("fields", [{}, {"size_bytes": None}])
def test_clamscan_finds_its_signature_and_never_calls_a_failed_file_ok(
    mount, emulator, signature, fields
):
    """A scanner must not say OK for a file whose download fails: it can't even open it."""
    good, bad = (
        emulator.corpus.add_file(
            b"x" * 200_000 + NEEDLE, filename="s.bin", mime_type="text/plain", **fields
        )
        for _ in range(2)
    )
    emulator.faults.add(cut_after(100_000), path=f"{bad}/content", times=None)
    with mount(emulator, "--timeout", "8", ids=[good, bad], may_log=[bad]) as mounted:
        found = clamscan(signature, mounted.path / good / "s.bin")
        assert (1, True) == (found.returncode, b"Own.Needle" in found.stdout)
        failed = clamscan(signature, mounted.path / bad / "s.bin")
        assert b": OK" not in failed.stdout
        assert 0 != failed.returncode
