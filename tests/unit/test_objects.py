"""The families of objects: told apart by id, named as people know them, and alike in everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import client
from client import Family
from fsmount.objects import (
    Told,
    content_name_of,
    display_name_of,
    family_of,
    has_content,
    id_of,
    is_deletable,
    mime_type_of,
    record_of,
    told_by_entry,
)
from tests.support.organization import artifact_entry, file_entry, generated_entry

ENTRIES = {
    Family.FILE: file_entry("x"),
    Family.GENERATED: generated_entry("x"),
    Family.ARTIFACT: artifact_entry("x"),
}
CODE, MARKDOWN = "application/vnd.ant.code", "text/markdown"


def artifact(title: str | None, artifact_type: str | None) -> client.Artifact:
    return client.Artifact("a", title=title, artifact_type=artifact_type)


@given(st.sampled_from(Family), st.text(max_size=8))
def test_an_id_tells_its_family(family, rest):
    """The families' ids begin differently, and no beginning is that of another one."""
    assert family is family_of(family.value + rest)
    assert (family is Family.FILE) == is_deletable(family.value + rest)


@pytest.mark.parametrize("family", Family)
def test_each_family_has_its_own_record(family):
    """A record is asked for with the id that it was made with."""
    kinds = {
        Family.FILE: client.File,
        Family.GENERATED: client.GeneratedFile,
        Family.ARTIFACT: client.Artifact,
    }
    made = record_of(f"{family.value}x", ENTRIES[family])
    assert (kinds[family], f"{family.value}x") == (type(made), id_of(made))
    assert made.raw == ENTRIES[family]
    assert has_content(made)
    assert Told.ENTRY is told_by_entry(made)


@pytest.mark.parametrize("family", Family)
def test_what_is_no_record_is_refused(family):
    """Every family refuses a record with fields of the wrong kind."""
    with pytest.raises(client.InvalidResponseError):
        record_of(f"{family.value}x", ENTRIES[family] | {"md5": 7})


def test_an_artifact_without_a_version_is_asked_for_by_its_id():
    """There is always something to ask with."""
    assert "a" == id_of(client.Artifact("a"))


@pytest.mark.parametrize(
    ("fields", "expected", "has"),
    [
        ({"mime_type": "text/plain"}, Told.ENTRY, True),
        ({"mime_type": None}, Told.ENTRY, False),
        ({}, Told.NAME, False),
    ],
)
@pytest.mark.parametrize("family", [Family.FILE, Family.GENERATED])
def test_an_entry_without_a_type_does_not_say_whether_there_is_content(
    family, fields, expected, has
):
    """Null says that there is none; nothing at all says nothing."""
    made = record_of(f"{family.value}x", {"id": f"{family.value}x"} | fields)
    assert (expected, has) == (told_by_entry(made), has_content(made))


def test_each_step_tells_more():
    """A record is replaced only by one that tells more."""
    assert [Told.NOTHING, Told.NAME, Told.ENTRY, Told.RECORD] == sorted(Told)


@pytest.mark.parametrize(
    ("title", "artifact_type", "expected"),
    [
        ("Essay", MARKDOWN, "Essay.md"),
        ("Essay.md", MARKDOWN, "Essay.md"),
        ("ESSAY.MD", MARKDOWN, "ESSAY.MD"),
        ("Essay.txt", MARKDOWN, "Essay.txt.md"),
        ("main.py", CODE, "main.py"),
        ("archive.tar.gz", CODE, "archive.tar.gz"),
        ("Sorting", CODE, "Sorting.txt"),
        ("Fix v1.2 now", CODE, "Fix v1.2 now.txt"),
        ("what... ever", CODE, "what... ever.txt"),
        ("main.py\n", CODE, "main.py\n.txt"),
        ("Chart", "application/vnd.ant.mermaid", "Chart.mmd"),
        ("Thing", "application/vnd.unknown", "Thing"),
        ("Thing", None, "Thing"),
        ("", MARKDOWN, ""),
        (None, MARKDOWN, None),
    ],
)
def test_a_title_gets_the_extension_of_its_type(title, artifact_type, expected):
    """Unless it has it, or is code, whose language only its title tells."""
    assert expected == display_name_of(artifact(title, artifact_type))


@pytest.mark.parametrize(
    ("record", "told", "expected"),
    [
        (client.File("f", filename="a.txt", mime_type="text/plain"), Told.ENTRY, b"a.txt"),
        (client.File("f", filename=None, mime_type="text/csv"), Told.RECORD, b"content.csv"),
        (client.File("f", filename="a.txt", mime_type=None), Told.ENTRY, None),
        (client.File("f", filename="a.txt", mime_type=None), Told.NAME, b"a.txt"),
        (client.File("f", filename=None, mime_type=None), Told.NAME, None),
        (client.File("f", filename="", mime_type=None), Told.NAME, None),
        (client.GeneratedFile("g", filename="a.png", mime_type="image/png"), Told.ENTRY, b"a.png"),
        (artifact("a/b", MARKDOWN), Told.ENTRY, b"a%2Fb.md"),
        (artifact(None, MARKDOWN), Told.ENTRY, b"content.md"),
        (artifact(None, None), Told.ENTRY, b"content"),
    ],
)
def test_a_content_name_is_settled_only_by_what_is_known(record, told, expected):
    """Without content there is none; without a name and a type there is none yet."""
    assert expected == content_name_of(record, told)


@given(st.text(min_size=1, max_size=300), st.sampled_from([None, "text/plain", MARKDOWN]))
def test_a_file_has_the_same_name_whoever_names_it_first(filename, mime_type):
    """An older entry, a list and the record give the same name to what has one."""
    made = client.File("f", filename=filename, mime_type=mime_type or "text/csv")
    older = client.File("f", filename=filename)
    names = {content_name_of(older, Told.NAME)}
    names |= {content_name_of(made, told) for told in (Told.ENTRY, Told.RECORD)}
    assert 1 == len(names)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (client.File("f", mime_type="text/plain"), "text/plain"),
        (client.GeneratedFile("g"), None),
        (artifact("a", MARKDOWN), MARKDOWN),
    ],
)
def test_every_family_has_a_type(record, expected):
    """For an artifact it is called by another name."""
    assert expected == mime_type_of(record)
