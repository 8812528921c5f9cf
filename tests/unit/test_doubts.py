"""Doubts: a deletion without an answer is asked about, and what is found out is in the custody log."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
import trio

import client
from fsmount.doubts import Doubts, unresolved
from fsmount.errors import CustodyError
from fsmount.service import Service

A, B, C = "claude_file_a", "claude_file_b", "claude_file_c"
GONE = client.NotFoundError(404, "not_found_error", "gone", "req_1")


class Files:
    """A service that answers every question about a record with what was put in for it."""

    def __init__(self, answers: Mapping[str, client.File | Exception]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def get(self, claude_file_id: str) -> client.File:
        self.asked.append(claude_file_id)
        answer = self.answers[claude_file_id]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Journal:
    """Keeps what is written, and whether it was to be on the disk at once."""

    def __init__(self) -> None:
        self.entries: list[object] = []

    def append(self, event: str, data: Mapping[str, object], *, durable: bool = False) -> None:
        self.entries.append((event, data["claude_file_id"], data["outcome"], durable))


class World:
    """Doubts, and what came of them."""

    def __init__(
        self, nursery: trio.Nursery, answers: Mapping[str, client.File | Exception]
    ) -> None:
        self.files = Files(answers)
        self.journal = Journal()
        self.forgotten: list[str] = []
        service = Service(cast("Any", self.files), nursery)
        self.doubts = Doubts(service, self.journal, self._forget)

    async def _forget(self, claude_file_id: str) -> None:
        self.forgotten.append(claude_file_id)
        raise OSError("the disk is full")


def _requested(*ids: str) -> list[dict[str, object]]:
    return [
        {"event": "delete_requested", "claude_file_id": key, "seq": n} for n, key in enumerate(ids)
    ]


async def test_the_answer_decides_what_became_of_it():
    """Unknown to the service: deleted. Known: it was not. No answer: in doubt, until the next mount."""
    unreachable = client.APIConnectionError("no network", bytes_sent=False)
    async with trio.open_nursery() as nursery:
        world = World(nursery, {A: GONE, B: client.File(B), C: unreachable})
        await world.doubts.resolve_old(lambda: _requested(A, B, C))
    assert [A, B, C] == world.files.asked  # also after a trouble of our own with the first
    assert [
        ("delete_outcome", A, "deleted", True),
        ("delete_outcome", B, "not deleted", True),
    ] == world.journal.entries
    assert [A] == world.forgotten


async def test_the_service_gets_a_moment_to_end_what_it_did_not_answer(autojump_clock):
    """Asked at once, it might still know a file that it is deleting."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, {B: GONE})
        started = trio.current_time()
        await world.doubts.resolve_new(B)
    assert 2 <= trio.current_time() - started < 5
    assert [B] == world.forgotten


def _outcome(claude_file_id: str, outcome: str, **more: object) -> dict[str, object]:
    return {
        "event": "delete_outcome",
        "claude_file_id": claude_file_id,
        "outcome": outcome,
        **more,
    }


@pytest.mark.parametrize("outcome", ["deleted", "already gone", "refused", "not deleted"])
def test_a_known_outcome_leaves_no_doubt(outcome):
    """Whichever it is; another request after it begins anew."""
    answer = _outcome(A, outcome)
    assert [B] == unresolved([*_requested(A, B), answer])
    assert {A, B} == set(unresolved([*_requested(A, B), answer, *_requested(A)]))


def test_an_unknown_outcome_is_none():
    """It is written where the answer was lost, and where waiting for it was interrupted."""
    other = {"event": "acquired", "claude_file_id": A}
    assert [A] == unresolved([*_requested(A), _outcome(A, "unknown"), other])


MOUNTED = {"event": "mounted"}
RESOLVED = _outcome(A, "not deleted", resolved_by="asking for the record")


@pytest.mark.parametrize(
    ("second", "is_clear"),
    [
        (_outcome(A, "not deleted"), False),
        (_outcome(A, "refused"), False),
        (_outcome(A, "unknown"), False),
        (_outcome(A, "deleted"), True),
        (_outcome(A, "already gone"), True),
    ],
)
@pytest.mark.parametrize("first", [[], [MOUNTED], [_outcome(A, "unknown")]])
def test_a_second_request_says_nothing_of_the_first(first, second, is_clear):
    """One that was never sent, or refused, does not tell what became of one whose answer was lost."""
    entries = [*_requested(A), *first, *_requested(A), second]
    assert ([] if is_clear else [A]) == unresolved(entries)


def test_what_is_found_out_by_asking_is_about_what_came_before():
    """Not about a request that is under way meanwhile, which may be carried out after the question."""
    asked = [*_requested(A), _outcome(A, "unknown"), RESOLVED]
    assert [] == unresolved(asked)
    assert [] == unresolved([*_requested(A), MOUNTED, RESOLVED])
    under_way = [*_requested(A), _outcome(A, "unknown"), *_requested(A), RESOLVED]
    assert [A] == unresolved(under_way)
    assert [A] == unresolved([*under_way, MOUNTED])
    assert [] == unresolved([*under_way, _outcome(A, "not deleted")])


def _unreadable() -> Iterator[dict[str, object]]:
    raise CustodyError("the log can't be read")


async def test_an_odd_log_ends_nothing():
    """Lines that were edited, or a log that can't be read: the mount goes on."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, {A: GONE})
        odd: list[dict[str, object]] = [
            {"event": "delete_requested", "claude_file_id": A, "seq": None},
            {"event": None},
            {"event": "delete_outcome", "claude_file_id": B, "outcome": ["deleted"]},
        ]
        await world.doubts.resolve_old(lambda: odd)
        assert [A] == world.forgotten
        await world.doubts.resolve_old(_unreadable)


async def test_what_is_deleted_is_forgotten_without_asking():
    """The log knows it; that the case had no time to forget it is no doubt."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, {})
        await world.doubts.resolve_old(
            lambda: [*_requested(A, B), _outcome(A, "deleted"), _outcome(B, "already gone")]
        )
    assert ([A, B], []) == (world.forgotten, world.files.asked)
