"""How options are described: the groups they are shown in, options with a value, and flags."""

from cyclopts import Group, Parameter

WISH = Group("What is collected", sort_key=0)
SERVICE = Group("Service and key", sort_key=1)
GUARDS = Group("What readers may do", sort_key=2)
LIMITS = Group("Limits", sort_key=3)
ACCESS = Group("Who may read", sort_key=4)
OUTPUT = Group("Output", sort_key=5)


def option(group: Group, metavar: str, *, default: str | None = None) -> Parameter:
    """Describe an option with a value; `default` is shown where the parameter's own says nothing."""
    return Parameter(group=group, metavar=metavar, show_default=default)


def flag(group: Group, *, alias: str | None = None) -> Parameter:
    """Describe an option without a value: off unless it is given, so there is no form that denies it."""
    return Parameter(group=group, alias=alias, negative="", show_default=False)
