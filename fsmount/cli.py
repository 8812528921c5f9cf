"""The command line: arguments, environment, configuration file, exit codes.

Exit codes: 0 done; 1 the operation or a check failed, with one line on stderr; 2 wrong usage.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import cyclopts
from cyclopts import App, Group, Parameter

import client
import fsmount
from fsmount import config as settings_of
from fsmount import logs
from fsmount.errors import FsmountError, UsageError

_ENVIRONMENT = "FSMOUNT_"

app = App(
    name="fsmount",
    help="Files of Claude Enterprise, read through the Compliance API, as a verified read-only directory.",
    version=fsmount.__version__,
    help_format="plaintext",
    result_action="return_value",
)

_SERVICE = Group("Service and key", sort_key=1)
_GUARDS = Group("What readers may do", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)
_ACCESS = Group("Who may read", sort_key=4)
_OUTPUT = Group("Output", sort_key=5)

ConfigFile = Annotated[
    Path | None, Parameter(group=_OUTPUT, help="TOML file with options as keys, with underscores.")
]
Verbose = Annotated[
    bool, Parameter(alias="-v", negative="", group=_OUTPUT, help="Same as --log-level debug.")
]


@app.command
def mount(
    case: str,
    mountpoint: Path,
    /,
    *,
    base_url: Annotated[str | None, Parameter(group=_SERVICE)] = None,
    insecure_http: Annotated[bool, Parameter(group=_SERVICE, negative="")] = False,
    key_file: Annotated[Path | None, Parameter(group=_SERVICE)] = None,
    ids_file: Annotated[Path | None, Parameter(group=_SERVICE, allow_leading_hyphen=True)] = None,
    offline: Annotated[bool, Parameter(group=_SERVICE, negative="")] = False,
    allow_delete: Annotated[bool, Parameter(group=_GUARDS, negative="")] = False,
    allow_move: Annotated[bool, Parameter(group=_GUARDS, negative="")] = False,
    verified_open: Annotated[str, Parameter(group=_GUARDS)] = "16MiB",
    deny_programs: Annotated[str, Parameter(group=_GUARDS)] = "default",
    max_rpm: Annotated[int, Parameter(group=_LIMITS)] = 540,
    timeout: Annotated[float, Parameter(group=_LIMITS)] = 90.0,
    cache_size: Annotated[str, Parameter(group=_LIMITS)] = "10GiB",
    allow_other: Annotated[bool, Parameter(group=_ACCESS, negative="")] = False,
    uid: Annotated[int | None, Parameter(group=_ACCESS)] = None,
    gid: Annotated[int | None, Parameter(group=_ACCESS)] = None,
    umask: Annotated[str, Parameter(group=_ACCESS)] = "0077",
    foreground: Annotated[bool, Parameter(alias="-f", negative="", group=_OUTPUT)] = False,
    log_format: Annotated[logs.LogFormat, Parameter(group=_OUTPUT)] = "text",
    log_level: Annotated[logs.LogLevel, Parameter(group=_OUTPUT)] = "info",
    verbose: Verbose = False,
    config: ConfigFile = None,  # noqa: ARG001 - read before the other options, see _sources
) -> int:
    """Mount a case; returns once the mount answers.

    Every option can also be given as FSMOUNT_<NAME> in the environment or as a key of --config.

    Parameters
    ----------
    case
        Name of the case, kept in the data home, or its path (anything with a slash). Made on first use.
    mountpoint
        An empty directory.
    base_url
        Where the API is. ANTHROPIC_BASE_URL counts too. Default: https://api.anthropic.com
    insecure_http
        Allow http to hosts other than this one. The key travels readable for everyone on the way.
    key_file
        File that holds the API key. Otherwise the credential compliance-access-key of the service manager,
        otherwise ANTHROPIC_COMPLIANCE_ACCESS_KEY.
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
        Programs that may not pull content that is not stored yet: default, none, or names between commas.
    max_rpm
        Most requests a minute that this mount may use.
    timeout
        Seconds after which a file operation is answered with an error.
    cache_size
        Bound on stored content; the oldest-used goes first. 0: nothing is kept after unmounting.
    allow_other
        Let other users into the mount.
    uid
        Owner of the files. Default: you.
    gid
        Group of the files. Default: yours.
    umask
        Permissions to take away, octal.
    foreground
        Stay in the foreground; Ctrl-C unmounts.
    log_format
        Form of the messages on stderr.
    log_level
        Least important message to write.
    """
    key, warnings = _find_key(key_file, offline=offline)
    logs.configure(
        log_format, "debug" if verbose else log_level, secret=key.reveal() if key else None
    )
    settings = settings_of.MountSettings(
        case=case,
        mountpoint=mountpoint.absolute(),
        base_url=settings_of.check_base_url(
            settings_of.base_url_of(base_url, os.environ), insecure_http=insecure_http
        ),
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
        print(f"fsmount: warning: {warning}", file=sys.stderr)
    from fsmount.mount import run  # noqa: PLC0415 - loads libfuse, which --help and demo do not need

    return run(settings)


@app.command
def unmount(mountpoint: Path, /) -> int:
    """Unmount; also clears a dead, hanging or busy mount.

    Parameters
    ----------
    mountpoint
        Where the case is mounted.
    """
    from fsmount.mountpoint import unmount as take_away  # noqa: PLC0415 - as above

    take_away(mountpoint)
    return 0


@app.command
def log(
    case: str,
    /,
    *,
    check: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Print the custody log of a case, one JSON object a line.

    Parameters
    ----------
    case
        Name or path of the case.
    check
        Prove the log's chain instead: exit 1 when a line was edited, removed or moved.
    """
    from fsmount import custody  # noqa: PLC0415 - as above
    from fsmount.case import Case, case_path  # noqa: PLC0415 - as above

    path = Case.open(case_path(case, os.environ), create=False).custody_path
    if not check:
        for entry in custody.iter_entries(path):
            print(json.dumps(entry, separators=(",", ":")))
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
    once: Annotated[bool, Parameter(negative="")] = False,
    serve_only: Annotated[bool, Parameter(negative="")] = False,
    port: int = 0,
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
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:  # noqa: PLR0911 - one return a kind of end
    """Run one command and return its exit code; every error is one line on stderr."""
    try:
        app.config = _sources(arguments)
        result = app(arguments, exit_on_error=False, print_error=False)
    except UsageError as error:
        return _complain(error, 2)
    except cyclopts.CycloptsError as error:
        return _complain(f"{_plain(error)} (see fsmount --help)", 2)
    except (FsmountError, client.ComplianceError) as error:
        return _complain(error, 1)
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if {"-v", "--verbose"} & set(arguments):
            raise
        return _complain(
            f"unexpected {type(error).__name__}: {error}; run with -v for the details", 1
        )
    return result if isinstance(result, int) else 0


def _find_key(
    key_file: Path | None, *, offline: bool
) -> tuple[settings_of.SecretKey | None, list[str]]:
    key, warnings = settings_of.find_key(key_file, os.environ)
    return (None if offline else key), warnings


def _sources(arguments: list[str]) -> list[cyclopts.config.Env | cyclopts.config.Toml]:
    """Return where options come from besides the command line, the stronger one first."""
    sources: list[cyclopts.config.Env | cyclopts.config.Toml] = [
        cyclopts.config.Env(_ENVIRONMENT, command=False)
    ]
    path = _config_file(arguments)
    if path:
        if not Path(path).is_file():
            raise UsageError(f"--config: {path} can't be read")
        sources.append(cyclopts.config.Toml(path, must_exist=True, use_commands_as_keys=False))
    return sources


def _config_file(arguments: list[str]) -> str | None:
    """Find --config ahead of parsing, since it says where other options come from."""
    for position, argument in enumerate(arguments):
        if argument == "--config" and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith("--config="):
            return argument.partition("=")[2]
    return os.environ.get(f"{_ENVIRONMENT}CONFIG")


def _plain(error: Exception) -> str:
    return " ".join(str(error).replace("\n", " ").split())


def _complain(what: object, code: Literal[1, 2]) -> int:
    print(f"fsmount: {what}", file=sys.stderr)
    return code
