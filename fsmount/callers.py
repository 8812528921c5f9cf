"""Who is asking: the process behind a request of the kernel, from /proc.

A caller is a thread of some process. It may have vanished, or live in a process namespace that this one
can't see (its id is 0 then): every answer here allows for that.
"""

import dataclasses
import os
from pathlib import Path

_PROC = Path("/proc")
_SIGKILL_BIT = 1 << 8  # signal 9 in the masks of pending signals, which count from bit 0
# QUIT, ILL, TRAP, ABRT, BUS, FPE, SEGV, XCPU, XFSZ, SYS: they end a process with a core dump, and unlike
# all other fatal signals the kernel does not turn them into SIGKILL while it waits.
_CORE_BITS = sum(1 << (number - 1) for number in (3, 4, 5, 6, 7, 8, 11, 24, 25, 31))
_UNKNOWN_NAME = "?"

# Programs that do several jobs, told apart by a word of their command line.
_BY_ARGUMENT = {"thumbnail.so": ("kioslave5", "kioworker", "kioslave6")}


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """The thread that made a request; `tid` 0 when it can't be known."""

    tid: int
    uid: int
    gid: int


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """What is known of a caller's process.

    Shape: `identity` tells processes apart even when a pid is used again; `comm` is cut to 15 characters by
    the kernel.
    """

    tgid: int
    comm: str
    identity: str
    names: frozenset[str]

    def matches(self, patterns: frozenset[str]) -> bool:
        """Say whether one of the names is listed; a trailing or leading `*` stands for anything."""
        return any(_fits(name, pattern) for name in self.names for pattern in patterns)


def program_of(tid: int) -> Program:
    """Return what /proc tells of a caller's process; never raises."""
    status = _status(tid)
    tgid = int(tgid_text) if (tgid_text := status.get("Tgid", "")).isdecimal() else 0
    if tgid == 0:
        return Program(0, _UNKNOWN_NAME, f"unknown:{tid}", frozenset())
    comm = _read(tgid, "comm").strip() or _UNKNOWN_NAME
    arguments = [part for part in _read(tgid, "cmdline").split("\0") if part]
    names = {comm, *(os.path.basename(word) for word in arguments[:1])}
    for word, programs in _BY_ARGUMENT.items():
        if comm.startswith(programs) and any(argument.endswith(word) for argument in arguments):
            names.add(word)
    return Program(tgid, comm, f"{tgid}:{_started_at(tgid)}", frozenset(names))


def is_running(identity: str) -> bool:
    """Say whether the process that has this identity still runs; True where that can't be known."""
    tgid, _, started_at = identity.partition(":")
    return not tgid.isdecimal() or _started_at(int(tgid)) == started_at


def is_killed(tid: int) -> bool | None:
    """Say whether a caller has been sent a fatal signal: nobody reads an answer to it then.

    Shape: None when there is no such thread to be seen. It may be gone, but also hidden (`hidepid`), so one
    that never was seen is no dead one.
    """
    if tid <= 0:
        return None
    status = _status(tid)
    if not status:
        return False if (_PROC / str(tid)).exists() else None
    pending = _mask(status, "SigPnd") | _mask(status, "ShdPnd")
    harmless = _mask(status, "SigBlk") | _mask(status, "SigIgn") | _mask(status, "SigCgt")
    is_fatal = pending & (_SIGKILL_BIT | (_CORE_BITS & ~harmless))
    return bool(is_fatal) or status.get("State", "").startswith(("Z", "X"))


def _status(tid: int) -> dict[str, str]:
    if tid <= 0:
        return {}
    fields = {}
    for line in _read(tid, "status").splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def _mask(status: dict[str, str], name: str) -> int:
    try:
        return int(status.get(name, "0"), 16)
    except ValueError:
        return 0


def _started_at(tgid: int) -> str:
    """Return the start time in clock ticks; the program's name before it may hold any character."""
    _, _, rest = _read(tgid, "stat").rpartition(")")
    fields = rest.split()
    return fields[19] if len(fields) > 19 else ""


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""


def _fits(name: str, pattern: str) -> bool:
    stem = pattern.strip("*")
    if pattern.startswith("*"):
        return name.endswith(stem)
    if pattern.endswith("*"):
        return name.startswith(stem)
    # The kernel cuts names to 15 characters, so a longer pattern has to be cut as well.
    return name == pattern or (len(name) == 15 and pattern.startswith(name))
