"""What the service manager is told while a mount runs: ready, what it is doing, and that it is alive.

A mount is alive when a request of the kernel is really answered. A timer on our event loop would not show
that: the loop may run while nothing is read from /dev/fuse. Counting answers would not either: on an idle
mount there are none. And this process must not ask its own mount, since a thread that waits for it can't
be killed. So another process, which lives for a moment, asks for what the kernel never answers from its
own memory and we answer without the service (statfs); only if it got its answer is the watchdog fed. That
takes the loop, the connection and the handlers to be in order, and nothing of it depends on the network.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from fsmount.notify import ServiceManager

log = logging.getLogger(__name__)

Answers = Callable[[], Awaitable[bool]]  # whether a request of the kernel was answered just now

_STATUS_S = 10.0  # how often what we are doing is told, when it has changed
_RETRY_S = 1.0


async def keep_posted(
    manager: ServiceManager,
    answers: Answers,
    describe: Callable[[], str],
    on_ready: Callable[[], None],
) -> None:
    """Tell the manager that the mount is ready once it answers, and then how it is, until cancelled.

    A mount that does not answer is asked again and again: the manager is who decides when that is enough.
    `on_ready` comes after the manager knows: it may end a process that the manager watches until then.
    """
    if not manager.is_there:
        on_ready()
        return
    await _until_it_answers(answers)
    told = _described(describe)
    manager.ready(told)
    on_ready()
    async with trio.open_nursery() as nursery:
        if manager.watchdog_s is not None:
            nursery.start_soon(_feed_watchdog, manager, manager.watchdog_s / 2, answers)
        while True:
            await trio.sleep(_STATUS_S)
            if (text := _described(describe)) != told:
                told = text
                manager.status(told)


async def _feed_watchdog(manager: ServiceManager, pause_s: float, answers: Answers) -> None:
    while True:
        await _until_it_answers(answers)
        manager.alive()
        await trio.sleep(pause_s)


async def _until_it_answers(answers: Answers) -> None:
    was_said = False
    while True:
        if await _is_answered(answers):
            return
        if not was_said:
            log.warning("the mount does not answer another process; it is asked every second")
            was_said = True
        await trio.sleep(_RETRY_S)


async def _is_answered(answers: Answers) -> bool:
    try:
        return await answers()
    except Exception as error:  # no process could be started, so nothing is known
        log.warning("the mount can't be asked whether it answers: %s", error)
        return False


def _described(describe: Callable[[], str]) -> str:
    try:
        return describe()
    except Exception as error:  # such as a damaged catalog; reading goes on where it can
        log.warning("what the mount is doing can't be told: %s", error)
        return "mounted"
