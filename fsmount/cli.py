"""The command line: arguments, exit codes, and every error as one line.

Exit codes: 0 done; 1 the operation or a check failed, with one line on stderr; 2 wrong usage. Each command
imports what it runs when it runs: --help must not wait for libfuse.
"""

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import cyclopts
from cyclopts import App, Group, Parameter, validators

import client
import fsmount
from fsmount import config as settings_of
from fsmount import logs
from fsmount.errors import FsmountError, UsageError
from fsmount.sources import PREFIX, SOURCES

_log = logging.getLogger(__name__)

_VERBOSE_VARIABLE = f"{PREFIX}VERBOSE"
_INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended

app = App(
    name="fsmount",
    help="Files of Claude Enterprise, read through the Compliance API, as a verified read-only directory.",
    version=f"fsmount {fsmount.__version__}",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

_SERVICE = Group("Service and key", sort_key=1)
_GUARDS = Group("What readers may do", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)
_ACCESS = Group("Who may read", sort_key=4)
_OUTPUT = Group("Output", sort_key=5)

_PORT = validators.Number(gte=0, lte=65535)


def _option(group: Group, metavar: str, *, default: str | None = None) -> Parameter:
    """Describe an option with a value; `default` is shown where the parameter's own says nothing."""
    return Parameter(group=group, metavar=metavar, show_default=default)


def _flag(group: Group, *, alias: str | None = None) -> Parameter:
    """Describe an option without a value: off unless it is given, so there is no form that denies it."""
    return Parameter(group=group, alias=alias, negative="", show_default=False)


@app.command(config=SOURCES)
def mount(
    case: str,
    mountpoint: Path,
    /,
    *,
    base_url: Annotated[str, _option(_SERVICE, "URL")] = settings_of.DEFAULT_BASE_URL,
    insecure_http: Annotated[bool, _flag(_SERVICE)] = False,
    key_file: Annotated[Path | None, _option(_SERVICE, "FILE")] = None,
    ids_file: Annotated[
        Path | None, Parameter(group=_SERVICE, metavar="FILE", allow_leading_hyphen=True)
    ] = None,
    offline: Annotated[bool, _flag(_SERVICE)] = False,
    allow_delete: Annotated[bool, _flag(_GUARDS)] = False,
    allow_move: Annotated[bool, _flag(_GUARDS)] = False,
    verified_open: Annotated[str, _option(_GUARDS, "SIZE|all|none")] = "16MiB",
    deny_programs: Annotated[str, _option(_GUARDS, "default|none|LIST")] = "default",
    max_rpm: Annotated[int, _option(_LIMITS, "N")] = 540,
    timeout: Annotated[float, _option(_LIMITS, "SECONDS", default="90")] = 90.0,
    cache_size: Annotated[str, _option(_LIMITS, "SIZE")] = "10GiB",
    allow_other: Annotated[bool, _flag(_ACCESS)] = False,
    uid: Annotated[int | None, _option(_ACCESS, "N", default="yours")] = None,
    gid: Annotated[int | None, _option(_ACCESS, "N", default="yours")] = None,
    umask: Annotated[str, _option(_ACCESS, "OCTAL")] = "0077",
    foreground: Annotated[bool, _flag(_OUTPUT, alias="-f")] = False,
    log_format: Annotated[logs.LogFormat, Parameter(group=_OUTPUT)] = "text",
    log_level: Annotated[logs.LogLevel, Parameter(group=_OUTPUT)] = "info",
    verbose: Annotated[bool, _flag(_OUTPUT, alias="-v")] = False,
    config: Annotated[Path | None, _option(_OUTPUT, "FILE")] = None,  # noqa: ARG001 - see sources
) -> int:
    """Mount a case; returns once the mount answers.

    Options also count as FSMOUNT_MAX_RPM in the environment, or as max_rpm in the TOML file of --config.

    The command line wins over the environment, and that over the file.

    Parameters
    ----------
    case
        Name of the case, kept in the data home, or its path (anything with a slash). Made on first use.
    mountpoint
        An empty directory.
    base_url
        Where the API is. ANTHROPIC_BASE_URL counts too.
    insecure_http
        Allow http to hosts other than this one. The key travels readable for everyone on the way.
    key_file
        File with the API key; else credential compliance-access-key, else ANTHROPIC_COMPLIANCE_ACCESS_KEY.
    ids_file
        File ids to add to the case, one a line; - is standard input. Costs no request.
    offline
        Make no request at all: show only what the case already holds.
    allow_delete
        Let unlink delete files, for ever and for the whole organization.
    allow_move
        With --allow-delete: let a process delete what it has itself read, as mv does.
    verified_open
        Files up to this SIZE are served only once whole and verified; or all, or none.
    deny_programs
        Programs that may not pull content not stored yet; default: the usual thumbnailers and indexers.
    max_rpm
        Most requests a minute that this mount may use.
    timeout
        Seconds after which a file operation is answered with an error.
    cache_size
        Bound on stored content; the oldest-used goes first. 0: nothing is kept after unmounting.
    allow_other
        Let other users into the mount.
    uid
        Owner of the files.
    gid
        Group of the files.
    umask
        Permissions to take away, octal.
    foreground
        Stay in the foreground; Ctrl-C unmounts.
    log_format
        Form of the messages on stderr.
    log_level
        Least important message to write.
    verbose
        Same as --log-level debug.
    config
        TOML file with options.
    """
    key, warnings = settings_of.find_key(key_file, os.environ, offline=offline)
    logs.configure(
        log_format, "debug" if verbose else log_level, secret=key.reveal() if key else None
    )
    settings = settings_of.MountSettings(
        case=case,
        mountpoint=mountpoint.absolute(),
        base_url=settings_of.check_base_url(base_url, insecure_http=insecure_http),
        key=key,
        ids_file=ids_file,
        allow_delete=allow_delete,
        allow_move=allow_move,
        verified_open_bytes=settings_of.parse_verified_open(verified_open),
        deny_programs=settings_of.parse_deny_programs(deny_programs),
        offline=offline,
        max_rpm=max_rpm,
        timeout_s=timeout,
        cache_bytes=settings_of.parse_size(cache_size, "--cache-size"),
        allow_other=allow_other,
        uid=os.getuid() if uid is None else uid,
        gid=os.getgid() if gid is None else gid,
        umask=settings_of.parse_umask(umask),
        foreground=foreground,
    )
    for warning in warnings:
        _log.warning("%s", warning)
    from fsmount.mount import run  # noqa: PLC0415 - see above

    return run(settings)


@app.command
def unmount(mountpoint: Path, /) -> int:
    """Unmount; also clears a dead, hanging or busy mount.

    Parameters
    ----------
    mountpoint
        Where the case is mounted.
    """
    from fsmount.mountpoint import unmount as take_away  # noqa: PLC0415 - see above

    take_away(mountpoint)
    return 0


@app.command
def log(
    case: str,
    /,
    *,
    check: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Print the custody log of a case as it is stored, one JSON object a line.

    Parameters
    ----------
    case
        Name or path of the case.
    check
        Prove the log's chain instead: exit 1 when a line was edited, removed or moved.
    """
    from fsmount import custody  # noqa: PLC0415 - see above
    from fsmount.case import Case, case_path  # noqa: PLC0415 - see above

    path = Case.open(case_path(case, os.environ), create=False).custody_path
    if not check:
        # Byte for byte, so that a copy of the output proves its chain too.
        with path.open("rb") as lines:
            shutil.copyfileobj(lines, sys.stdout.buffer)
        return 0
    result = custody.check(path)
    for problem in result.problems:
        print(f"{path}: {problem}")
    print(f"{result.entries} entries, {'chain is whole' if not result.problems else 'BROKEN'}")
    return 1 if result.problems else 0


@app.command
def demo(
    mountpoint: Path | None = None,
    /,
    *,
    once: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    serve_only: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    port: Annotated[int, Parameter(metavar="N", show_default=False, validator=_PORT)] = 0,
) -> int:
    """Start the bundled API emulator with a small corpus, mount it and show around.

    Parameters
    ----------
    mountpoint
        Where to mount. Default: a temporary directory.
    once
        Show around and end.
    serve_only
        Run the emulator alone, and print its URL and keys.
    port
        Port of the emulator on 127.0.0.1. Default: any free one.
    """
    try:
        from fsmount.demo.tour import run_demo  # noqa: PLC0415 - needs the extra `demo`
    except ImportError as error:
        raise FsmountError(
            f"the demo needs {error.name}; install it with: pip install 'fsmount[demo]'"
        ) from error
    return run_demo(mountpoint, once=once, serve_only=serve_only, port=port)


def main() -> NoReturn:
    """Run the command line and exit."""
    code = run_command(sys.argv[1:])
    _give_up_unwritten_output()
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error is one line on stderr."""
    is_verbose = os.environ.get(_VERBOSE_VARIABLE, "0").lower() not in {"", "0", "false", "no"}
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
    hint = "" if _log.isEnabledFor(logging.DEBUG) else f"; {_VERBOSE_VARIABLE}=1 shows the details"
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
