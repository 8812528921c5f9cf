"""A service manager hears that the mount is ready, and alive, only when it answered just now."""

import math

import trio

from fsmount.notify import ServiceManager
from fsmount.supervision import keep_posted


class Manager(ServiceManager):
    """Keeps what it hears, and when."""

    def __init__(self, watchdog_s: float | None = None) -> None:
        super().__init__("/nowhere", watchdog_s)
        self.heard: list[tuple[float, str]] = []

    def _send(self, *assignments: str) -> None:
        self.told(" ".join(assignments))

    def told(self, what: str) -> None:
        self.heard.append((round(trio.current_time() - self.started), what))

    async def listen(self, answers, describe=lambda: "mounted", for_s: float = 35):
        self.started = trio.current_time()
        with trio.move_on_after(for_s):
            await keep_posted(self, answers, describe, lambda: self.told("up"))
        return self.heard


def answering(since_s: float = 0, until_s: float = math.inf):
    """Return what answers between two times; it is asked from now on."""
    started = trio.current_time()

    async def answers() -> bool:
        await trio.lowlevel.checkpoint()
        return since_s <= trio.current_time() - started < until_s

    return answers


async def test_ready_is_said_once_the_mount_answers(autojump_clock):
    """Not before, however long it takes; whoever waits in the foreground is told after the manager."""
    heard = await Manager().listen(answering(since_s=7))
    assert [(7, "READY=1 STATUS=mounted"), (7, "up")] == heard


async def test_the_watchdog_is_fed_at_half_its_period(autojump_clock):
    """So that one late answer is no harm."""
    heard = await Manager(watchdog_s=20).listen(answering())
    assert [0, 10, 20, 30] == [when for when, what in heard if what == "WATCHDOG=1"]


async def test_a_mount_that_does_not_answer_starves_the_watchdog(autojump_clock, caplog):
    """Until it answers again; that it does not is said once."""
    heard = await Manager(watchdog_s=20).listen(answering(until_s=9))
    assert [0] == [when for when, what in heard if what == "WATCHDOG=1"]
    assert 1 == len(caplog.messages)


async def test_a_watchdog_that_starved_is_fed_as_soon_as_the_mount_answers(autojump_clock):
    """Not only when the next half period is over."""
    heard = await Manager(watchdog_s=20).listen(answering(since_s=3))
    assert [3, 13, 23, 33] == [when for when, what in heard if what == "WATCHDOG=1"]


async def test_the_status_is_told_when_it_changes(autojump_clock):
    """And only then."""
    texts = iter(["one", "one", "two", "two", "two"])
    heard = await Manager().listen(answering(), lambda: next(texts))
    assert [(0, "READY=1 STATUS=one"), (0, "up"), (20, "STATUS=two")] == heard


async def test_trouble_with_telling_is_no_end(autojump_clock, caplog):
    """A process that can't be started counts as no answer, a status that can't be made is left out."""
    calls = []

    async def answers() -> bool:
        await trio.lowlevel.checkpoint()
        calls.append(1)
        if len(calls) == 1:
            raise OSError("no processes left")
        return True

    heard = await Manager().listen(answers, lambda: str(1 // 0))
    assert [(1, "READY=1 STATUS=mounted"), (1, "up")] == heard
    assert "no processes left" in caplog.text


async def test_without_a_manager_nobody_is_asked():
    """An ordinary mount starts no process to look at itself."""
    up = trio.Event()
    await keep_posted(ServiceManager(), None, None, up.set)  # type: ignore[arg-type]  # never called
    assert up.is_set()
