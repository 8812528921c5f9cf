"""The files endpoints, byte for byte as they are documented."""

import base64
import hashlib
import json

import httpx
import pytest

from fsmount.demo.contents import PatternContent
from tests.support.emulator import RunningEmulator

FILES = "/v1/compliance/apps/chats/files"


def test_a_record_has_the_documented_fields(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Metadata names id, time, name, type, size, hash, and where the file is used."""
    file_id = emulator.corpus.add_file(b"hello", filename="a.txt", mime_type="text/plain")
    chat_id = emulator.corpus.add_chat("c")
    message_id = emulator.corpus.add_message(chat_id, files=[file_id])
    record = http.get(f"{FILES}/{file_id}").json()
    assert file_id.startswith("claude_file_01")
    assert record.pop("created_at").endswith("Z")
    assert {
        "id": file_id,
        "filename": "a.txt",
        "mime_type": "text/plain",
        "size_bytes": 5,
        "md5": hashlib.md5(b"hello").hexdigest(),
        "message_ids": [message_id],
        "claude_chat_ids": [chat_id],
    } == record


def test_unknown_fields_are_served(emulator: RunningEmulator, http: httpx.Client) -> None:
    """A record may hold fields that no documentation names."""
    file_id = emulator.corpus.add_file(b"x", retention="default")
    assert http.get(f"{FILES}/{file_id}").json()["retention"] == "default"


def test_content_is_chunked_and_hashed(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Content never announces its length; it carries its MD5, its name and its type."""
    file_id = emulator.corpus.add_file(b"hello", filename="a b/ü.txt", mime_type="text/plain")
    response = http.get(f"{FILES}/{file_id}/content")
    assert response.content == b"hello"
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in response.headers
    assert "accept-ranges" not in response.headers
    digest = hashlib.md5(b"hello").digest()
    assert base64.b64decode(response.headers["content-md5"]) == digest
    expected = "attachment; filename*=utf-8''a%20b%2F%C3%BC.txt"
    assert response.headers["content-disposition"] == expected
    assert response.headers["content-type"] == "text/plain"


def test_an_empty_file_is_an_empty_body(emulator: RunningEmulator, http: httpx.Client) -> None:
    """An empty file is served, not refused."""
    file_id = emulator.corpus.add_file(b"")
    response = http.get(f"{FILES}/{file_id}/content")
    assert (200, b"") == (response.status_code, response.content)


def test_a_record_may_disagree_with_the_content(
    emulator: RunningEmulator, http: httpx.Client
) -> None:
    """The hash of the answer is that of the served bytes, whatever the record says."""
    file_id = emulator.corpus.add_file(b"hello", size_bytes=4, md5="0" * 32)
    assert http.get(f"{FILES}/{file_id}").json()["size_bytes"] == 4
    response = http.get(f"{FILES}/{file_id}/content")
    assert base64.b64decode(response.headers["content-md5"]) == hashlib.md5(b"hello").digest()


def test_a_file_without_content_has_none(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Where mime_type is null there is nothing to download."""
    file_id = emulator.corpus.add_file(None, filename="output.bin")
    assert http.get(f"{FILES}/{file_id}").json()["mime_type"] is None
    assert http.get(f"{FILES}/{file_id}/content").status_code == 404


@pytest.mark.parametrize("name", ["\ud800.txt", "a\nb", "%41", "\u202e", ""])
def test_any_name_can_be_served(emulator: RunningEmulator, http: httpx.Client, name: str) -> None:
    """Names are untrusted: lone surrogates, controls and percent signs arrive as they were."""
    file_id = emulator.corpus.add_file(b"x", filename=name)
    assert json.loads(http.get(f"{FILES}/{file_id}").content)["filename"] == name
    assert http.get(f"{FILES}/{file_id}/content").content == b"x"


def test_range_is_ignored(emulator: RunningEmulator, http: httpx.Client) -> None:
    """Nothing documents Range, so the whole file comes."""
    file_id = emulator.corpus.add_file(b"hello")
    response = http.get(f"{FILES}/{file_id}/content", headers={"range": "bytes=2-"})
    assert (200, b"hello") == (response.status_code, response.content)
    assert "content-range" not in response.headers


@pytest.mark.parametrize(
    ("asked", "body", "content_range"),
    [
        ("bytes=2-", b"llo", "bytes 2-4/5"),
        ("bytes=0-0", b"h", "bytes 0-0/5"),
        ("bytes=1-99", b"ello", "bytes 1-4/5"),
        ("bytes=-2", b"lo", "bytes 3-4/5"),
        ("bytes=0-", b"hello", "bytes 0-4/5"),
    ],
)
def test_range_can_be_honoured(
    emulator: RunningEmulator, http: httpx.Client, asked: str, body: bytes, content_range: str
) -> None:
    """With the knob turned, one range is answered with 206 and what it holds, still in chunks."""
    emulator.behaviour.honour_range = True
    file_id = emulator.corpus.add_file(b"hello")
    response = http.get(f"{FILES}/{file_id}/content", headers={"range": asked})
    assert (206, body) == (response.status_code, response.content)
    assert response.headers["content-range"] == content_range
    assert response.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "lines=1-2", "bytes=4-2", "bytes=-", "nonsense"]
)
def test_other_ranges_get_the_whole(
    emulator: RunningEmulator, http: httpx.Client, asked: str
) -> None:
    """Several ranges, other units and nonsense are ignored, as HTTP lets a server do."""
    emulator.behaviour.honour_range = True
    file_id = emulator.corpus.add_file(b"hello")
    response = http.get(f"{FILES}/{file_id}/content", headers={"range": asked})
    assert (200, b"hello") == (response.status_code, response.content)


def test_a_range_behind_the_end_is_416(emulator: RunningEmulator, http: httpx.Client) -> None:
    """A range that holds nothing is refused with the total length."""
    emulator.behaviour.honour_range = True
    file_id = emulator.corpus.add_file(b"hello")
    response = http.get(f"{FILES}/{file_id}/content", headers={"range": "bytes=5-"})
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */5"


@pytest.mark.parametrize(
    ("mode", "hashed"), [("whole", b"hello"), ("part", b"lo"), ("absent", None)]
)
def test_what_the_hash_of_a_part_covers(
    emulator: RunningEmulator, http: httpx.Client, mode: str, hashed: bytes | None
) -> None:
    """Content-MD5 of a part covers the whole file, the part, or is absent, as told."""
    emulator.behaviour.honour_range = True
    emulator.behaviour.range_md5 = mode  # type: ignore[assignment]  # the parameter's three values
    file_id = emulator.corpus.add_file(b"hello")
    response = http.get(f"{FILES}/{file_id}/content", headers={"range": "bytes=3-"})
    shown = response.headers.get("content-md5")
    expected = hashed and base64.b64encode(hashlib.md5(hashed).digest()).decode()
    assert expected == shown


def test_delete_is_confirmed_and_final(emulator: RunningEmulator, http: httpx.Client) -> None:
    """DELETE confirms with its type; from then on the file is not found, by either way."""
    file_id = emulator.corpus.add_file(b"hello")
    headers = {"x-api-key": emulator.delete_key}
    confirmed = http.delete(f"{FILES}/{file_id}", headers=headers)
    assert {"id": file_id, "type": "claude_file_deleted"} == confirmed.json()
    assert http.get(f"{FILES}/{file_id}").status_code == 404
    assert http.get(f"{FILES}/{file_id}/content").status_code == 404
    assert http.delete(f"{FILES}/{file_id}", headers=headers).status_code == 404


def test_not_found_names_another_id(http: httpx.Client) -> None:
    """A 404 names an internal UUID, never the id that was sent."""
    response = http.get(f"{FILES}/claude_file_01nothere")
    error = response.json()["error"]
    assert (404, "not_found_error") == (response.status_code, error["type"])
    assert error["message"].startswith("File not found: ")
    assert "claude_file_01nothere" not in error["message"]


def test_an_id_of_another_kind_is_refused(http: httpx.Client) -> None:
    """An id that can't be a file's is a bad request."""
    response = http.get(f"{FILES}/claude_chat_01x")
    assert (400, "invalid_request_error") == (
        response.status_code,
        response.json()["error"]["type"],
    )


def test_generated_files_and_artifacts(emulator: RunningEmulator, http: httpx.Client) -> None:
    """What the assistant made has records and content of its own, and can't be deleted."""
    corpus = emulator.corpus
    made = corpus.add_generated_file(b"a,b\n", filename="t.csv", mime_type="text/csv")
    draft = corpus.add_artifact("# Hé", title="Draft")
    chat_id = corpus.add_chat("c")
    corpus.add_message(chat_id, role="assistant", generated=[made], artifacts=[draft])
    generated, artifacts = (
        "/v1/compliance/apps/chats/generated-files",
        "/v1/compliance/apps/artifacts",
    )
    assert http.get(f"{generated}/{made}").json()["claude_chat_id"] == chat_id
    assert http.get(f"{generated}/{made}/content").content == b"a,b\n"
    assert http.get(f"{artifacts}/{draft}").json()["version_id"] == draft
    assert http.get(f"{artifacts}/{draft}/content").content == "# Hé".encode()
    headers = {"x-api-key": emulator.delete_key}
    assert http.delete(f"{generated}/{made}", headers=headers).status_code == 405


def test_a_pattern_is_the_same_from_every_offset() -> None:
    """Made-up content is a function of the offset alone, and hashes as it reads."""
    content = PatternContent(5_000_000, shift=17)
    whole = b"".join(bytes(content.read(at, 65_536)) for at in range(0, 5_000_000, 65_536))
    assert len(whole) == 5_000_000
    assert bytes(content.read(4_321_000, 999_999)) == whole[4_321_000:]
    assert content.md5 == hashlib.md5(whole).digest()
    assert whole[: 1 << 20] != whole[1 << 20 : 2 << 20]
