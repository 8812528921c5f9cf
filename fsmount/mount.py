"""One mount from beginning to end: check, mount, go to the background, serve, end.

Everything that touches the kernel's side or the process as a whole is here: signals, readiness, limits.
"""

import contextlib
import logging
import os
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyfuse3
import trio

from fsmount.assembly import Built, open_filesystem
from fsmount.background import Readiness, fork_to_background
from fsmount.boundary import Boundary
from fsmount.case import Case, CaseLock, case_path
from fsmount.config import MountSettings, read_ids
from fsmount.errors import CaseLockedError, FsmountError, MountError
from fsmount.mountpoint import (
    FS_TYPE,
    check_outside,
    connection_setting,
    detach,
    find_mount,
    mounts,
    prepare,
)
from fsmount.operations import Operations, Owner, correct, serve

log = logging.getLogger(__name__)

# pyfuse3 starts a worker for each waiting request: with its default of 99, as many hanging opens would
# keep everybody else's stat waiting.
_MAX_TASKS = 500
_MAX_BACKGROUND = 64  # reads that the kernel admits at once; 12 without this
_UNFREEZE_S = 2.0
_GRACE_S = 3.0  # for requests under way when the end is asked for
_HARD_END_S = 16.0  # the whole end, whatever hangs
_SHARE_OF_KERNEL_TIMEOUT = 0.6
_LOCK_WAIT_S = 20.0  # for an unmounted mount of the same case to end
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(settings: MountSettings) -> int:
    """Mount a case and serve it; return the exit code.

    In the background the caller's process exits once the mount answers.
    Errors: FsmountError before the mount is there.
    """
    os.umask(0o077)  # whatever is written belongs to the case
    prepare(settings.mountpoint)
    case = Case.open(case_path(settings.case, os.environ))
    check_outside(settings.mountpoint, case_directory=case.path, working_directory=_cwd(settings))
    ids = _ids_of(settings)
    lock = _lock(case, settings)
    _raise_open_files_limit()
    operations = Operations(Owner(settings.uid, settings.gid, settings.umask))
    _mount(operations, settings, case)
    try:
        readiness = _background(settings, case, lock)
        session = _Session(settings, case, operations, readiness)
        return session.run(ids)
    finally:
        lock.release()


class _Session:
    """The mounted process."""

    def __init__(
        self, settings: MountSettings, case: Case, operations: Operations, readiness: Readiness
    ) -> None:
        self._settings = settings
        self._case = case
        self._operations = operations
        self._readiness = readiness
        self._timeout_s = effective_timeout_s(settings.timeout_s)
        self._end_was_asked = False

    def run(self, ids: list[str]) -> int:
        """Serve until the end and unmount, whatever happens."""
        try:
            with _unfreezing():
                trio.run(self._serve, ids)
        except BaseException as group:
            error = _first(group)
            self._readiness.failed(str(error))
            raise error from None
        finally:
            for number in _END_SIGNALS:  # the end is under way; a second Ctrl-C must not spoil it
                signal.signal(number, signal.SIG_IGN)
            pyfuse3.close(unmount=True)
        return self._verdict()

    async def _serve(self, ids: list[str]) -> None:
        settings = self._settings
        async with open_filesystem(
            settings, self._case, timeout_s=self._timeout_s, ids=ids
        ) as built:
            boundary = Boundary(self._timeout_s)
            self._operations.attach(built.filesystem, boundary)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(boundary.watch_callers)
                nursery.start_soon(_correct_kernel, built)
                await nursery.start(self._wait_for_signals, nursery.cancel_scope)
                nursery.start_soon(self._announce)
                await serve(_MAX_TASKS)
                nursery.cancel_scope.cancel()

    async def _announce(self) -> None:
        """Say that the mount answers; the loop runs by now."""
        mounted = find_mount(self._settings.mountpoint)
        if mounted:
            connection_setting(mounted, "max_background", _MAX_BACKGROUND)
            connection_setting(mounted, "congestion_threshold", _MAX_BACKGROUND * 3 // 4)
        log.info("mounted case %s at %s", self._case.name, self._settings.mountpoint)
        self._readiness.ready()

    async def _wait_for_signals(
        self, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """End the mount when asked to: at once for new requests, with some grace for those under way."""
        with trio.open_signal_receiver(*_END_SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                log.info("ending on %s", signal.Signals(number).name)
                if not self._end_was_asked:
                    self._end_was_asked = True
                    _end_hard_after(_HARD_END_S, self._settings.mountpoint)
                    scope.deadline = trio.current_time() + _GRACE_S
                    pyfuse3.terminate()

    def _verdict(self) -> int:
        """Return the exit code: a mount that ended by itself, though still mounted, was cut off."""
        mounted = find_mount(self._settings.mountpoint)
        if self._end_was_asked or mounted is None or mounted.source != self._case.name:
            return 0
        detach(self._settings.mountpoint)
        log.error("the kernel cut the connection of the mount; it was unmounted. Mount it again")
        return 1


def _lock(case: Case, settings: MountSettings) -> CaseLock:
    """Take the case; wait for a holder whose mount is gone already, since it is about to end."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return case.lock(f"mounted at {settings.mountpoint}")
        except CaseLockedError:
            is_mounted = any(
                mount.fs_type == FS_TYPE and mount.source == case.name for mount in mounts()
            )
            if is_mounted or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _ids_of(settings: MountSettings) -> list[str]:
    if settings.ids_file is None:
        return []
    ids, problems = read_ids(settings.ids_file)
    for problem in problems:
        log.warning("%s: %s", settings.ids_file, problem)
    return ids


def effective_timeout_s(timeout_s: float) -> float:
    """Return a timeout that stays well below the kernel's own, which would abort the whole mount."""
    try:
        kernels_s = int(Path("/proc/sys/fs/fuse/max_request_timeout").read_text())
    except (OSError, ValueError):
        return timeout_s
    return min(timeout_s, kernels_s * _SHARE_OF_KERNEL_TIMEOUT) if kernels_s else timeout_s


def mount_options(settings: MountSettings, case: Case) -> set[str]:
    """Return the options of mount(2); the kernel itself refuses writing without --allow-delete."""
    name = case.name.encode("ascii", "replace").decode().replace("\\", "\\\\").replace(",", "\\,")
    options = {f"fsname={name}", "subtype=fsmount", "default_permissions"}
    options |= {"nosuid", "nodev", "noexec", "noatime"}
    if not settings.allow_delete:
        options.add("ro")
    if settings.allow_other:
        options.add("allow_other")
    return options


def _mount(operations: Operations, settings: MountSettings, case: Case) -> None:
    """Mount, with what libfuse or fusermount3 say on stderr as the error's reason."""
    _check_allow_other(settings)
    with tempfile.TemporaryFile() as said:
        saved = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            pyfuse3.init(operations, str(settings.mountpoint), mount_options(settings, case))
        except (RuntimeError, OSError) as error:
            said.seek(0)
            reason = " ".join(said.read().decode(errors="replace").split()) or str(error)
            raise MountError(
                f"can't mount on {settings.mountpoint}: {reason}; is /dev/fuse there and permitted?"
            ) from error
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _check_allow_other(settings: MountSettings) -> None:
    if not settings.allow_other or os.geteuid() == 0:
        return
    with contextlib.suppress(OSError):
        for line in Path("/etc/fuse.conf").read_text().splitlines():
            if line.strip() == "user_allow_other":
                return
    raise MountError(
        "--allow-other needs a line user_allow_other in /etc/fuse.conf; ask root to add it"
    )


def _background(settings: MountSettings, case: Case, lock: CaseLock) -> Readiness:
    if settings.foreground:
        return Readiness(None)
    readiness = fork_to_background(settings.mountpoint, case.path / "mount.log")
    lock.describe(f"mounted at {settings.mountpoint}")  # by the child's pid from now on
    return readiness


def _cwd(settings: MountSettings) -> Path | None:
    return Path.cwd() if settings.foreground else None


def _raise_open_files_limit() -> None:
    """Allow as many open files as the system lets us: each reader and each spool holds one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def _unfreezing() -> Iterator[None]:
    """Interrupt a read of /dev/fuse that blocks the whole loop, every few seconds.

    The library waits until a request is there and then reads it, blocking; a request whose caller was
    killed in between is gone by then, and the read waits for the next one. A signal ends that wait.
    """
    previous = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, _UNFREEZE_S, _UNFREEZE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _end_hard_after(limit_s: float, mountpoint: Path) -> None:
    """End the process if its clean end takes too long; a mount that nobody serves hangs its readers."""

    def end() -> None:
        log.error("the clean end took longer than %.0f s; ending hard", limit_s)
        with contextlib.suppress(FsmountError):
            detach(mountpoint)
        os._exit(1)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()


async def _correct_kernel(built: Built) -> None:
    async for stale in built.stale:
        await trio.to_thread.run_sync(correct, stale, abandon_on_cancel=True)


def _first(error: BaseException) -> BaseException:
    """Return the one error behind the groups that nurseries make of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
