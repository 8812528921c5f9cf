"""What a mount says of itself, asked from outside, without ever hanging with it."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

from fsmount.errors import MountError
from fsmount.mountpoint import FS_TYPE, Mounted, find_mount, is_dead, read, resolve

_DOCUMENT = Path(".fsmount/status.json")
_LIMIT_S = 5.0

Row = tuple[str, str]


def status_of(mountpoint: Path) -> Mapping[str, object]:
    """Return the status document of the mount on a directory.

    Errors: MountError when there is no mount of ours, or it does not answer; the message says what to do.
    """
    path = resolve(mountpoint)
    mounted = find_mount(path)
    if mounted is None:
        raise MountError(f"nothing is mounted on {path}")
    if mounted.fs_type != FS_TYPE:
        raise MountError(f"what is mounted on {path} is {mounted.fs_type}, not a mount of fsmount")
    answer, written = read(path / _DOCUMENT, _LIMIT_S)
    if answer != 0:
        raise MountError(_explained(mounted, answer))
    try:
        document = json.loads(written)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise MountError(f"the mount on {path} gave no status; it may be of another version")
    return document


def _explained(mounted: Mounted, answer: int | None) -> str:
    """Return what an answer that is none says about the mount."""
    what = f"the mount of {mounted.source} on {mounted.path}"
    clear = f"fsmount unmount {mounted.path}"
    if answer is None:
        return f"{what} does not answer within {_LIMIT_S:.0f} s; to take it away: {clear}"
    if is_dead(answer):
        return f"{what} is dead: its process has ended; clear it with: {clear}"
    if answer in {errno.EACCES, errno.EPERM}:
        return f"{what} belongs to another user; ask as that user, or mount with --allow-other"
    return f"{what} gives no status: {os.strerror(answer)}"


def rows_of(document: Mapping[str, object]) -> list[Row]:
    """Return a status document as rows for people; what another version does not tell is left out."""
    content, service = _section(document, "content"), _section(document, "service")
    requests, budget = _section(service, "requests"), _section(service, "budget")
    rows = [
        ("case", _text(document, "case")),
        ("mounted since", _text(document, "mounted_at")),
        ("version", _text(document, "fsmount")),
        ("files", _text(document, "files")),
        ("open files", _text(document, "open_files")),
        ("being fetched", _text(_section(document, "streaming"), "count")),
        ("stored bytes", _text(document, "stored_bytes")),
        ("files fetched since", _text(content, "acquired")),
        ("wrong hashes met", _text(content, "mismatches")),
        ("denied to programs", _text(_section(document, "readers"), "denied")),
        ("service", _text(service, "state")),
        ("requests sent", _list(requests)),
        ("request budget", _list(budget)),
    ]
    return [(name, text) for name, text in rows if text]


def _section(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = document.get(name)
    return section if isinstance(section, dict) else {}


def _text(section: Mapping[str, object], name: str) -> str:
    value = section.get(name)
    return "" if value is None else str(value)


def _list(section: Mapping[str, object]) -> str:
    """Return the known values of a section in one line; a name in seconds ends in `_s`."""
    return ", ".join(
        f"{name.removesuffix('_s').replace('_', ' ')} {_number(value)}{' s' * name.endswith('_s')}"
        for name, value in section.items()
        if value is not None
    )


def _number(value: object) -> object:
    return round(value, 1) if isinstance(value, float) else value
