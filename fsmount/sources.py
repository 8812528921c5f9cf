"""Where options come from besides the command line: the environment, then a configuration file.

The command line library asks each source in turn and keeps what an earlier one said. Which options there
are, and what their values mean, is not decided here.
"""

import inspect
import os
from pathlib import Path

import cyclopts
from cyclopts import App, Token
from cyclopts.argument import Argument, ArgumentCollection

from fsmount.config import BASE_URL_VARIABLE, read_options

PREFIX = "FSMOUNT_"
_CONFIG = "--config"
_BASE_URL = "--base-url"


def environment(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in `FSMOUNT_<NAME>` for every option; for no argument, or a forgotten CASE might be found there.

    A variable that is set to nothing counts as not set, as it is hard to unset one in a service's files.
    """
    for argument in _options(arguments):
        _fill_from(PREFIX + _key_of(argument).upper(), argument)


def common_base_url(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in the base URL that is set for all programs that talk to this service."""
    _fill_from(BASE_URL_VARIABLE, arguments[_BASE_URL])


def config_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from the file that `--config` names; that is known by now, whoever said it.

    Errors: UsageError.
    """
    tokens = arguments[_CONFIG].tokens
    if not tokens:
        return
    path = Path(tokens[-1].value)
    known = {_key_of(argument) for argument in _options(arguments) if argument.name != _CONFIG}
    options = read_options(path, known)
    fill = cyclopts.config.Dict(options, source=str(path), use_commands_as_keys=False)
    fill(app, commands, arguments)


# The stronger one first.
SOURCES = (environment, common_base_url, config_file)
# For commands whose options are some of a mount's: its configuration file would hold strangers.
ENVIRONMENT = (environment, common_base_url)


def _fill_from(variable: str, argument: Argument) -> None:
    value = os.environ.get(variable)
    if value and not argument.tokens:
        argument.append(Token(keyword=variable, value=value, source="env"))


def _key_of(argument: Argument) -> str:
    """Return an option's name as it is written in the file."""
    return argument.name.removeprefix("--").replace("-", "_")


def _options(arguments: ArgumentCollection) -> ArgumentCollection:
    return arguments.filter_by(kind=inspect.Parameter.KEYWORD_ONLY)
