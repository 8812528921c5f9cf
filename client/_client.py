"""The two clients: one object that holds the key, the connections and the request budget."""

from importlib import metadata
from typing import Self

import httpx

from client._files import (
    Artifacts,
    AsyncArtifacts,
    AsyncFiles,
    AsyncGeneratedFiles,
    Files,
    GeneratedFiles,
)
from client._judge import Options
from client._pace import Budget, Stats
from client._pages import AsyncPages, Pages
from client._transport import AsyncTransport, Transport

DEFAULT_BASE_URL = "https://api.anthropic.com"
DEFAULT_MAX_DOWNLOAD_BYTES = 256 << 20


def _options(
    api_key: str,
    base_url: str,
    timeout: float,
    max_rpm: int | None,
    max_retries: int,
    max_wait_s: float | None,
) -> Options:
    if not api_key or not all("!" <= char <= "~" for char in api_key):
        raise ValueError("the API key is empty or has characters that no key has")
    if not timeout > 0 or max_retries < 0 or (max_wait_s is not None and max_wait_s < 0):
        raise ValueError("timeout must be above 0; max_retries and max_wait_s can't be below 0")
    try:
        version = metadata.version("fsmount")
    except metadata.PackageNotFoundError:
        version = "0"
    return Options(
        api_key=api_key,
        base_url=_checked_url(base_url),
        timeout_s=timeout,
        max_rpm=max_rpm,
        max_retries=max_retries,
        max_wait_s=max_wait_s,
        user_agent=f"fsmount/{version}",
    )


def _checked_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"not a base URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise ValueError("a base URL is http(s)://host[:port][/path], without query or fragment")
    return base_url.rstrip("/")


class AsyncComplianceClient:
    """The Compliance API under trio or asyncio; an async context manager.

    Units: `timeout` is the longest silence, in seconds; `max_rpm` requests a minute, None: as many as the
    server's own headers allow; `max_wait_s` how long after its beginning a call may still wait, for budget
    or before a retry, None: as long as it takes; `max_download_bytes` the most that `download` takes into
    memory.
    Shape: `transport` replaces the network, for tests.
    Errors: ValueError for an impossible key, URL or bound.
    """

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = DEFAULT_BASE_URL,
        timeout: float = 60.0,
        max_download_bytes: int = DEFAULT_MAX_DOWNLOAD_BYTES,
        max_rpm: int | None = None,
        max_retries: int = 4,
        max_wait_s: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        options = _options(api_key, base_url, timeout, max_rpm, max_retries, max_wait_s)
        self._transport = AsyncTransport(options, transport)
        self.files = AsyncFiles(self._transport, max_download_bytes)
        self.generated_files = AsyncGeneratedFiles(self._transport, max_download_bytes)
        self.artifacts = AsyncArtifacts(self._transport, max_download_bytes)
        self.pages = AsyncPages(self._transport)

    async def __aenter__(self) -> Self:
        await self.warm_up()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def warm_up(self) -> None:
        """Load what the first request would load, 40 to 60 ms; nothing is sent."""
        await self._transport.warm_up()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    @property
    def budget(self) -> Budget:
        """The request budget as it is known now; to be asked inside the event loop."""
        return self._transport.budget()

    @property
    def clock_ahead_s(self) -> float | None:
        """How many seconds this machine's clock is ahead of the server's; None before an answer told.

        The server tells whole seconds, and its answer was on its way: a second or two mean nothing.
        """
        return self._transport.clock_ahead_s

    @property
    def stats(self) -> Stats:
        """How many requests were sent."""
        return self._transport.stats


class ComplianceClient:
    """The Compliance API for ordinary code; a context manager, usable from several threads.

    Units and errors as for `AsyncComplianceClient`.
    """

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = DEFAULT_BASE_URL,
        timeout: float = 60.0,
        max_download_bytes: int = DEFAULT_MAX_DOWNLOAD_BYTES,
        max_rpm: int | None = None,
        max_retries: int = 4,
        max_wait_s: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        options = _options(api_key, base_url, timeout, max_rpm, max_retries, max_wait_s)
        self._transport = Transport(options, transport)
        self.files = Files(self._transport, max_download_bytes)
        self.generated_files = GeneratedFiles(self._transport, max_download_bytes)
        self.artifacts = Artifacts(self._transport, max_download_bytes)
        self.pages = Pages(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    @property
    def budget(self) -> Budget:
        """The request budget as it is known now."""
        return self._transport.budget()

    @property
    def clock_ahead_s(self) -> float | None:
        """How many seconds this machine's clock is ahead of the server's; None before an answer told.

        The server tells whole seconds, and its answer was on its way: a second or two mean nothing.
        """
        return self._transport.clock_ahead_s

    @property
    def stats(self) -> Stats:
        """How many requests were sent."""
        return self._transport.stats
