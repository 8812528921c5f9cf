"""Full and read-only disks: every command says so in one line and ends with 1."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cases import make_case
from tests.support.mounts import run

KEY = "sk-ant-api01-not-a-real-key"
REPOSITORY = Path(__file__).parents[2]

# The disk is there for this script only, and gone with it, however it ends.
_SCRIPT = """
set -e
disk=$1 case=$2 state=$3
shift 3
mount -t tmpfs -o size=400k tmpfs "$disk"
[ -z "$case" ] || cp -a "$case" "$disk/case"
case $state in
    full) cat /dev/zero >"$disk/rest" 2>/dev/null || true ;;
    read-only) mount -o remount,ro "$disk" ;;
esac
exec "$@"
"""

_SAID = {"full": ("No space left on device", "is full; make room"), "read-only": ("ead-only",)}
_COMMANDS = {
    "mount": ["mount", "{case}", "{mountpoint}", "-f", "--key-file", "{key}"],
    "mount in the background": ["mount", "{case}", "{mountpoint}", "--key-file", "{key}"],
    "collect": ["collect", "{case}", "--key-file", "{key}"],
    "verify": ["verify", "{case}"],
    "export": ["export", "{case}", "{out}", "--format", "bagit", "--key-file", "{key}"],
}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Return where things are: a case on the disk, another one elsewhere, and a service that nobody runs."""
    for name in ("disk", "mnt"):
        (tmp_path / name).mkdir()
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    make_case(tmp_path / "elsewhere", {"a.txt": b"hello" * 20000, "b.txt": b"world" * 100})
    return {
        "disk": str(tmp_path / "disk"),
        "case": str(tmp_path / "disk/case"),
        "elsewhere": str(tmp_path / "elsewhere"),
        "mountpoint": str(tmp_path / "mnt"),
        "out": str(tmp_path / "out"),
        "key": str(key),
    }


def on_disk(
    state: str, command: list[str], places: dict[str, str], *, copied: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of fsmount where the disk is full or read-only, with a case copied onto it before."""
    words = [word.format(**places) for word in command]
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    environment = ["env", "-C", str(REPOSITORY), "FSMOUNT_BASE_URL=http://127.0.0.1:9"]
    fsmount = [*environment, sys.executable, "-m", "fsmount", *words]
    script = ["sh", "-c", _SCRIPT, "sh", places["disk"], copied, state]
    return run(["unshare", "--mount", "--fork", "--kill-child", *as_root, *script, *fsmount])


def assert_one_line(done: subprocess.CompletedProcess[bytes], state: str, place: str) -> None:
    said = done.stderr.decode()
    assert (1, b"", 1) == (done.returncode, done.stdout, said.count("\n")), said
    assert said.startswith("fsmount: ")
    assert place in said
    assert any(words in said for words in _SAID[state]), said
    assert KEY not in said


@pytest.mark.parametrize("state", _SAID)
@pytest.mark.parametrize("command", _COMMANDS)
def test_a_case_there(places: dict[str, str], state: str, command: str):
    """What reads a case needs the disk too, for the files that SQLite keeps beside its own."""
    done = on_disk(state, _COMMANDS[command], places, copied=places["elsewhere"])
    assert_one_line(done, state, places["case"])


@pytest.mark.parametrize("state", _SAID)
@pytest.mark.parametrize("command", ["mount", "collect"])
def test_a_new_case_there(places: dict[str, str], state: str, command: str):
    """The first use fails with the place and the reason."""
    assert_one_line(on_disk(state, _COMMANDS[command], places, copied=""), state, places["case"])


@pytest.mark.parametrize("state", _SAID)
@pytest.mark.parametrize("form", ["bagit", "hashdeep", "dfxml"])
def test_an_export_to_there(places: dict[str, str], state: str, form: str):
    """The case is elsewhere; what is exported has no room."""
    command = ["export", "{elsewhere}", "{disk}/out", "--format", form, "--offline"]
    assert_one_line(on_disk(state, command, places, copied=""), state, f"{places['disk']}/out")
