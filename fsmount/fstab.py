"""`mount.fsmount`, the form in which mount(8), and so fstab and systemd, ask for a mount.

The options of `fsmount mount` stand behind -o, with underscores. Whatever mount(8) passes on that is no
business of a file system is accepted; anything else is an error, because a misspelt limit that is
passed over would be believed to hold. Exit codes are mount(8)'s: 1 wrong usage, 8 interrupted, 32 the
mount failed.
"""

import contextlib
import dataclasses
import difflib
import getopt
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn, get_args

import fsmount
from fsmount import logs
from fsmount.cli import run_command
from fsmount.commands import mounting
from fsmount.errors import UsageError
from fsmount.signals import END_SIGNALS, handle, wanted_end_signals

_USAGE = """\
usage: mount.fsmount CASE MOUNTPOINT [-sfnv] [-o OPTION[=VALUE],...]

mount(8) runs this for: mount -t fsmount CASE MOUNTPOINT -o ...
The options are those of `fsmount mount`, with underscores: key_file=FILE, max_rpm=N, allow_other, ...
A value with a comma in it is put in double quotes, or the comma is written \\054."""

_WRONG_USAGE = 1
_INTERRUPTED = 8
_FAILED = 32
# From the exit codes of `fsmount`; any other is a failure, 128 and more is what shells say of a signal.
_CODES = {0: 0, 2: _WRONG_USAGE} | {
    code: _INTERRUPTED for number in END_SIGNALS for code in (-number, 128 + number)
}

# What fstab(5) and mount(8) say to each other, and what every mount of ours is anyway or never. `rw` is
# mount(8)'s default and so tells nothing; the restrictive ones always hold, their opposites never.
_PASSED_OVER = re.compile(
    r"""(no)?(atime|auto|dev|diratime|exec|iversion|lazytime|mand|relatime|strictatime|suid|symfollow)
    | (no)?(group|owner|user|users) | (group|owner|user|uhelper|helper|comment)=.*
    | ro | rw | sync | async | dirsync | silent | loud | defaults | nofail | _netdev
    | [xX]-.*  # for programs that read fstab
    """,
    re.VERBOSE | re.DOTALL,
)
_NEVER = {"remount": "unmount it and mount it again", "bind": "mount --bind the mounted directory"}

# The pieces of an option: an octal escape as in fstab, any other escaped character, a quoted part, the rest.
_PIECE = re.compile(r'\\([0-7]{3})|\\(.)|"|([^\\",]+)|(,)|(\\)$', re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What mount(8) asks for."""

    case: str
    mountpoint: str
    options: tuple[str, ...] = ()
    is_fake: bool = False
    is_sloppy: bool = False
    is_verbose: bool = False


def main() -> NoReturn:
    """Run as mount(8)'s helper and exit."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Mount as the command line says and return mount(8)'s exit code."""
    if not set(words).isdisjoint({"-h", "--help"}):
        print(_USAGE)
        return 0
    if not set(words).isdisjoint({"-V", "--version"}):
        print(f"mount.fsmount {fsmount.__version__}")
        return 0
    try:
        order = read_order(words)
        arguments = arguments_of(order, known_options())
    except UsageError as error:
        print(f"mount.fsmount: {logs.one_line(str(error))}", file=sys.stderr)
        return _WRONG_USAGE
    if order.is_fake:
        return 0
    return _CODES.get(_run_in_child(arguments), _FAILED)


def read_order(words: Sequence[str]) -> Order:
    """Return what a command line asks for.

    Errors: UsageError.
    """
    try:
        switches, places = getopt.gnu_getopt(list(words), "sfnvN:o:t:")
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}; see mount.fsmount --help") from error
    if len(places) != 2:
        raise UsageError("a case and a mountpoint are needed; see mount.fsmount --help")
    case, mountpoint = places
    given = {name for name, _ in switches}
    if "-N" in given:
        raise UsageError("-N is not supported; run: nsenter --mount=NAMESPACE mount -t fsmount ...")
    options = [
        option for name, value in switches if name == "-o" for option in split_options(value)
    ]
    return Order(
        case,
        mountpoint,
        options=tuple(options),
        is_fake="-f" in given,
        is_sloppy="-s" in given,
        is_verbose="-v" in given,
    )


def split_options(text: str) -> list[str]:
    r"""Return the options between commas; those in double quotes and escaped ones (`\054`) part nothing.

    Errors: UsageError for a quote that is not closed.
    """
    options, is_quoted = [""], False
    for piece in _PIECE.finditer(text):
        octal, escaped, plain, comma, last = piece.groups()
        if comma and not is_quoted:
            options.append("")
        elif piece[0] == '"':
            is_quoted = not is_quoted
        else:
            options[-1] += chr(int(octal, 8)) if octal else escaped or plain or comma or last
    if is_quoted:
        raise UsageError("-o: a double quote is not closed")
    return [option for option in options if option]


def known_options() -> Mapping[str, bool]:
    """Return the options of `fsmount mount`, and which of them are flags."""
    return {
        name: get_args(parameter.annotation)[0] is bool
        for name, parameter in inspect.signature(mounting.mount).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "foreground"
    }


def arguments_of(order: Order, known: Mapping[str, bool]) -> list[str]:
    """Return the command line of `fsmount` for an order.

    Errors: UsageError.
    """
    if {"ro", "allow_delete"} <= {option.replace("-", "_") for option in order.options}:
        raise UsageError("-o: ro and allow_delete contradict each other; leave one of them out")
    arguments = list(_arguments(order, known))
    if order.is_verbose:
        arguments.append("--verbose")
    return ["mount", *arguments, "--", order.case, order.mountpoint]


def _arguments(order: Order, known: Mapping[str, bool]) -> Iterator[str]:
    for option in order.options:
        word, equals, value = option.partition("=")
        name = word.replace("-", "_")
        if name in known:
            yield _argument(name, value if equals else None, is_flag=known[name])
        elif word in _NEVER:
            raise UsageError(f"-o: {word} is not possible with this file system; {_NEVER[word]}")
        elif not (_PASSED_OVER.fullmatch(option) or order.is_sloppy):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            raise UsageError(f"-o: there is no option {word!r}; the nearest one is {near[0]}")


def _argument(name: str, value: str | None, *, is_flag: bool) -> str:
    option = f"--{name.replace('_', '-')}"
    if is_flag:
        if value is not None:
            raise UsageError(f"-o: {name} takes no value; write it alone, or leave it out")
        return option
    if not value:
        raise UsageError(f"-o: {name} needs a value: {name}=...")
    return f"{option}={value}"


def _run_in_child(arguments: list[str]) -> int:
    """Run `fsmount` in a fork and return its exit code.

    Going to the background ends the process that does it, with a code that is not mount(8)'s. The fork
    stays in the process group, from which systemd's automount expects the mount.
    """
    child = os.fork()
    if child == 0:
        os._exit(run_command(arguments))

    def pass_on(number: int, _frame: object) -> None:  # whoever wants us to end means the mount
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    handle(wanted_end_signals(), pass_on)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
