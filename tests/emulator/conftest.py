"""Fixtures of the emulator's own tests."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.emulator import RunningEmulator
from tests.support.fixtures import demo_emulator, emulator

__all__ = ["demo_emulator", "emulator", "http"]


@pytest.fixture
def http(emulator: RunningEmulator) -> Iterator[httpx.Client]:
    """Yield a plain HTTP client that carries the read key."""
    headers = {"x-api-key": emulator.read_key}
    with httpx.Client(base_url=emulator.url, headers=headers, timeout=5) as plain:
        yield plain
