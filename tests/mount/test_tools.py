"""Forensic and everyday tools agree between the mount and a plain directory of the same files."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.collecting import collect
from tests.support.emulator import RunningEmulator
from tests.support.exhibits import ARTIST, LEDGER_TOTAL, NEEDLE, SENTENCE, exhibits
from tests.support.faults import cut_after
from tests.support.mounts import run, shell, wait_until

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


ALL = 10  # files among the exhibits
NOT_EMPTY = 9  # some tools do not even open an empty file
COPIES = "notes.txt"  # of which there are two


class Tool(NamedTuple):
    """A command as above, words that its output must have, and the requests of its first run."""

    script: str
    says: str
    requests: int


# Over a collected case, so that records cost nothing: one request for each file that a tool reads.
WALKERS = {
    "hashdeep -r": Tool("hashdeep -c md5,sha256 -r -l . | grep -v '^[#%]' | sort", COPIES, ALL),
    "ssdeep -r": Tool("ssdeep -r -l . | sort", COPIES, ALL),
    "fdupes -r": Tool("fdupes -r . | sort", COPIES, 2),
    "rg": Tool("rg --no-config -uu -c NEEDLE-7731 . | sort", COPIES, ALL),
    "yara -r": Tool('yara -r "$RULE" . 2>/dev/null | sort', COPIES, ALL),
    "clamscan -r": Tool(
        '(clamscan -r --no-summary -d "$SIGNATURE" . || [ $? = 1 ]) | sed "s|^$PWD/||" | sort',
        "Own.Needle",
        NOT_EMPTY,
    ),
    "exiftool -r": Tool(
        "(exiftool -r -q -q -csv -FileType -FileModifyDate -Artist . || [ $? = 1 ]) | sort",
        ARTIST,
        ALL - 3,  # it takes files of unknown extensions for nothing that it can read
    ),
    "file": Tool(
        "find . -type f -print0 | sort -z | xargs -0 file", "SQLite 3.x database", NOT_EMPTY
    ),
    "rsync -rc": Tool('rsync -rc . "$OUT/"', "", ALL),
    "tar": Tool('tar -c --sort=name . >"$OUT/a.tar"', "", ALL),  # to the last byte, dates and all
    "7z": Tool(
        '7z a -bd -y "$OUT/a.7z" claude_* >&2 && cd "$OUT" && 7z x -bd -y a.7z >&2 && rm a.7z',
        "",
        NOT_EMPTY,
    ),
    "zip": Tool('zip -qry "$OUT/a.zip" . && cd "$OUT" && unzip -q a.zip && rm a.zip', "", ALL),
}
# Each of these reads a file of its own, so they share a mount.
READERS = {
    "sqlite3": Tool(
        'sqlite3 "file:$(realpath */ledger.sqlite)?mode=ro&immutable=1"'
        " 'PRAGMA mmap_size = 268435456; PRAGMA integrity_check; SELECT sum(amount) FROM ledger'",
        f"ok\n{LEDGER_TOTAL}",
        1,
    ),
    "pdftotext": Tool("pdftotext */policy.pdf -", SENTENCE, 1),
    "foremost": Tool(
        'foremost -Q -t png,pdf -i */disk.img -o "$OUT/carved" && sed -n "s/^\\(Num\\|[0-9]*:\\)//p"'
        ' "$OUT/carved/audit.txt" && rm "$OUT/carved/audit.txt"',
        "00000800.pdf",
        1,
    ),
    "dcfldd": Tool(
        'dcfldd if="$(echo */random.bin)" of="$OUT/copy" hash=md5,sha256 statusinterval=0 2>&1',
        "Total (sha256): 48b91712962cd6ceec7e0334f7ffa870604cd6a0e0775ed56831df8b95a854f5",
        1,
    ),
    "cmp": Tool('cp */scan.png "$OUT/" && cmp */scan.png "$OUT/scan.png" && echo same', "same", 1),
}


@pytest.fixture
def bodies(emulator: RunningEmulator) -> dict[str, bytes]:
    """Add files of known and of unknown size; return their contents by path."""
    emulator.behaviour.requests_per_minute = 10_000  # for many mounts, one after the other
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


def outcome(
    script: str, directory: Path, out: Path, rule: Path, signature: Path | None = None
) -> tuple[int, str, dict[str, str]]:
    """Run a command in a directory; return its exit code, its output and the files it wrote."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    given = f"export OUT={out} RULE={rule} SIGNATURE={signature}"
    done = shell(f"set -o pipefail; {given}; {script}", cwd=directory)
    return done.returncode, done.stdout, digests(out)


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    """Write a rule for yara that finds the needle."""
    path = tmp_path / "rule.yar"
    path.write_text(f'rule needle {{ strings: $a = "{NEEDLE.decode()}" condition: $a }}')
    return path


def test_tools_agree_with_a_plain_directory(mount, emulator, bodies, rule, tmp_path):
    """Every tool says the same about the mount, read for the first time by it, as about plain copies."""
    plain = tmp_path / "plain"
    for path, body in bodies.items():
        (plain / path).parent.mkdir(parents=True)
        (plain / path).write_bytes(body)
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


def test_forensic_tools_find_what_is_known_to_be_there(mount, emulator, rule, signature, tmp_path):
    """Over a collected case: as over plain copies, with one request a file at first and none again."""
    case, plain = collect_exhibits(mount, emulator, tmp_path)
    for tools in [*({name: tool} for name, tool in WALKERS.items()), READERS]:
        shutil.rmtree(tmp_path / "case")
        shutil.copytree(case, tmp_path / "case")
        with mount(emulator) as mounted:
            for name, tool in tools.items():
                emulator.log.reset()
                expected = outcome(tool.script, plain, tmp_path / "out", rule, signature)
                assert (0, True) == (expected[0], tool.says in expected[1]), (name, expected)
                for requests in (tool.requests, 0):
                    found = outcome(tool.script, mounted.path, tmp_path / "out", rule, signature)
                    assert expected == found, name
                    asked = asked_for(mounted, emulator)
                    # Tools that read one file each, one after the other, may look like a walk.
                    assert asked == requests or (len(tools) > 1 and asked < requests), name
                    emulator.log.reset()


def asked_for(mounted, emulator: RunningEmulator) -> int:
    """Return how many contents a tool asked for, without those that were fetched ahead and not read."""

    def ahead() -> dict[str, int]:
        counters: dict[str, int] = json.loads(
            (mounted.path / ".fsmount" / "status.json").read_bytes()
        )["ahead"]
        return counters

    wait_until(lambda: ahead()["under_way"] == 0, within_s=5)
    counts = emulator.log.counts()
    assert set(counts) <= {"content"}
    return counts["content"] - ahead()["unread"] if counts else 0


def collect_exhibits(mount, emulator: RunningEmulator, place: Path) -> tuple[Path, Path]:
    """Collect a chat with the exhibits; return the case, and a plain copy of its tree."""
    emulator.behaviour.requests_per_minute = 10_000
    corpus, bodies = emulator.corpus, exhibits(place)
    assert ALL == len(bodies)
    ids = {
        corpus.add_file(body, filename=name, mime_type="application/octet-stream"): name
        for name, body in bodies.items()
    }
    chat = corpus.add_chat("Exhibits", user=corpus.add_user("ana@example.com", "Ana"))
    corpus.add_message(chat, "look", files=list(ids))
    collect(emulator, place / "case")
    shutil.copytree(place / "case", place / "collected")
    with mount(emulator) as mounted:
        assert 0 == run(["cp", "-a", mounted.path, place / "plain"]).returncode
    for file_id, name in ids.items():
        assert bodies[name] == (place / "plain" / file_id / name).read_bytes()
    return place / "collected", place / "plain"


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
