"""Both clients behind one face, so that what holds for both is tested once.

The ordinary one and the async one under trio run on clocks that pass as soon as somebody waits.
"""

import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import trio
import trio.testing

from client._transport import Clock

from .network import Network


class FakeClock(Clock):
    """Passes as soon as somebody waits."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wait(self, event: threading.Event, timeout_s: float) -> None:
        if not event.is_set():
            self.time += timeout_s


class Family:
    """One family of endpoints of either client; every method is awaited."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: object, **kwargs: object) -> Any:
            result = getattr(self._family, name)(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return call

    async def steps(self, file_id: str, **options: Any) -> list[bytes]:
        """Step through a download stream to its end."""
        stream = self._family.download_stream(file_id, **options)
        if hasattr(stream, "__anext__"):
            return [chunk async for chunk in stream]
        return list(stream)


class Api:
    """Either client, used alike; `now()` is its clock."""

    def __init__(self, client: Any, now: Callable[[], float]) -> None:
        self.client = client
        self.now = now
        self.files = Family(client.files)
        self.generated_files = Family(client.generated_files)
        self.artifacts = Family(client.artifacts)


class Front:
    """Runs `work(api)` with a fresh client of one kind on a scripted network."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def run(self, network: Network, work: Callable[[Api], Awaitable[Any]], **options: Any) -> Any:
        if self.kind == "ordinary":
            return trio.run(self._ordinarily, network, work, options)
        if self.kind == "trio":
            clock = trio.testing.MockClock(autojump_threshold=0)
            return trio.run(self._asynchronously, network, work, options, clock=clock)
        return anyio.run(self._asynchronously, network, work, options, backend=self.kind)

    @staticmethod
    async def _ordinarily(network: Network, work: Any, options: dict[str, Any]) -> Any:
        with network.client(**options) as client:
            clock = client._transport._clock = FakeClock()
            return await work(Api(client, clock.now))

    @staticmethod
    async def _asynchronously(network: Network, work: Any, options: dict[str, Any]) -> Any:
        async with network.async_client(**options) as client:
            return await work(Api(client, anyio.current_time))
