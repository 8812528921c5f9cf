"""Where options come from besides the command line: the environment, then a configuration file.

The command line library asks each source in turn and keeps what an earlier one said. Which options there
are, and what their values mean, is not decided here.
"""

import inspect
import os
from pathlib import Path

import cyclopts
from cyclopts import App, Token
from cyclopts.argument import ArgumentCollection

from fsmount.config import BASE_URL_VARIABLE, read_options

PREFIX = "FSMOUNT_"
_CONFIG = "--config"
_BASE_URL = "--base-url"


class Environment(cyclopts.config.Env):
    """`FSMOUNT_<NAME>` for every option, but for no argument: a forgotten CASE must not be found there."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Fill in the options that are still open."""
        super().__call__(app, commands, _options(arguments))


def common_base_url(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in the base URL that is set for all programs that talk to this service."""
    url = os.environ.get(BASE_URL_VARIABLE)
    if url and not arguments[_BASE_URL].tokens:
        token = Token(keyword=BASE_URL_VARIABLE, value=url, source="env")
        arguments[_BASE_URL].append(token)


def config_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from the file that `--config` names; that is known by now, whoever said it.

    Errors: UsageError.
    """
    tokens = arguments[_CONFIG].tokens
    if not tokens:
        return
    path = Path(tokens[-1].value)
    names = {argument.name for argument in _options(arguments)} - {_CONFIG}
    known = {name.removeprefix("--").replace("-", "_") for name in names}
    options = read_options(path, known)
    fill = cyclopts.config.Dict(options, source=str(path), use_commands_as_keys=False)
    fill(app, commands, arguments)


# The stronger one first.
SOURCES = (Environment(PREFIX, command=False, show=False), common_base_url, config_file)


def _options(arguments: ArgumentCollection) -> ArgumentCollection:
    return arguments.filter_by(kind=inspect.Parameter.KEYWORD_ONLY)
