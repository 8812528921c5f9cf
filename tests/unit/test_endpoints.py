"""The endpoints behind one face: each family has its own, and all are asked with one priority."""

from contextlib import nullcontext
from typing import Any, cast

import pytest

import client
from fsmount.endpoints import Endpoints

FAMILIES = {
    "claude_file_01a": "files",
    "claude_gen_file_01a": "generated_files",
    "claude_artifact_version_01a": "artifacts",
}


class Family:
    """Notes what it is asked."""

    def __init__(self, name: str, asked: list[tuple[Any, ...]]) -> None:
        self._name = name
        self._asked = asked

    async def get(self, claude_file_id: str, **options: object) -> None:
        self._asked.append((self._name, "get", claude_file_id, options))

    async def delete(self, claude_file_id: str, **options: object) -> None:
        self._asked.append((self._name, "delete", claude_file_id, options))

    def open_stream(self, claude_file_id: str, **options: object) -> nullcontext[None]:
        self._asked.append((self._name, "open_stream", claude_file_id, options))
        return nullcontext()


class Api:
    """A client whose families only take notes."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.files = Family("files", self.asked)
        self.generated_files = Family("generated_files", self.asked)
        self.artifacts = Family("artifacts", self.asked)


@pytest.mark.parametrize("priority", list(client.Priority))
@pytest.mark.parametrize("claude_file_id", FAMILIES)
async def test_the_id_says_who_is_asked(claude_file_id, priority):
    """Records and contents come from the family's own endpoint, with the priority of whoever asks."""
    api = Api()
    endpoints = Endpoints(cast("client.AsyncComplianceClient", api), priority)
    await endpoints.get(claude_file_id)
    endpoints.open_stream(claude_file_id, offset=3, end=9, ask_range=False)
    told = {"priority": priority}
    stream = {"offset": 3, "end": 9, "ask_range": False, "priority": priority}
    family = FAMILIES[claude_file_id]
    assert [
        (family, "get", claude_file_id, told),
        (family, "open_stream", claude_file_id, stream),
    ] == api.asked
