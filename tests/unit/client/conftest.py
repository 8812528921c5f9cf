"""The fronts of the client, so that what holds for all of them is said once."""

import pytest

from tests.support.fronts import Front


@pytest.fixture(params=["ordinary", "trio", "asyncio"])
def front(request: pytest.FixtureRequest) -> Front:
    """Return each front in turn."""
    return Front(request.param)


@pytest.fixture(params=["ordinary", "trio"])
def patient_front(request: pytest.FixtureRequest) -> Front:
    """Return each front whose clock can be made to pass; asyncio has none of that kind."""
    return Front(request.param)
