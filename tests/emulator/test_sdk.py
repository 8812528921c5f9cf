"""The emulator through an independent client, so that it can't drift towards our own reading of the API."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from claude_compliance_sdk import (
    AsyncComplianceClient,
    BadRequestError,
    ComplianceClient,
    FileTooLargeError,
    InsufficientScopeError,
    InternalServerError,
    InvalidAPIKeyError,
    NotFoundError,
    RateLimitError,
)

from fsmount.demo.contents import PatternContent
from tests.support.emulator import RunningEmulator
from tests.support.faults import overlong, rate_limited, server_error


@pytest.fixture
def sdk(emulator: RunningEmulator) -> Iterator[ComplianceClient]:
    """Yield the SDK with the delete key."""
    with ComplianceClient(emulator.delete_key, base_url=emulator.url, max_retries=0) as client:
        yield client


@pytest.fixture
def demo_sdk(demo_emulator: RunningEmulator) -> Iterator[ComplianceClient]:
    """Yield the SDK with the read key over the corpus of the demonstration."""
    with ComplianceClient(demo_emulator.read_key, base_url=demo_emulator.url) as client:
        yield client


def test_file_get(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """A record arrives with its fields, the unlisted ones in `extra`."""
    file_id = emulator.corpus.add_file(b"hello", filename="a.txt", mime_type="text/plain")
    file = sdk.files.get(file_id)
    assert (file_id, "a.txt", "text/plain", 5) == (
        file.id,
        file.filename,
        file.mime_type,
        file.size_bytes,
    )
    assert hashlib.md5(b"hello").hexdigest() == file.extra["md5"]


def test_file_download(emulator: RunningEmulator, sdk: ComplianceClient, tmp_path: Path) -> None:
    """Eager, streamed and to-file downloads give the same bytes."""
    content = PatternContent(1_000_000)
    file_id = emulator.corpus.add_file(content)
    eager = sdk.files.download(file_id)
    sdk.files.download_to_file(file_id, tmp_path / "file")
    assert content.md5 == hashlib.md5(eager).digest()
    assert eager == b"".join(sdk.files.download_stream(file_id))
    assert eager == (tmp_path / "file").read_bytes()


def test_a_cap_on_downloads_needs_no_length(emulator: RunningEmulator) -> None:
    """Without Content-Length a too large body is noticed only on the way."""
    file_id = emulator.corpus.add_file(b"x" * 1000)
    with (
        ComplianceClient(emulator.read_key, base_url=emulator.url, max_download_bytes=999) as sdk,
        pytest.raises(FileTooLargeError) as caught,
    ):
        sdk.files.download(file_id)
    assert caught.value.size_bytes is None


def test_file_delete(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """A deleted file is not found any more."""
    file_id = emulator.corpus.add_file(b"hello")
    sdk.files.delete(file_id)
    with pytest.raises(NotFoundError):
        sdk.files.delete(file_id)
    assert {"delete": 2} == emulator.log.counts()


def test_generated_files_and_artifacts(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """What the assistant made can be read."""
    made = emulator.corpus.add_generated_file(b"a,b\n", filename="t.csv", mime_type="text/csv")
    draft = emulator.corpus.add_artifact("# Title", title="Draft")
    assert "t.csv" == sdk.generated_files.get(made).filename
    assert b"a,b\n" == sdk.generated_files.download(made)
    assert b"# Title" == sdk.artifacts.download(draft)


def test_chats_page_by_page(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Cursors lead through all chats, in order of creation, each once."""
    made = [emulator.corpus.add_chat(f"chat {number}") for number in range(25)]
    found = [chat.id for chat in sdk.chats.iter(limit=10)]
    assert made == found
    assert 3 == emulator.log.count("other")


def test_cursors_are_opaque(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """The cursor is not the id of the last entry, and an id does not do as one."""
    made = emulator.corpus.add_chat("a")
    page = sdk.chats.list()
    assert page.last_id != made
    with pytest.raises(BadRequestError):
        sdk.chats.list(after_id=made)


def test_an_empty_page_has_no_cursor(sdk: ComplianceClient) -> None:
    """Nothing found: the client has to keep the cursor it has."""
    page = sdk.chats.list()
    assert ([], None, None, False) == (page.data, page.first_id, page.last_id, page.has_more)


def test_chats_by_update_resume(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Resuming from the saved cursor gives exactly the chats that are new or changed since."""
    old, changed = emulator.corpus.add_chat("old"), emulator.corpus.add_chat("changed")
    saved = sdk.chats.list(order_by="updated_at").last_id
    new = emulator.corpus.add_chat("new")
    emulator.corpus.add_message(changed, "more")
    page = sdk.chats.list(order_by="updated_at", after_id=saved)
    assert [new, changed] == [chat.id for chat in page.data]
    assert old not in {chat.id for chat in page.data}
    assert saved is not None
    assert [] == sdk.chats.list(order_by="updated_at", after_id=page.last_id).data


def test_chat_filters(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Users, organizations, projects and times narrow the list."""
    corpus = emulator.corpus
    here, there = corpus.add_organization("Here"), corpus.add_organization("There")
    ana = corpus.add_user("ana@example.com", "Ana Example", organization=here)
    ben = corpus.add_user("ben@example.com", "Ben Example", organization=there)
    project = corpus.add_project("P", user=ana)
    first = corpus.add_chat("1", user=ana, project=project)
    second = corpus.add_chat("2", user=ana)
    third = corpus.add_chat("3", user=ben)
    created = sdk.chats.list().data[1].created_at

    def ids(**filters: object) -> list[str]:
        return [chat.id for chat in sdk.chats.iter(**filters)]  # type: ignore[arg-type]

    assert [first, second] == ids(user_ids=[ana])
    assert [third] == ids(organization_ids=[there])
    assert [first] == ids(user_ids=[ana, ben], project_ids=[project])
    assert [second, third] == ids(created_at_gte=created)
    assert [third] == ids(created_at_gt=created)
    assert [first, second] == ids(created_at_lte=created)
    assert [first] == ids(created_at_lt=created)
    assert [third] == ids(order_by="updated_at", updated_at_gt=created)


def test_chats_backwards(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """`before_id` pages towards the oldest, each page still ascending."""
    user = emulator.corpus.add_user("ana@example.com", "Ana Example")
    made = [emulator.corpus.add_chat(str(n), user=user) for n in range(5)]
    last = sdk.chats.list(user_ids=[user], limit=5).last_id
    page = sdk.chats.list(user_ids=[user], before_id=last, limit=3)
    assert (made[1:4], True) == ([chat.id for chat in page.data], page.has_more)
    rest = sdk.chats.list(user_ids=[user], before_id=page.first_id, limit=3)
    assert (made[:1], False) == ([chat.id for chat in rest.data], rest.has_more)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "query",
    [
        {"order_by": "name"},
        {"order_by": "updated_at", "user_ids": ["user_1"]},
        {"updated_at_gt": "2026-01-01T00:00:00Z", "user_ids": ["user_1"]},
        {"updated_at_gt": "2026-01-01T00:00:00Z"},
        {"created_at_gt": "2026-01-01T00:00:00Z", "order_by": "updated_at"},
        {"created_at_gt": "2026-01-01T00:00:00"},
        {"created_at_gt": "yesterday"},
        {"project_ids": ["claude_proj_1"]},
        {"limit": 1001},
        {"limit": 0},
        {"before_id": "x"},
        {"after_id": "nonsense"},
    ],
)
def test_refused_queries(sdk: ComplianceClient, query: dict[str, object]) -> None:
    """What the service does not combine is a 400, never an empty list."""
    with pytest.raises(BadRequestError) as caught:
        sdk.chats.list(**query)  # type: ignore[arg-type]
    assert "invalid_request_error" == caught.value.error_type


def test_a_cursor_is_bound_to_its_order(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """A cursor of one order is refused under the other."""
    emulator.corpus.add_chat("a")
    cursor = sdk.chats.list().last_id
    with pytest.raises(BadRequestError):
        sdk.chats.list(order_by="updated_at", after_id=cursor)


def test_messages_name_files(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """A walk over messages yields all that a listing of files needs; lists without entries are null."""
    corpus = emulator.corpus
    file_id = corpus.add_file(b"hello", filename="a.txt", mime_type="text/plain")
    older = corpus.add_file(b"old", filename="b.txt", is_older=True)
    made = corpus.add_generated_file(b"x", filename="t.csv", mime_type="text/csv")
    chat_id = corpus.add_chat("c")
    corpus.add_message(chat_id, "look", files=[file_id, older])
    corpus.add_message(chat_id, "done", role="assistant", generated=[made])
    first, second = sdk.chats.iter_messages(chat_id)
    assert first.files is not None
    assert second.generated_files is not None
    digest = hashlib.md5(b"hello").hexdigest()
    entry = {k: v for k, v in first.files[0].items() if k != "created_at"}
    assert {
        "id": file_id,
        "filename": "a.txt",
        "md5": digest,
        "mime_type": "text/plain",
        "size_bytes": 5,
    } == entry
    assert {"id", "created_at", "filename"} == set(first.files[1])
    assert (None, None, None) == (first.generated_files, first.artifacts, second.files)
    assert made == second.generated_files[0]["id"]


def test_messages_page_by_page(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Without a limit all messages come at once; with one, cursors lead through them."""
    chat_id = emulator.corpus.add_chat("c")
    made = [emulator.corpus.add_message(chat_id, str(n)) for n in range(7)]
    assert made == [message.id for message in sdk.chats.get(chat_id).messages.data]
    assert made == [message.id for message in sdk.chats.iter_messages(chat_id, limit=3)]
    assert 1 + 3 == emulator.log.count("other")


def test_a_deleted_chat_takes_its_files_along(
    emulator: RunningEmulator, sdk: ComplianceClient
) -> None:
    """The chat stays listed without a name; files that hang on no other chat are gone."""
    corpus = emulator.corpus
    own, shared = corpus.add_file(b"own"), corpus.add_file(b"shared")
    chat_id, other = corpus.add_chat("secret"), corpus.add_chat("other")
    corpus.add_message(chat_id, files=[own, shared])
    corpus.add_message(other, files=[shared])
    sdk.chats.delete(chat_id)
    listed = {chat.id: chat for chat in sdk.chats.iter(order_by="updated_at")}
    assert "" == listed[chat_id].name
    assert listed[chat_id].deleted_at is not None
    with pytest.raises(NotFoundError):
        sdk.chats.get(chat_id)
    with pytest.raises(NotFoundError):
        sdk.files.get(own)
    assert b"shared" == sdk.files.download(shared)


def test_projects_and_attachments(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Attachments come in pages of 20: files, then documents, told apart by type."""
    corpus = emulator.corpus
    files = [corpus.add_file(b"x", filename=f"{n}.txt") for n in range(25)]
    project_id = corpus.add_project("P", files=files, documents={"instructions.txt": "Be brief."})
    corpus.add_chat("c", project=project_id)
    attachments = list(sdk.projects.iter_attachments(project_id))
    assert files == [item.id for item in attachments if item.type == "project_file"]
    assert 2 == emulator.log.count("other")
    (document,) = (item for item in attachments if item.type == "project_doc")
    assert document.id.startswith("claude_proj_doc_")
    assert "Be brief." == sdk.project_documents.get(document.id).content
    assert [project_id] == [project.id for project in sdk.projects.iter()]
    detail = sdk.projects.get(project_id)
    assert (26, 1) == (detail.attachments_count, detail.chats_count)
    with pytest.raises(BadRequestError):
        sdk.projects.list_attachments(project_id, limit=101)


def test_organizations_and_users(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Organizations and their members are listed page by page."""
    org_uuid = emulator.corpus.add_organization("Example")
    made = [emulator.corpus.add_user(f"u{n}@example.com", f"User {n}") for n in range(5)]
    assert [org_uuid] == [organization.uuid for organization in sdk.organizations.iter()]
    assert made == [user.id for user in sdk.organizations.iter_users(org_uuid, limit=2)]
    with pytest.raises(NotFoundError):
        sdk.organizations.list_users("00000000-0000-0000-0000-000000000000")


def test_activities(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Uploads are named newest first, without names, and also after they were deleted."""
    made = [emulator.corpus.add_file(b"x", filename=f"{n}.txt") for n in range(7)]
    sdk.files.delete(made[3])
    found = list(sdk.activities.iter(activity_types=["claude_file_uploaded"], limit=3))
    assert made[::-1] == [activity.extra["claude_file_id"] for activity in found]
    assert all("filename" not in activity.extra for activity in found)
    assert [] == list(sdk.activities.iter(activity_types=["claude_chat_created"]))
    page = sdk.activities.list(limit=3)
    newer = sdk.activities.list(before_id=page.last_id)
    assert page.data[:2] == newer.data


def test_a_missing_scope_is_named(emulator: RunningEmulator) -> None:
    """403 says which scopes the key has and which it lacks, and costs one unit."""
    file_id = emulator.corpus.add_file(b"hello")
    with ComplianceClient(emulator.read_key, base_url=emulator.url) as sdk:
        with pytest.raises(InsufficientScopeError) as caught:
            sdk.files.delete(file_id)
        assert sdk.rate_limit_status is not None
        assert 599 == sdk.rate_limit_status.remaining
    assert "Needed: [delete:compliance_user_data]" in str(caught.value)
    assert caught.value.request_id is not None
    assert file_id in emulator.corpus.files


def test_organizations_need_their_scope(emulator: RunningEmulator) -> None:
    """A key for user data lists neither organizations nor activities."""
    with ComplianceClient(emulator.user_data_key, base_url=emulator.url) as sdk:
        with pytest.raises(InsufficientScopeError):
            sdk.organizations.list()
        with pytest.raises(InsufficientScopeError):
            sdk.activities.list()
        assert [] == sdk.chats.list().data


def test_an_unknown_key_costs_nothing(emulator: RunningEmulator) -> None:
    """401 carries a request id but no budget headers, and takes nothing from the budget."""
    with ComplianceClient("sk-ant-api01-unknown", base_url=emulator.url) as sdk:
        with pytest.raises(InvalidAPIKeyError) as caught:
            sdk.chats.list()
        assert sdk.rate_limit_status is None
    assert caught.value.request_id is not None
    with ComplianceClient(emulator.read_key, base_url=emulator.url) as sdk:
        sdk.chats.list()
        assert sdk.rate_limit_status is not None
        assert 599 == sdk.rate_limit_status.remaining


def test_the_budget_runs_out(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """Beyond the budget comes a 429 with a time to wait, until the window is over."""
    emulator.behaviour.requests_per_minute = 2
    sdk.chats.list()
    sdk.chats.list()
    emulator.behaviour.window_s = 3600.0
    with (
        ComplianceClient(
            emulator.read_key, base_url=emulator.url, max_retries=0, rate_limit_rpm=0
        ) as other,
        pytest.raises(RateLimitError) as caught,
    ):
        other.chats.list()
    assert caught.value.retry_after is not None
    assert 3590 < caught.value.retry_after <= 3600


def test_faults_come_by_count(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """The first request meets a 429, the second a 500, the third a right answer."""
    file_id = emulator.corpus.add_file(b"hello")
    emulator.faults.add(rate_limited(7))
    rule = emulator.faults.add(server_error(should_retry=False), first=2)
    with pytest.raises(RateLimitError) as caught:
        sdk.files.get(file_id)
    assert 7 == caught.value.retry_after
    with pytest.raises(InternalServerError):
        sdk.files.get(file_id)
    assert file_id == sdk.files.get(file_id).id
    assert (3, 1) == (rule.seen, rule.hits)
    assert [429, 500, 200] == [entry.status for entry in emulator.log.entries()]


def test_faults_reach_the_body(emulator: RunningEmulator, sdk: ComplianceClient) -> None:
    """A body that goes on behind its end reaches the client as it was sent."""
    file_id = emulator.corpus.add_file(b"hello")
    emulator.faults.add(overlong(b"!"), path="/content$")
    assert b"hello!" == sdk.files.download(file_id)
    assert b"hello" == sdk.files.download(file_id)


def test_the_demonstration_corpus_is_consistent(demo_sdk: ComplianceClient) -> None:
    """Every file a walk finds has a record; its bytes match what the record says, where it says it."""
    files = [
        entry["id"]
        for chat in demo_sdk.chats.iter()
        for message in demo_sdk.chats.iter_messages(chat.id)
        for entry in message.files or []
    ]
    assert len(files) > 10
    for file_id in files:
        record = demo_sdk.files.get(file_id)
        if record.mime_type is None:
            continue
        body = demo_sdk.files.download(file_id)
        assert record.size_bytes in (None, len(body))
        assert record.extra["md5"] in (None, hashlib.md5(body).hexdigest())


def test_async_client(emulator: RunningEmulator) -> None:
    """The SDK's asynchronous half sees the same service."""
    file_id = emulator.corpus.add_file(b"hello")
    chat_id = emulator.corpus.add_chat("c")
    emulator.corpus.add_message(chat_id, files=[file_id])

    async def walk() -> tuple[bytes, list[str]]:
        async with AsyncComplianceClient(emulator.read_key, base_url=emulator.url) as sdk:
            chats = [chat.id async for chat in sdk.chats.iter()]
            return await sdk.files.download(file_id), chats

    assert (b"hello", [chat_id]) == asyncio.run(walk())
