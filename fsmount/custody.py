"""The custody log: what was done to the evidence, one JSON object a line, chained by hashes.

Each line carries the SHA-256 of the line before it, newline included, so an edited, removed or moved line
breaks the chain. A removed end would not; so the number and hash of the last line are noted in a file
beside the log. What differs from the note when the log is next written to stays visible for ever: the
chain goes on from the note, not from what somebody left. Several processes may append to one log: every
append happens under a lock on it.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from fsmount.errors import CaseError, CustodyError

GENESIS = "0" * 64  # what stands for the line before the first
RECOVERED = "recovered"

_TAIL_BYTES = 16 * 1024  # more than nearly every line, so that one read finds the last one
_CLOSE_S = 5.0
_RESERVED = frozenset({"seq", "time", "event", "prev"})
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once: json.dumps would make one an entry

Event = tuple[str, Mapping[str, object]]


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """What checking a log found; no problems means that the chain is whole."""

    entries: int
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Head:
    """The last line: its number, and the hash that the next line has to carry."""

    seq: int
    digest: str


_START = _Head(0, GENESIS)


def utc_now() -> datetime:
    """Return the time, for entries."""
    return datetime.now(UTC)


class CustodyLog:
    """An open custody log, for several threads and processes at once.

    Errors of every method: CustodyError when it can't be written or read.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self._now = now
        self._size = -1
        self._head = _START
        self._mutex = threading.Lock()  # flock tells processes apart, not the threads of one
        self._on_disk = threading.Lock()  # held while the disk is waited for
        with _as_custody_error(path), contextlib.ExitStack() as undo:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, self._fd)
            self._head_fd = os.open(head_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, self._head_fd)
            status = os.fstat(self._fd)
            self._identity = (status.st_dev, status.st_ino)
            with self._locked():
                self._begin()
            undo.pop_all()

    def append(self, event: str, data: Mapping[str, object], *, durable: bool = False) -> int:
        """Write one entry and return its number; with `durable`, only once it is on the disk.

        Errors: ValueError for data that uses a key of the log itself.
        """
        return self.append_many([(event, data)], durable=durable)

    def append_many(self, events: Iterable[Event], *, durable: bool = False) -> int:
        """Write entries in one go, all or none, and return the number of the last one."""
        if durable:
            return self._append_durably(events)
        with _as_custody_error(self.path), self._locked():
            seq = self._append(events)
            self._write_note()
        return seq

    def _append_durably(self, events: Iterable[Event]) -> int:
        # The note goes second: it may lag behind after a crash, but must not promise what is not there.
        # Others go on writing while the disk is waited for.
        with self._on_disk, _as_custody_error(self.path):
            with self._locked():
                seq = self._append(events)
            os.fsync(self._fd)
            with self._locked():
                self._catch_up()
                self._write_note()
            os.fsync(self._head_fd)
        return seq

    def _append(self, events: Iterable[Event]) -> int:
        self._catch_up()
        lines = bytearray()
        head = self._head
        for event, data in events:
            line = self._line(head, event, data)
            lines += line
            head = _Head(head.seq + 1, _digest(line))
        self._write(bytes(lines))
        self._head = head
        return head.seq

    def close(self) -> None:
        """Close the files, unless a thread still waits for a disk that hangs: it may be about to write."""
        if self._on_disk.acquire(timeout=_CLOSE_S):
            with self._mutex:
                os.close(self._fd)
                os.close(self._head_fd)
                self._fd = self._head_fd = -1
            self._on_disk.release()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._mutex:
            if self._fd < 0:  # by a thread that the end of the mount did not wait for
                raise OSError(errno.EBADF, "the log is closed", str(self.path))
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _begin(self) -> None:
        """Note the end of a new log, so that a missing note is never an innocent one."""
        if os.fstat(self._fd).st_size or os.fstat(self._head_fd).st_size:
            return
        self._write_note()
        os.fsync(self._head_fd)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # or a durable entry might be lost together with its file's name
        finally:
            os.close(directory)

    def _line(self, head: _Head, event: str, data: Mapping[str, object]) -> bytes:
        clash = _RESERVED & data.keys()
        if clash:
            raise ValueError(f"custody data may not use {sorted(clash)}")
        time = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        entry = {"seq": head.seq + 1, "time": time, "event": event, **data, "prev": head.digest}
        return _ENCODER.encode(entry).encode("ascii") + b"\n"

    def _catch_up(self) -> None:
        """Find the end again where it is not where this process left it."""
        status = os.stat(self.path)
        if (status.st_dev, status.st_ino) != self._identity:
            raise OSError("it was replaced while in use")
        if status.st_size != self._size:
            self._size = status.st_size
            self._find_end()

    def _find_end(self) -> None:
        """Work out what the next entry has to follow, and record whatever is odd about the end."""
        found, torn = self._read_end()
        note = _parse_note(os.pread(self._head_fd, _NOTE_BYTES, 0))
        self._head = found if note is None or note.seq < found.seq else note
        oddities: dict[str, object] = {}
        if note is None:
            oddities["note"] = "missing"
        elif self._head != found:
            oddities |= {"found_seq": found.seq, "noted_seq": note.seq}
        if torn:
            # A line that a crash cut short stays as it is, closed off. It can't vouch for the line before
            # it, so the entry that follows does: else that line could be edited unnoticed.
            oddities |= {"torn_bytes": len(torn), "after": self._head.digest}
            self._head = _Head(self._head.seq, _digest(torn + b"\n"))
        if oddities:
            line = self._line(self._head, RECOVERED, oddities)
            # In one go: a line closed off without the entry that explains it would look like an edit.
            self._write(b"\n" + line if torn else line)
            self._head = _Head(self._head.seq + 1, _digest(line))

    def _read_end(self) -> tuple[_Head, bytes]:
        """Return the last whole line, and what a crash left after it."""
        last = self._last_line(self._size)
        if not last or last.endswith(b"\n"):
            return _head_of(last), b""
        if _parse(last + b"\n") is not None:  # only the newline is missing
            self._write(b"\n")
            return _head_of(last + b"\n"), b""
        return _head_of(self._last_line(self._size - len(last))), last

    def _last_line(self, end: int) -> bytes:
        """Return the line that ends at `end`, complete or not; empty at the start of the log."""
        start = end
        tail = b""
        while start > 0 and tail[:-1].rfind(b"\n") < 0:
            step = min(start, _TAIL_BYTES)
            start -= step
            tail = os.pread(self._fd, step, start) + tail
        return tail[tail[:-1].rfind(b"\n") + 1 :]

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written == len(data):
            self._size += written
            return
        # The disk is full: take the part back, lest half a line stays. A log that may only grow (chattr +a)
        # refuses; the next append closes that line off.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._size)
        self._size = -1
        raise OSError("the disk is full")

    def _write_note(self) -> None:
        text = json.dumps({"seq": self._head.seq, "sha256": self._head.digest})
        # One size, so that a shorter note leaves no rest of a longer one behind.
        data = text.encode("ascii").ljust(_NOTE_BYTES - 1) + b"\n"
        if os.pwrite(self._head_fd, data, 0) != len(data):
            raise OSError("the disk is full")


def head_path(path: Path) -> Path:
    """Return where the number and hash of a log's last line are noted."""
    return path.with_suffix(".head")


def require_there(path: Path) -> None:
    """Make sure that a log is there.

    Errors: CustodyError where one was written and is gone; CaseError where there is none yet.
    """
    if path.exists():
        return
    noted = None
    with contextlib.suppress(OSError):
        noted = _parse_note(head_path(path).read_bytes())
    if noted is not None and noted.seq:
        raise CustodyError(
            f"the custody log {path} is missing, but {noted.seq} entries were written; look for it in copies"
            " of the case"
        )
    raise CaseError(f"the case has no custody log yet ({path}); mount or collect files first")


def iter_entries(path: Path) -> Iterator[dict[str, object]]:
    """Yield the entries of a log, oldest first; lines that are no entries are passed over.

    Errors: CustodyError when it can't be read.
    """
    for line in _lines(path):
        entry = _parse(line)
        if entry is not None:
            yield entry


def check(path: Path) -> CheckResult:
    """Prove the chain of a log, as far as it had been written on call; every problem names its line.

    Errors: CustodyError when it can't be read.
    """
    size, note = _snapshot(path)
    chain = _Chain(note)
    for line in _lines(path, size):
        chain.follow(line)
    chain.end()
    return CheckResult(chain.entries, tuple(chain.problems))


class _Chain:
    """Follows a log from its first line to its last and collects what does not fit."""

    def __init__(self, note: _Head | None) -> None:
        self.entries = 0
        self.problems: list[str] = []
        self._note = note
        self._is_note_met = note == _START
        self._lines = 0
        self._previous = GENESIS  # the hash of the last line, whatever it is
        self._last = _START  # the last line that is an entry
        self._strays: list[int] = []  # the lines since then, which are none

    def follow(self, line: bytes) -> None:
        self._lines += 1
        digest = _digest(line)
        entry = _parse(line)
        if entry is None:
            self._strays.append(self._lines)
        else:
            self._compare(entry)
            self.entries += 1
            self._last = _Head(_as_int(entry.get("seq"), self._last.seq + 1), digest)
            self._is_note_met = self._is_note_met or self._last == self._note
            self._strays.clear()
        self._previous = digest

    def end(self) -> None:
        self._report_strays()
        if self._note is None:
            if self._lines:
                self.problems.append("the note of the last line is missing or damaged")
        elif self._note.seq > self._last.seq:
            self.problems.append(
                f"the log ends with entry {self._last.seq}, but entry {self._note.seq} was written:"
                " the end was removed, or lost in a power failure"
            )
        elif not self._is_note_met:
            self.problems.append(f"entry {self._note.seq} is not the one that was written")

    def _compare(self, entry: Mapping[str, object]) -> None:
        is_recovery = entry.get("event") == RECOVERED
        # One torn line is what a crash leaves; the entry that closed it off names the line before it.
        if not (is_recovery and len(self._strays) == 1 and entry.get("after") == self._last.digest):
            self._report_strays()
        here = f"line {self._lines}:"
        if entry.get("prev") != self._previous:
            self.problems.append(f"{here} does not follow from the line before it")
        if entry.get("seq") != self._last.seq + 1:
            self.problems.append(
                f"{here} has number {entry.get('seq')}, {self._last.seq + 1} was due"
            )
        if is_recovery and "note" in entry:
            self.problems.append(
                f"{here} the note of the last line was missing, so entries before may have been removed"
            )

    def _report_strays(self) -> None:
        self.problems += [f"line {line}: is not a complete entry" for line in self._strays]


_NOTE_BYTES = 121  # room for a sequence number of 30 digits


def _parse_note(text: bytes) -> _Head | None:
    try:
        noted = json.loads(text)
        return _Head(int(noted["seq"]), str(noted["sha256"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _snapshot(path: Path) -> tuple[int, _Head | None]:
    """Return a log's size and the note of its last line, both of one moment between two appends."""
    with _as_custody_error(path), path.open("rb") as log:
        fcntl.flock(log, fcntl.LOCK_SH)
        size = os.fstat(log.fileno()).st_size
        try:
            return size, _parse_note(head_path(path).read_bytes())
        except FileNotFoundError:
            return size, None


def _lines(path: Path, size: int | None = None) -> Iterator[bytes]:
    """Yield the lines of the first `size` bytes, or of the whole log."""
    with _as_custody_error(path), path.open("rb") as log:
        left = os.fstat(log.fileno()).st_size if size is None else size
        for line in log:
            if left <= 0:
                return
            yield line[:left]
            left -= len(line)


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and line.endswith(b"\n") else None


def _head_of(line: bytes) -> _Head:
    """Return what follows from a line; number 0 for one that is no entry, so that the note prevails."""
    if not line:
        return _START
    return _Head(_as_int((_parse(line) or {}).get("seq"), 0), _digest(line))


def _as_int(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


@contextlib.contextmanager
def _as_custody_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CustodyError(
            f"the custody log {path} can't be used: {error.strerror or error};"
            " make room or mend its permissions, nothing is deleted until then"
        ) from error
