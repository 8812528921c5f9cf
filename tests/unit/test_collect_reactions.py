"""What a failed request means for a walk: every error has its reaction, for lists, chats and projects."""

from collections.abc import Iterator

import pytest

import client
from client import Listing, Step
from fsmount.collect import Reaction, reaction_to
from tests.support.collections import CHATS, first_step

OF_LIST = first_step(CHATS)
OF_CHAT = first_step(Listing("messages", "c1"))
OF_PROJECT = first_step(Listing("attachments", "p1"))


def api_error(kind: type[client.APIError], status: int) -> client.APIError:
    return kind(status, None, None, "req_1", about="c1")


# The error, and what it means for a list, a chat and a project.
REACTIONS: list[tuple[client.ComplianceError, Reaction, Reaction, Reaction]] = [
    (api_error(client.BadRequestError, 400), "end", "skip", "skip"),
    (api_error(client.AuthenticationError, 401), "end", "end", "end"),
    (api_error(client.PermissionDeniedError, 403), "end", "end", "end"),
    (api_error(client.NotFoundError, 404), "end", "gone", "gone"),
    (api_error(client.ConflictError, 409), "end", "skip", "skip"),
    (api_error(client.RangeNotSatisfiableError, 416), "end", "skip", "skip"),
    (api_error(client.RateLimitError, 429), "again", "again", "again"),
    (api_error(client.InternalServerError, 500), "later", "later", "later"),
    (api_error(client.ServiceUnavailableError, 503), "later", "later", "later"),
    (api_error(client.OverloadedError, 529), "later", "later", "later"),
    (api_error(client.APIError, 418), "end", "skip", "skip"),
    (client.APIConnectionError("no"), "later", "later", "later"),
    (client.APITimeoutError("no"), "later", "later", "later"),
    (client.BudgetExhaustedError("no", wait_s=9), "again", "again", "again"),
    (client.InvalidResponseError("no"), "end", "skip", "skip"),
    (client.AnswerTooLargeError("no"), "smaller", "smaller", "smaller"),
    (client.TruncatedError("no"), "later", "later", "later"),
    (client.ContentMismatchError("no"), "end", "skip", "skip"),
    (client.FileTooLargeError("no", limit_bytes=1), "end", "skip", "skip"),
    (client.ComplianceError("no"), "end", "skip", "skip"),
]


def family(kind: type[client.ComplianceError]) -> Iterator[type[client.ComplianceError]]:
    """Yield a class and all that are made of it."""
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize(("error", "of_list", "of_chat", "of_project"), REACTIONS)
def test_every_error_has_its_reaction(error, of_list, of_chat, of_project):
    """A key that is refused ends a walk, an outage is waited out, and one chat less is better than none."""
    reactions = [
        reaction_to(step, error, is_resumed=False) for step in (OF_LIST, OF_CHAT, OF_PROJECT)
    ]
    assert [of_list, of_chat, of_project] == reactions


def test_no_error_was_forgotten():
    """Whatever the client raises is in the table above."""
    assert set(family(client.ComplianceError)) == {type(error) for error, *_ in REACTIONS}


@pytest.mark.parametrize("status", [500, 503, 529, 429])
def test_what_the_server_calls_final_is_not_tried_again(status):
    """It answered that trying again is of no use: the chat is left out, the list ends the walk."""
    kinds = {500: client.InternalServerError, 503: client.ServiceUnavailableError}
    error = api_error(kinds.get(status, client.APIError), status)
    error.is_final = True
    assert "end" == reaction_to(OF_LIST, error, is_resumed=False)
    assert "skip" == reaction_to(OF_CHAT, error, is_resumed=False)


@pytest.mark.parametrize("step", [OF_LIST, OF_CHAT, OF_PROJECT])
def test_a_cursor_of_an_earlier_run_may_be_stale(step):
    """What is refused may be its cursor; so it begins anew."""
    error = api_error(client.BadRequestError, 400)
    assert "restart" == reaction_to(step, error, is_resumed=True)


def test_below_one_entry_nothing_smaller_can_be_asked_for():
    """An answer that is too large by itself can't be had."""
    error = client.AnswerTooLargeError("no")
    assert "skip" == reaction_to(Step(OF_CHAT.listing, None, 1), error, is_resumed=False)
    assert "end" == reaction_to(Step(OF_LIST.listing, None, 1), error, is_resumed=False)
