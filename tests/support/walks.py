"""Runs of a collector over an organization held in memory, on trio's clock."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import client
from fsmount.agenda import Left
from fsmount.collect import Collector
from fsmount.collection import Collection, Wanted

from .collections import CHATS
from .organization import Organization, OrganizationPages, file_entry

Trouble = Callable[[client.Step], Exception | None]


def organization(
    chats: int, *, most: int = 1000, messages: int = 1, projects: int = 0
) -> Organization:
    """Return an organization with as many files in every chat as it has messages, and one in each project."""
    made = Organization(most=most)
    for number in range(chats):
        chat = made.add_chat(str(number), created=number)
        for turn in range(messages):
            made.add_message(chat, files=[file_entry(f"{number}x{turn}")])
    for number in range(projects):
        made.add_project(str(number), attachments=[file_entry(f"p{number}")])
    return made


def files_of(made: Organization) -> set[str]:
    """Return the ids of all files, as `states` does."""
    lists = [
        message["files"] or [] for messages in made.messages.values() for message in messages
    ] + list(made.attachments.values())
    entries = [entry for some in lists if isinstance(some, list) for entry in some]
    return {str(entry["id"]).removeprefix("claude_") for entry in entries}


def failing(count: float, error: Exception, *, owner: str | None = None) -> Trouble:
    """Return trouble that meets the first `count` requests, or those about one chat or project."""
    met = 0

    def trouble(step: client.Step) -> Exception | None:
        nonlocal met
        if owner not in (None, step.listing.owner) or met >= count:
            return None
        met += 1
        return error

    return trouble


async def run(
    path: Path,
    pages: OrganizationPages,
    *,
    lists: Sequence[client.Listing] = (CHATS,),
    counts_only: bool = False,
    stop_after: float = math.inf,
) -> Collector:
    """Run one collector to its end, or for so many answers: those under way are lost then."""
    answers = 0

    def count_answer(_: client.Step) -> None:
        nonlocal answers
        answers += 1
        if answers >= stop_after:
            collector.stop()

    pages.on_answer = count_answer
    with Collection(path, Wanted()) as collection:
        collection.begin()
        collector = Collector(pages, collection, lists, counts_only=counts_only)
        await collector.run()
        if collection.left() == Left() and not counts_only:
            collection.finish()
    return collector
