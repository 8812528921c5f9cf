"""One mount from beginning to end: check, mount, go to the background, serve, end.

Here is what concerns the process as a whole: the order of things, signals, readiness, limits.
"""

import contextlib
import dataclasses
import logging
import math
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import trio

from fsmount import connection
from fsmount.assembly import Built, open_filesystem
from fsmount.attach import Attachment, source_of
from fsmount.background import Readiness, fork_to_background
from fsmount.boundary import Boundary
from fsmount.case import Case, CaseLock, case_path
from fsmount.config import MountSettings, read_ids
from fsmount.errors import CaseLockedError, first_of, is_expected
from fsmount.kernel_types import Owner
from fsmount.mountpoint import FS_TYPE, check_outside, look, mounts, prepare, resolve
from fsmount.notify import ServiceManager
from fsmount.operations import Operations, correct, serve
from fsmount.signals import hold_back, ignore, let_through, unfreezing, wanted_end_signals
from fsmount.supervision import keep_posted

log = logging.getLogger(__name__)

# pyfuse3 starts a worker for each waiting request: with its default of 99, as many hanging opens would
# keep everybody else's stat waiting.
_MAX_TASKS = 500
_GRACE_S = 3.0  # for requests under way when the end is asked for
_HARD_END_S = 16.0  # the whole end, whatever hangs
_LOOK_S = 1.0  # how often the connection is looked at
_LOCK_WAIT_S = 20.0  # for an unmounted mount of the same case to end


def run(settings: MountSettings) -> int:
    """Mount a case and serve it; return the exit code.

    In the background the caller's process exits once the mount answers.
    Errors: FsmountError before the mount is there, and what ended it in the foreground.
    """
    os.umask(0o077)  # whatever is written belongs to the case
    manager = ServiceManager.take(os.environ)
    try:
        return _run(settings, manager)
    except Exception as error:
        manager.status(_line_of(error))  # what stays to be read in `systemctl status`
        raise


def _run(settings: MountSettings, manager: ServiceManager) -> int:
    settings = dataclasses.replace(settings, mountpoint=resolve(settings.mountpoint))
    directory = case_path(settings.case, os.environ)
    prepare(settings.mountpoint)
    check_outside(settings.mountpoint, case_directory=directory)
    manager.status(f"opening the case {directory}")
    case = Case.open(directory)
    ids = _ids_of(settings)
    _leave_mountpoint(settings.mountpoint)
    _raise_open_files_limit()
    with _lock(case, settings) as lock:
        return _mount_and_serve(settings, case, lock, ids, manager)


def _mount_and_serve(
    settings: MountSettings, case: Case, lock: CaseLock, ids: list[str], manager: ServiceManager
) -> int:
    signals = wanted_end_signals()
    hold_back(signals)
    operations = Operations(Owner(settings.uid, settings.gid, settings.umask))
    attachment = Attachment(operations, settings, case.name)
    readiness = Readiness(None)
    try:
        with contextlib.closing(attachment):
            if not settings.foreground:
                readiness = fork_to_background(settings.mountpoint, case.path / "mount.log")
                lock.describe(_purpose(settings))  # by the child's pid from now on
            session = _Session(settings, case, operations, attachment, readiness, manager)
            return session.run(ids)
    except Exception as group:
        error = first_of(group)
        if readiness.failed(_line_of(error)):  # who started us prints it; nothing is mounted by now
            log.debug("ended before it was ready", exc_info=error)
            return 1
        raise error from None
    finally:
        ignore(signals)


class _Session:
    """The mounted process."""

    def __init__(
        self,
        settings: MountSettings,
        case: Case,
        operations: Operations,
        attachment: Attachment,
        readiness: Readiness,
        manager: ServiceManager,
    ) -> None:
        self._settings = settings
        self._case = case
        self._operations = operations
        self._attachment = attachment
        self._readiness = readiness
        self._manager = manager
        self._timeout_s = effective_timeout_s(settings.timeout_s)
        self._work = trio.CancelScope()  # what an end signal interrupts after its grace
        self._end_was_asked = False
        self._was_cut = False
        self._has_answered = False
        self._watchdog: threading.Timer | None = None

    def run(self, ids: list[str]) -> int:
        """Serve until the end and return the exit code; the mount is gone from the tree by then."""
        with unfreezing():
            trio.run(self._serve, ids)
        if self._was_cut:
            line = "the kernel cut the connection of the mount; it was unmounted. Mount it again"
            log.error(line)
            self._manager.status(line)
        return 1 if self._was_cut or self._attachment.is_left_behind else 0

    async def _serve(self, ids: list[str]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._wait_for_signals)
            with self._work:  # a long start is interrupted as well
                async with open_filesystem(
                    self._settings, self._case, timeout_s=self._timeout_s, ids=ids
                ) as built:
                    self._work.deadline = math.inf  # what was opened is closed in order
                    await self._answer_until_end(built)
            nursery.cancel_scope.cancel()

    async def _answer_until_end(self, built: Built) -> None:
        """Answer the kernel; at the end take the mount away first, so that nobody waits for the rest."""
        try:
            await self._answer(built)
        finally:
            self._end_hard_in_time()
            self._manager.stopping("unmounting")
            self._was_cut = not self._end_was_asked and self._attachment.is_mounted
            self._attachment.detach()

    async def _answer(self, built: Built) -> None:
        boundary = Boundary(self._timeout_s)
        self._operations.attach(built.filesystem, boundary)
        async with trio.open_nursery() as nursery:
            self._work = nursery.cancel_scope
            if self._end_was_asked:
                return
            nursery.start_soon(boundary.watch_callers)
            nursery.start_soon(_correct_kernel, built)
            nursery.start_soon(self._watch_connection, nursery.cancel_scope)
            nursery.start_soon(self._announce, built)
            try:
                await serve(_MAX_TASKS)
            except ExceptionGroup as group:
                if not self._attachment.is_lost:
                    raise
                log.debug("the connection ended", exc_info=group)
            nursery.cancel_scope.cancel()

    async def _announce(self, built: Built) -> None:
        """Say that the mount answers; the loop runs by now."""
        # The kernel sets limits of its own when the session's first message is answered; what is set earlier
        # is overwritten. Nothing here may look at the mountpoint by its path: on an automount that waits for
        # systemd, and systemd for us.
        await self._operations.began.wait()
        self._attachment.tune()
        log.info("mounted case %s at %s", self._case.name, self._settings.mountpoint)
        await keep_posted(self._manager, self._answers, built.describe, self._readiness.ready)

    async def _answers(self) -> bool:
        """Have another process ask the mount for an answer; the thread only waits for that process.

        A mount that somebody has unmounted is not to be asked: it ends by itself, after its last reader.
        """
        if not self._attachment.is_mounted:
            return self._has_answered
        number = await trio.to_thread.run_sync(
            look,
            self._settings.mountpoint,
            abandon_on_cancel=True,
            limiter=trio.CapacityLimiter(1),  # not queued with work
        )
        self._has_answered |= number == 0
        return number == 0

    async def _watch_connection(self, scope: trio.CancelScope) -> None:
        """Give up what is under way once nobody can be answered; the library would wait for it."""
        while True:
            await trio.sleep(_LOOK_S)
            if self._attachment.is_lost:
                scope.cancel()

    async def _wait_for_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """End the mount when asked to: at once for new requests, with some grace for those under way."""
        numbers = wanted_end_signals()
        with trio.open_signal_receiver(*numbers) as signals:
            let_through(numbers)
            task_status.started()
            async for number in signals:
                log.info("ending on %s", signal.Signals(number).name)
                if not self._end_was_asked:
                    self._end_was_asked = True
                    self._manager.stopping(f"ending on {signal.Signals(number).name}")
                    self._end_hard_in_time()
                    self._work.deadline = trio.current_time() + _GRACE_S
                    self._attachment.stop_answering()

    def _end_hard_in_time(self) -> None:
        """End the process if its clean end takes too long; a mount that nobody serves hangs its readers."""

        def end() -> None:
            log.error("the clean end took longer than %.0f s; ending hard", _HARD_END_S)
            self._attachment.detach()
            os._exit(1)

        if self._watchdog is None:
            self._watchdog = threading.Timer(_HARD_END_S, end)
            self._watchdog.daemon = True
            self._watchdog.start()


def effective_timeout_s(timeout_s: float) -> float:
    """Return a timeout that stays well below the kernel's own, which would abort the whole mount."""
    kernels_s = connection.request_timeout_s()
    longest_s = math.inf if kernels_s is None else kernels_s * connection.SHARE_OF_KERNEL_TIMEOUT
    if timeout_s > longest_s:
        log.info(
            "--timeout is taken as %g s: the kernel allows requests %g s", longest_s, kernels_s
        )
    return min(timeout_s, longest_s)


def _lock(case: Case, settings: MountSettings) -> CaseLock:
    """Take the case; wait for a holder whose mount is gone already, since it is about to end."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return case.lock(_purpose(settings))
        except CaseLockedError:
            names = [mount.source for mount in mounts() if mount.fs_type == FS_TYPE]
            if source_of(case.name) in names or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _purpose(settings: MountSettings) -> str:
    return f"mounted at {settings.mountpoint}"


def _ids_of(settings: MountSettings) -> list[str]:
    if settings.ids_file is None:
        return []
    ids, problems = read_ids(settings.ids_file)
    for problem in problems:
        log.warning("%s: %s", settings.ids_file, problem)
    return ids


def _leave_mountpoint(mountpoint: Path) -> None:
    """Make sure that nothing in this process looks below the mountpoint: it would wait for itself.

    Whoever mounts over the current directory has it as working directory and, with `python -m`, as the
    first place that modules are imported from.
    """
    sys.path[:] = [
        place for place in sys.path if not Path(os.path.realpath(place)).is_relative_to(mountpoint)
    ]
    os.chdir("/")


def _raise_open_files_limit() -> None:
    """Allow as many open files as the system lets us: each reader and each spool holds one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _correct_kernel(built: Built) -> None:
    async for stale in built.stale:
        try:
            await trio.to_thread.run_sync(correct, stale, abandon_on_cancel=True)
        except Exception:  # a name shown for too long is no reason to end the mount
            log.exception("can't correct what the kernel believes of %r, please report it", stale)


def _line_of(error: BaseException) -> str:
    """Return an error as one line, for a person who sees no log."""
    kind = "" if is_expected(error) else f"unexpected {type(error).__name__}, please report it: "
    return kind + " ".join(str(error).split())
