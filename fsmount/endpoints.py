"""One interface to the endpoints of all families of objects; the prefix of the id decides which is asked."""

from contextlib import AbstractAsyncContextManager

import client
from fsmount.objects import Record, family_of
from fsmount.source import ByteStream


class Endpoints:
    """Records, contents and deletion, whatever family an id belongs to; with one priority as a rule."""

    def __init__(
        self,
        api: client.AsyncComplianceClient,
        priority: client.Priority = client.Priority.INTERACTIVE,
    ) -> None:
        self._api = api
        self._priority = priority

    async def get(self, claude_file_id: str) -> Record:
        """Fetch one record."""
        match family_of(claude_file_id):
            case client.Family.GENERATED:
                return await self._api.generated_files.get(claude_file_id, priority=self._priority)
            case client.Family.ARTIFACT:
                return await self._api.artifacts.get(claude_file_id, priority=self._priority)
        return await self._api.files.get(claude_file_id, priority=self._priority)

    async def delete(self, claude_file_id: str) -> str | None:
        """Delete one file for ever; only uploaded ones can be. Return the request id of the confirmation."""
        return await self._api.files.delete(claude_file_id)

    def open_stream(
        self,
        claude_file_id: str,
        *,
        offset: int = 0,
        end: int | None = None,
        ask_range: bool = True,
        urgency: client.Urgency | None = None,
    ) -> AbstractAsyncContextManager[ByteStream]:
        """Open the body of one object."""
        family = family_of(claude_file_id)
        contents: client.AsyncFiles | client.AsyncGeneratedFiles | client.AsyncArtifacts
        contents = self._api.files
        if family is client.Family.GENERATED:
            contents = self._api.generated_files
        elif family is client.Family.ARTIFACT:
            contents = self._api.artifacts
        return contents.open_stream(
            claude_file_id,
            offset=offset,
            end=end,
            ask_range=ask_range,
            priority=urgency or self._priority,
        )
