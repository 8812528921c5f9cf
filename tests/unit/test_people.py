"""E-mail addresses to user ids: through the lists of members, once, and never by guessing."""

from pathlib import Path

import pytest
import trio
import trio.testing

import client
from fsmount.case import Case
from fsmount.errors import CollectError, UsageError
from fsmount.people import user_ids
from tests.support.collections import collect
from tests.support.organization import Organization, OrganizationPages, file_entry
from tests.support.walks import failing


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Return a clock that jumps at once: nothing here uses threads."""
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case.open(tmp_path / "case")


@pytest.fixture
def pages() -> OrganizationPages:
    """Return two organizations with alice in the first, and bob, twice, in both."""
    made = Organization(most=2)
    for name, organization in [("alice", "org-1"), ("bob", "org-1"), ("carol", "org-1")]:
        made.add_member(name, organization)
    made.members["org-2"] = [{"id": "user_bob_2", "email": "bob@example.com"}]
    return OrganizationPages(made)


async def test_ids_cost_no_request(case, pages, autojump_clock):
    """They are taken as they are, once each, in their order."""
    assert ("u2", "u1") == await user_ids(["u2", "u1", "u2"], (), case, pages)
    assert [] == pages.steps


async def test_an_address_is_looked_up_in_all_organizations(case, pages, autojump_clock):
    """It may have had several accounts; upper and lower case are the same."""
    assert ("user_alice",) == await user_ids(["Alice@Example.com"], (), case, pages)
    kinds = [step.listing.kind for step in pages.steps]
    assert ["organizations", "users", "users", "users"] == sorted(kinds)
    found = await user_ids(["u1", "bob@example.com", "user_bob"], (), case, pages)
    assert ("u1", "user_bob", "user_bob_2") == tuple(sorted(found))
    assert 4 == len(pages.steps)


async def test_a_named_organization_is_the_only_one_that_is_asked(case, pages, autojump_clock):
    """Whose list is known need not be looked for."""
    assert ("user_bob_2",) == await user_ids(["bob@example.com"], ["org-2"], case, pages)
    assert ["org-2"] == [step.listing.owner for step in pages.steps]


async def test_an_address_that_a_walk_has_met_costs_no_request(case, pages, autojump_clock):
    """Chats name their people."""
    collect(case.catalog_path, Organization.of_one_file(file_entry("a")))
    assert ("user_alice",) == await user_ids(["alice@example.com"], (), case, pages)
    assert [] == pages.steps


async def test_an_address_that_nobody_has_is_wrong_usage(case, pages, autojump_clock):
    """Nothing is collected in place of it; who comes later is found by the next run."""
    with pytest.raises(UsageError, match="has the address dave@"):
        await user_ids(["alice@example.com", "dave@example.com"], (), case, pages)
    pages.organization.add_member("dave")
    assert ("user_dave",) == await user_ids(["dave@example.com"], (), case, pages)


async def test_a_key_without_the_scope_is_told_what_else_would_do(case, pages, autojump_clock):
    """The message names the scope, and the ways around it."""
    pages.trouble = failing(1, client.PermissionDeniedError(403))
    with pytest.raises(CollectError, match="read:compliance_org_data, or name the organization"):
        await user_ids(["alice@example.com"], (), case, pages)


@pytest.mark.parametrize("owner", ["", "org-1"])
async def test_an_end_while_members_are_listed_is_made_good(case, pages, autojump_clock, owner):
    """The next run finds everybody, also in the lists that the last one did not come to."""
    pages.trouble = failing(1, client.AuthenticationError(401), owner=owner)
    with pytest.raises(client.AuthenticationError):
        await user_ids(["carol@example.com"], (), case, pages)
    assert ("user_carol",) == await user_ids(["carol@example.com"], (), case, pages)


async def test_a_crash_while_members_are_listed_is_made_good(case, pages, autojump_clock):
    """At whatever answer it came."""
    for answers in range(1, 4):
        with trio.CancelScope() as scope:
            count = 0

            def die(
                _: client.Step, answers: int = answers, scope: trio.CancelScope = scope
            ) -> None:
                nonlocal count
                count += 1
                if count >= answers:
                    scope.cancel()

            pages.on_answer = die
            await user_ids(["dave@example.com"], (), case, pages)
    pages.on_answer = lambda _: None
    assert ("user_carol",) == await user_ids(["carol@example.com"], (), case, pages)
