"""Fixtures for tests on real mounts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.emulator import RunningEmulator
from tests.support.fixtures import demo_emulator, emulator
from tests.support.mounts import MountedProcess

__all__ = ["demo_emulator", "emulator"]

Mount = Callable[..., MountedProcess]


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    """Return a function that prepares a mount of an emulator's files; use its result with `with`."""

    def prepare(
        emulator: RunningEmulator | None,
        *options: str,
        ids: Sequence[str] | None = None,
        case: str = "case",
        key: str | None = None,
        may_log: Sequence[str] = (),
        url: str | None = None,
    ) -> MountedProcess:
        settings = list(options)
        if emulator is not None:
            settings += ["--base-url", url or emulator.url]
            key = key or emulator.read_key
        if ids is not None:
            ids_file = tmp_path / "ids"
            ids_file.write_text("".join(f"{file_id}\n" for file_id in ids))
            settings += ["--ids-file", str(ids_file)]
        return MountedProcess(
            tmp_path / case, tmp_path / "mnt", *settings, key=key, may_log=may_log
        )

    return prepare
