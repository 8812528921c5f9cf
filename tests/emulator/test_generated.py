"""The corpus that is worked out instead of held."""

import hashlib
import itertools
import time

import pytest
from claude_compliance_sdk import ComplianceClient

from fsmount.demo.generated import GeneratedCorpus
from tests.support.emulator import RunningEmulator
from tests.support.process import EmulatorProcess, Load


def test_a_walk_finds_every_file_once() -> None:
    """Chats and messages lead to all files; records and bytes agree with what messages say."""
    source = GeneratedCorpus(chats=12, files_per_chat=3, large_sizes=[3_000_000])
    with (
        RunningEmulator(source=source) as running,
        ComplianceClient(running.read_key, base_url=running.url) as sdk,
    ):
        entries = [
            entry
            for chat in sdk.chats.iter(limit=5)
            for message in sdk.chats.iter_messages(chat.id)
            for entry in message.files or []
        ]
        assert sorted(source.file_ids()) == sorted(entry["id"] for entry in entries)
        for entry in entries[:5]:
            body = sdk.files.download(entry["id"])
            assert (entry["size_bytes"], entry["md5"]) == (len(body), hashlib.md5(body).hexdigest())
            assert entry["filename"] == sdk.files.get(entry["id"]).filename


def test_changes_are_kept() -> None:
    """A deleted file is gone, a touched chat comes last."""
    source = GeneratedCorpus(chats=5, files_per_chat=2)
    file_id = source.file_id(3)
    assert source.delete_file(file_id)
    assert not source.delete_file(file_id)
    assert source.find_file(file_id) is None
    assert source.find_listed(file_id) is not None
    source.touch(1)
    assert source.chat_keys("created_at")[1][1] == source.chat_keys("updated_at")[-1][1]


@pytest.mark.parametrize(
    "asked", ["claude_file_01", "claude_file_0100000000000000000000ab", "", "x"]
)
def test_foreign_ids_are_unknown(asked: str) -> None:
    """An id that is not one of its own is simply not there."""
    assert GeneratedCorpus(chats=5).find_file(asked) is None


def test_a_million_files_cost_nothing_until_asked() -> None:
    """Making a huge corpus, and finding its last file, takes no time."""
    began = time.monotonic()
    source = GeneratedCorpus(chats=100_000, files_per_chat=10)
    stored = source.find_file(source.file_id(999_999))
    assert stored is not None
    newest = [file_id for _, file_id, _ in itertools.islice(source.uploads(), 2)]
    assert [source.file_id(999_999), source.file_id(999_998)] == newest
    assert time.monotonic() - began < 0.5


def test_the_same_corpus_is_served_by_another_process() -> None:
    """Ids, sizes and hashes worked out here are those of the process that serves."""
    with EmulatorProcess(Load(chats=3, large_sizes=(2_000_000,))) as other:
        (large,) = other.corpus.large_ids
        with ComplianceClient(other.read_key, base_url=other.url) as sdk:
            body = sdk.files.download(large)
        stored = other.corpus.find_file(large)
        assert stored is not None
        assert stored.content is not None
        assert stored.content.md5 == hashlib.md5(body).digest()
