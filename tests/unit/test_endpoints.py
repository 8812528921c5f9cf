"""The endpoints: who is asked goes by the id, for records and for contents."""

from contextlib import nullcontext
from typing import Any, cast

import pytest

import client
from fsmount.endpoints import Endpoints
from tests.support.network import Network, chunked, document

BASE = "/v1/compliance/apps"
PLACES = [
    ("claude_file_1", f"{BASE}/chats/files/claude_file_1", client.File),
    ("claude_gen_file_1", f"{BASE}/chats/generated-files/claude_gen_file_1", client.GeneratedFile),
    (
        "claude_artifact_version_1",
        f"{BASE}/artifacts/claude_artifact_version_1",
        client.Artifact,
    ),
]


@pytest.mark.parametrize(("file_id", "path", "kind"), PLACES)
async def test_a_record_is_asked_for_where_its_family_is(file_id, path, kind):
    """The record is one of the family."""
    network = Network([document({"id": file_id, "version_id": file_id})])
    async with network.async_client() as api:
        record = await Endpoints(api).get(file_id)
    assert (kind, [path]) == (type(record), [sent.path for sent in network.sent])


@pytest.mark.parametrize(("file_id", "path", "kind"), PLACES)
async def test_content_is_asked_for_where_its_family_is(file_id, path, kind):
    """With the range that was asked for, if any."""
    network = Network([chunked(b"data"), chunked(b"data")])
    async with network.async_client() as api:
        for ask_range in (False, True):
            async with Endpoints(api).open_stream(file_id, ask_range=ask_range) as stream:
                assert b"data" == await stream.receive()
    assert [(f"{path}/content", None), (f"{path}/content", "bytes=0-")] == [
        (sent.path, sent.range) for sent in network.sent
    ]


async def test_uploaded_files_are_deleted():
    """By one request."""
    network = Network([document({"id": "claude_file_1", "type": "claude_file_deleted"})])
    async with network.async_client() as api:
        await Endpoints(api).delete("claude_file_1")
    assert [("DELETE", f"{BASE}/chats/files/claude_file_1")] == [
        (sent.method, sent.path) for sent in network.sent
    ]


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
