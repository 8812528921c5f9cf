"""One run of `fsmount collect`, from the wish to the summary: whose files, walked, recorded in the log."""

import dataclasses
import logging
import math
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing

import trio

import client
from fsmount.actor import actor
from fsmount.agenda import Left
from fsmount.case import Case, case_path
from fsmount.catalog import Catalog
from fsmount.collect import Collector, Progress
from fsmount.collect_settings import CollectSettings
from fsmount.collection import Collection, Tally, Wanted
from fsmount.config import read_ids
from fsmount.custody import CustodyLog
from fsmount.errors import CollectError, first_of
from fsmount.people import user_ids
from fsmount.progress import State, duration, shown, what_holds

log = logging.getLogger(__name__)

_SILENCE_S = 60.0
_RETRIES = 2  # of one request; what fails for longer is the walk's business
_SHOWN_PROBLEMS = 10
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(slots=True)
class _Outcome:
    """What a run came to; `failure` is what ended it early."""

    ids_added: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    tally: Tally = dataclasses.field(default_factory=Tally)
    left: Left = dataclasses.field(default_factory=Left)
    missing: list[str] = dataclasses.field(default_factory=list)
    failure: Exception | None = None
    was_stopped: bool = False
    is_first: bool = False

    @property
    def is_whole(self) -> bool:
        """Say whether everything that was wished for is there."""
        return not (self.failure or self.was_stopped or self.missing)


def run(settings: CollectSettings) -> int:
    """Collect, print a summary, and return 0, or 1 where something is missing.

    Errors: FsmountError, and the client's, before anything was asked for.
    """
    os.umask(0o077)  # whatever is written belongs to the case
    case = Case.open(case_path(settings.case, os.environ))
    with case.lock_for_collecting(), closing(CustodyLog(case.custody_path)) as journal:
        try:
            outcome = trio.run(_collect, settings, case)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        journal.append("collected", _facts(settings, outcome), durable=True)
    lines = _estimate(settings, outcome) if settings.dry_run else _summary(settings, case, outcome)
    for line in lines:
        print(line)
    return 0 if outcome.is_whole else 1


async def _collect(settings: CollectSettings, case: Case) -> _Outcome:
    outcome = _Outcome()
    async with _api(settings) as api, trio.open_nursery() as nursery:
        work = trio.CancelScope()
        await nursery.start(_cancel_on_signals, work)
        with work:
            try:
                outcome.ids_added = await _add_ids(settings, case)
                await _walk(settings, case, api, outcome)
            except (CollectError, client.ComplianceError) as error:
                outcome.failure = error
        outcome.was_stopped = work.cancelled_caught
        stats = api.stats
        outcome.requests, outcome.retries = stats.listing, stats.retries
        outcome.throttled = stats.throttled
        nursery.cancel_scope.cancel()
    return outcome


async def _walk(
    settings: CollectSettings, case: Case, api: client.AsyncComplianceClient, outcome: _Outcome
) -> None:
    users = await user_ids(settings.users, settings.organizations, case, api.pages)
    wanted = _wanted(settings, users)
    with Collection(case.catalog_path, wanted) as collection:
        collection.begin()
        looks = settings.looks_for_chats
        # Projects come first: chats name them by id, and a project keeps the name that it first had here.
        projects = wanted.scope.project_listings() if looks else []
        chats = wanted.scope.chat_listings() if looks else []
        outcome.is_first = all(collection.cursor_of(chat) is None for chat in chats)
        progress = Progress()
        first = Collector(api.pages, collection, projects, progress, counts_only=True)
        then = Collector(api.pages, collection, chats, progress, counts_only=settings.dry_run)
        try:
            async with shown(lambda: _state(collection, progress, api)):
                await first.run()
                await then.run()
            if not settings.dry_run:
                collection.finish()
        finally:
            outcome.tally, outcome.left = collection.tally, collection.left()
            outcome.missing = [*progress.missing, *collection.tally.unfit]


def _wanted(settings: CollectSettings, users: tuple[str, ...]) -> Wanted:
    scope = client.Scope(
        users=users,
        projects=settings.projects,
        organizations=settings.organizations,
        since=settings.since,
        until=settings.until,
    )
    return Wanted(scope, settings.families, settings.chats)


async def _add_ids(settings: CollectSettings, case: Case) -> int:
    if settings.ids_file is None or settings.dry_run:
        return 0
    ids, problems = read_ids(settings.ids_file)
    for problem in problems:
        log.warning("%s: %s", settings.ids_file, problem)
    with closing(Catalog(case.catalog_path)) as catalog:
        return await catalog.add_ids(ids)


def _api(settings: CollectSettings) -> client.AsyncComplianceClient:
    return client.AsyncComplianceClient(
        settings.key.reveal(),
        base_url=settings.base_url,
        timeout=_SILENCE_S,
        max_rpm=settings.max_rpm,
        max_retries=_RETRIES,
    )


async def _cancel_on_signals(work: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(*_END_SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            work.cancel()


# -- what is told --------------------------------------------------------------------------------------


def _state(collection: Collection, progress: Progress, api: client.AsyncComplianceClient) -> State:
    tally, left = collection.tally, collection.left()
    done = tally.chats_read + tally.projects_read
    budget = api.budget
    facts = [f"{tally.files_new:,} new files", f"{api.stats.listing:,} requests"]
    if budget.remaining is not None:
        facts.append(f"{budget.remaining:,} left this minute")
    if progress.is_listing:
        facts.insert(0, f"{tally.chats_listed:,} listed so far")
    return State(
        done=done,
        total=None if progress.is_listing else done + left.chats + left.projects,
        unit="chats and projects" if left.projects or tally.projects_read else "chats",
        facts=tuple(facts),
        waiting=_waiting(progress, budget),
        least_s=_least_s(left.chats + left.projects, budget),
    )


def _least_s(requests: int, budget: client.Budget) -> float:
    """Return how long so many requests take at the least; the first of a minute may go all at once."""
    per_minute = min(rate for rate in (budget.max_rpm, budget.limit, math.inf) if rate is not None)
    at_once = per_minute if budget.remaining is None else budget.remaining
    return max(0.0, requests - at_once) * 60 / per_minute


def _waiting(progress: Progress, budget: client.Budget) -> str | None:
    """Say in words what holds the walk back; None when nothing does."""
    until = progress.paused_until
    if until is not None and until > trio.current_time():
        return (
            f"the service can't be reached, trying again in {duration(until - trio.current_time())}"
        )
    return what_holds(budget)


def _facts(settings: CollectSettings, outcome: _Outcome) -> Mapping[str, object]:
    """Return what the custody log keeps of a run; never the key."""
    scope = {
        "users": settings.users,
        "chats": settings.chats,
        "projects": settings.projects,
        "organizations": settings.organizations,
        "since": settings.since and settings.since.isoformat(),
        "until": settings.until and settings.until.isoformat(),
        "ids_file": settings.ids_file and str(settings.ids_file),
        "include": sorted(family.name.lower() for family in settings.families),
    }
    return {
        **actor(),
        "base_url": settings.base_url,
        "scope": {name: value for name, value in scope.items() if value},
        "dry_run": settings.dry_run,
        "outcome": "whole" if outcome.is_whole else str(outcome.failure or _why(outcome)),
        "requests": outcome.requests,
        "chats_read": outcome.tally.chats_read,
        "projects_read": outcome.tally.projects_read,
        "files_named": outcome.tally.files_named,
        "files_new": outcome.tally.files_new + outcome.ids_added,
        "chats_left": outcome.left.chats,
        "projects_left": outcome.left.projects,
        "missing": len(outcome.missing),
    }


def _why(outcome: _Outcome) -> str:
    return "stopped" if outcome.was_stopped else f"{len(outcome.missing)} could not be had"


def _hint_of_nobody(settings: CollectSettings, outcome: _Outcome) -> str | None:
    """Say that ids may be wrong, where a first look led to nothing: unknown ones are no error."""
    named = [*settings.users, *settings.organizations]
    if not (named and outcome.is_first) or outcome.tally.chats_listed or not outcome.is_whole:
        return None
    return f"nothing is listed for {', '.join(named)}: check whether that is right; unknown ids list nothing"


def _summary(settings: CollectSettings, case: Case, outcome: _Outcome) -> Iterator[str]:
    tally = outcome.tally
    with closing(Catalog(case.catalog_path)) as catalog:
        yield (
            f"{catalog.count():,} files in case {case.name},"
            f" {tally.files_new + outcome.ids_added:,} of them new"
        )
    yield f"{_places(tally.chats_read, tally.projects_read)} read, {_requests(outcome)}"
    if hint := _hint_of_nobody(settings, outcome):
        yield hint
    if tally.documents:
        yield f"left out, since they are no files: {tally.documents:,} text documents of projects"
    for problem in outcome.missing[:_SHOWN_PROBLEMS]:
        yield f"missing: {problem}"
    if len(outcome.missing) > _SHOWN_PROBLEMS:
        yield f"missing: {len(outcome.missing) - _SHOWN_PROBLEMS:,} more"
    if outcome.failure:
        yield f"ended early: {outcome.failure}"
    elif outcome.was_stopped:
        yield "stopped before the end"
    left = outcome.left
    if outcome.failure or outcome.was_stopped or left.chats or left.projects:
        yield f"{_places(left.chats, left.projects)} still to be read; run the same command again to go on"


def _estimate(settings: CollectSettings, outcome: _Outcome) -> Iterator[str]:
    left = outcome.left
    needed = left.chats + left.projects
    yield f"{_places(left.chats, left.projects)} to be read: {needed:,} requests or a few more"
    yield f"about {duration(needed * 60 / settings.max_rpm)} at {settings.max_rpm} a minute"
    yield f"{_requests(outcome)} to find that out; what was found is kept"
    if outcome.failure or outcome.was_stopped:
        why = outcome.failure or "stopped before the end"
        yield f"{why}, so there may be more; run the same command again to go on counting"


def _places(chats: int, projects: int) -> str:
    words = f"{chats:,} chat{'' if chats == 1 else 's'}"
    return f"{words} and {projects:,} project{'' if projects == 1 else 's'}" if projects else words


def _requests(outcome: _Outcome) -> str:
    extra = [
        f"{count:,} {what}"
        for count, what in ((outcome.retries, "retries"), (outcome.throttled, "refused for now"))
        if count
    ]
    words = f"{outcome.requests:,} request{'' if outcome.requests == 1 else 's'}"
    return f"{words} ({', '.join(extra)})" if extra else words
