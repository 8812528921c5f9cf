"""`fsmount status`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def status(
    mountpoint: Path,
    /,
    *,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Say what a mount is doing; never hangs, even if the mount does.

    Parameters
    ----------
    mountpoint
        Where the case is mounted.
    json
        Print the mount's own document.
    """
    from fsmount import display, inspection  # noqa: PLC0415 - --help must not wait for it

    document = inspection.status_of(mountpoint)
    if json:
        display.show_json(document)
    else:
        display.show_table(inspection.rows_of(document), title=f"Mount on {mountpoint}")
    return 0
