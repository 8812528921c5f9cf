"""The custody log: what was done to the evidence, one JSON object a line, chained by hashes.

Each line carries the SHA-256 of the line before it, so an edited, removed or moved line breaks the chain.
A removed end would not; so the number and hash of the last line are kept in a file beside the log.
Several processes may append to one log: every append happens under a lock on it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from fsmount.errors import CustodyError

GENESIS = "0" * 64  # what stands for the line before the first
RECOVERED = "recovered"

_TAIL_BYTES = 64 * 1024
_RESERVED = frozenset({"seq", "time", "event", "prev"})

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


def utc_now() -> datetime:
    """Return the time, for entries."""
    return datetime.now(UTC)


class CustodyLog:
    """An open custody log.

    Errors of every method: CustodyError when it can't be written or read.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self._now = now
        self._size = -1
        self._head = _Head(0, GENESIS)
        with _as_custody_error(path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)
            self._head_fd = os.open(head_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def append(self, event: str, data: Mapping[str, object], *, durable: bool = False) -> int:
        """Write one entry and return its number; with `durable`, only once it is on the disk."""
        return self.append_many([(event, data)], durable=durable)

    def append_many(self, events: Iterable[Event], *, durable: bool = False) -> int:
        """Write entries in one go and return the number of the last one."""
        with _as_custody_error(self.path), self._locked():
            self._catch_up()
            lines = bytearray()
            head = self._head
            for event, data in events:
                line = self._line(head, event, data)
                lines += line
                head = _Head(head.seq + 1, _digest(line))
            self._write(bytes(lines))
            self._head = head
            self._write_head()
            if durable:
                os.fsync(self._fd)
        return head.seq

    def close(self) -> None:
        """Close the files."""
        os.close(self._fd)
        os.close(self._head_fd)

    def _line(self, head: _Head, event: str, data: Mapping[str, object]) -> bytes:
        clash = _RESERVED & data.keys()
        if clash:
            raise ValueError(f"custody data may not use {sorted(clash)}")
        time = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        entry = {"seq": head.seq + 1, "time": time, "event": event, **data, "prev": head.digest}
        return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Find the last line again where another process has written, or a crash has left half of one."""
        size = os.fstat(self._fd).st_size
        if size == self._size:
            return
        self._size = size
        if size == 0:
            self._head = _Head(0, GENESIS)
            return
        last = self._last_line(size)
        if last.endswith(b"\n"):
            self._head = _Head(_seq_of(last), _digest(last))
            return
        # A crash cut the last line short. It stays as it is, closed off, and the next entry vouches for it.
        before = self._last_line(size - len(last))
        self._write(b"\n")
        self._head = _Head(_seq_of(before) if before else 0, _digest(last + b"\n"))
        recovered = self._line(self._head, RECOVERED, {"torn_bytes": len(last)})
        self._write(recovered)
        self._head = _Head(self._head.seq + 1, _digest(recovered))

    def _last_line(self, end: int) -> bytes:
        """Return the line that ends at `end`, complete or not."""
        start = end
        tail = b""
        while start > 0 and tail[:-1].rfind(b"\n") < 0:
            step = min(start, _TAIL_BYTES)
            start -= step
            tail = os.pread(self._fd, step, start) + tail
        return tail[tail[:-1].rfind(b"\n") + 1 :]

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        self._size += written
        if written != len(data):  # the disk is full: take the part back, lest a torn line stays
            with contextlib.suppress(
                OSError
            ):  # a log that may only grow: the next append closes it off
                os.ftruncate(self._fd, self._size - written)
            self._size = -1
            raise OSError("the disk is full")

    def _write_head(self) -> None:
        os.pwrite(self._head_fd, _head_bytes(self._head), 0)


def head_path(path: Path) -> Path:
    """Return where the number and hash of a log's last line are kept."""
    return path.with_suffix(".head")


def iter_entries(path: Path) -> Iterator[dict[str, object]]:
    """Yield the entries of a log, oldest first; lines that are no entries are passed over.

    Errors: CustodyError when it can't be read.
    """
    for line in _lines(path):
        entry = _parse(line)
        if entry is not None:
            yield entry


def check(path: Path) -> CheckResult:
    """Prove the chain of a log: every problem names its line.

    Errors: CustodyError when it can't be read.
    """
    problems: list[str] = []
    previous, expected_seq, torn_at, count = GENESIS, 1, 0, 0
    seen: dict[int, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        entry = _parse(line)
        if entry is None:
            torn_at = number
        else:
            count += 1
            problems += _check_entry(entry, number, previous, expected_seq, torn_at)
            expected_seq = _as_int(entry.get("seq"), expected_seq) + 1
            torn_at = 0
            seen = {expected_seq - 1: _digest(line)}
        previous = _digest(line)
    if torn_at:
        problems.append(f"line {torn_at}: is not a complete entry")
    problems += _check_head(path, expected_seq - 1, seen)
    return CheckResult(count, tuple(problems))


def _check_entry(
    entry: Mapping[str, object], number: int, previous: str, expected_seq: int, torn_at: int
) -> Iterator[str]:
    if torn_at and entry.get("event") != RECOVERED:
        yield f"line {torn_at}: is not an entry"
    if entry.get("prev") != previous:
        yield f"line {number}: does not follow from the line before it"
    if entry.get("seq") != expected_seq:
        yield f"line {number}: has number {entry.get('seq')}, {expected_seq} was due"


def _check_head(path: Path, last_seq: int, last: Mapping[int, str]) -> Iterator[str]:
    """Compare the end with what was noted; a crash may leave the note one append behind, never ahead."""
    try:
        noted = json.loads(head_path(path).read_bytes())
        seq, digest = int(noted["seq"]), str(noted["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        if last_seq:
            yield f"the note of the last line ({head_path(path).name}) is missing or damaged"
        return
    if seq > last_seq:
        yield f"the log ends with entry {last_seq}, but entry {seq} was written: the end was removed"
    elif seq in last and last[seq] != digest:
        yield f"entry {seq} is not the one that was written"


def _head_bytes(head: _Head) -> bytes:
    text = json.dumps({"seq": head.seq, "sha256": head.digest})
    return text.encode().ljust(120) + b"\n"  # one size, so that a shorter one leaves no rest


def _lines(path: Path) -> Iterator[bytes]:
    with _as_custody_error(path), path.open("rb") as log:
        yield from log


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and line.endswith(b"\n") else None


def _seq_of(line: bytes) -> int:
    entry = _parse(line)
    return _as_int(entry.get("seq"), 0) if entry else 0


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
