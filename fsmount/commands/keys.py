"""What a command does before it asks the service: find the key, and keep it out of all that is written."""

import logging
import os
from pathlib import Path

from fsmount import config, logs

_log = logging.getLogger(__name__)


def take_key(
    key_file: Path | None,
    *,
    offline: bool = False,
    log_format: logs.LogFormat = "text",
    level: logs.LogLevel,
) -> config.SecretKey | None:
    """Return the key, as `config.find_key` finds it, with the log set up not to tell it.

    What is to be warned of, such as a key file that others can read, is in the log then. Errors: UsageError.
    """
    key, warnings = config.find_key(key_file, os.environ, offline=offline)
    logs.configure(log_format, level, secret=key.reveal() if key else None)
    for warning in warnings:
        _log.warning("%s", warning)
    return key
