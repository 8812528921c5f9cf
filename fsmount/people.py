"""E-mail addresses to user ids, through the organizations' lists of members; what was learned is kept."""

from collections.abc import Sequence

import client
from fsmount.case import Case
from fsmount.collect import Collector, Pages
from fsmount.collection import Collection, Wanted
from fsmount.errors import CollectError, UsageError

# A wish of its own, whose chats are never read.
_EVERYBODY = Wanted(chats=("members of organizations",))


async def user_ids(
    words: Sequence[str], organizations: Sequence[str], case: Case, pages: Pages
) -> tuple[str, ...]:
    """Return the ids of users that are named by id or by e-mail; an address may have had several accounts.

    Addresses that the case knows cost no request.
    Errors: UsageError for an address that nobody has; those of `Collector.run`.
    """
    emails = [word for word in words if "@" in word]
    ids = [word for word in words if "@" not in word]
    with Collection(case.catalog_path, _EVERYBODY) as collection:
        if not all(map(collection.people_of, emails)):
            await _learn_members(organizations, collection, pages)
        for email in emails:
            found = collection.people_of(email)
            if not found:
                raise UsageError(f"--user: no member of the organization has the address {email}")
            ids += found
    return tuple(dict.fromkeys(ids))


async def _learn_members(
    organizations: Sequence[str], collection: Collection, pages: Pages
) -> None:
    lists = [client.Listing("users", one) for one in organizations]
    try:
        await Collector(pages, collection, lists or [client.Listing("organizations")]).run()
    except client.PermissionDeniedError as error:
        raise CollectError(
            f"{error}; to look e-mail addresses up, the key needs the scope read:compliance_org_data, or"
            " name the organization's UUID with --organization, or users by their ids"
        ) from error
    collection.finish()
