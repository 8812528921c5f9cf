"""The scope: which lists are gone through for a wish, and that lists and scope together mean the wish."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import client
from client import Listing, Scope, Walk
from tests.support.organization import START, Fields, Organization, file_entry, page_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 2, 1, 14, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))


def test_everything_is_the_list_of_the_organization_by_change():
    """Without a bound there is one list, which a later run can take up at its end."""
    assert [Listing("chats", query=(("order_by", "updated_at"),))] == Scope().chat_listings()
    assert [Listing("projects")] == Scope().project_listings()


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])]
)
def test_people_are_asked_for_in_tens(count, expected):
    """The service takes ten users in one request, and every user is in one of them."""
    users = tuple(f"user_{number:02}" for number in range(count))
    scope = Scope(users=users[::-1])
    for listings in (scope.chat_listings(), scope.project_listings()):
        named = [[v for name, v in listing.query if name == "user_ids[]"] for listing in listings]
        assert expected == [len(some) for some in named]
        assert list(users) == [user for some in named for user in some]


def test_people_are_not_listed_by_change():
    """Ordering by change goes with the whole organization alone."""
    listings = Scope(users=("u",), projects=("p",), organizations=("o",)).chat_listings()
    narrowed = (("user_ids[]", "u"), ("organization_ids[]", "o"), ("project_ids[]", "p"))
    assert [Listing("chats", query=narrowed)] == listings


def test_projects_without_people_do_not_narrow_the_list():
    """The service takes projects only together with users; so the whole list is gone through."""
    assert Scope().chat_listings() == Scope(projects=("p",)).chat_listings()


def test_named_projects_are_not_looked_for():
    """They are read without being listed."""
    assert [] == Scope(users=("u",), projects=("p",)).project_listings()


def test_each_bound_is_on_the_list_that_is_ordered_by_its_time():
    """Changes bound the list of an organization, creation that of people; in UTC, to the microsecond."""
    of_all = Scope(since=LATER, until=LATER + timedelta(days=1), organizations=("o",))
    query = (
        ("order_by", "updated_at"),
        ("organization_ids[]", "o"),
        ("updated_at.gte", "2026-02-01T12:30:00.000005Z"),
    )
    assert [Listing("chats", query=query)] == of_all.chat_listings()
    of_one = Scope(users=("u",), since=NOON, until=LATER)
    bounded = (("user_ids[]", "u"), ("created_at.lt", "2026-02-01T12:30:00.000005Z"))
    assert [Listing("chats", query=bounded)] == of_one.chat_listings()


def test_the_same_wish_has_the_same_lists():
    """The order in which people and organizations were named does not matter."""
    one = Scope(users=("a", "b"), organizations=("c", "d"), projects=("e", "f"))
    other = Scope(users=("b", "a"), organizations=("d", "c"), projects=("f", "e"))
    assert one.chat_listings() == other.chat_listings()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (NOON - timedelta(microseconds=1), False),
        (NOON, True),
        (LATER - timedelta(microseconds=1), True),
        (LATER, False),
        (None, True),
    ],
)
def test_times_are_in_scope_from_since_until_before_until(moment, expected):
    """Since counts, until does not; what has no time is not lost."""
    assert expected == Scope(since=NOON, until=LATER).admits_time(moment)
    assert Scope().admits_time(moment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T11:59:59.999Z", False),
        ("2026-01-01T12:00:00Z", True),
        ("2026-01-01T13:00:00+02:00", False),
        ("2026-01-01T12:00:00", True),
        ("2026-01-01T11:00:00", False),
        ("soon", True),
        (None, True),
    ],
)
def test_a_chat_without_a_change_since_is_out(text, expected):
    """A chat whose last change is before the bound has no message behind it; in doubt it is read."""
    assert expected == Scope(since=NOON).admits_chat(client.Chat("c", updated_at=text))


@pytest.mark.parametrize(
    ("created_at", "expected"), [(NOON - timedelta(seconds=1), True), (NOON, False), (None, True)]
)
def test_a_chat_that_was_made_later_is_out(created_at, expected):
    """It has no message before it was made."""
    assert expected == Scope(until=NOON).admits_chat(client.Chat("c", created_at=created_at))


@pytest.mark.parametrize(
    ("scope", "chat", "expected"),
    [
        (Scope(users=("u",)), client.Chat("c", user_id="u"), True),
        (Scope(users=("u",)), client.Chat("c", user_id="v"), False),
        (Scope(users=("u",)), client.Chat("c"), False),
        (Scope(projects=("p",)), client.Chat("c", project_id="p"), True),
        (Scope(projects=("p",)), client.Chat("c"), False),
        (Scope(organizations=("o",)), client.Chat("c", organization_uuid="o"), True),
        (Scope(organizations=("o",)), client.Chat("c", organization_id="o"), True),
        (Scope(organizations=("o",)), client.Chat("c", organization_id="n"), False),
    ],
)
def test_a_chat_is_in_scope_by_whose_it_is(scope, chat, expected):
    """Users, projects and organizations are those that the chat names."""
    assert expected == scope.admits_chat(chat)


# -- lists and scope together --------------------------------------------------------------------------

minutes = st.integers(0, 6)
names = st.sampled_from(["a", "b", "c"])


@st.composite
def organizations(draw: st.DrawFn) -> Organization:
    """Make up chats of several people, projects and organizations, with messages while they changed."""
    made = Organization(most=draw(st.integers(1, 5)))
    for number in range(draw(st.integers(0, 6))):
        created = draw(minutes)
        times = sorted(draw(st.lists(st.integers(created, 8), max_size=3)))
        chat = made.add_chat(
            str(number),
            created=created,
            updated=times[-1] if times else created,
            user=draw(names),
            project=draw(st.none() | names),
            organization_uuid=draw(names),
        )
        for turn, moment in enumerate(times):
            made.add_message(chat, minutes=moment, files=[file_entry(f"{number}x{turn}")])
    return made


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    """Make up a wish."""
    some = st.lists(names, max_size=2, unique=True)
    since, until = draw(st.none() | minutes), draw(st.none() | minutes)
    return Scope(
        users=tuple(f"user_{name}" for name in draw(some)),
        projects=tuple(draw(some)),
        organizations=tuple(draw(some)),
        since=None if since is None else START + timedelta(minutes=since),
        until=None if until is None else START + timedelta(minutes=until),
    )


def is_wished_for(scope: Scope, chat: Fields, message: Fields) -> bool:
    """Say what the wish means for one message, read by a person."""
    user, moment = chat["user"], str(message["created_at"])
    assert isinstance(user, dict)
    return (
        (not scope.users or user["id"] in scope.users)
        and (not scope.projects or chat["project_id"] in scope.projects)
        and (not scope.organizations or chat["organization_uuid"] in scope.organizations)
        and (scope.since is None or datetime.fromisoformat(moment) >= scope.since)
        and (scope.until is None or datetime.fromisoformat(moment) < scope.until)
    )


@given(made=organizations(), scope=scopes())
def test_lists_and_scope_together_are_the_wish(made, scope):
    """What the lists name and the scope admits is what a reading of all messages finds."""
    expected = {
        f"claude_file_{chat['name']}x{turn}"
        for chat_id, chat in made.chats.items()
        for turn, message in enumerate(made.messages[chat_id])
        if is_wished_for(scope, chat, message)
    }
    walk, found = Walk(), set[str]()
    for listing in scope.chat_listings():
        walk.start(listing)
    while step := walk.next_step():
        page = page_of(made, step)
        for entry in page.entries:
            if isinstance(entry, client.Chat):
                if scope.admits_chat(entry):
                    walk.start(Listing("messages", entry.id))
            elif isinstance(entry, client.Mention) and scope.admits_time(entry.at):
                found.add(entry.id)
        walk.answered(step, page)
    assert expected == found
