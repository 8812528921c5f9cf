"""The facade that benchmarks put beside the emulator, for tools that do not speak the API."""

import httpx
import pytest

from fsmount.demo.app import Emulator
from fsmount.demo.behaviour import READ_KEY
from fsmount.demo.generated import GeneratedCorpus
from tests.bench.facade import Facade, filename_of


@pytest.fixture
def corpus() -> GeneratedCorpus:
    return GeneratedCorpus(chats=2, files_per_chat=2, file_bytes=3000, large_sizes=(300_000,))


async def test_it_serves_the_bytes_of_the_emulator(corpus: GeneratedCorpus) -> None:
    """Listings lead to every file; whole and in part its bytes are those that the API gives."""
    emulator = Emulator(corpus)
    api = httpx.ASGITransport(emulator)
    files = httpx.ASGITransport(Facade(emulator, corpus))
    async with (
        httpx.AsyncClient(transport=api, base_url="http://api") as through_api,
        httpx.AsyncClient(transport=files, base_url="http://files") as through_files,
    ):
        root = (await through_files.get("/")).text
        for file_id in corpus.file_ids():
            stored = corpus.find_file(file_id)
            assert stored is not None
            assert f'href="{file_id}/"' in root
            assert filename_of(stored) in (await through_files.get(f"/{file_id}/")).text
            url = f"/v1/compliance/apps/chats/files/{file_id}/content"
            expected = (await through_api.get(url, headers={"x-api-key": READ_KEY})).content
            path = f"/{file_id}/{filename_of(stored)}"
            head = await through_files.head(path)
            assert (200, str(len(expected))) == (head.status_code, head.headers["content-length"])
            assert expected == (await through_files.get(path)).content
            part = await through_files.get(path, headers={"range": "bytes=100-299"})
            assert (206, expected[100:300]) == (part.status_code, part.content)
        assert (await through_files.get("/nothing/here")).status_code == 404


async def test_it_spends_the_budget_of_the_emulator(corpus: GeneratedCorpus) -> None:
    """What the facade answers is counted, and refused, as if the API had been asked."""
    emulator = Emulator(corpus)
    emulator.behaviour.requests_per_minute = 2
    files = httpx.ASGITransport(Facade(emulator, corpus))
    async with httpx.AsyncClient(transport=files, base_url="http://files") as http:
        statuses = [(await http.get("/")).status_code for _ in range(3)]
    assert [200, 200, 429] == statuses
    assert 3 == emulator.log.count()
