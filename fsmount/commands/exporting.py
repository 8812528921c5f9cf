"""`fsmount export`."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fsmount import config as settings_of
from fsmount import logs
from fsmount.commands.keys import take_key
from fsmount.commands.options import LIMITS, OUTPUT, SERVICE, CaseArgument, flag, option
from fsmount.errors import UsageError

if TYPE_CHECKING:
    from fsmount.export import Outcome

_log = logging.getLogger(__name__)

_SHOWN_MISSING = 20  # on the screen; all of them are in the export


def export(
    case: CaseArgument,
    directory: Path,
    /,
    *,
    format: Annotated[Literal["bagit", "hashdeep", "dfxml"], Parameter(show_choices=True)],  # noqa: A002 - the option's name
    base_url: Annotated[str, option(SERVICE, "URL")] = settings_of.DEFAULT_BASE_URL,
    insecure_http: Annotated[bool, flag(SERVICE)] = False,
    key_file: Annotated[Path | None, option(SERVICE, "FILE")] = None,
    offline: Annotated[bool, flag(SERVICE)] = False,
    max_rpm: Annotated[int, option(LIMITS, "N")] = 300,
    cache_size: Annotated[str, option(LIMITS, "SIZE")] = "10GiB",
    json: Annotated[bool, flag(OUTPUT)] = False,
    config: Annotated[Path | None, option(OUTPUT, "FILE")] = None,  # noqa: ARG001 - see sources
) -> int:
    """Export the files of a case, each verified: exit 1 if any is missing, with the reason.

    Files that are not stored yet are fetched first, one request each, two where the record is not known
    either. Run it again to go on after an interruption, or to add what is new.

    Parameters
    ----------
    case
        Name or path of the case.
    directory
        Where to: a new or empty directory, or one that holds an earlier export of this case.
    format
        A BagIt bag, a list that `hashdeep -a` audits against, or a DFXML listing.
    base_url
        Where the API is. ANTHROPIC_BASE_URL counts too.
    insecure_http
        Allow http to hosts other than this one. The key travels readable for everyone on the way.
    key_file
        File with the API key; else credential compliance-access-key, else ANTHROPIC_COMPLIANCE_ACCESS_KEY.
    offline
        Make no request: export only what is stored.
    max_rpm
        Most requests a minute; a mount beside it makes its own.
    cache_size
        Bound on stored content; what was fetched beyond it is not kept after it was exported.
    json
        Print the outcome as JSON.
    config
        TOML file with options; those of other commands are passed over.
    """
    from fsmount import display  # noqa: PLC0415 - --help must not wait for SQLite
    from fsmount.acquisition import Access  # noqa: PLC0415
    from fsmount.case import Case, case_path  # noqa: PLC0415
    from fsmount.export import export as run  # noqa: PLC0415
    from fsmount.inventory import Inventory  # noqa: PLC0415

    level: logs.LogLevel = "debug" if _log.isEnabledFor(logging.DEBUG) else "warning"
    key = take_key(key_file, offline=offline, level=level)
    url = settings_of.check_base_url(base_url, insecure_http=insecure_http)
    if max_rpm < 1:
        raise UsageError("--max-rpm must be at least 1")
    cache_bytes = settings_of.parse_size(cache_size, "--cache-size")
    opened = Case.open(case_path(case, os.environ), create=False)
    with Inventory(opened.catalog_path) as inventory:
        counts = inventory.counts()
    if counts.not_stored and key is None and not offline:
        _log.warning(
            "no API key, so %d files that are not stored can't be fetched; see --key-file",
            counts.not_stored,
        )
    access = Access(key, url, max_rpm) if key else None
    with display.progress("exporting", counts.files) as shown:
        outcome = run(opened, directory, format, access, cache_bytes=cache_bytes, progress=shown)
    if json:
        display.show_json(dataclasses.asdict(outcome))
    else:
        _show(outcome)
    return 1 if outcome.missing else 0


def _show(outcome: "Outcome") -> None:
    from fsmount import display  # noqa: PLC0415 - see above

    missing = len(outcome.missing)
    if missing:
        lost_rows = [
            (lost.claude_file_id, lost.filename or "", lost.why)
            for lost in outcome.missing[:_SHOWN_MISSING]
        ]
        display.show_table(lost_rows, ("file", "name", "why"), title="Not exported")
    if missing > _SHOWN_MISSING:
        print(f"... and {missing - _SHOWN_MISSING} more, see metadata/missing.jsonl")
    size = display.size_text(outcome.bytes)
    rows = [
        ("exported", f"{outcome.files} files, {size}"),
        ("without content", f"{outcome.without_content}"),
        ("new in this run", f"{outcome.added}"),
        ("missing", f"{missing}"),
    ]
    display.show_table(rows, title=f"{outcome.directory} ({', '.join(outcome.formats)})")
    if missing:
        print("run the same command again to go on with what is missing")
