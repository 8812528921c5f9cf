"""Whatever an upload was called, its entry name is safe, steady and recognizable."""

import hashlib
import mimetypes
import unicodedata
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmount.names import MAX_NAME_BYTES, META_NAME, content_name, is_file_id

CONTROLS = {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]}
BIDIRECTIONAL = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
ZERO_WIDTH = set("\u180e\u200b\u200c\u200d\u2060\ufeff")
UNSAFE = CONTROLS | BIDIRECTIONAL | ZERO_WIDTH | {"/"}

# hypothesis leaves lone surrogates out of st.text() unless its alphabet is said to have them.
any_character = (
    st.characters() | st.characters(categories=["Cs", "Cc", "Cf"]) | st.sampled_from("./-%")
)
any_name = st.text(any_character, max_size=400)
long_name = st.text(any_character, min_size=256, max_size=600)
harmless = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "S"]) | st.sampled_from(" ()[]'&$~_%!;"),
    min_size=1,
    max_size=60,
)


def hash_of(filename: str) -> bytes:
    full = filename.encode("utf-8", "surrogatepass")
    return b"~" + hashlib.sha256(full).hexdigest()[:8].encode()


@given(any_name, st.none() | st.text(max_size=40))
@example("..", None)
@example("\udcff", None)
@example("\u202e" * 300, None)
@example("." * 300, None)
@example("meta.json\x00", "application/json")
def test_every_name_is_safe(filename: str, mime_type: str | None):
    """A name is 1 to 255 bytes of UTF-8, not hidden, no option, with nothing that deceives."""
    name = content_name(filename, mime_type)
    text = name.decode("utf-8", "strict")
    assert 1 <= len(name) <= MAX_NAME_BYTES
    assert text[0] not in ".-"
    assert set() == UNSAFE & set(text)
    assert META_NAME.decode() != text.casefold()
    assert name == content_name(filename, mime_type)


@given(harmless.filter(lambda name: len(name.encode()) <= MAX_NAME_BYTES))
@example("quarterly report.pdf")
@example("報告書.docx")
@example("50% of a.b.c~")
@example("a-b.c")
@example("cafe\u0301.txt")  # not normalized
def test_harmless_names_stay_as_they_are(filename: str):
    """A name without anything unsafe is not touched, and not normalized."""
    assert filename.encode() == content_name(filename, "text/plain")


@given(st.text(st.characters(codec="utf-8", exclude_characters="%"), min_size=1, max_size=20))
def test_nothing_is_lost_by_escaping(filename: str):
    """A short name without a percent sign can be had back from its entry name."""
    name = unquote_to_bytes(content_name(filename, None))
    assert filename.encode() == name.removeprefix(
        b"content-" if filename.casefold() == "meta.json" else b""
    )


@pytest.mark.parametrize("character", sorted(UNSAFE))
def test_unsafe_characters_are_percent_encoded(character):
    """Each unsafe character becomes the percent-encoded bytes of its UTF-8 form, wherever it stands."""
    escaped = b"".join(b"%%%02X" % byte for byte in character.encode())
    assert b"a" + escaped + b"z" == content_name(f"a{character}z", None)
    assert escaped + b"z" == content_name(f"{character}z", None)


def test_the_unsafe_characters_are_all_that_unicode_names():
    """No control character and no bidirectional control of this Python's Unicode gets through."""
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in {"Cc", "Cs"} or (
            unicodedata.bidirectional(character) in bidirectional
        ):
            assert b"%" == content_name(character, None)[:1], hex(code)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (".", b"%2E"),
        ("..", b"%2E."),
        (".bashrc", b"%2Ebashrc"),
        ("-rf", b"%2Drf"),
        ("--", b"%2D-"),
        ("../../etc/passwd", b"%2E.%2F..%2Fetc%2Fpasswd"),
        ("a\nb", b"a%0Ab"),
        ("gpj.\u202eexe", b"gpj.%E2%80%AEexe"),
        ("\ud800", b"%ED%A0%80"),
        ("a\udfff.txt", b"a%ED%BF%BF.txt"),
        ("a\u200db", b"a%E2%80%8Db"),
        ("%2E", b"%2E"),
        ("100%.txt", b"100%.txt"),
        (" ", b" "),
    ],
)
def test_what_is_escaped_and_how(filename, expected):
    """A leading dot or dash, slashes, controls and lone surrogates are escaped; a percent sign is not."""
    assert expected == content_name(filename, "text/plain")


@pytest.mark.parametrize("filename", ["meta.json", "META.JSON", "Meta.Json", "meta.j\u017fon"])
def test_no_content_passes_for_the_record(filename):
    """Whatever a file system that folds case would take for meta.json is called something else."""
    assert b"content-" + filename.encode() == content_name(filename, "application/json")


@pytest.mark.parametrize("filename", ["meta.json.txt", "ameta.json", "meta.jso", "meta_json"])
def test_names_like_the_record_are_no_trouble(filename):
    """Only the name itself is taken."""
    assert filename.encode() == content_name(filename, None)


@pytest.mark.parametrize("filename", [None, ""])
@pytest.mark.parametrize(
    ("mime_type", "expected"),
    [
        ("text/csv", b"content.csv"),
        ("TEXT/CSV; charset=utf-8", b"content.csv"),
        ("image/jpeg", b"content.jpg"),
        ("application/pdf", b"content.pdf"),
        ("text/plain", b"content.txt"),
        ("video/mpeg", b"content.mpeg"),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"content.docx",
        ),
        ("application/x-made-up", b"content"),
        ("nonsense", b"content"),
        ("../../x/y", b"content"),
        ("", b"content"),
        (None, b"content"),
    ],
)
def test_a_nameless_file_is_called_by_its_type(filename, mime_type, expected):
    """Without a name, the entry is `content` and the extension that the type suggests."""
    assert expected == content_name(filename, mime_type)


def test_the_machine_has_no_say_in_extensions(monkeypatch):
    """Types registered on this machine do not change names, else two examiners would see different ones."""
    monkeypatch.setattr(mimetypes, "guess_extension", lambda *_args, **_kw: ".local")
    mimetypes.add_type("application/x-made-up", ".local")
    assert b"content" == content_name(None, "application/x-made-up")


@given(long_name, st.text("abcdefgh0123456789", min_size=1, max_size=32))
def test_a_long_name_keeps_its_extension_and_gets_a_hash(stem: str, extension: str):
    """The stem is cut; the hash of the full name stands before the extension; little room is wasted."""
    filename = f"{stem}.{extension}"
    name = content_name(filename, None)
    assert name.endswith(hash_of(filename) + b"." + extension.encode())
    assert (
        MAX_NAME_BYTES - 12 < len(name) <= MAX_NAME_BYTES
    )  # no character is longer than 9 escaped


@given(long_name.map(lambda text: text.replace(".", "")))
def test_a_long_name_without_extension_ends_in_its_hash(filename: str):
    """Where there is no extension, the hash comes last."""
    if len(filename) >= 256:
        assert content_name(filename, None).endswith(hash_of(filename))


@pytest.mark.parametrize("extension", ["x" * 33, "x" * 250, "x" * 300, "\u202e" * 20, "é" * 200])
def test_an_endless_extension_is_part_of_the_name(extension):
    """What comes after the last dot counts as an extension only while it is short."""
    filename = f"{'a' * 240}.{extension}"
    name = content_name(filename, None)
    assert name.endswith(hash_of(filename))
    assert MAX_NAME_BYTES - 9 < len(name) <= MAX_NAME_BYTES
    assert name.startswith(b"a" * 200)


def test_a_leading_dot_begins_no_extension():
    """A hidden file has no extension, however long it is."""
    filename = "." + "a" * 300
    assert b"%2E" + b"a" * 243 + hash_of(filename) == content_name(filename, None)


@pytest.mark.parametrize("length", [254, 255])
def test_a_name_that_just_fits_is_not_cut(length):
    """255 bytes are allowed."""
    assert b"a" * length == content_name("a" * length, None)


def test_the_cut_is_made_between_characters():
    """Neither a character nor an escape is cut in two."""
    accents = "é" * 200
    assert "é".encode() * 123 + hash_of(accents) == content_name(accents, None)
    controls = "\u200e" * 100
    assert b"%E2%80%8E" * 27 + hash_of(controls) == content_name(controls, None)


def test_long_names_with_one_beginning_stay_apart():
    """Two long names that differ only where they are cut have different entry names."""
    assert content_name("a" * 300 + "1.pdf", None) != content_name("a" * 300 + "2.pdf", None)


@pytest.mark.parametrize(
    "name",
    [
        b"claude_file_0",
        b"claude_file_01AbCdEfGhIjKlMnOpQrStUv",
        b"claude_file_" + b"z" * 128,
        b"claude_gen_file_01",
        b"claude_artifact_version_01",
    ],
)
def test_well_formed_ids(name):
    """An id is the prefix and letters and digits."""
    assert is_file_id(name)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b".Trash",
        b"autorun.inf",
        b"claude_file_",
        b"claude_file_01\n",
        b"claude_file_0/1",
        b"claude_file_0.",
        b"claude_file_01_",
        b"claude_file_\xc3\xa9",
        b"Claude_file_01",
        b" claude_file_01",
        b"xclaude_file_01",
        b"claude_gen_file_",
        b"claude_artifact_01",
        b"claude_file_" + b"z" * 129,
    ],
)
def test_other_names_are_no_ids(name):
    """What file managers and shells probe for is never taken for an id."""
    assert not is_file_id(name)
