"""Pages of lists: what an answer holds, over both clients, and which answers are refused."""

import inspect
import json
from datetime import UTC, datetime

import pytest

import client
from client import Family, Listing, Step
from client._walk import read_page
from tests.support.network import Network, chunked, document, failure

CHATS = Step(Listing("chats"), None, 1000)
MESSAGES = Step(Listing("messages", "c1"), None, 1000)
ATTACHMENTS = Step(Listing("attachments", "p1"), None, 100)
PROJECTS = Step(Listing("projects"), None, 100)
USERS = Step(Listing("users", "o1"), None, 1000)
ORGANIZATIONS = Step(Listing("organizations"), None, 1000)
EVERY_STEP = [CHATS, MESSAGES, ATTACHMENTS, PROJECTS, USERS, ORGANIZATIONS]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def answer_to(step: Step, *entries: object, **fields: object) -> dict[str, object]:
    """Return a last page as the API documents it, with fields replaced."""
    if step is MESSAGES:
        return {"id": "c1", "chat_messages": list(entries), "has_more": False} | fields
    more: dict[str, object] = {"has_more": False} if step is CHATS else {"next_page": None}
    return {"data": list(entries)} | more | fields


def page(step: Step, answer: object) -> client.Page:
    """Read an answer."""
    return read_page(step, {"request-id": "req_1"}, json.dumps(answer).encode())


def message(**fields: object) -> dict[str, object]:
    return {"id": "m1", "role": "user", "created_at": "2026-01-01T12:00:00Z"} | fields


async def awaited(fetched):
    """Return what either client's `get` comes to."""
    return await fetched if inspect.isawaitable(fetched) else fetched


# -- both clients --------------------------------------------------------------------------------------


def test_a_page_is_fetched(front):
    """A step in, its page out, by one request, which counts as one for a list."""
    chat = {"id": "c1", "updated_at": "2026-01-01T12:00:00Z"}
    network = Network([document(answer_to(CHATS, chat, last_id="x", has_more=True))])

    async def work(api):
        return await awaited(api.client.pages.get(CHATS)), api.client.stats.listing

    fetched, count = front.run(network, work)
    listed = client.Chat("c1", updated_at="2026-01-01T12:00:00Z")
    assert (client.Page([listed], "x", has_more=True), 1) == (fetched, count)
    assert ["/v1/compliance/apps/chats?limit=1000"] == [sent.path for sent in network.sent]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (failure(404), client.NotFoundError),
        (document({"data": []}), client.InvalidResponseError),
        (chunked(b"x" * 900, b"x" * 101), client.AnswerTooLargeError),
    ],
)
def test_a_page_that_can_not_be_had_is_an_error(front, answer, error, monkeypatch):
    """Refused, senseless or too large: an error of its own class, with the request's id."""
    monkeypatch.setattr("client._transport._MAX_RECORD_BYTES", 1000)

    async def work(api):
        with pytest.raises(error, match="the list of chats") as raised:
            await awaited(api.client.pages.get(CHATS))
        assert "req_1" == raised.value.request_id

    front.run(Network([answer]), work)


# -- what answers hold ---------------------------------------------------------------------------------


def test_a_chat_says_whose_it_is():
    """Times are aware; that of the last change stays the text it was."""
    entry = {
        "id": "c1",
        "name": "Plan",
        "created_at": "2026-01-01T13:00:00+01:00",
        "updated_at": "2026-01-02T00:00:00.5Z",
        "deleted_at": "2026-01-03T00:00:00Z",
        "organization_uuid": "u1",
        "organization_id": "o1",
        "project_id": "p1",
        "user": {"id": "user_1", "email_address": "a@example.com"},
    }
    expected = client.Chat(
        id="c1",
        name="Plan",
        created_at=NOON,
        updated_at="2026-01-02T00:00:00.5Z",
        is_deleted=True,
        organization_uuid="u1",
        organization_id="o1",
        project_id="p1",
        user_id="user_1",
        user_email="a@example.com",
    )
    assert [expected] == page(CHATS, answer_to(CHATS, entry)).entries


@pytest.mark.parametrize(
    "fields", [{}, {"user": None, "name": None}, {"user": {"id": None, "email_address": None}}]
)
def test_a_chat_may_say_no_more_than_its_id(fields):
    """What is not told is None, also the person, whose account may be gone; so of a project."""
    entry = {"id": "c1"} | fields
    assert [client.Chat("c1")] == page(CHATS, answer_to(CHATS, entry)).entries
    assert [client.Project("c1")] == page(PROJECTS, answer_to(PROJECTS, entry)).entries


def test_people_projects_and_organizations_are_named():
    """Each list has entries of its own kind; addresses of people have been called two names."""
    users = [{"id": "u1", "email": "a@example.com"}, {"id": "u2", "email_address": "b@example.com"}]
    assert [client.User("u1", "a@example.com"), client.User("u2", "b@example.com")] == page(
        USERS, answer_to(USERS, *users)
    ).entries
    project = {"id": "p1", "name": "Deal", "user": {"id": "u1", "email_address": "a@example.com"}}
    assert [client.Project("p1", "Deal", "u1", "a@example.com")] == page(
        PROJECTS, answer_to(PROJECTS, project)
    ).entries
    answer = answer_to(ORGANIZATIONS, {"uuid": "o1"}, {"uuid": "o2"})
    assert ["o1", "o2"] == page(ORGANIZATIONS, answer).entries


def test_a_message_names_files_of_all_families():
    """Artifacts are named by their version; the entry is kept as it came, whatever is in it."""
    file = {"id": "claude_file_1", "filename": "a.txt", "new": [1]}
    generated = {"id": "claude_gen_file_1"}
    artifact = {"id": "claude_artifact_1", "version_id": "claude_artifact_version_1"}
    answer = answer_to(
        MESSAGES, message(files=[file], generated_files=[generated], artifacts=[artifact])
    )
    expected = [
        client.Mention(Family.FILE, "claude_file_1", file, "m1", "user", NOON),
        client.Mention(Family.GENERATED, "claude_gen_file_1", generated, "m1", "user", NOON),
        client.Mention(Family.ARTIFACT, "claude_artifact_version_1", artifact, "m1", "user", NOON),
    ]
    found = page(MESSAGES, answer)
    assert (expected, client.Chat("c1")) == (found.entries, found.chat)


@pytest.mark.parametrize("nothing", [{}, {"files": None, "artifacts": None}, {"files": []}])
def test_a_message_without_files_names_none(nothing):
    """Lists of files may be empty, null or absent; nothing else of such a message is looked at."""
    answer = answer_to(MESSAGES, message(**nothing), {"id": "m2", "created_at": "no time"})
    assert [] == page(MESSAGES, answer).entries


def test_the_texts_of_a_project_are_passed_over_and_counted():
    """Only files have bytes; the word that makes one an entry of this list is no part of its record."""
    file = {"type": "project_file", "id": "claude_file_1", "created_at": "2026-01-01T12:00:00Z"}
    text = {"type": "project_doc", "id": "claude_proj_doc_1"}
    found = page(ATTACHMENTS, answer_to(ATTACHMENTS, text, file, text))
    record = {"id": "claude_file_1", "created_at": "2026-01-01T12:00:00Z"}
    assert [client.Mention(Family.FILE, "claude_file_1", record, at=NOON)] == found.entries
    assert 2 == found.passed_over


# -- whether a list goes on ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "fields", "expected"),
    [
        (CHATS, {"last_id": "x", "has_more": True}, ("x", True)),
        (CHATS, {"last_id": "x", "has_more": False}, ("x", False)),
        (CHATS, {"last_id": None, "has_more": False}, (None, False)),
        (CHATS, {"last_id": "", "has_more": False}, (None, False)),
        (MESSAGES, {"last_id": "x", "has_more": True}, ("x", True)),
        (ATTACHMENTS, {"next_page": "x"}, ("x", True)),
        (ATTACHMENTS, {"next_page": "x", "has_more": True}, ("x", True)),
        (ATTACHMENTS, {"next_page": None}, (None, False)),
        (ATTACHMENTS, {"next_page": ""}, (None, False)),
        (ATTACHMENTS, {"next_page": None, "has_more": False}, (None, False)),
    ],
)
def test_a_page_says_whether_the_list_goes_on(step, fields, expected):
    """Lists go on by the last id or by a token; an empty one is none."""
    found = page(step, answer_to(step, **fields))
    assert expected == (found.cursor, found.has_more)


@pytest.mark.parametrize("step", EVERY_STEP)
def test_a_list_that_would_not_move_on_is_refused(step):
    """More without a place to go on from, or with the place that was just asked for, would never end."""
    name = "last_id" if step in (CHATS, MESSAGES) else "next_page"
    behind = Step(step.listing, "x", 1)
    for asked, cursor in ((step, None), (step, ""), (behind, "x"), (behind, "")):
        answer = answer_to(step, has_more=True) | {name: cursor}
        with pytest.raises(client.InvalidResponseError, match="does not go on"):
            page(asked, answer)


@pytest.mark.parametrize("fields", [{"has_more": None}, {"has_more": "no"}, {"has_more": 0}])
def test_a_list_has_to_say_whether_it_goes_on(fields):
    """An end that is not told is none: nobody knows what would be missed."""
    for step in (CHATS, MESSAGES):
        with pytest.raises(client.InvalidResponseError, match="does not say whether"):
            page(step, answer_to(step, **fields))


@pytest.mark.parametrize("step", EVERY_STEP)
def test_a_cursor_is_a_text(step):
    """A cursor of another kind is refused."""
    name = "last_id" if step in (CHATS, MESSAGES) else "next_page"
    with pytest.raises(client.InvalidResponseError, match="does not say whether"):
        page(step, answer_to(step, has_more=True) | {name: 7})


# -- what is refused -----------------------------------------------------------------------------------

NO_ENTRIES: list[object] = [None, "text", [], {}, {"id": 1}]
WRONG_ENTRIES: list[tuple[Step, object]] = [
    *((step, entry) for step in EVERY_STEP for entry in NO_ENTRIES),
    (CHATS, {"id": ""}),
    (CHATS, {"id": "c1", "user": "a person"}),
    (CHATS, {"id": "c1", "user": {"id": 7}}),
    (CHATS, {"id": "c1", "name": 7}),
    (MESSAGES, message(files={"id": "claude_file_1"})),
    (MESSAGES, message(files=[{"filename": "a.txt"}])),
    (MESSAGES, message(files=[None])),
    (MESSAGES, message(artifacts=[{"id": "claude_artifact_1"}])),
    (MESSAGES, message(files=[{"id": "f"}], role=1)),
    (ATTACHMENTS, {"id": "claude_file_1"}),
    (ATTACHMENTS, {"type": "project_file"}),
]


@pytest.mark.parametrize(("step", "entry"), WRONG_ENTRIES)
def test_an_entry_that_can_not_be_one_refuses_the_page(step, entry):
    """Nothing of such an answer is used; the error names the list and the request."""
    with pytest.raises(client.InvalidResponseError, match="request req_1") as raised:
        page(step, answer_to(step, entry))
    assert step.request.about in str(raised.value)
    assert "req_1" == raised.value.request_id
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("step", EVERY_STEP)
@pytest.mark.parametrize("wrong", [None, {}, "text"])
def test_an_answer_without_its_list_is_not_an_empty_one(step, wrong):
    """Where the entries should be, a list has to be."""
    name = "chat_messages" if step is MESSAGES else "data"
    with pytest.raises(client.InvalidResponseError, match=f"{name} is no list"):
        page(step, answer_to(step) | {name: wrong})


@pytest.mark.parametrize("answer", [[], "text", None])
def test_an_answer_is_an_object(answer):
    """Any other JSON is refused."""
    with pytest.raises(client.InvalidResponseError, match="request req_1"):
        page(CHATS, answer)


def test_messages_of_another_chat_are_refused():
    """What was asked for has to be what came."""
    with pytest.raises(client.InvalidResponseError, match="is about 'c2'"):
        page(MESSAGES, answer_to(MESSAGES, id="c2"))


@pytest.mark.parametrize("odd", ["yesterday", "", "2026-13-01T00:00:00Z", None])
def test_an_odd_date_hides_no_entry(odd):
    """What is no time is not known; the chat, or the file, is there all the same."""
    (chat,) = page(CHATS, answer_to(CHATS, {"id": "c1", "created_at": odd})).entries
    told = answer_to(MESSAGES, message(files=[{"id": "f"}], created_at=odd))
    (mention,) = page(MESSAGES, told).entries
    assert isinstance(chat, client.Chat)
    assert isinstance(mention, client.Mention)
    assert ("c1", None) == (chat.id, chat.created_at)
    assert ("f", None) == (mention.id, mention.at)
