"""`fsmount files`."""

import os
import sys
from typing import Annotated

from cyclopts import Group, Parameter

from fsmount.collect_settings import parse_since
from fsmount.commands.options import CaseArgument, option
from fsmount.config import parse_size
from fsmount.errors import UsageError

_WHICH = Group("Which files", sort_key=0)
_FORM = Group("Output", sort_key=1)


def files(
    case: CaseArgument,
    /,
    *,
    user: Annotated[str | None, option(_WHICH, "ID|EMAIL")] = None,
    chat: Annotated[str | None, option(_WHICH, "ID")] = None,
    name: Annotated[str | None, option(_WHICH, "GLOB")] = None,
    mime: Annotated[str | None, option(_WHICH, "GLOB")] = None,
    min_size: Annotated[str | None, option(_WHICH, "SIZE")] = None,
    since: Annotated[str | None, option(_WHICH, "TIME")] = None,
    as_json: Annotated[
        bool, Parameter(name="--json", group=_FORM, negative="", show_default=False)
    ] = False,
    as_csv: Annotated[
        bool, Parameter(name="--csv", group=_FORM, negative="", show_default=False)
    ] = False,
) -> int:
    """List the files of a case: names, sizes, hashes, and who named them where. Costs no request.

    Parameters
    ----------
    case
        Name or path of the case.
    user
        Only files that chats of this user name.
    chat
        Only files that this chat names.
    name
        Only files whose name fits, without regard to case: '*.pdf'.
    mime
        Only files of this type: 'image/*'.
    min_size
        Only files of at least this SIZE.
    since
        Only files from this time on: 2026-01-31T12:00:00Z, or a date, from its beginning in UTC.
    as_json
        One JSON array, with everything that is known.
    as_csv
        A line a file, with everything that is known.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    from fsmount import file_list_formats as formats  # noqa: PLC0415 - see the package
    from fsmount.case import Case, case_path  # noqa: PLC0415
    from fsmount.file_list import Filter, iter_items  # noqa: PLC0415

    wanted = Filter(
        user=user,
        chat=chat,
        name=name,
        mime=mime,
        min_size_bytes=None if min_size is None else parse_size(min_size, "--min-size"),
        since=None if since is None else parse_since(since),
    )
    opened = Case.open(case_path(case, os.environ), create=False)
    write = formats.write_table
    if as_json or as_csv:
        write = formats.write_json if as_json else formats.write_csv
    write(iter_items(opened.catalog_path, wanted), sys.stdout)
    return 0
