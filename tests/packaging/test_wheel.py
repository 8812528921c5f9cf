"""What is built for those who install it."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build as `make dist` does."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return directory


def test_the_wheel_holds_the_programs_and_their_pages(built: Path):
    """The packages, both programs and the manual pages where pipx looks for them; no test."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        programs = archive.read(entry_points).decode()
    assert "fsmount = fsmount.__main__:main" in programs
    assert "mount.fsmount = fsmount.fstab:main" in programs
    shared = {name.partition(".data/data/")[2] for name in names if ".data/" in name}
    assert {"share/man/man1/fsmount.1", "share/man/man8/mount.fsmount.8"} == shared
    assert {"client", "fsmount"} == {name.partition("/")[0] for name in names if "-" not in name}
    assert "fsmount/py.typed" in names


def test_the_source_distribution_can_be_worked_with(built: Path):
    """Units, scripts, locks and tests are in it."""
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "Makefile",
        "fsmount/man/fsmount.1",
        "requirements.lock",
        "scripts/setup",
        "scripts/test-tools",
    }
    assert wanted | {"systemd/system/fsmount@.service", "tests/packaging/test_wheel.py"} <= names
