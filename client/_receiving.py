"""Bodies of answers, read honestly: as they come, undecoded, and an end only where there is one."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import anyio
import httpx

from client._body import Check
from client._errors import TruncatedError
from client._failures import FAILURES, interrupted

_DRAIN_STEPS = 10_000


class _Reading:
    """What is known of a body being read, for both kinds."""

    def __init__(self, response: httpx.Response, about: str, check: Check) -> None:
        self.request_id: str | None = response.headers.get("request-id")
        self._response = response
        self._about = about
        self._check = check
        self._has_ended = False
        self._is_broken = False

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """Let a body that was given up stay so, whatever kept it from its end."""
        # The library's iterators just end when they are used again after a failure or a cancellation; that
        # must never look like the end of the body.
        if self._is_broken:
            what = f"{self._about}: the body was given up before its end"
            raise TruncatedError(what, request_id=self.request_id)
        try:
            yield
        except FAILURES as error:
            self._is_broken = True
            raise interrupted(error, self._about, self.request_id) from error
        except BaseException:
            self._is_broken = True
            raise


class AsyncBody(_Reading):
    """The body of one response, checked while it comes.

    Units: `chunk_size` in bytes, the most that `receive` returns; None: as it comes from the wire.
    """

    def __init__(
        self, response: httpx.Response, about: str, check: Check, chunk_size: int | None = None
    ) -> None:
        super().__init__(response, about, check)
        self._chunks: AsyncIterator[bytes]
        # An injected transport may answer from memory; the library has "streamed" that body already.
        if response.is_stream_consumed:
            self._chunks = response.aiter_bytes(chunk_size)
        elif chunk_size is None and isinstance(response.stream, httpx.AsyncByteStream):
            self._chunks = aiter(response.stream)  # as it comes, without one more layer
        else:
            self._chunks = response.aiter_raw(chunk_size)

    async def receive(self) -> bytes:
        """Return the next bytes; b"" after a proper end that passed its check, and only then.

        Errors: of the check; TruncatedError, APITimeoutError, APIConnectionError. Once one was raised, or
        the call was cancelled, it is TruncatedError for ever.
        """
        with self._going_on():
            async for chunk in self._chunks:
                if chunk:
                    self._check.take(chunk)
                    return chunk
            self._check.finish()
        self._has_ended = True
        return b""

    async def aclose(self) -> None:
        """Close the connection at once; what is left of the body is not waited for."""
        self._is_broken = self._is_broken or not self._has_ended
        with anyio.CancelScope(shield=True):  # closing never waits for the peer
            await self._response.aclose()
            # The library's iterators are nested async generators; dropped half-way, each would need a task
            # and under trio a warning to be finished. On a closed connection they run to their end at once.
            with contextlib.suppress(Exception):
                for _ in range(_DRAIN_STEPS):
                    await anext(self._chunks)


class Body(_Reading):
    """The body of one response, checked while it comes, for ordinary code; see `AsyncBody`."""

    def __init__(
        self, response: httpx.Response, about: str, check: Check, chunk_size: int | None = None
    ) -> None:
        super().__init__(response, about, check)
        is_read = response.is_stream_consumed
        self._chunks = (response.iter_bytes if is_read else response.iter_raw)(chunk_size)

    def receive(self) -> bytes:
        """Return the next bytes; b"" after a proper end only; see `AsyncBody.receive`."""
        with self._going_on():
            for chunk in self._chunks:
                if chunk:
                    self._check.take(chunk)
                    return chunk
            self._check.finish()
        self._has_ended = True
        return b""

    def close(self) -> None:
        """Close the connection at once; what is left of the body is not waited for."""
        self._is_broken = self._is_broken or not self._has_ended
        self._response.close()
