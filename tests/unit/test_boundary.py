"""Every operation ends in time, in a result or in an errno; nothing else comes out."""

import errno
import logging
import subprocess
from collections.abc import Iterator

import pytest
import trio

import client
import fsmount.errors as errors_module
from fsmount.boundary import Boundary, RefusedRequest
from fsmount.errors import ERRNO_OF, FsmountError, errno_for


def all_subclasses(kind: type[FsmountError]) -> set[type[FsmountError]]:
    found = {kind}
    for child in kind.__subclasses__():
        found |= all_subclasses(child)
    return found


def instances() -> list[Exception]:
    """Return one of each error that an operation may raise, and some that it should not."""
    ours = [
        kind("what, which, what to do") for kind in sorted(all_subclasses(FsmountError), key=str)
    ]
    others = [ValueError("x"), KeyError("x"), OSError(errno.EAGAIN, "x"), OSError(errno.EINTR, "x")]
    theirs: list[Exception] = [
        client.NotFoundError(404, "not_found_error", "gone", "req_1"),
        client.APIError(418, None, "odd", None),
        client.APIConnectionError("cut", bytes_sent=True),
        client.APITimeoutError("late", bytes_sent=True),
        client.InvalidResponseError("odd"),
        client.BudgetExhaustedError("spent", wait_s=70),
    ]
    return [
        *ours,
        *theirs,
        *others,
        ExceptionGroup("g", [ValueError("x")]),
        MemoryError(),
        RecursionError(),
    ]


@pytest.mark.parametrize("error", instances(), ids=lambda error: type(error).__name__)
async def test_every_exception_becomes_an_errno(error):
    """Whatever an operation raises, the kernel gets a number, and never EAGAIN or EINTR."""

    async def work() -> None:
        raise error

    with pytest.raises(RefusedRequest) as raised:
        await Boundary(1).run(lambda: "test", 0, work)
    assert errno_for(error) == raised.value.errno
    assert raised.value.errno not in {errno.EAGAIN, errno.EINTR, 0}


def test_the_errno_table_is_the_documented_one():
    """401 and 403 are EACCES, 404 ENOENT, 409 EBUSY, a deadline ETIMEDOUT, all else EIO."""
    answers = {
        client.AuthenticationError: errno.EACCES,
        client.PermissionDeniedError: errno.EACCES,
        client.NotFoundError: errno.ENOENT,
        client.ConflictError: errno.EBUSY,
        client.RateLimitError: errno.EIO,
        client.InternalServerError: errno.EIO,
        client.OverloadedError: errno.EIO,
        client.ServiceUnavailableError: errno.EIO,
        client.BadRequestError: errno.EIO,
    }
    for kind, expected in answers.items():
        assert expected == errno_for(kind(400, None, "m", None)), kind
    assert errno.ETIMEDOUT == errno_for(errors_module.DeadlineError())
    assert errno.EIO == errno_for(client.BudgetExhaustedError("spent", wait_s=70))
    assert not {errno.EAGAIN, errno.EINTR} & set(ERRNO_OF.values())


async def test_a_deadline_answers_what_does_not_end(autojump_clock, caplog):
    """A waiting operation is answered with ETIMEDOUT, and the log says what to do."""
    started = trio.current_time()
    with pytest.raises(RefusedRequest) as raised:
        await Boundary(90).run(lambda: "read of a/b", 0, trio.sleep_forever)
    assert errno.ETIMEDOUT == raised.value.errno
    assert 90 == trio.current_time() - started
    assert "read of a/b" in caplog.text
    assert "--timeout" in caplog.text


async def test_cancellation_from_outside_passes(autojump_clock):
    """The end of the mount is not an error of the operation."""
    with trio.move_on_after(1) as scope:
        await Boundary(90).run(lambda: "read", 0, trio.sleep_forever)
    assert scope.cancelled_caught


@pytest.fixture
def caller() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("is_reaped", [False, True])
async def test_a_killed_caller_is_not_waited_for(autojump_clock, caller, is_reaped):
    """An operation whose caller was killed, or has vanished since, ends long before its deadline."""
    boundary = Boundary(90)
    refusals: list[tuple[float, int]] = []

    async def operate() -> None:
        try:
            await boundary.run(lambda: "open", caller.pid, trio.sleep_forever)
        except RefusedRequest as refusal:
            refusals.append((trio.current_time(), refusal.errno))
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(boundary.watch_callers)
        nursery.start_soon(operate)
        await trio.sleep(5)
        caller.kill()
        if is_reaped:
            caller.wait()
    [(ended_at, number)] = refusals
    assert 5 <= ended_at < 6
    assert errno.EIO == number


async def test_a_caller_that_was_never_seen_is_not_taken_for_dead(autojump_clock):
    """Where /proc hides other users' processes, an operation has all the time it is allowed."""
    boundary = Boundary(90)
    nobody = 2**22 + 1  # beyond the largest process id
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boundary.watch_callers)
        result = await boundary.run(lambda: "open", nobody, slow_answer)
        assert "answer" == result
        nursery.cancel_scope.cancel()


async def slow_answer() -> str:
    await trio.sleep(60)
    return "answer"


async def test_an_operation_without_a_caller_is_not_watched(autojump_clock):
    """Id 0 stands for a caller in another process namespace, and for reads: only the deadline counts."""
    boundary = Boundary(90)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boundary.watch_callers)
        assert "answer" == await boundary.run(lambda: "read", 0, slow_answer)
        nursery.cancel_scope.cancel()


async def test_what_cannot_be_described_is_answered_all_the_same(caplog):
    """The words for the log may need the very thing that broke; the errno is still the error's own."""

    def no_words() -> str:
        raise RuntimeError("the catalog is gone")

    async def work() -> None:
        raise errors_module.AbsentError("no")

    with pytest.raises(RefusedRequest) as raised:
        await Boundary(1).run(no_words, 0, work)
    assert errno.ENOENT == raised.value.errno


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors_module.AbsentError("no"), logging.DEBUG),
        (errors_module.ReadOnlyError("no"), logging.DEBUG),
        (errors_module.RefusedError("no"), logging.WARNING),
        (client.PermissionDeniedError(403, None, "scope", "req_9"), logging.WARNING),
        (ZeroDivisionError("bug"), logging.ERROR),
    ],
)
async def test_the_log_is_as_loud_as_it_deserves(error, level, caplog):
    """Probing programs are not worth a line; refusals are; a bug comes with its traceback."""
    caplog.set_level(logging.DEBUG)

    async def work() -> None:
        raise error

    with pytest.raises(RefusedRequest):
        await Boundary(1).run(lambda: "stat of x", 0, work)
    record = caplog.records[-1]
    assert level == record.levelno
    assert (level == logging.ERROR) == bool(record.exc_info)
    assert "stat of x" in record.getMessage()
