"""For tests of the command line: what stands for the module that a command runs, in its own surroundings."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Generic, TypeVar

import pytest

from fsmount.config import KEY_VARIABLE

KEY = "sk-ant-api01-not-a-real-key"

Settings = TypeVar("Settings")


class Room(Generic[Settings]):
    """Keeps what it was told, and ends as it was told to."""

    def __init__(self) -> None:
        self.told: list[Settings] = []
        self.error: BaseException | None = None
        self.code = 0

    def run(self, settings: Settings) -> int:
        """Do as the room's own `run`."""
        self.told.append(settings)
        if self.error:
            raise self.error
        return self.code

    @property
    def settings(self) -> Settings:
        """What it was told, once."""
        (settings,) = self.told
        return settings

    def stand_in_for(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of a module, with a key in the environment."""
        module = ModuleType(name)
        module.run = self.run  # type: ignore[attr-defined]  # what the command line calls
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setenv(KEY_VARIABLE, KEY)


@contextmanager
def clean_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the environment of whoever runs the tests out, and leave logging as it was."""
    for name in list(os.environ):
        if name.startswith(("FSMOUNT_", "ANTHROPIC_")) or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
