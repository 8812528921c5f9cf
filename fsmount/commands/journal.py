"""`fsmount log`."""

import os
import shutil
import sys
from typing import Annotated

from cyclopts import Parameter

from fsmount.commands.options import CaseArgument


def log(
    case: CaseArgument,
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
    from fsmount import custody  # noqa: PLC0415 - see the package
    from fsmount.case import Case, case_path  # noqa: PLC0415 - see the package

    path = Case.open(case_path(case, os.environ), create=False).custody_path
    custody.require_there(path)
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
