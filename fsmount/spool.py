"""One file's bytes on local disk while they arrive: which are here, write them, read them.

A spool is a sparse file plus the set of its byte ranges that have been written. It knows nothing of
where bytes come from, of hashes or of waiting: `download` decides, this module keeps.
"""

import bisect
import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_IOV_MAX = os.sysconf("SC_IOV_MAX")
SMALL_BYTES = 32 * 1024  # making a file costs more than fetching so little
_MOST_IN_MEMORY_BYTES = 256 * 1024  # a body may turn out longer than its record says
_COMPARE_BYTES = 1 << 20  # one read of what is stored, while bytes that came twice are compared


class Extents:
    """A set of offsets, kept as sorted, disjoint, non-adjacent half-open ranges.

    Units: byte offsets.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Sequence[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __repr__(self) -> str:
        return f"Extents({list(self)!r})"

    @property
    def total_bytes(self) -> int:
        """How many offsets are in the set."""
        return sum(self._ends) - sum(self._starts)

    @property
    def prefix_end(self) -> int:
        """The end of the range that begins at 0; 0 when offset 0 is missing."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def add(self, start: int, end: int) -> None:
        """Add [start, end), joining every range that it touches."""
        if start >= end:
            return
        low = bisect.bisect_left(self._ends, start)
        high = bisect.bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def covers(self, start: int, end: int) -> bool:
        """Say whether every offset of [start, end) is in the set."""
        return start >= end or self.first_missing(start) >= end

    def first_missing(self, offset: int) -> int:
        """Return the first offset at or after `offset` that is not in the set."""
        index = bisect.bisect_right(self._starts, offset) - 1
        return max(offset, self._ends[index]) if index >= 0 else offset

    def overlap(self, start: int, end: int) -> "Extents":
        """Return the part of the set that lies within [start, end), as a set of its own."""
        part = Extents()
        index = bisect.bisect_right(self._ends, start)
        while index < len(self._starts) and self._starts[index] < end:
            part.add(max(start, self._starts[index]), min(end, self._ends[index]))
            index += 1
        return part

    def next_present(self, offset: int) -> tuple[int, int] | None:
        """Return the first range that ends after `offset`, or None."""
        index = bisect.bisect_right(self._ends, offset)
        return (self._starts[index], self._ends[index]) if index < len(self._starts) else None


class SharedFd:
    """A file descriptor that is closed once nobody uses it any more.

    Closing one under the feet of a thread would let that thread write into whatever file is given the same
    number next. `using` and `close` belong to the event loop; the work in between may run in a thread.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._users = 0
        self._is_closing = False

    @property
    def is_closing(self) -> bool:
        """Say whether it is closed, or will be once nobody uses it."""
        return self._is_closing

    @property
    def number(self) -> int:
        """The descriptor, for work that is done before the event loop goes on.

        Errors: ValueError once it is closed or about to be.
        """
        if self._is_closing:
            raise ValueError("the file has been closed")
        return self._fd

    @contextlib.contextmanager
    def using(self) -> Iterator[int]:
        """Lend the descriptor for the time of the block.

        Errors: ValueError once it is closed or about to be.
        """
        fd = self.number
        self._users += 1
        try:
            yield fd
        finally:
            self._users -= 1
            self._close_if_unused()

    def close(self) -> None:
        """Close now, or when the last user is done."""
        self._is_closing = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_closing and self._users == 0 and self._fd >= 0:
            fd, self._fd = self._fd, -1
            # Whatever close says, the number is free, and may be somebody else's at the next try. What is
            # kept was synced, which tells of every error.
            with contextlib.suppress(OSError):
                os.close(fd)


class SpoolConflictError(Exception):
    """Bytes came a second time and were not the ones that came first."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"bytes from offset {offset} differ from those that came before")
        self.offset = offset


class Spool:
    """The bytes of one file so far.

    `write` and `read` may block on the disk: call them from a thread, within `fd.using()`. `note_written`,
    `extents` and the closing belong to the event loop, which alone changes what counts as present.
    """

    def __init__(self, path: Path, *, in_memory: bool = False) -> None:
        """Create the file, which must not exist; with `in_memory` it has no name until it is placed.

        Errors: OSError as of open(2).
        """
        self.path = path
        self.extents = Extents()
        self.is_in_memory = in_memory
        self._fd = os.memfd_create(path.name) if in_memory else _new_file(path)
        self.fd = SharedFd(self._fd)

    def write(self, offset: int, pieces: Sequence[bytes], known: Extents) -> None:
        """Store `pieces` one after the other from `offset`; what `known` has is compared instead.

        Errors: OSError (disk full); SpoolConflictError where bytes differ from what is stored.
        """
        if self.is_in_memory and offset + sum(map(len, pieces)) > _MOST_IN_MEMORY_BYTES:
            self._move_to_disk()
        if known.total_bytes == 0:
            self._write_run(offset, pieces)
            return
        run: list[bytes] = []
        run_start = offset
        for piece in pieces:
            present = known.next_present(offset)
            if present is None or present[0] >= offset + len(piece):
                run.append(piece)
            else:
                self._write_run(run_start, run)
                self._write_or_compare(offset, piece, known)
                run, run_start = [], offset + len(piece)
            offset += len(piece)
        self._write_run(run_start, run)

    def note_written(self, start: int, end: int) -> None:
        """Count [start, end) as present, after `write` returned."""
        self.extents.add(start, end)

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end of the spool; may block."""
        parts = []
        while size > 0 and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill a buffer from `offset` on; return how many bytes there were, 0 at the end. It may block."""
        return os.preadv(self._fd, [buffer], offset)

    def place(self, target: Path) -> None:
        """Put the file where it belongs, in the place of what may be there; may block.

        Errors: OSError, after which nothing new is there; FileNotFoundError without the directory.
        """
        if self.is_in_memory:
            try:
                os.close(self._copy_to(target))
            except FileExistsError:
                os.close(self._copy_to(self.path))  # and replace it in one step: it may be open
            else:
                return
        os.rename(self.path, target)

    def close(self) -> None:
        """Close the descriptor; the file stays."""
        self.fd.close()

    def discard(self) -> None:
        """Close and remove the file; its room is free at once, also while a thread still reads it."""
        if not self.is_in_memory:
            with contextlib.suppress(OSError):
                os.truncate(self.path, 0)
        self.close()
        with contextlib.suppress(OSError):  # left behind; the next mount of the case clears it away
            self.path.unlink(missing_ok=True)

    def _move_to_disk(self) -> None:
        """Go on in a file on the disk, under the same descriptor."""
        fd = self._copy_to(self.path)
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self.is_in_memory = False

    def _copy_to(self, path: Path) -> int:
        fd = _new_file(path)
        try:
            data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
            if os.pwrite(fd, data, 0) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return fd

    def _write_run(self, offset: int, pieces: Sequence[bytes]) -> None:
        for first in range(0, len(pieces), _IOV_MAX):
            batch = pieces[first : first + _IOV_MAX]
            size = sum(map(len, batch))
            written = os.pwritev(self._fd, batch, offset)
            if written != size:  # a short write is legal; rare enough for a copy
                self._write_rest(offset + written, b"".join(batch)[written:])
            offset += size

    def _write_rest(self, offset: int, rest: bytes) -> None:
        view = memoryview(rest)
        while view:
            written = os.pwrite(self._fd, view, offset)
            offset += written
            view = view[written:]

    def _write_or_compare(self, offset: int, piece: bytes, known: Extents) -> None:
        view = memoryview(piece)
        while view:
            missing = known.first_missing(offset)
            if missing > offset:
                step = min(len(view), missing - offset, _COMPARE_BYTES)
                if self.read(offset, step) != view[:step]:
                    raise SpoolConflictError(offset)
            else:
                present = known.next_present(offset)
                step = min(len(view), present[0] - offset) if present else len(view)
                self._write_rest(offset, bytes(view[:step]))
            offset += step
            view = view[step:]


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
