"""Whose files are wanted, of which time: the lists to go through for them, and what of those counts."""

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from client._listed import Chat
from client._walk import Listing, Query

_MAX_USERS = 10  # the service takes no more in one request


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """Whose chats, and of which time.

    Shape: empty means all. Users are ids. `since` (inclusive) and `until` (exclusive) are aware.
    """

    users: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def chat_listings(self) -> list[Listing]:
        """Return the lists that name every chat in scope, and others: `admits_chat` tells them apart.

        The service orders people's chats by creation alone, and bounds them only by the time it orders by.
        So `since` narrows the list of an organization, which is by change: a chat that was not changed
        since has no message since. And `until` narrows the list of people: a chat that was made later has
        no message before.
        """
        narrowed = tuple(("organization_ids[]", one) for one in sorted(self.organizations))
        if not self.users:
            since = _bound("updated_at.gte", self.since)
            return [Listing("chats", query=(("order_by", "updated_at"), *narrowed, *since))]
        narrowed += tuple(("project_ids[]", one) for one in sorted(self.projects))
        narrowed += _bound("created_at.lt", self.until)
        return [
            Listing("chats", query=(*(("user_ids[]", user) for user in some), *narrowed))
            for some in _chunks(sorted(self.users), _MAX_USERS)
        ]

    def project_listings(self) -> list[Listing]:
        """Return the lists of the projects whose attachments are in scope; none where they are named."""
        if self.projects:
            return []
        narrowed = tuple(("organization_ids[]", one) for one in sorted(self.organizations))
        groups = _chunks(sorted(self.users), _MAX_USERS) if self.users else [()]
        return [
            Listing("projects", query=(*(("user_ids[]", user) for user in some), *narrowed))
            for some in groups
        ]

    def admits_chat(self, chat: Chat) -> bool:
        """Say whether messages of a chat may be in scope."""
        ours = {chat.organization_uuid, chat.organization_id}
        return (
            (not self.users or chat.user_id in self.users)
            and (not self.projects or chat.project_id in self.projects)
            and (not self.organizations or bool(ours & set(self.organizations)))
            and not _is_before(chat.updated_at, self.since)
            and (self.until is None or chat.created_at is None or chat.created_at < self.until)
        )

    def admits_time(self, at: datetime | None) -> bool:
        """Say whether something of that time is in scope; what has no time is, lest it be lost."""
        return at is None or (
            (self.since is None or at >= self.since) and (self.until is None or at < self.until)
        )


def _bound(name: str, at: datetime | None) -> Query:
    return () if at is None else ((name, at.astimezone(UTC).isoformat().replace("+00:00", "Z")),)


def _is_before(text: str | None, bound: datetime | None) -> bool:
    if text is None or bound is None:
        return False
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return False
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) < bound


def _chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
