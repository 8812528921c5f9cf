"""Lists, page by page, for async and for ordinary code: a step of a walk in, its page out."""

from client._listed import Page
from client._pace import Priority
from client._transport import AsyncTransport, Transport
from client._walk import Step, read_page


class AsyncPages:
    """Answers the steps of a walk, for trio and asyncio."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(
        self,
        step: Step,
        *,
        priority: Priority = Priority.BACKGROUND,
        max_retries: int | None = None,
    ) -> Page:
        """Fetch one page.

        Errors: as `AsyncFiles.get`; AnswerTooLargeError, after which `step.smaller` may do.
        Source: GET on the list.
        """
        answer = await self._transport.fetch(step.request, priority, max_retries)
        return read_page(step, answer.headers, answer.body)


class Pages:
    """Answers the steps of a walk, for ordinary code."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(
        self,
        step: Step,
        *,
        priority: Priority = Priority.BACKGROUND,
        max_retries: int | None = None,
    ) -> Page:
        """Fetch one page; see `AsyncPages.get`."""
        answer = self._transport.fetch(step.request, priority, max_retries)
        return read_page(step, answer.headers, answer.body)
