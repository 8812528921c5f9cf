"""Records as dataclasses."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import client

RECORD = {
    "id": "claude_file_01A",
    "created_at": "2025-06-01T12:00:00.5+02:00",
    "filename": "report.pdf",
    "mime_type": "application/pdf",
    "size_bytes": 12,
    "md5": "D41D8CD98F00B204E9800998ECF8427E",
    "message_ids": ["m1", "m2"],
    "claude_chat_ids": ["c1"],
    "added_later": {"a": [1]},
}
KINDS = [client.File, client.GeneratedFile, client.Artifact]


def test_a_file_has_its_documented_fields():
    """Times become UTC, digests lowercase, lists tuples; what is not documented stays in extra."""
    file = client.File.from_dict(RECORD)
    expected = client.File(
        id="claude_file_01A",
        created_at=datetime(2025, 6, 1, 10, 0, 0, 500_000, UTC),
        filename="report.pdf",
        mime_type="application/pdf",
        size_bytes=12,
        message_ids=("m1", "m2"),
        md5="d41d8cd98f00b204e9800998ecf8427e",
        claude_chat_ids=("c1",),
        extra={"added_later": {"a": [1]}},
    )
    assert expected == file


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_is_kept_as_it_came(kind):
    """The record stays at hand with every field, also those that the class does not have."""
    assert RECORD == kind.from_dict(RECORD).raw


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_told_is_none(kind):
    """A record with nothing but an id has no zeroes and no empty texts."""
    made = kind.from_dict({"id": "x"})
    told = {name for name in kind.__slots__ if getattr(made, name) not in (None, (), {})}
    assert {"id", "raw"} == told


def test_null_and_absent_are_alike():
    """A field that is null is unknown, as one that is absent."""
    names = set(RECORD) - {"id", "added_later"}
    assert client.File("x") == client.File.from_dict({"id": "x", **dict.fromkeys(names)})


def test_siblings_have_their_own_fields():
    """Generated files and artifacts carry what only they have."""
    generated = client.GeneratedFile.from_dict({"id": "g", "claude_chat_id": "c", "size_bytes": 0})
    artifact = client.Artifact.from_dict({"id": "a", "version_id": "v", "title": "t"})
    assert ("c", 0) == (generated.claude_chat_id, generated.size_bytes)
    assert ("v", "t") == (artifact.version_id, artifact.title)


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": ""},
        {"id": 5},
        {"created_at": "yesterday"},
        {"created_at": 5},
        {"created_at": "0001-01-01T00:00:00+23:00"},
        {"filename": 5},
        {"size_bytes": -1},
        {"size_bytes": True},
        {"size_bytes": 1.5},
        {"size_bytes": 2**63},
        {"message_ids": "m1"},
        {"message_ids": [1]},
        {"md5": 5},
    ],
)
def test_a_field_of_an_impossible_kind_refuses_the_record(change):
    """Nothing is guessed: a record with a field that can't be is refused by that field's name."""
    with pytest.raises(client.InvalidResponseError, match=next(iter(change))):
        client.File.from_dict({**RECORD, **change})


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(RECORD)), inner),
    )
)
def test_any_json_is_a_record_or_refused(kind, value):
    """No JSON value brings another error than InvalidResponseError, whose message is one line."""
    try:
        message = repr(kind.from_dict(value).id)
    except client.InvalidResponseError as error:
        message = str(error)
    assert message.isprintable()


def test_the_raw_record_is_not_shown():
    """A file stays readable when printed: raw is left out, and out of comparisons."""
    assert "raw" not in repr(client.File.from_dict(RECORD))
