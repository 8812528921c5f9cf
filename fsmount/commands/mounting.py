"""`fsmount mount` and `fsmount unmount`."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fsmount import config as settings_of
from fsmount import logs
from fsmount.commands.keys import take_key
from fsmount.commands.options import (
    ACCESS,
    GUARDS,
    LIMITS,
    OUTPUT,
    SERVICE,
    CaseArgument,
    flag,
    option,
)


def mount(
    case: CaseArgument,
    mountpoint: Path,
    /,
    *,
    base_url: Annotated[str, option(SERVICE, "URL")] = settings_of.DEFAULT_BASE_URL,
    insecure_http: Annotated[bool, flag(SERVICE)] = False,
    key_file: Annotated[Path | None, option(SERVICE, "FILE")] = None,
    ids_file: Annotated[
        Path | None, Parameter(group=SERVICE, metavar="FILE", allow_leading_hyphen=True)
    ] = None,
    offline: Annotated[bool, flag(SERVICE)] = False,
    no_views: Annotated[bool, flag(ACCESS)] = False,
    allow_delete: Annotated[bool, flag(GUARDS)] = False,
    allow_move: Annotated[bool, flag(GUARDS)] = False,
    verified_open: Annotated[str, option(GUARDS, "SIZE|all|none")] = "16MiB",
    deny_programs: Annotated[str, option(GUARDS, "default|none|LIST")] = "default",
    max_rpm: Annotated[int, option(LIMITS, "N")] = 540,
    timeout: Annotated[float, option(LIMITS, "SECONDS", default="90")] = 90.0,
    cache_size: Annotated[str, option(LIMITS, "SIZE")] = "10GiB",
    allow_other: Annotated[bool, flag(ACCESS)] = False,
    uid: Annotated[int | None, option(ACCESS, "N", default="yours")] = None,
    gid: Annotated[int | None, option(ACCESS, "N", default="yours")] = None,
    umask: Annotated[str, option(ACCESS, "OCTAL")] = "0077",
    foreground: Annotated[bool, flag(OUTPUT, alias="-f")] = False,
    log_format: Annotated[logs.LogFormat, Parameter(group=OUTPUT)] = "text",
    log_level: Annotated[logs.LogLevel, Parameter(group=OUTPUT)] = "info",
    verbose: Annotated[bool, flag(OUTPUT, alias="-v")] = False,
    config: Annotated[Path | None, option(OUTPUT, "FILE")] = None,  # noqa: ARG001 - see sources
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
    no_views
        Leave out by-user and by-project.
    allow_delete
        Let unlink delete files, for ever and for the whole organization.
    allow_move
        With --allow-delete: let a process delete what it has itself read, as mv does.
    verified_open
        Files up to this SIZE are served only once whole and verified; or all, or none.
    deny_programs
        Programs that may not pull what is not stored yet; default: the usual thumbnailers and indexers.
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
        TOML file with options; those of other commands are passed over.
    """
    level = "debug" if verbose else log_level
    key = take_key(key_file, offline=offline, log_format=log_format, level=level)
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
        views=not no_views,
        max_rpm=max_rpm,
        timeout_s=timeout,
        cache_bytes=settings_of.parse_size(cache_size, "--cache-size"),
        allow_other=allow_other,
        uid=os.getuid() if uid is None else uid,
        gid=os.getgid() if gid is None else gid,
        umask=settings_of.parse_umask(umask),
        foreground=foreground,
    )
    from fsmount.mount import run  # noqa: PLC0415 - see the package

    return run(settings)


def unmount(
    mountpoint: Path,
    /,
    *,
    if_dead: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Unmount; also clears a dead, hanging or busy mount.

    Parameters
    ----------
    mountpoint
        Where the case is mounted.
    if_dead
        Only if the process behind the mount is gone; anything else is left alone, and is no error.
    """
    from fsmount import mountpoint as place  # noqa: PLC0415 - see above

    if if_dead:
        place.clear_dead(mountpoint)
    else:
        place.unmount(mountpoint)
    return 0
