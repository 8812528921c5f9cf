"""`fsmount verify` and `fsmount doctor`."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fsmount import config as settings_of
from fsmount import logs
from fsmount.commands.options import SERVICE, CaseArgument, flag, option
from fsmount.errors import UsageError

if TYPE_CHECKING:
    from fsmount.diagnosis import Finding
    from fsmount.verification import Report

_log = logging.getLogger(__name__)

_FLAG = Parameter(negative="", show_default=False)


def verify(case: CaseArgument, /, *, json: Annotated[bool, _FLAG] = False) -> int:
    """Check all stored content of a case against its recorded hashes: exit 1 when anything differs.

    Reads every stored byte, makes no request, and may run beside a mount.

    Parameters
    ----------
    case
        Name or path of the case.
    json
        Print the outcome as JSON.
    """
    from fsmount import display, verification  # noqa: PLC0415 - --help must not wait for SQLite
    from fsmount.case import Case, case_path  # noqa: PLC0415
    from fsmount.inventory import Inventory  # noqa: PLC0415

    opened = Case.open(case_path(case, os.environ), create=False)
    with Inventory(opened.catalog_path) as inventory:
        stored = inventory.counts()
    with display.progress("verifying", stored.verified + stored.unverified) as shown:
        report = verification.verify(opened, shown.advance)
    if json:
        display.show_json(dataclasses.asdict(report))
    else:
        _show(report)
    return 1 if report.problems else 0


def _show(report: "Report") -> None:
    from fsmount import display  # noqa: PLC0415 - see above

    if report.problems:
        found = [
            (problem.claude_file_id, problem.kind, problem.what) for problem in report.problems
        ]
        display.show_table(found, ("file", "problem", "what"), title="What does not fit")
        print(
            "whoever opens these next, in a mount or an export, has them fetched again;"
            " altered bytes are kept apart then"
        )
    counts = report.counts
    size = display.size_text(report.checked_bytes)
    rows = [
        ("checked", f"{report.checked} files, {size}"),
        ("as recorded", str(report.checked - len(report.problems))),
        ("not as recorded", str(len(report.problems))),
        ("stored, but never verified: no digest came with them", str(counts.unverified)),
        ("not stored", str(counts.not_stored)),
    ]
    display.show_table(rows, title=f"Stored content of {report.case}")


def doctor(
    case: CaseArgument | None = None,
    /,
    *,
    base_url: Annotated[str, option(SERVICE, "URL")] = settings_of.DEFAULT_BASE_URL,
    insecure_http: Annotated[bool, flag(SERVICE)] = False,
    key_file: Annotated[Path | None, option(SERVICE, "FILE")] = None,
    offline: Annotated[bool, flag(SERVICE)] = False,
    json: Annotated[bool, _FLAG] = False,
    config: Annotated[Path | None, option(SERVICE, "FILE")] = None,  # noqa: ARG001 - see sources
) -> int:
    """Check what fsmount needs, and say how to mend what is wrong: exit 1 if there is a problem.

    Looks at /dev/fuse, libfuse, fuse.conf and the kernel's limits; with a key, asks the service one
    request (for the record of a file that does not exist), which costs one of the organization's 600 a
    minute, and compares clocks with its answer; with a CASE, looks at its directory, disk, holder, catalog
    and custody log. Changes nothing.

    Parameters
    ----------
    case
        Name or path of a case.
    base_url
        Where the API is. ANTHROPIC_BASE_URL counts too.
    insecure_http
        Allow http to hosts other than this one. The key travels readable for everyone on the way.
    key_file
        File with the API key; else credential compliance-access-key, else ANTHROPIC_COMPLIANCE_ACCESS_KEY.
    offline
        Make no request.
    json
        Print the findings as JSON.
    config
        TOML file with options; those of other commands are passed over.
    """
    from fsmount import diagnosis, display  # noqa: PLC0415 - see above
    from fsmount.case import case_path  # noqa: PLC0415

    url = settings_of.check_base_url(base_url, insecure_http=insecure_http)
    findings = [*diagnosis.of_machine()]
    key = None
    try:
        key, warnings = settings_of.find_key(key_file, os.environ, offline=offline)
    except UsageError as error:
        findings.append(diagnosis.Finding("problem", "key", str(error)))
    else:
        level: logs.LogLevel = "debug" if _log.isEnabledFor(logging.DEBUG) else "info"
        logs.configure("text", level, secret=key.reveal() if key else None)
        findings += diagnosis.of_key_file(warnings)
    if not offline:
        findings += diagnosis.of_service(key, url)
    if case is not None:
        findings += diagnosis.of_case(case_path(case, os.environ))
    requests = diagnosis.REQUESTS if key else ()
    if json:
        found = [dataclasses.asdict(finding) for finding in findings]
        display.show_json({"requests": requests, "findings": found})
    else:
        _show_findings(findings, requests)
    return 1 if any(finding.level == "problem" for finding in findings) else 0


def _show_findings(findings: Sequence["Finding"], requests: Sequence[str]) -> None:
    from fsmount import display  # noqa: PLC0415 - see above

    rows = [
        (finding.level, finding.subject, finding.says, finding.mend and f"-> {finding.mend}")
        for finding in findings
    ]
    display.show_table(rows, ("", "what", "finding", "how to mend it"))
    cost = f"1: {requests[0]}" if requests else "none"
    print(f"requests made: {cost}")
