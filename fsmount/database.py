"""The case's SQLite database: opening it, its schema, and its errors as ours.

One file holds what the catalog and the content store know, so that one copy of it is a consistent whole.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from fsmount.errors import CaseError

SCHEMA_VERSION = 1
_BUSY_TIMEOUT_MS = 15_000  # another process's transaction is short; this is for a slow disk
_CACHE_KIB = 4096  # the page cache of the operating system does the rest

_SCHEMA = """
CREATE TABLE file (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    claude_file_id TEXT NOT NULL UNIQUE,
    state INTEGER NOT NULL DEFAULT 1,
    mtime_ns INTEGER NOT NULL DEFAULT 0,
    content_name BLOB,
    record TEXT
);
CREATE TABLE tally (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO tally VALUES ('live_files', 0), ('stored_bytes', 0), ('is_running', 0);
CREATE TRIGGER file_added AFTER INSERT ON file WHEN new.state = 1 BEGIN
    UPDATE tally SET value = value + 1 WHERE name = 'live_files';
END;
CREATE TRIGGER file_changed AFTER UPDATE OF state ON file WHEN (old.state = 1) <> (new.state = 1) BEGIN
    UPDATE tally SET value = value + (new.state = 1) - (old.state = 1) WHERE name = 'live_files';
END;
CREATE TABLE content (
    claude_file_id TEXT PRIMARY KEY,
    size_bytes INTEGER,
    md5 TEXT,
    sha256 TEXT,
    verified TEXT NOT NULL,
    how TEXT NOT NULL,
    request_id TEXT,
    acquired_at TEXT,
    is_stored INTEGER NOT NULL DEFAULT 0,
    used_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX content_by_use ON content (used_at) WHERE is_stored = 1;
CREATE TRIGGER content_added AFTER INSERT ON content WHEN new.is_stored BEGIN
    UPDATE tally SET value = value + new.size_bytes WHERE name = 'stored_bytes';
END;
CREATE TRIGGER content_changed AFTER UPDATE OF is_stored, size_bytes ON content BEGIN
    UPDATE tally SET value = value
        + new.is_stored * coalesce(new.size_bytes, 0) - old.is_stored * coalesce(old.size_bytes, 0)
    WHERE name = 'stored_bytes';
END;
CREATE TRIGGER content_removed AFTER DELETE ON content WHEN old.is_stored BEGIN
    UPDATE tally SET value = value - old.size_bytes WHERE name = 'stored_bytes';
END;
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, creating it on first use.

    The connection may be used from any one thread at a time; transactions are explicit.
    Errors: CaseError for a newer schema, a damaged file, or a place that can't be written.
    """
    with reported(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            _create_or_check(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def connect_reading(path: Path) -> sqlite3.Connection:
    """Open the database of a case for looking at it only, beside whoever writes to it.

    Errors: CaseError, as `connect`, and when there is none yet.
    """
    if not path.exists():
        raise CaseError(f"the case has no catalog yet ({path}); mount it with files first")
    with reported(path):
        address = f"file:{quote(os.fspath(path))}?mode=ro"
        connection = sqlite3.connect(address, uri=True, isolation_level=None)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
            _check_version(_version(connection), path)
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do everything in the block or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn the database's errors into one line that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise CaseError(_message(path, error)) from error


def _message(path: Path, error: sqlite3.DatabaseError) -> str:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return (
            f"the catalog {path} is damaged ({error}); restore it from a copy, or move it away to begin"
            " a new one: stored content is kept, but has to be acquired again"
        )
    if code.startswith("SQLITE_FULL"):
        return f"the disk that holds {path} is full; make room on it"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"the catalog {path} can't be written ({error}); check its permissions and its disk"
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"the catalog {path} is held by another process for too long; try again"
    return f"the catalog {path} can't be used: {error}"


def _create_or_check(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version == 0:
        with transaction(connection):
            if _version(connection) == 0:  # no other process has just done it
                for statement in _statements(_SCHEMA):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    _check_version(version, path)


def _check_version(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise CaseError(
            f"the catalog {path} was written by a newer version of fsmount (format {version}, this one knows"
            f" {SCHEMA_VERSION}); use that version"
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
