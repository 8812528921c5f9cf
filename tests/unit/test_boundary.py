"""Every operation ends in time, in a result or in an errno; nothing else comes out."""

import errno
import logging

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


async def test_a_caller_that_is_gone_is_not_waited_for(autojump_clock):
    """An operation whose caller has vanished ends soon, long before its deadline."""
    boundary = Boundary(90)
    nobody = 2**22 + 1  # beyond the largest process id
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boundary.watch_callers)
        started = trio.current_time()
        with pytest.raises(RefusedRequest):
            await boundary.run(lambda: "open", nobody, trio.sleep_forever)
        assert trio.current_time() - started <= 1
        nursery.cancel_scope.cancel()


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
