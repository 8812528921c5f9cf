"""Fixtures around the emulator, to be imported by the `conftest.py` that wants them."""

from collections.abc import Iterator

import pytest

from fsmount.demo.samples import demo_corpus

from .emulator import RunningEmulator


@pytest.fixture
def emulator() -> Iterator[RunningEmulator]:
    """Yield a running emulator with an empty corpus."""
    with RunningEmulator() as running:
        yield running


@pytest.fixture
def demo_emulator() -> Iterator[RunningEmulator]:
    """Yield a running emulator with the corpus of the demonstration."""
    with RunningEmulator(demo_corpus()) as running:
        yield running
