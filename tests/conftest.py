"""Fixtures for every test: async tests run under trio."""

import functools
import inspect
from typing import cast

import pytest
import trio
import trio.testing


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Return a clock that jumps over every wait; not at once, so that threads can finish first."""
    return trio.testing.MockClock(autojump_threshold=0.01)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function):
    """Run `async def` tests with trio, on the mock clock where the test asks for it."""
    test = pyfuncitem.obj
    if inspect.iscoroutinefunction(test):
        clock = pyfuncitem.funcargs.get("autojump_clock")

        @functools.wraps(test)
        def run(**arguments: object) -> None:
            trio.run(
                functools.partial(test, **arguments), clock=cast("trio.abc.Clock | None", clock)
            )

        pyfuncitem.obj = run
    return (yield)
