"""The command line: which commands there are, exit codes, and every error as one line.

Exit codes: 0 done; 1 the operation or a check failed, with one line on stderr; 2 wrong usage.
"""

import logging
import os
import sys
from typing import Literal, NoReturn

import cyclopts
from cyclopts import App

import client
import fsmount
from fsmount import logs
from fsmount.commands import (
    checking,
    collecting,
    completing,
    demonstration,
    exporting,
    journal,
    listing,
    mounting,
    watching,
)
from fsmount.errors import FsmountError, UsageError
from fsmount.notify import ServiceManager
from fsmount.sources import VERBOSE_VARIABLE, sources_of

_log = logging.getLogger(__name__)

_INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended

app = App(
    name="fsmount",
    help="Files of Claude Enterprise, read through the Compliance API, as a verified read-only directory.",
    version=f"fsmount {fsmount.__version__}",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

_sources = sources_of((mounting.mount, collecting.collect, exporting.export, checking.doctor))

app.command(mounting.mount, config=_sources)
app.command(mounting.unmount)
app.command(collecting.collect, config=_sources)
app.command(listing.files)
app.command(watching.status)
app.command(exporting.export, config=_sources)
app.command(journal.log)
app.command(checking.verify)
app.command(checking.doctor, config=_sources)
app.command(demonstration.demo)
app.command(completing.completion_of(app))


def main() -> NoReturn:
    """Run the command line and exit."""
    code = run_command(sys.argv[1:])
    _give_up_unwritten_output()
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error is one line on stderr."""
    is_verbose = os.environ.get(VERBOSE_VARIABLE, "0").lower() not in {"", "0", "false", "no"}
    logs.configure("text", "debug" if is_verbose else "info")
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()  # here, where a full disk is still an error like any other
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return 1  # whoever read our output has seen enough
    except Exception as error:
        return _complain(*_line_and_code(error))
    return result if isinstance(result, int) else 0


def _line_and_code(error: Exception) -> tuple[str, Literal[1, 2]]:
    """Return what to say of an error, and the exit code."""
    match error:
        case UsageError():
            return str(error), 2
        case cyclopts.CycloptsError():
            command = " ".join(["fsmount", *(error.command_chain or ())])
            return f"{_usage_text(error)} (see {command} --help)", 2
        case FsmountError() | client.ComplianceError():
            return str(error), 1
        case OSError(filename=filename, strerror=reason):
            return f"{filename}: {reason}" if filename else reason or str(error), 1
    _log.debug("unexpected", exc_info=error)
    hint = "" if _log.isEnabledFor(logging.DEBUG) else f"; {VERBOSE_VARIABLE}=1 shows the details"
    return f"unexpected {type(error).__name__}, please report it: {error}{hint}", 1


def _usage_text(error: cyclopts.CycloptsError) -> str:
    match error:
        case cyclopts.MissingArgumentError(argument=argument) if argument is not None:
            is_option = argument.name.startswith("-")
            return (
                f"{error.keyword or argument.name} {'needs a value' if is_option else 'is missing'}"
            )
        case cyclopts.UnusedCliTokensError(unused_tokens=[token, *_]):
            return f"unexpected argument {token!r}"
    return str(error)


def _complain(line: str, code: Literal[1, 2]) -> int:
    ServiceManager.take(os.environ).status(line)
    priority = "<3>" if logs.is_journal(sys.stderr) else ""
    print(f"{priority}fsmount: {logs.one_line(' '.join(line.split()))}", file=sys.stderr)
    return code


def _give_up_unwritten_output() -> None:
    """Drop what stdout did not take, which was told already: the interpreter would try again and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
