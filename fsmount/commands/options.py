"""How arguments are described: CASE, the groups options are shown in, options with a value, and flags."""

import os
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext  # which takes a while

WISH = Group("What is collected", sort_key=0)
SERVICE = Group("Service and key", sort_key=1)
GUARDS = Group("What readers may do", sort_key=2)
LIMITS = Group("Limits", sort_key=3)
ACCESS = Group("Who may read", sort_key=4)
OUTPUT = Group("Output", sort_key=5)


def _known_cases(_context: "CompletionContext") -> list[str]:
    """Return what a shell offers for CASE; paths it completes itself."""
    from fsmount.case import case_names  # noqa: PLC0415 - see the package

    return case_names(os.environ)


CaseArgument = Annotated[str, Parameter(completer=_known_cases)]


def option(group: Group, metavar: str, *, default: str | None = None) -> Parameter:
    """Describe an option with a value; `default` is shown where the parameter's own says nothing."""
    return Parameter(group=group, metavar=metavar, show_default=default)


def flag(group: Group, *, alias: str | None = None) -> Parameter:
    """Describe an option without a value: off unless it is given, so there is no form that denies it."""
    return Parameter(group=group, alias=alias, negative="", show_default=False)
