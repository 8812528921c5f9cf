"""What `fsmount collect` is told, checked once and frozen."""

import dataclasses
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import client
from fsmount.config import DEFAULT_BASE_URL, SecretKey
from fsmount.errors import UsageError

_FAMILIES = {"generated": client.Family.GENERATED, "artifacts": client.Family.ARTIFACT}
_POSSIBLE_ID = re.compile(r"[^\s/\\@]{1,200}")


@dataclasses.dataclass(frozen=True, slots=True)
class CollectSettings:
    """Everything that collecting is told.

    Shape: `users` are ids or e-mail addresses; empty means all. `since` is inclusive, `until` exclusive.
    """

    case: str
    key: SecretKey
    base_url: str = DEFAULT_BASE_URL
    users: tuple[str, ...] = ()
    chats: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    ids_file: Path | None = None
    families: frozenset[client.Family] = frozenset({client.Family.FILE})
    dry_run: bool = False
    max_rpm: int = 540

    def __post_init__(self) -> None:
        if self.max_rpm < 1:
            raise UsageError("--max-rpm must be at least 1")
        if self.since and self.until and self.since >= self.until:
            raise UsageError("--since must be before --until")
        named = (("--chat", self.chats), ("--project", self.projects))
        for option, ids in (*named, ("--organization", self.organizations)):
            for one in ids:
                if not _POSSIBLE_ID.fullmatch(one):
                    raise UsageError(f"{option}: {one!r} can't be an id")
        for user in self.users:
            if not _POSSIBLE_ID.fullmatch(user.replace("@", "", 1)):
                raise UsageError(f"--user: {user!r} is neither an id nor an e-mail address")

    @property
    def looks_for_chats(self) -> bool:
        """Say whether lists are gone through; chats and files that are named need none."""
        return bool(self.users or self.projects or self.organizations) or not (
            self.chats or self.ids_file
        )


def parse_since(text: str) -> datetime:
    """Return the time of --since, in UTC: RFC 3339, or a date, which stands for its beginning in UTC.

    Errors: UsageError.
    """
    return _parse(text, "--since", timedelta())


def parse_until(text: str) -> datetime:
    """Return the time of --until, exclusive; a date stands for its end, so that the day is included."""
    return _parse(text, "--until", timedelta(days=1))


def parse_families(words: Iterable[str]) -> frozenset[client.Family]:
    """Return the families of --include, files among them in any case.

    Errors: UsageError.
    """
    families = {client.Family.FILE}
    for word in (word.strip() for text in words for word in text.split(",")):
        if word not in _FAMILIES:
            raise UsageError(f"--include: {word!r} is neither generated nor artifacts")
        families.add(_FAMILIES[word])
    return frozenset(families)


def _parse(text: str, option: str, whole_day: timedelta) -> datetime:
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC) + whole_day
        at = datetime.fromisoformat(text)
        if at.tzinfo:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise UsageError(f"{option}: {text!r} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z")
    raise UsageError(f"{option}: {text!r} has no time zone; add Z for UTC, or +01:00")
