"""Log output: one line a message, to stderr, for people, for the journal, or as JSON; never the key.

Messages carry names that strangers chose. Whatever could end a line or act on a terminal is escaped, so
that a file name can't forge a message.
"""

import json
import logging
import os
import stat
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

# What the service manager's journal understands in front of a line (sd-daemon(3)).
_JOURNAL_PRIORITY = {
    logging.DEBUG: "<7>",
    logging.INFO: "<6>",
    logging.WARNING: "<4>",
    logging.ERROR: "<3>",
    logging.CRITICAL: "<2>",
}

# Below WARNING these tell of every request and header, which only those want who look for a bug.
_LIBRARIES = ("httpx", "httpcore", "pyfuse3", "hypercorn", "asyncio")

_REDACTED = "[key]"
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    """What both forms share: the record's texts, without the key.

    Redacting here and not in a filter covers tracebacks too: an error of a library may quote a header.
    """

    def __init__(self, secret: str | None) -> None:
        super().__init__()
        self._secret = secret

    def message_of(self, record: logging.LogRecord) -> str:
        """Return the message."""
        return self._without_key(record.getMessage())

    def traceback_of(self, record: logging.LogRecord) -> str:
        """Return the traceback, empty where there is none."""
        return self._without_key(self.formatException(record.exc_info)) if record.exc_info else ""

    def fields_of(self, record: logging.LogRecord) -> Mapping[str, object]:
        """Return what was given as `extra`."""
        return {
            name: value
            if isinstance(value, bool | int | float | None)
            else self._without_key(str(value))
            for name, value in vars(record).items()
            if name not in _STANDARD_FIELDS
        }

    def _without_key(self, text: str) -> str:
        return text.replace(self._secret, _REDACTED) if self._secret else text


class _TextFormatter(_Formatter):
    """For people; with the time where nobody else notes it, which is in a file."""

    def __init__(self, secret: str | None, stream: TextIO) -> None:
        super().__init__(secret)
        self._stream = stream
        self._for_journal = is_journal(stream)

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(
            f" {name}={_quoted(value)}" for name, value in self.fields_of(record).items()
        )
        lines = [f"{record.levelname} {record.name}: {one_line(self.message_of(record))}{fields}"]
        # Looked at each time: a mount goes to the background.
        if not self._for_journal and _is_file(self._stream):
            lines[0] = f"{_time_of(record, 'seconds')} {lines[0]}"
        lines += self.traceback_of(record).splitlines()
        if not self._for_journal:
            return "\n".join(lines)
        priority = _JOURNAL_PRIORITY.get(record.levelno, "")
        return "\n".join(priority + line for line in lines)


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": _time_of(record, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message_of(record),
            **self.fields_of(record),
        }
        if record.exc_info:
            document["traceback"] = self.traceback_of(record)
        return json.dumps(document)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours among the root logger's handlers: a second `configure` replaces it and no other."""


def configure(log_format: LogFormat, level: LogLevel, *, secret: str | None = None) -> None:
    """Send log messages to stderr in the wanted form, `secret` replaced wherever it appears."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter(secret) if log_format == "json" else _TextFormatter(secret, sys.stderr)
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    libraries_level = root.level if level == "debug" else max(logging.WARNING, root.level)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(libraries_level)


def one_line(text: str) -> str:
    """Return a text with everything escaped that ends a line or acts on a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _time_of(record: logging.LogRecord, precision: str) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec=precision)


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def is_journal(stream: TextIO) -> bool:
    """Say whether a stream goes to the service manager's journal."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _quoted(value: object) -> str:
    """Return a field's value, quoted where it would not be read back as one word."""
    text = str(value)
    is_word = text.isprintable() and text and not set(text) & set(' "=')
    return text if is_word else json.dumps(text, ensure_ascii=not text.isprintable())
