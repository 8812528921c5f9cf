"""What nodes look like, and the bytes of meta.json."""

import json
import stat
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmount.inodes import Inode
from fsmount.tree import directory_attributes, file_attributes, meta_json, mtime_ns_of

texts = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=12).filter(
    # A pair of surrogates is one character in JSON, so no parser ever makes such a string.
    lambda text: text == json.loads(json.dumps(text))
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
documented = ["id", "created_at", "filename", "mime_type", "size_bytes", "md5"]
documented += ["message_ids", "claude_chat_ids"]
records = st.dictionaries(st.sampled_from(documented) | texts, values, max_size=12)

TIMEOUTS = {"attr_timeout_s": 60.0, "entry_timeout_s": 5.0}


@given(records)
@example({"id": "claude_file_01", "filename": "\ud83d"})
@example({"b\udc00": 1, "a\n": "\u2028\x00", "z": 10**40, "é": 1e-320})
def test_a_record_comes_back_from_its_meta_json(record: dict[str, object]):
    """The bytes are UTF-8 JSON that says exactly what the record said."""
    assert record == json.loads(meta_json(record).decode("utf-8", "strict"))


@given(records)
def test_the_form_is_the_libraries_with_an_indent_of_two(record: dict[str, object]):
    """Written by our own hand for speed alone."""
    made = meta_json(record)
    again = json.dumps(json.loads(made), ensure_ascii=False, indent=2)
    assert made == again.encode("utf-8", "backslashreplace") + b"\n"


@given(records, st.randoms())
def test_one_record_has_one_form(record: dict[str, object], random):
    """The order in which a record's keys came makes no difference."""
    keys = list(record)
    random.shuffle(keys)
    assert meta_json(record) == meta_json({key: record[key] for key in keys})


@given(records)
def test_documented_keys_come_first(record: dict[str, object]):
    """The API's documented keys stand in its order, all others sorted after them."""
    keys = list(json.loads(meta_json(record)))
    known = [key for key in documented if key in record]
    assert [*known, *sorted(record.keys() - set(known))] == keys


def test_the_bytes_of_a_record_are_fixed():
    """meta.json is hashed and cited: its form may not change."""
    record = {
        "zebra": {"b": 1, "a": []},
        "filename": "Übersicht \u202e\ud800.pdf",
        "id": "claude_file_01A",
        "message_ids": ["m1", "m2"],
        "apple": None,
        "md5": None,
        "size_bytes": 12,
    }
    expected = (
        '{\n  "id": "claude_file_01A",\n  "filename": "Übersicht \u202e\\ud800.pdf",\n'
        '  "size_bytes": 12,\n  "md5": null,\n  "message_ids": [\n    "m1",\n    "m2"\n  ],\n'
        '  "apple": null,\n  "zebra": {\n    "b": 1,\n    "a": []\n  }\n}\n'
    ).encode()
    assert expected == meta_json(record)


@pytest.mark.parametrize(
    ("size_bytes", "blocks"), [(0, 0), (1, 1), (511, 1), (512, 1), (513, 2), (2**40, 2**31)]
)
def test_blocks_cover_the_size(size_bytes, blocks):
    """A file with bytes is never reported as sparse: tar would store zeroes."""
    assert blocks == file_attributes(Inode(9), size_bytes, 0, **TIMEOUTS).blocks


def test_files_are_read_only():
    """A file can be read, not written or run, and has one link."""
    node = file_attributes(Inode(9), 5, 7, **TIMEOUTS)
    assert (9, 5, 7, 1) == (node.inode, node.size_bytes, node.mtime_ns, node.nlink)
    assert "-r--r--r--" == stat.filemode(node.mode)
    assert (60.0, 5.0) == (node.attr_timeout_s, node.entry_timeout_s)


@pytest.mark.parametrize(("writable", "mode"), [(False, "dr-xr-xr-x"), (True, "drwxr-xr-x")])
def test_directories_are_writable_only_where_deleting_is_allowed(writable, mode):
    """A directory has two links; its owner may unlink in it only when the mount allows it at all."""
    node = directory_attributes(Inode(8), 7, writable=writable, **TIMEOUTS)
    assert (mode, 2, 7) == (stat.filemode(node.mode), node.nlink, node.mtime_ns)


def test_attributes_do_not_change():
    """What the kernel was told is not edited afterwards."""
    node = file_attributes(Inode(9), 5, 7, **TIMEOUTS)
    with pytest.raises(AttributeError):
        node.size_bytes = 6  # type: ignore[misc]  # that it fails is the test


@given(st.integers(-(9 * 10**15), 9 * 10**15))
def test_times_are_exact(microseconds: int):
    """A time keeps every microsecond, before 1970 too; no float is involved."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    assert microseconds * 1000 == mtime_ns_of(moment)
    elsewhere = moment.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert mtime_ns_of(moment) == mtime_ns_of(elsewhere)


@pytest.mark.parametrize(
    ("year", "expected"), [(1, 1 - 2**63), (1677, 1 - 2**63), (2263, 2**63 - 1), (9999, 2**63 - 1)]
)
def test_times_fit_what_databases_and_the_kernel_hold(year: int, expected: int):
    """A time further away than 64 bits of nanoseconds reach is the nearest that they do."""
    assert expected == mtime_ns_of(datetime(year, 1, 1, tzinfo=UTC))


def test_an_unknown_time_is_not_the_present():
    """Without a time the file is of 1970."""
    assert 0 == mtime_ns_of(None)
