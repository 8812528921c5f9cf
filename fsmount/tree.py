"""What each directory holds and what its nodes look like: attributes, and the bytes of meta.json."""

import json
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from fsmount.inodes import Inode

BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system
PREFERRED_READ_BYTES = 128 * 1024

_DIRECTORY_MODE = stat.S_IFDIR | 0o555
_WRITABLE_DIRECTORY_MODE = stat.S_IFDIR | 0o755  # unlink needs it, where unlink is allowed at all
_FILE_MODE = stat.S_IFREG | 0o444
_LINK_MODE = stat.S_IFLNK | 0o777
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NS = (1 << 63) - 1
_encode = json.JSONEncoder(ensure_ascii=False).encode
_DOCUMENTED_ORDER = (
    "id",
    "created_at",
    "filename",
    "mime_type",
    "size_bytes",
    "md5",
    "message_ids",
    "claude_chat_ids",
)


class Attributes(NamedTuple):
    """One node as the kernel is told about it, before the mount's umask and owner.

    A tuple, since a listing makes a million of them: making a frozen dataclass takes four times as long.
    Units: `size_bytes` in bytes; `mtime_ns` since 1970, UTC, 0 when unknown; timeouts in seconds.
    """

    inode: Inode
    mode: int
    size_bytes: int
    mtime_ns: int
    nlink: int
    attr_timeout_s: float
    entry_timeout_s: float

    @property
    def blocks(self) -> int:
        """How many blocks of 512 bytes `stat` reports: with 0, `tar -S` would archive zeroes."""
        return -(-self.size_bytes // BLOCK_BYTES)


def directory_attributes(
    inode: Inode, mtime_ns: int, *, writable: bool, attr_timeout_s: float, entry_timeout_s: float
) -> Attributes:
    """Return the attributes of a directory."""
    mode = _WRITABLE_DIRECTORY_MODE if writable else _DIRECTORY_MODE
    return Attributes(inode, mode, 0, mtime_ns, 2, attr_timeout_s, entry_timeout_s)


def file_attributes(
    inode: Inode,
    size_bytes: int,
    mtime_ns: int,
    *,
    attr_timeout_s: float,
    entry_timeout_s: float,
) -> Attributes:
    """Return the attributes of a file."""
    return Attributes(inode, _FILE_MODE, size_bytes, mtime_ns, 1, attr_timeout_s, entry_timeout_s)


def link_attributes(
    inode: Inode, target: bytes, mtime_ns: int, *, attr_timeout_s: float, entry_timeout_s: float
) -> Attributes:
    """Return the attributes of a symbolic link."""
    return Attributes(inode, _LINK_MODE, len(target), mtime_ns, 1, attr_timeout_s, entry_timeout_s)


def mtime_ns_of(created_at: datetime | None) -> int:
    """Return a time as nanoseconds since 1970; 0 when it is unknown, never the present.

    Times that 64 bits can't hold, before 1678 and after 2262, are the nearest that they can.
    """
    if created_at is None:
        return 0
    delta = created_at - _EPOCH
    exact = (delta.days * 86400 + delta.seconds) * 10**9 + delta.microseconds * 1000
    return max(-_MOST_NS, min(exact, _MOST_NS))


def meta_json(record: Mapping[str, object]) -> bytes:
    """Return a record as meta.json shows it: the documented keys in order, then all others sorted.

    Shape: UTF-8 JSON with two-space indent and a newline at the end, the same bytes for the same record.
    """
    documented = [key for key in _DOCUMENTED_ORDER if key in record]
    others = sorted(record.keys() - set(_DOCUMENTED_ORDER))
    ordered = {key: record[key] for key in [*documented, *others]}
    text = _indented(ordered, "\n")
    # A lone surrogate has no UTF-8 form; its JSON escape says the same.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _indented(value: object, margin: str) -> str:
    """Return decoded JSON as `json.dumps(..., ensure_ascii=False, indent=2)` does, five times as fast.

    The library indents in Python, token by token; here only objects and lists are Python's work.
    """
    deeper = margin + "  "
    if isinstance(value, dict) and value:
        items = [f"{deeper}{_encode(key)}: {_indented(value[key], deeper)}" for key in value]
        return "{" + ",".join(items) + margin + "}"
    if isinstance(value, list) and value:
        return "[" + ",".join([deeper + _indented(item, deeper) for item in value]) + margin + "]"
    return _encode(value)
