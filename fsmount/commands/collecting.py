"""`fsmount collect`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fsmount import collect_settings as wishes
from fsmount import config as settings_of
from fsmount import logs
from fsmount.commands.keys import take_key
from fsmount.commands.options import LIMITS, OUTPUT, SERVICE, WISH, CaseArgument, flag, option
from fsmount.errors import UsageError


def _several(metavar: str) -> Parameter:
    """Describe an option that may be given several times."""
    return Parameter(group=WISH, metavar=metavar, negative="", show_default=False)


def collect(
    case: CaseArgument,
    /,
    *,
    user: Annotated[tuple[str, ...], _several("ID|EMAIL")] = (),
    chat: Annotated[tuple[str, ...], _several("ID")] = (),
    project: Annotated[tuple[str, ...], _several("ID")] = (),
    organization: Annotated[tuple[str, ...], _several("ID")] = (),
    since: Annotated[str | None, option(WISH, "TIME")] = None,
    until: Annotated[str | None, option(WISH, "TIME")] = None,
    include: Annotated[tuple[str, ...], _several("generated,artifacts")] = (),
    ids_file: Annotated[
        Path | None, Parameter(group=WISH, metavar="FILE", allow_leading_hyphen=True)
    ] = None,
    dry_run: Annotated[bool, flag(WISH)] = False,
    base_url: Annotated[str, option(SERVICE, "URL")] = settings_of.DEFAULT_BASE_URL,
    insecure_http: Annotated[bool, flag(SERVICE)] = False,
    key_file: Annotated[Path | None, option(SERVICE, "FILE")] = None,
    max_rpm: Annotated[int, option(LIMITS, "N")] = 540,
    log_format: Annotated[logs.LogFormat, Parameter(group=OUTPUT)] = "text",
    log_level: Annotated[logs.LogLevel, Parameter(group=OUTPUT)] = "info",
    verbose: Annotated[bool, flag(OUTPUT, alias="-v")] = False,
    config: Annotated[Path | None, option(OUTPUT, "FILE")] = None,  # noqa: ARG001 - see sources
) -> int:
    """Walk chats and projects and fill the case with the files they name.

    Without an option that narrows it: the whole parent organization. Options that narrow are combined.

    A run that was interrupted, or comes later, asks only for what is not known yet.

    Parameters
    ----------
    case
        Name of the case, kept in the data home, or its path (anything with a slash). Made on first use.
    user
        Only chats of this user, by id or e-mail address. May be given several times, like the next three.
    chat
        This chat, whoever it belongs to.
    project
        Only chats in this project, and what is attached to it.
    organization
        Only chats of this organization, by its UUID.
    since
        Only files from this time on: 2026-01-31T12:00:00Z, or a date, from its beginning in UTC.
    until
        Only files before this time; of a date, all of that day.
    include
        What else to show: files that were generated in chats, and artifacts.
    ids_file
        File ids to add to the case, one a line; - is standard input. Costs no request.
    dry_run
        List chats and projects, and say how many requests reading them takes.
    base_url
        Where the API is. ANTHROPIC_BASE_URL counts too.
    insecure_http
        Allow http to hosts other than this one. The key travels readable for everyone on the way.
    key_file
        File with the API key; else credential compliance-access-key, else ANTHROPIC_COMPLIANCE_ACCESS_KEY.
    max_rpm
        Most requests a minute.
    log_format
        Form of the messages on stderr.
    log_level
        Least important message to write.
    verbose
        Same as --log-level debug.
    config
        TOML file with options; those of other commands are passed over.
    """
    key = take_key(key_file, log_format=log_format, level="debug" if verbose else log_level)
    if key is None:
        raise UsageError(
            f"no API key: name a file with --key-file, or set {settings_of.KEY_VARIABLE}"
        )
    settings = wishes.CollectSettings(
        case=case,
        key=key,
        base_url=settings_of.check_base_url(base_url, insecure_http=insecure_http),
        users=user,
        chats=chat,
        projects=project,
        organizations=organization,
        since=None if since is None else wishes.parse_since(since),
        until=None if until is None else wishes.parse_until(until),
        ids_file=ids_file,
        families=wishes.parse_families(include),
        dry_run=dry_run,
        max_rpm=max_rpm,
    )
    from fsmount.gathering import run  # noqa: PLC0415 - see the package

    return run(settings)
