"""What the file system answers with and is told, in our own types."""

import dataclasses
from typing import NamedTuple

from fsmount.inodes import Handle, Inode
from fsmount.tree import Attributes

# Something that the kernel still believes and should ask for again: a node's attributes, a name in the root.
Stale = Inode | bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Absent:
    """There is no such name, and the kernel may remember that for a while."""

    entry_timeout_s: float


class DirEntry(NamedTuple):
    """One line of a listing; `next_id` is where to go on after it."""

    name: bytes
    attributes: Attributes
    next_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """An open file; `keep_cache` says that the kernel's pages of it are still right."""

    handle: Handle
    keep_cache: bool


@dataclasses.dataclass(frozen=True, slots=True)
class StatFs:
    """What df asks for; the tree has no blocks of its own."""

    files: int


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What this mount lets readers do.

    Units: bytes. `verified_open_bytes` None: every file is served only once whole and verified.
    """

    allow_delete: bool = False
    verified_open_bytes: int | None = 16 << 20
    deny_programs: frozenset[str] = frozenset()


@dataclasses.dataclass(slots=True)
class MountCounters:
    """What readers did since the mount began; `denied`: what thumbnailers and the like were refused."""

    opens: int = 0
    denied: int = 0
    deleted: int = 0
