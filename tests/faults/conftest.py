"""Fixtures for tests of faults on real mounts."""

from tests.mount.conftest import mount
from tests.support.fixtures import demo_emulator, emulator

__all__ = ["demo_emulator", "emulator", "mount"]
