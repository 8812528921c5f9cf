"""What an exported tree holds, one JSON object a line: the memory of an export, and a part of it.

A line is written once its file is whole and in its place. An export that was interrupted goes on from
here: a half-written line at the end is dropped, and of several lines about one file the last one counts.
"""

import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fsmount.errors import ExportError
from fsmount.manifests import Written

_FORMAT = 1
_DROPPED = "dropped"
_READ_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Exported:
    """One file of the case, as it was exported.

    Shape: `payload` None for a file without content; `tags` are its record and what else is told of it;
    `request_id`, `acquired_at` and `how` say where the content came from and what vouched for it.
    Units: `mtime_ns` of the upload; `stamp_ns` is the payload's time as the disk gives it back.
    """

    claude_file_id: str
    payload: Written | None
    tags: tuple[Written, ...]
    mtime_ns: int
    stamp_ns: int = 0
    request_id: str | None = None
    acquired_at: str | None = None
    how: str | None = None


class Ledger:
    """The ledger of one tree, held by one export at a time.

    Errors: ExportError when another export holds it, or it is of another case; OSError.
    """

    def __init__(self, path: Path, facts: Mapping[str, object]) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._hold()
            self._places = self._read(facts)
        except BaseException:
            os.close(self._fd)
            raise

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Exported]:
        """Yield what the tree holds, in the order of ids, so that the same files make the same lists."""
        for claude_file_id in sorted(self._places):
            yield self._at(self._places[claude_file_id])

    def find(self, claude_file_id: str) -> Exported | None:
        """Return what was exported of one file."""
        place = self._places.get(claude_file_id)
        return None if place is None else self._at(place)

    def add(self, exported: Exported) -> None:
        """Note a file that is whole and in its place."""
        self._places[exported.claude_file_id] = self._append(dataclasses.asdict(exported))

    def drop(self, claude_file_id: str) -> None:
        """Note that the tree does not hold a file any more."""
        self._append({"claude_file_id": claude_file_id, _DROPPED: True})
        self._places.pop(claude_file_id, None)

    def close(self) -> None:
        """Let the next export have the tree."""
        os.close(self._fd)

    def _hold(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(
                f"another export to {self.path.parent.parent} is running; wait for its end"
            ) from None

    def _read(self, facts: Mapping[str, object]) -> dict[str, int]:
        """Return where each file's last line begins; the first line says whose ledger it is."""
        header = {"fsmount_export": _FORMAT, **facts}
        places: dict[str, int] = {}
        at = 0
        with open(self._fd, "rb", closefd=False) as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                document = _object(line, self.path)
                if at == 0:
                    self._compare(document, header)
                elif _DROPPED in document:
                    places.pop(str(document["claude_file_id"]), None)
                else:
                    places[str(document["claude_file_id"])] = at
                at += len(line)
        os.ftruncate(self._fd, at)
        if at == 0:
            self._append(header)
        return places

    def _compare(self, found: Mapping[str, Any], header: Mapping[str, object]) -> None:
        if found.get("fsmount_export") != _FORMAT:
            raise ExportError(f"{self.path} was written by another version of fsmount")
        if any(found.get(name) != value for name, value in header.items()):
            raise ExportError(
                f"{self.path.parent.parent} holds an export of the case {found.get('case')!r} made at"
                f" {found.get('case_created_at')}; name another directory for this one"
            )

    def _append(self, document: Mapping[str, object]) -> int:
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        at = os.lseek(self._fd, 0, os.SEEK_END)
        if os.write(self._fd, line) != len(line):
            os.ftruncate(self._fd, at)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        return at

    def _at(self, place: int) -> Exported:
        data = b""
        while not data.endswith(b"\n"):
            piece = os.pread(self._fd, _READ_BYTES, place + len(data))
            newline = piece.find(b"\n")
            data += piece if newline < 0 else piece[: newline + 1]
            if not piece:
                raise ExportError(f"{self.path} was changed while it was in use")
        fields = _object(data, self.path)
        try:
            payload, tags = fields.pop("payload"), fields.pop("tags")
            exported = Exported(
                payload=Written(**payload) if payload else None,
                tags=tuple(Written(**tag) for tag in tags),
                **fields,
            )
        except (KeyError, TypeError):
            raise _damaged(self.path) from None
        # The tree may come from elsewhere, and what is noted in it may be removed from it.
        files = [*exported.tags, *([exported.payload] if exported.payload else [])]
        if any(path.is_absolute() or ".." in path.parts for path in map(_path, files)):
            raise _damaged(self.path)
        return exported


def _object(line: bytes, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _damaged(path)
    return document


def _path(file: Written) -> PurePosixPath:
    return PurePosixPath(file.path)


def _damaged(path: Path) -> ExportError:
    return ExportError(f"{path} is damaged; export to another directory")
