"""Log output: one line a message, to stderr, for people, for the journal, or as JSON; never the key."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

# What the service manager's journal understands in front of a line.
_JOURNAL_PRIORITY = {
    "DEBUG": "<7>",
    "INFO": "<6>",
    "WARNING": "<4>",
    "ERROR": "<3>",
    "CRITICAL": "<2>",
}
_NOISY = ("httpx", "httpcore", "pyfuse3", "hypercorn", "asyncio")


class _TextFormatter(logging.Formatter):
    def __init__(self, *, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        if self._for_journal:
            return _JOURNAL_PRIORITY.get(record.levelname, "") + message
        return f"{record.levelname} {record.name}: {message}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document)


class _Redacting(logging.Filter):
    """The last line of defence: no message carries the key, whoever wrote it."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if self._secret in message:
            record.msg, record.args = message.replace(self._secret, "[key]"), None
        return True


def configure(log_format: LogFormat, level: LogLevel, *, secret: str | None = None) -> None:
    """Send log messages to stderr in the wanted form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter()
        if log_format == "json"
        else _TextFormatter(for_journal=_is_journal(sys.stderr))
    )
    if secret:
        handler.addFilter(_Redacting(secret))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _is_journal(stream: TextIO) -> bool:
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
