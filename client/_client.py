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
from client._pace import Budget, Stats
from client._transport import AsyncTransport, Options, Transport

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
    if not api_key or api_key != api_key.strip() or not api_key.isascii() or "\n" in api_key:
        raise ValueError("the API key is empty or has characters that no key has")
    try:
        version = metadata.version("fsmount")
    except metadata.PackageNotFoundError:
        version = "0"
    return Options(
        api_key=api_key,
        base_url=base_url.rstrip("/"),
        timeout_s=timeout,
        max_rpm=max_rpm,
        max_retries=max_retries,
        max_wait_s=max_wait_s,
        user_agent=f"fsmount/{version}",
    )


class AsyncComplianceClient:
    """The Compliance API under trio or asyncio; an async context manager.

    Units: `timeout` is the longest silence, in seconds; `max_rpm` requests a minute, None: as many as the
    server's own headers allow; `max_wait_s` the longest wait for budget or before a retry, None: any.
    Errors: ValueError for an impossible key.
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    @property
    def budget(self) -> Budget:
        """The request budget as it is known now."""
        return self._transport.budget()

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
    def stats(self) -> Stats:
        """How many requests were sent."""
        return self._transport.stats
