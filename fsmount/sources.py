"""Where options come from besides the command line: the environment, then a configuration file.

The command line library asks each source in turn and keeps what an earlier one said. Which options there
are, and what their values mean, is not decided here.
"""

import difflib
import inspect
import logging
import os
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path

import cyclopts
from cyclopts import App, Token
from cyclopts.argument import Argument, ArgumentCollection

from fsmount.config import BASE_URL_VARIABLE, read_options

log = logging.getLogger(__name__)

Command = Callable[..., int]
Source = Callable[[App, tuple[str, ...], ArgumentCollection], None]

PREFIX = "FSMOUNT_"
VERBOSE_VARIABLE = f"{PREFIX}VERBOSE"
_CONFIG = "--config"
_BASE_URL = "--base-url"


def sources_of(commands: Iterable[Command]) -> tuple[Source, ...]:
    """Return where the options of these commands come from, the stronger one first.

    They can share one file: what is an option of another one of them is passed over. What is an option of
    none is an error, because a misspelt limit that is passed over would be believed to hold.
    """
    options = frozenset(name for command in commands for name in _options_of(command))
    file = partial(config_file, options - {_key_of(_CONFIG)})
    return partial(environment, options), common_base_url, file


def environment(
    options: Collection[str], _app: App, _commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Fill in `FSMOUNT_<NAME>` for every option; for no argument, or a forgotten CASE might be found there.

    A variable that is set to nothing counts as not set, as it is hard to unset one in a service's files. One
    that is an option of no command may be another program's, so it is told and no error.
    """
    known = [PREFIX + name.upper() for name in options]
    for name in sorted(os.environ.keys() - {*known, VERBOSE_VARIABLE}):
        if name.startswith(PREFIX):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; the nearest one is {near[0]}" if near else ""
            log.warning("%s is set in the environment, and is no option%s", name, hint)
    for argument in _options(arguments):
        _fill_from(PREFIX + _key_of(argument.name).upper(), argument)


def common_base_url(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in the base URL that is set for all programs that talk to this service."""
    _fill_from(BASE_URL_VARIABLE, arguments[_BASE_URL])


def config_file(
    options: Collection[str], app: App, commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Fill in from the file that `--config` names; that is known by now, whoever said it.

    `options` are those that the file may hold, for this command and for others.
    Errors: UsageError.
    """
    tokens = arguments[_CONFIG].tokens
    if not tokens:
        return
    path = Path(tokens[-1].value)
    takes_several = {
        _key_of(argument.name): _takes_several(argument) for argument in _options(arguments)
    }
    found = read_options(path, options, takes_several)
    fill = cyclopts.config.Dict(found, source=str(path), use_commands_as_keys=False)
    fill(app, commands, arguments)


def _fill_from(variable: str, argument: Argument) -> None:
    value = os.environ.get(variable)
    if value and not argument.tokens:
        argument.append(Token(keyword=variable, value=value, source="env"))


def _key_of(option: str) -> str:
    """Return an option's name as it is written in the file."""
    return option.removeprefix("--").replace("-", "_")


def _takes_several(argument: Argument) -> bool:
    takes_all_that_follow: bool = argument.token_count()[1]
    return takes_all_that_follow


def _options(arguments: ArgumentCollection) -> ArgumentCollection:
    return arguments.filter_by(kind=inspect.Parameter.KEYWORD_ONLY)


def _options_of(command: Command) -> list[str]:
    """Return the options of a command without looking at their types, which takes a while."""
    parameters = inspect.signature(command).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
