"""The custody log keeps its chain under every accident, and shows every tampering."""

import hashlib
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsmount import custody
from fsmount.custody import (
    GENESIS,
    RECOVERED,
    CheckResult,
    CustodyLog,
    check,
    head_path,
    iter_entries,
)
from fsmount.errors import CustodyError

NOON = datetime(2025, 6, 1, 14, 0, 0, 5, timezone(timedelta(hours=2)))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
data_of_events = st.dictionaries(st.sampled_from("abcdefgh"), json_values, max_size=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a log may be made."""
    return tmp_path / "custody.jsonl"


@pytest.fixture(scope="module")
def common_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log that all examples of a property use in turn: to make one, its directory is flushed."""
    path = tmp_path_factory.mktemp("common") / "custody.jsonl"
    CustodyLog(path).close()
    return path


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Return a function that bounds the size of every file: writes past it come out short, then fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(path: Path, *events: str, start: int = 0) -> None:
    """Append entries with a log of their own, as another run of the program would."""
    log = CustodyLog(path, now=lambda: NOON)
    for number, event in enumerate(events, start=start):
        log.append(event, {"claude_file_id": f"claude_file_{number}"})
    log.close()


def start_again(path: Path, *events: str) -> None:
    """Replace a log by a new one, without making files."""
    path.write_bytes(b"")
    head_path(path).write_bytes(json.dumps({"seq": 0, "sha256": GENESIS}).encode())
    write(path, *events)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def assert_whole(path: Path, entries: int) -> None:
    assert CheckResult(entries, ()) == check(path)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# What an entry looks like


def test_a_line_is_fixed(path):
    """Entries are cited: number, time in UTC, event, data in order, hash of the line before."""
    write(path, "mounted", "unmounted")
    first = (
        '{"seq":1,"time":"2025-06-01T12:00:00.000005Z","event":"mounted",'
        f'"claude_file_id":"claude_file_0","prev":"{GENESIS}"}}\n'
    ).encode()
    second = (
        '{"seq":2,"time":"2025-06-01T12:00:00.000005Z","event":"unmounted",'
        f'"claude_file_id":"claude_file_1","prev":"{sha256(first)}"}}\n'
    ).encode()
    assert [first, second] == lines_of(path)


def test_the_note_holds_the_last_line(path):
    """The file beside the log has the number and hash of the last line, and always the same size."""
    CustodyLog(path).close()
    empty = head_path(path).read_bytes()
    write(path, *["e"] * 12)
    note = head_path(path).read_bytes()
    assert {"seq": 12, "sha256": sha256(lines_of(path)[-1])} == json.loads(note)
    assert (len(empty), "custody.head") == (len(note), head_path(path).name)


def test_files_are_the_owners_alone(path):
    """Custody entries name people and files: nobody else reads them."""
    write(path, "mounted")
    assert [0o600] * 2 == [file.stat().st_mode & 0o777 for file in (path, head_path(path))]


@settings(deadline=None)  # a busy disk is no failure
@given(events=st.lists(st.tuples(st.text(max_size=10), data_of_events), max_size=8))
def test_entries_come_back_as_they_were_written(common_path, events):
    """Any JSON data survives, each entry in one line of ASCII, and the chain is whole."""
    start_again(common_path)
    log = CustodyLog(common_path)
    numbers = [log.append(event, data) for event, data in events]
    log.close()
    assert list(range(1, len(events) + 1)) == numbers
    assert_whole(common_path, len(events))
    assert len(events) == common_path.read_bytes().count(b"\n")
    assert common_path.read_bytes().isascii()
    own = {"seq", "time", "event", "prev"}
    read = [
        (entry["event"], {key: value for key, value in entry.items() if key not in own})
        for entry in iter_entries(common_path)
    ]
    assert events == read


def test_lone_surrogates_can_be_recorded(path):
    """A file name that is no Unicode text is written as its JSON escape."""
    log = CustodyLog(path)
    log.append("acquired", {"filename": "a\ud800"})
    log.close()
    assert ["a\ud800"] == [entry["filename"] for entry in iter_entries(path)]


def test_a_group_is_written_as_single_entries_are(path, tmp_path):
    """append_many writes what as many appends would, and returns the last number."""
    other = tmp_path / "other.jsonl"
    write(other, "a", "b", "c")
    log = CustodyLog(path, now=lambda: NOON)
    events = [(event, {"claude_file_id": f"claude_file_{n}"}) for n, event in enumerate("abc")]
    assert 3 == log.append_many(events)
    assert 3 == log.append_many([])
    log.close()
    assert other.read_bytes() == path.read_bytes()
    assert_whole(path, 3)


@pytest.mark.parametrize("key", ["seq", "time", "event", "prev"])
def test_data_can_not_pass_for_the_log(path, key):
    """Data that would replace the log's own keys is refused, with nothing of its group written."""
    log = CustodyLog(path)
    with pytest.raises(ValueError, match=key):
        log.append_many([("good", {}), ("bad", {key: 1})])
    assert 1 == log.append("good", {})
    log.close()
    assert_whole(path, 1)


def test_a_log_goes_on_where_it_ended(path):
    """A later run continues the numbers and the chain, also after a line of any length."""
    write(path, "a", "b")
    log = CustodyLog(path)
    log.append("long", {"record": "x" * 100_000})
    log.close()
    write(path, "c", start=3)
    assert ["a", "b", "long", "c"] == [entry["event"] for entry in iter_entries(path)]
    assert_whole(path, 4)


def test_a_durable_entry_is_on_disk_before_its_note(path, monkeypatch):
    """A durable append flushes the log, then notes it, then flushes the note; others flush nothing."""
    log = CustodyLog(path)
    write_note = log._write_note
    calls: list[str] = []
    names = {log._fd: "log", log._head_fd: "note"}
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(f"flush {names[fd]}"))

    def note() -> None:
        calls.append("note")
        write_note()

    monkeypatch.setattr(log, "_write_note", note)
    log.append("acquired", {})
    assert ["note"] == calls
    calls.clear()
    log.append("delete_requested", {}, durable=True)
    assert ["flush log", "note", "flush note"] == calls
    log.close()


# Tampering


def edits(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Yield each log in which one line is edited, still a well-formed entry."""
    for number, line in enumerate(lines):
        for old, new in [(b"claude_file_", b"Claude_file_"), (b"T12:", b"T11:"), (b'"e', b'"f')]:
            yield [*lines[:number], line.replace(old, new, 1), *lines[number + 1 :]]


def removals(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Yield each log without some run of lines, at the end too."""
    for start in range(len(lines)):
        for end in range(start + 1, len(lines) + 1):
            yield lines[:start] + lines[end:]


def moves(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Yield each log in which two lines have changed places, or one stands twice."""
    for first in range(len(lines)):
        for second in range(first + 1, len(lines)):
            moved = lines.copy()
            moved[first], moved[second] = lines[second], lines[first]
            yield moved
            yield [*lines[:second], lines[first], *lines[second:]]
        yield [*lines[: first + 1], *lines[first:]]


def spoils(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Yield each log in which a line is no entry any more, or has one that is none beside it."""
    for number in range(len(lines)):
        for spoiled in (
            b"\n",
            b"{}\n",
            b"null\n",
            b"\xff\xfe\n",
            b"[" * 100_000 + b"\n",
            b"\0" * 9,
        ):
            yield [*lines[:number], spoiled, *lines[number + 1 :]]
            yield [*lines[:number], spoiled, *lines[number:]]


@pytest.mark.parametrize("tamper", [edits, removals, moves, spoils])
@pytest.mark.parametrize("appended", [0, 1])
def test_any_tampering_is_found(path, tamper, appended):
    """No edited, removed, moved or spoiled line stays unnoticed, nor does a later append cover it up."""
    write(path, "e0", "e1", "e2", "e3", "e4")
    lines, note = lines_of(path), head_path(path).read_bytes()
    for tampered in tamper(lines):
        path.write_bytes(b"".join(tampered))
        head_path(path).write_bytes(note)
        write(path, *["later"] * appended)
        assert check(path).problems, tampered


@settings(deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_found(common_path, data):
    """Any byte of any line can't be another one."""
    start_again(common_path, "e0", "e1", "e2")
    content = bytearray(common_path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    common_path.write_bytes(content)
    write(common_path, *["later"] * data.draw(st.integers(0, 1)))
    assert check(common_path).problems


@settings(deadline=None)
@given(data=st.data())
def test_any_cut_is_found(common_path, data):
    """A log cut at any byte, before or after its next entry, is not whole."""
    start_again(common_path, "e0", "e1", "e2")
    # All but the last newline, which a crash may lose and which says nothing.
    os.truncate(common_path, data.draw(st.integers(0, common_path.stat().st_size - 2)))
    write(common_path, *["later"] * data.draw(st.integers(0, 1)))
    assert check(common_path).problems


def test_an_edit_before_a_torn_line_is_found(path):
    """The entry that closes off a torn line vouches for the line before it, too."""
    write(path, "e0", "e1")
    with path.open("ab") as log:
        log.write(b'{"seq":3,"ti')
    write(path, "later")
    assert_whole(path, 4)
    whole = path.read_bytes()
    for tampered in (
        whole.replace(b'"e1"', b'"f1"'),
        whole.replace(b'"torn_bytes":12', b'"torn_bytes":13'),
        whole.replace(b'{"seq":3,"ti\n', b'{"seq":3,"tj\n'),
        whole.replace(b'{"seq":3,"ti\n', b'\n{"seq":3,"ti\n'),
        whole.replace(b'{"seq":3,"ti\n', b""),
        whole.replace(lines_of(path)[1], b""),
    ):
        path.write_bytes(tampered)
        assert check(path).problems, tampered


@pytest.mark.parametrize("note", [None, b"", b"{}", b"[1]", b'{"seq": "x", "sha256": ""}', b"\xff"])
@pytest.mark.parametrize("appended", [0, 1])
def test_a_lost_note_is_found(path, note, appended):
    """Without the note a removed end could not be seen, so its loss shows, also after the next append."""
    write(path, "e0", "e1")
    head_path(path).unlink()
    if note is not None:
        head_path(path).write_bytes(note)
    write(path, *["later"] * appended)
    problems = check(path).problems
    assert 1 == len(problems)
    assert "the note of the last line" in problems[0]


def test_problems_name_their_lines(path):
    """A person is told which lines to look at."""
    write(path, "e0", "e1", "e2", "e3", "e4", "e5")
    lines = lines_of(path)
    path.write_bytes(b"".join([lines[0], b"x\n", lines[1], lines[3]]))
    expected = (
        "line 2: is not a complete entry",
        "line 3: does not follow from the line before it",
        "line 4: does not follow from the line before it",
        "line 4: has number 4, 3 was due",
        "the log ends with entry 4, but entry 6 was written: the end was removed, or lost in a power failure",
    )
    assert CheckResult(3, expected) == check(path)


def test_a_removed_end_is_recorded_by_the_next_entry(path):
    """Numbers are never used twice, and the log itself says what was missing."""
    write(path, *["e"] * 6)
    path.write_bytes(b"".join(lines_of(path)[:3]))
    write(path, "later")
    recovered, later = list(iter_entries(path))[3:]
    assert (RECOVERED, 7, 3, 6) == tuple(
        recovered[key] for key in ("event", "seq", "found_seq", "noted_seq")
    )
    assert ("later", 8) == (later["event"], later["seq"])


# Accidents


def test_a_note_one_append_behind_is_no_problem(path):
    """A crash between the line and its note loses nothing, and nothing is made of it."""
    write(path, "e0", "e1")
    note = head_path(path).read_bytes()
    write(path, "e2")
    head_path(path).write_bytes(note)
    assert_whole(path, 3)
    write(path, "e3")
    assert_whole(path, 4)


@pytest.mark.parametrize("length", [1, 40, 90_000])
@pytest.mark.parametrize("entries", [0, 2])
def test_a_torn_last_line_is_closed_off_and_recorded(path, length, entries):
    """What a crash left of a line stays as it is; the next entry says so and the chain goes on."""
    write(path, *["e"] * entries)
    if not entries:
        CustodyLog(path).close()
    torn = (b'{"seq":3,"time":"' + b"x" * length)[:length]
    with path.open("ab") as log:
        log.write(torn)
    assert (f"line {entries + 1}: is not a complete entry",) == check(path).problems
    write(path, "later")
    assert_whole(path, entries + 2)
    assert torn + b"\n" == lines_of(path)[entries]
    recovered = list(iter_entries(path))[entries]
    assert (RECOVERED, length) == (recovered["event"], recovered["torn_bytes"])


def test_a_torn_line_is_noticed_while_the_log_is_open(path):
    """Another process may die while this one goes on."""
    log = CustodyLog(path)
    log.append("a", {})
    with path.open("ab") as other:
        other.write(b'{"seq":2')
    assert 3 == log.append("b", {})
    log.close()
    assert_whole(path, 3)


def test_a_lost_newline_is_put_back(path):
    """A last entry that lacks only its end of line is whole."""
    write(path, "e0", "e1")
    os.truncate(path, path.stat().st_size - 1)
    write(path, "e2")
    assert ["e0", "e1", "e2"] == [entry["event"] for entry in iter_entries(path)]
    assert_whole(path, 3)


def test_a_full_disk_is_an_error(tmp_path):
    """An entry that can't be written is a CustodyError that names the log and the reason."""
    path = tmp_path / "custody.jsonl"
    path.symlink_to("/dev/full")
    log = CustodyLog(path)
    with pytest.raises(CustodyError, match=rf"{re.escape(str(path))}.*No space left"):
        log.append("delete_requested", {}, durable=True)
    log.close()


@pytest.mark.parametrize("durable", [False, True])
def test_half_a_line_is_taken_back(path, small_files, durable):
    """When only part of an entry fits, nothing of it stays, and the log goes on once there is room."""
    log = CustodyLog(path, now=lambda: NOON)
    log.append("a", {})
    before = path.read_bytes()
    small_files(len(before) + 50)
    for _ in range(2):
        with pytest.raises(CustodyError, match="the disk is full"):
            log.append("b", {"record": "x" * 100}, durable=durable)
        assert before == path.read_bytes()
    assert_whole(path, 1)
    small_files(1 << 20)
    assert 2 == log.append("c", {})
    log.close()
    assert_whole(path, 2)


def test_an_end_of_space_while_recovering_is_recovered_from(path, small_files):
    """A torn line and a full disk together leave a log that can go on later."""
    write(path, "a")
    with path.open("ab") as other:
        other.write(b'{"seq":2')
    small_files(path.stat().st_size + 20)
    log = CustodyLog(path)
    with pytest.raises(CustodyError):
        log.append("b", {})
    small_files(1 << 20)
    log.append("b", {})
    log.close()
    assert_whole(path, 3)


def test_an_entry_that_could_not_be_noted_is_kept(path, monkeypatch):
    """When the line was written but its note failed, the caller gets an error and the chain stays whole."""
    log = CustodyLog(path)
    log.append("a", {})
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_arguments: 5)
        with pytest.raises(CustodyError):
            log.append("b", {})
    log.append("c", {})
    log.close()
    assert_whole(path, 3)


@pytest.mark.parametrize("replace", [False, True])
def test_a_log_that_was_taken_away_is_an_error(path, tmp_path, replace):
    """Entries are never written into a file that nobody can find any more."""
    log = CustodyLog(path)
    log.append("a", {})
    path.rename(tmp_path / "elsewhere")
    if replace:
        path.touch()
    with pytest.raises(CustodyError, match=r"replaced|No such file"):
        log.append("b", {})
    log.close()


@pytest.mark.parametrize("name", ["no such directory/custody.jsonl", "."])
def test_a_log_that_can_not_be_opened_is_an_error(tmp_path, name):
    """Opening and reading fail with CustodyError, never OSError, and leave no file open."""
    before = sorted(os.listdir("/proc/self/fd"))
    for use in (CustodyLog, check, lambda path: list(iter_entries(path))):
        with pytest.raises(CustodyError):
            use(tmp_path / name)
    head_path(tmp_path / "custody.jsonl").mkdir()
    with pytest.raises(CustodyError):
        CustodyLog(tmp_path / "custody.jsonl")
    assert before == sorted(os.listdir("/proc/self/fd"))


def test_an_empty_log_is_whole(path):
    """A case in which nothing happened has nothing to prove."""
    CustodyLog(path).close()
    assert_whole(path, 0)


# Several writers


def append_many_times(path: Path, who: int, times: int) -> None:
    log = CustodyLog(path)
    for number in range(times):
        if number % 5:
            log.append("a", {"who": who, "number": number})
        else:
            log.append_many([("b", {"who": who, "number": number})])
    log.close()


@pytest.mark.parametrize("kind", [threading.Thread, multiprocessing.get_context("spawn").Process])
def test_writers_at_once_keep_one_chain(path, kind):
    """A mount and a collect may write to one log; each entry is there, in each writer's order."""
    writers = [kind(target=append_many_times, args=(path, who, 200)) for who in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists() and head_path(path).exists():
            assert () == check(path).problems  # a check beside the writers accuses nobody
    for writer in writers:
        writer.join()
    assert_whole(path, 600)
    for who in range(3):
        own = [entry["number"] for entry in iter_entries(path) if entry["who"] == who]
        assert list(range(200)) == own


def test_threads_can_share_one_log(path):
    """One log may be written to from worker threads."""
    log = CustodyLog(path)

    def append() -> None:
        for _ in range(200):
            log.append("a", {})

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert_whole(path, 800)


def test_a_killed_writer_leaves_a_log_that_goes_on(path):
    """After kill -9 in the middle of writing, the next entry follows and the chain is whole."""
    code = (
        "import pathlib, sys\nfrom fsmount.custody import CustodyLog\n"
        "log = CustodyLog(pathlib.Path(sys.argv[1]))\n"
        "while True: print(log.append('a', {'x': 'y' * 5000}), flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(50)][-1]
        writer.kill()
    write(path, "later")
    result = check(path)
    assert () == result.problems
    assert result.entries > seen


def test_the_time_is_that_of_the_world(path):
    """Without a clock of its own, a log takes the present, aware and in UTC."""
    before = datetime.now(UTC)
    assert before <= custody.utc_now() <= datetime.now(UTC)
    CustodyLog(path).close()
