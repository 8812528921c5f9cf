"""What `collect` is told: times without doubt, ids that can be ids, and what is walked for a wish."""

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import Family
from fsmount.collect_settings import CollectSettings, parse_families, parse_since, parse_until
from fsmount.config import SecretKey
from fsmount.errors import UsageError

KEY = SecretKey("sk-ant-api01-not-a-real-key")
DAY = datetime(2026, 1, 31, tzinfo=UTC)


def told(**fields) -> CollectSettings:
    return CollectSettings(case="c", key=KEY, **fields)


# -- times ---------------------------------------------------------------------------------------------


def test_a_date_is_its_whole_day():
    """From its beginning, to the beginning of the next, in UTC."""
    assert (DAY, DAY + timedelta(days=1)) == (parse_since("2026-01-31"), parse_until("2026-01-31"))


@pytest.mark.parametrize("parse", [parse_since, parse_until])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T00:00:00Z", DAY),
        ("2026-01-31T00:00Z", DAY),
        ("2026-01-31T01:30:00+01:30", DAY),
        ("2026-01-31 00:00:00.000005+00:00", DAY + timedelta(microseconds=5)),
        ("2026-01-30T19:00:00-05:00", DAY),
    ],
)
def test_a_time_is_the_one_that_it_says(parse, text, expected):
    """To the microsecond, in UTC, so that the same time is the same wish."""
    assert expected == parse(text)
    assert UTC is parse(text).tzinfo


@pytest.mark.parametrize(("parse", "option"), [(parse_since, "--since"), (parse_until, "--until")])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-02-30",
        "2026-13-01T00:00:00Z",
        "31.01.2026",
        "1769817600",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:00:00-05:00",
        "2026-01-31T00:00:00Z and more",
        "\x00",
    ],
)
def test_what_is_no_time_is_refused(parse, option, text):
    """The option is named in one line that says how to write a time."""
    with pytest.raises(UsageError, match=f"^{option}: .* is no time; write 2026-01-31") as raised:
        parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "2026-01-31T12", "2026-01-31 12:00"])
def test_a_time_without_a_zone_is_refused(text):
    """Nobody knows which one was meant, and hours matter."""
    for parse in (parse_since, parse_until):
        with pytest.raises(UsageError, match="no time zone; add Z"):
            parse(text)


def test_the_last_day_there_is_has_no_end():
    """A date whose end can't be told is refused, not passed over."""
    assert parse_since("9999-12-31").year == 9999
    with pytest.raises(UsageError, match="no time"):
        parse_until("9999-12-31")


@given(st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)), st.timezones())  # noqa: DTZ001 - the zone is drawn
def test_any_time_comes_back_as_it_was(naive, zone):
    """Whatever its zone."""
    moment = naive.replace(tzinfo=zone, fold=0)
    if moment.utcoffset() % timedelta(minutes=1):
        return  # zones of the 19th century have seconds; RFC 3339 has not
    assert moment.astimezone(UTC) == parse_since(moment.isoformat())


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_refused(text):
    """Nothing else comes out of it."""
    for parse in (parse_since, parse_until):
        with contextlib.suppress(UsageError):
            assert UTC is parse(text).tzinfo


# -- the wish ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_rpm": 0}, "--max-rpm must be at least 1"),
        ({"since": DAY, "until": DAY}, "--since must be before --until"),
        ({"chats": ("c", "a/b")}, "--chat: 'a/b' can't be an id"),
        ({"chats": ("",)}, "--chat: ''"),
        ({"projects": ("a b",)}, "--project: 'a b'"),
        ({"organizations": ("me@example.com",)}, "--organization: 'me@example.com'"),
        ({"users": ("a@b@c",)}, "--user: 'a@b@c' is neither an id nor an e-mail address"),
        ({"users": ("@",)}, "--user: '@'"),
        ({"users": ("x" * 201,)}, "--user: "),
    ],
)
def test_what_can_not_be_is_refused(fields, said):
    """By the option that says it."""
    with pytest.raises(UsageError) as raised:
        told(**fields)
    assert str(raised.value).startswith(said)


def test_what_can_be_is_taken():
    """Ids are opaque, and addresses have many forms."""
    users = ("user_01Ab", "a.b+c@example.com", "o'neil@例え.jp")
    settings = told(users=users, chats=("claude_chat_1",), organizations=("0b1c-2d",))
    assert users == settings.users


def test_the_key_is_not_shown():
    """Settings may be printed by whoever looks for a fault."""
    assert KEY.reveal() not in repr(told())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"since": DAY}, True),
        ({"chats": ("c",)}, False),
        ({"ids_file": Path("-")}, False),
        ({"chats": ("c",), "ids_file": Path("-")}, False),
        ({"chats": ("c",), "users": ("u",)}, True),
        ({"ids_file": Path("-"), "projects": ("p",)}, True),
        ({"chats": ("c",), "organizations": ("o",)}, True),
    ],
)
def test_lists_are_gone_through_unless_everything_was_named(fields, expected):
    """Naming chats or files alone does not mean the whole organization."""
    assert expected == told(**fields).looks_for_chats


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], set()),
        (["generated"], {Family.GENERATED}),
        (["artifacts", "generated"], {Family.GENERATED, Family.ARTIFACT}),
        (["artifacts, generated"], {Family.GENERATED, Family.ARTIFACT}),
    ],
)
def test_files_are_always_among_what_is_shown(words, expected):
    """Others come along, together or one by one."""
    assert {Family.FILE, *expected} == parse_families(words)


@pytest.mark.parametrize("words", [["files"], [""], ["generated,"], ["Artifacts"]])
def test_other_words_are_refused(words):
    """With the words that there are."""
    with pytest.raises(UsageError, match="neither generated nor artifacts"):
        parse_families(words)
