"""Looks for what would keep fsmount from working here, and says how to mend it.

Nothing is changed, and the key is never shown. The service is asked once, for a file that does not exist:
how that is refused tells whether it can be reached, whether the key counts and whether it may read.
"""

import dataclasses
import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import client
from fsmount import connection, custody
from fsmount.case import Case
from fsmount.config import KEY_VARIABLE, SecretKey
from fsmount.database import SCHEMA_VERSION
from fsmount.display import size_text
from fsmount.errors import CaseError, CustodyError
from fsmount.inventory import Inventory

Level = Literal["ok", "warning", "problem"]

_DEVICE = Path("/dev/fuse")
_PARAMETERS = Path("/sys/module/fuse/parameters")
# Well-formed, so that the service looks it up, and no file's.
_NO_FILE = "claude_file_000000000000000000000000"
REQUESTS = (f"GET /v1/compliance/apps/chats/files/{_NO_FILE}",)
_ANSWER_S = 15.0
_FEW_REQUESTS = 60  # of the organization's minute; a mount beside other tools would only wait
_CLOCK_WARNING_S = 5.0  # dates of answers are whole seconds, and the way takes time
_CLOCK_PROBLEM_S = 300.0
_WANTED_TIMEOUT_S = 90.0 / connection.SHARE_OF_KERNEL_TIMEOUT  # for a mount's --timeout
_WANTED_FILES = 1024  # a descriptor for each reader and each file on its way
_LITTLE_ROOM_BYTES = 10 << 30  # the default bound of a case's content
_NO_ROOM_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `mend` says what to do about it, if anything."""

    level: Level
    subject: str
    says: str
    mend: str = ""


def of_machine() -> Iterator[Finding]:
    """Look at what mounting needs from this machine."""
    yield _device()
    yield _library()
    yield _helper()
    yield _fuse_conf()
    yield _request_timeout()
    yield from _background_reads()
    yield _open_files()


def _device() -> Finding:
    subject = str(_DEVICE)
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        mend = "load the module: modprobe fuse; a container needs --device /dev/fuse"
        return Finding("problem", subject, "is not there", mend)
    except OSError as error:
        mend = "its mode should be 0666; a container must be allowed the device, and to mount"
        return Finding("problem", subject, f"can't be opened: {error.strerror}", mend)
    return Finding("ok", subject, "can be opened")


def _library() -> Finding:
    try:
        from fsmount import attach  # noqa: F401, PLC0415 - the question is whether it can be imported
    except ImportError as error:
        mend = "install libfuse 3 (Debian: libfuse3-3) and install fsmount again"
        return Finding("problem", "libfuse", f"can't be loaded: {error}", mend)
    return Finding("ok", "libfuse", "can be loaded")


def _helper() -> Finding:
    found = shutil.which("fusermount3")
    if found:
        return Finding("ok", "fusermount3", f"is {found}")
    mend = "install it (Debian: fuse3)"
    if os.geteuid() == 0:
        return Finding("ok", "fusermount3", "is not there; root mounts without it", mend)
    return Finding("problem", "fusermount3", "is not there; only root can mount without it", mend)


def _fuse_conf() -> Finding:
    subject = str(connection.FUSE_CONF)
    if connection.others_are_allowed():
        return Finding("ok", subject, "has user_allow_other: --allow-other works for all")
    mend = "only if others shall read: root adds a line user_allow_other"
    says = "has no user_allow_other: --allow-other works for root only"
    return Finding("ok", subject, says, mend)


def _request_timeout() -> Finding:
    limit_s = connection.request_timeout_s()
    subject = "fs.fuse.max_request_timeout"
    if limit_s is None:
        return Finding("ok", subject, "the kernel sets none")
    if limit_s >= _WANTED_TIMEOUT_S:
        return Finding("ok", subject, f"{limit_s:.0f} s, more than a mount needs")
    says = (
        f"the kernel allows requests {limit_s:.0f} s: mounts take a shorter --timeout by themselves"
    )
    return Finding("warning", subject, says, "sysctl fs.fuse.max_request_timeout=0 (and default_…)")


def _background_reads() -> Iterator[Finding]:
    try:
        limit = int((_PARAMETERS / "max_user_bgreq").read_text())
    except (OSError, ValueError):
        return
    subject = "fuse.max_user_bgreq"
    if os.geteuid() == 0 or not 0 < limit < connection.MAX_BACKGROUND:
        yield Finding("ok", subject, f"{limit} reads at once")
        return
    mend = f"as root: echo {connection.MAX_BACKGROUND} > {_PARAMETERS}/max_user_bgreq"
    yield Finding("warning", subject, f"{limit} reads at once are few", mend)


def _open_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= _WANTED_FILES:
        return Finding("ok", "open files", f"up to {hard}")
    mend = f"raise the hard limit to {_WANTED_FILES} or more (ulimit -Hn, LimitNOFILE=)"
    return Finding("warning", "open files", f"up to {hard}, which many readers use up", mend)


# -- the service -----------------------------------------------------------------------------------


def of_key_file(warnings: Iterable[str]) -> Iterator[Finding]:
    """Pass on what was to be warned of when the key was read; such a warning names its remedy itself."""
    for warning in warnings:
        says, _, mend = warning.partition("; run: ")
        yield Finding("warning", "key", says, mend)


def of_service(key: SecretKey | None, base_url: str) -> Iterator[Finding]:
    """Ask the service the one question; see `REQUESTS`. Without a key nothing is asked."""
    if key is None:
        mend = f"name a file with --key-file, or set {KEY_VARIABLE}"
        yield Finding("warning", "service", "was not asked, for want of a key", mend)
        return
    api = client.ComplianceClient(
        key.reveal(), base_url=base_url, timeout=_ANSWER_S, max_retries=0, max_wait_s=0.0
    )
    with closing(api):
        error = _answer(lambda: api.files.get(_NO_FILE))
        yield from _judged(error, base_url)
        if api.clock_ahead_s is not None:
            yield _clock(api.clock_ahead_s)
        if api.budget.limit is not None and api.budget.remaining is not None:
            yield _budget(api.budget.remaining, api.budget.limit)


def _answer(ask: Callable[[], object]) -> Exception | None:
    try:
        ask()
    except (client.ComplianceError, OSError) as error:
        return error
    return None


def _judged(error: Exception | None, base_url: str) -> Iterator[Finding]:
    """Say what the answer tells of the way to the service, of the key and of its scopes."""
    match error:
        case client.APIConnectionError():
            mend = "check the network, the proxy and --base-url"
            yield Finding("problem", "service", f"{base_url} can't be reached: {error}", mend)
            return
        case client.AuthenticationError():
            yield Finding("ok", "service", f"{base_url} answers")
            yield Finding("problem", "key", f"is refused: {error}", "have a new key made")
            return
        case client.PermissionDeniedError():
            yield Finding("ok", "service", f"{base_url} answers")
            mend = (
                "scopes of a key can't be changed: have a new one made, with those that are needed"
            )
            yield Finding("problem", "scopes", str(error), mend)
            return
        case None | client.NotFoundError():
            yield Finding("ok", "service", f"{base_url} answers")
            yield Finding("ok", "key", "is accepted")
            says = "reading is permitted; whether deleting is, only a deletion would tell"
            yield Finding("ok", "scopes", says)
            return
    mend = "try again later; if it stays so, check --base-url"
    yield Finding("problem", "service", f"{base_url} gives an unexpected answer: {error}", mend)


def _clock(ahead_s: float) -> Finding:
    off_s = abs(ahead_s)
    if off_s < _CLOCK_WARNING_S:
        return Finding("ok", "clock", "agrees with the service's")
    level: Level = "problem" if off_s >= _CLOCK_PROBLEM_S else "warning"
    says = f"is {off_s:.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the service's"
    mend = "set it (timedatectl set-ntp true): the custody log takes its times from it"
    return Finding(level, "clock", says, mend)


def _budget(remaining: int, limit: int) -> Finding:
    says = f"{remaining} of {limit} requests are left in this minute, for the whole organization"
    if remaining >= _FEW_REQUESTS:
        return Finding("ok", "budget", says)
    return Finding("warning", "budget", says, "slow other tools down, or lower --max-rpm")


# -- the case --------------------------------------------------------------------------------------


def of_case(path: Path) -> Iterator[Finding]:
    """Look at a case: its directory, its disk, who holds it, its catalog and its custody log."""
    try:
        case = Case.open(path, create=False)
    except CaseError as error:
        yield Finding("problem", "case", str(error), "a mount makes it on first use")
        return
    yield _directory(case)
    yield _disk(case)
    holder = case.find_holder()
    yield Finding("ok", "holder", holder or "nobody has the case mounted")
    yield from _catalog(case, is_held=holder is not None)
    yield _custody(case)


def _directory(case: Case) -> Finding:
    mode = stat.S_IMODE(case.path.stat().st_mode)
    if mode & 0o077:
        says = f"{case.path} can be entered by others (mode {mode:04o})"
        return Finding("warning", "case", says, f"chmod 700 {case.path}")
    if not os.access(case.path, os.W_OK | os.X_OK):
        says = f"{case.path} can't be written"
        return Finding(
            "problem", "case", says, "check its owner, and whether its disk is read-only"
        )
    return Finding("ok", "case", f"{case.path} is private")


def _disk(case: Case) -> Finding:
    says = f"{size_text(case.free_bytes)} are free where the case is"
    mend = "make room, or mount with a smaller --cache-size"
    if case.free_bytes < _NO_ROOM_BYTES:
        return Finding("problem", "disk", says, mend)
    if case.free_bytes < _LITTLE_ROOM_BYTES:
        return Finding("warning", "disk", says, mend)
    return Finding("ok", "disk", says)


def _catalog(case: Case, *, is_held: bool) -> Iterator[Finding]:
    if not case.catalog_path.exists():
        yield Finding("ok", "catalog", "there is none yet; the first mount makes it")
        return
    try:
        with Inventory(case.catalog_path) as inventory:
            counts, version = inventory.counts(), inventory.schema_version
            was_cut_short = inventory.is_marked_running and not is_held
    except CaseError as error:
        yield Finding("problem", "catalog", str(error))
        return
    age = "" if version == SCHEMA_VERSION else f" (this fsmount writes {SCHEMA_VERSION})"
    says = f"{counts.files} files, {counts.verified} stored and verified, schema {version}{age}"
    yield Finding("ok", "catalog", says)
    if was_cut_short:
        mend = "nothing to do: the next mount discards what was not verified"
        yield Finding("warning", "last mount", "did not end well", mend)


def _custody(case: Case) -> Finding:
    try:
        custody.require_there(case.custody_path)
    except CustodyError as error:
        return Finding("problem", "custody log", str(error))
    except CaseError:
        return Finding("ok", "custody log", "there is none yet")
    try:
        result = custody.check(case.custody_path)
    except CustodyError as error:
        return Finding("problem", "custody log", str(error))
    if result.problems:
        says = f"the chain is broken: {result.problems[0]}"
        return Finding("problem", "custody log", says, f"fsmount log {case.path} --check shows all")
    return Finding("ok", "custody log", f"{result.entries} entries, chain is whole")
