"""The directory that files are exported to. What has its name there is whole.

A file is written under another name, hashed on the way, forced to the disk, and gets its own name last;
what an interrupted export left half-written is removed by the next one.
"""

import contextlib
import dataclasses
import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO

from fsmount.content_rows import StoredContent
from fsmount.digest import RunningDigest
from fsmount.errors import ExportError
from fsmount.ledger import Exported, Ledger
from fsmount.manifests import Written
from fsmount.stored_file import sync_file_system
from fsmount.verification import difference

PAYLOAD = "data"
TAGS = "metadata"
LEDGER = f"{TAGS}/export.jsonl"
_PARTIAL = ".partial"
_BLOCK_BYTES = 1 << 20
_NAME_REFUSED = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG})


class DifferentError(Exception):
    """Stored bytes are not the ones that were acquired; the message says in what."""


class Target:
    """An export's directory, open; made on first use.

    Errors: ExportError when the directory holds something else, or another export; OSError.
    """

    def __init__(self, directory: Path, facts: Mapping[str, object]) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # as private as the case
        if not (directory / LEDGER).exists() and (strangers := _strangers(directory)):
            raise ExportError(
                f"{directory} is not empty (it holds {strangers[0]!r}) and not an export of fsmount;"
                " name a new directory"
            )
        for name in (TAGS, PAYLOAD):
            (directory / name).mkdir(exist_ok=True)
        self.ledger = Ledger(directory / LEDGER, facts)
        self._partial = directory / _PARTIAL
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Give the directory free."""
        shutil.rmtree(self._partial, ignore_errors=True)
        self.ledger.close()

    def has_payload(self, exported: Exported) -> bool:
        """Say whether the payload of a ledger's line is where it says, by its size and time.

        Its bytes are not read again: they were on the disk before the line was written.
        """
        if exported.payload is None:
            return True
        status = self._status(exported.payload)
        return status is not None and status.st_mtime_ns == exported.stamp_ns

    def look_again(self, exported: Exported) -> Exported | None:
        """Read a payload whose time is not the noted one, as after a plain copy of the whole tree.

        Shape: the ledger's line with the time that the file has now; None when it is not the same file.
        """
        assert exported.payload is not None
        digest = RunningDigest()
        try:
            with (self.directory / exported.payload.path).open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update([block])
                stamp_ns = os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None
        if written(exported.payload.path, digest) != exported.payload:
            return None
        return dataclasses.replace(exported, stamp_ns=stamp_ns)

    def drop(self, exported: Exported) -> None:
        """Take a file out of the tree, with everything that is told of it."""
        self.ledger.drop(exported.claude_file_id)
        for file in [*exported.tags, *([exported.payload] if exported.payload else [])]:
            self.remove(file.path)
            with contextlib.suppress(OSError):  # not empty: something is there that is not ours
                (self.directory / file.path).parent.rmdir()

    def has_tags(self, exported: Exported) -> bool:
        """Say whether the other files of a ledger's line are where it says, by their sizes."""
        return all(self._status(tag) for tag in exported.tags)

    def write(self, path: str, pieces: Iterable[bytes]) -> Written:
        """Write a file from bytes in memory, in one go or not at all."""
        digest = RunningDigest()
        temporary = self._temporary()
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update([piece])
        self._move_in(temporary, path)
        return written(path, digest)

    def copy(
        self,
        fd: int,
        path: str,
        expected: StoredContent,
        mtime_ns: int,
        may_go_on: Callable[[], object] = lambda: None,
    ) -> tuple[Written, int]:
        """Copy stored content, and compare what was copied with what was acquired.

        Shape: what was written, and its time of change as this disk gives it back. `may_go_on` is called
        now and then, and raises to end the work.
        Errors: DifferentError, with nothing left behind.
        """
        temporary = self._temporary()
        try:
            with temporary.open("wb") as file:
                digest = _copy(fd, file, may_go_on)
                if found := difference(expected, digest):
                    raise DifferentError(found)
                file.flush()
                os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._move_in(temporary, path)
        return written(path, digest), os.stat(self.directory / path).st_mtime_ns

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        (self.directory / path).unlink(missing_ok=True)

    def sync(self) -> None:
        """Wait until everything is on the disk, names too."""
        sync_file_system(self.directory)

    def _status(self, file: Written) -> os.stat_result | None:
        """Return a file's status; None where it is not there, or not of its size."""
        try:
            status = os.stat(self.directory / file.path, follow_symlinks=False)
        except OSError:
            return None
        return status if status.st_size == file.size_bytes else None

    def _temporary(self) -> Path:
        return self._partial / str(next(self._numbers))

    def _move_in(self, temporary: Path, path: str) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)


def is_about_name(error: OSError) -> bool:
    """Say whether a disk refused a file for its name only, so that others are worth trying."""
    return error.errno in _NAME_REFUSED


def written(path: str, digest: RunningDigest) -> Written:
    """Return a file of the tree from the digest of its bytes."""
    md5, sha256 = digest.hexdigests()
    return Written(path, digest.position, md5, sha256)


def _strangers(directory: Path) -> list[str]:
    """Return what is in a directory besides what an export that hardly began, or a new disk, has there."""
    ours = [directory / name for name in (TAGS, PAYLOAD, _PARTIAL)]
    innocent = {path.name for path in ours if path.is_dir() and not os.listdir(path)}
    return sorted(set(os.listdir(directory)) - innocent - {"lost+found"})


def _copy(fd: int, file: IO[bytes], may_go_on: Callable[[], object]) -> RunningDigest:
    digest = RunningDigest()
    while block := os.pread(fd, _BLOCK_BYTES, digest.position):
        may_go_on()
        file.write(block)
        digest.update([block])
    return digest
