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

_BUSY_TIMEOUT_MS = 15_000  # another process's transaction is short; this is for a slow disk
_CACHE_KIB = 4096  # the page cache of the operating system does the rest

_SCHEMA_1 = """
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

# What walks find. `file.told` says how much a file's record tells (`objects.Told`), as `file.state` says
# whether it is shown (`objects.State`). A chat was read up to the change that `walked_at` names; `pending`
# holds the chats and projects of a scope that are still to be read, where in them to go on, and at which
# change of a chat reading began. Names in views are settled when a row is made and never change.
_SCHEMA_2 = """
ALTER TABLE file ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
UPDATE file SET told = 3 WHERE record IS NOT NULL;
CREATE INDEX file_without_case ON file (claude_file_id COLLATE NOCASE);
CREATE TABLE person (
    number INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE,
    email TEXT,
    view_name BLOB NOT NULL UNIQUE
);
CREATE TABLE project (
    number INTEGER PRIMARY KEY,
    project_id TEXT NOT NULL UNIQUE,
    name TEXT,
    view_name BLOB NOT NULL UNIQUE
);
CREATE TABLE chat (
    number INTEGER PRIMARY KEY,
    chat_id TEXT NOT NULL UNIQUE,
    name TEXT,
    person INTEGER,
    project INTEGER,
    organization TEXT,
    created_at TEXT,
    updated_at TEXT,
    is_deleted INTEGER NOT NULL DEFAULT 0,
    walked_at TEXT,
    has_files INTEGER NOT NULL DEFAULT 0,
    view_name BLOB NOT NULL UNIQUE
);
CREATE INDEX chat_of_person ON chat (person) WHERE has_files AND person IS NOT NULL;
CREATE INDEX chat_of_project ON chat (project) WHERE has_files AND project IS NOT NULL;
CREATE TABLE origin (
    chat INTEGER NOT NULL,
    file INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    role TEXT,
    at INTEGER,
    PRIMARY KEY (chat, file, message_id)
) WITHOUT ROWID;
CREATE INDEX origin_of_file ON origin (file);
CREATE TABLE attachment (
    project INTEGER NOT NULL,
    file INTEGER NOT NULL,
    at INTEGER,
    PRIMARY KEY (project, file)
) WITHOUT ROWID;
CREATE INDEX attachment_of_file ON attachment (file);
CREATE TABLE listing (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    cursor TEXT,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE TABLE pending (
    scope TEXT NOT NULL,
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    cursor TEXT,
    read_at TEXT,
    PRIMARY KEY (scope, kind, number)
) WITHOUT ROWID;
"""

# The change time of a stored file when its bytes were last known to be right; see `stored_file`.
_SCHEMA_3 = "ALTER TABLE content ADD COLUMN changed_ns INTEGER;"

# Each brings the one before it up to its own number.
_SCHEMAS = (_SCHEMA_1, _SCHEMA_2, _SCHEMA_3)
SCHEMA_VERSION = len(_SCHEMAS)


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
        raise CaseError(f"the case has no catalog yet ({path}); collect or mount files first")
    connection = _open_reading(path)
    if 0 < _version(connection) < SCHEMA_VERSION:  # the form of an earlier version
        connection.close()
        connect(path).close()
        connection = _open_reading(path)
    return connection


def _open_reading(path: Path) -> sqlite3.Connection:
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


def data_version(connection: sqlite3.Connection) -> int:
    """Return a number that is another one after every change by another connection."""
    number: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return number


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


def storable(text: str | None) -> str | None:
    """Return a text as the database holds it: a lone surrogate, which has no UTF-8 form, as its escape."""
    return text and text.encode("utf-8", "backslashreplace").decode()


def _message(path: Path, error: sqlite3.DatabaseError) -> str:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return (
            f"the catalog {path} is damaged ({error}); restore it from a copy, or move it away to begin"
            " a new one: stored content is kept, but has to be acquired again"
        )
    # It needs files beside the database, for reading too, and its words don't tell what keeps it from them.
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
        trouble = _disk_trouble(path.parent)
        if trouble or code.startswith("SQLITE_FULL"):
            return f"the disk that holds {path} is {trouble or 'full; make room on it'}"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"the catalog {path} can't be written ({error}); check its permissions and its disk"
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"the catalog {path} is held by another process for too long; try again"
    return f"the catalog {path} can't be used: {error}"


def _disk_trouble(directory: Path) -> str | None:
    with contextlib.suppress(OSError):
        disk = os.statvfs(directory)
        if disk.f_flag & os.ST_RDONLY:
            return "read-only; copy the case to one that is not"
        if not disk.f_bavail:
            return "full; make room on it"
    return None


def _create_or_check(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) < SCHEMA_VERSION:
        with transaction(connection):
            # Looked at again: another process may have just done it.
            for number in range(_version(connection), SCHEMA_VERSION):
                for statement in _statements(_SCHEMAS[number]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")
    _check_version(_version(connection), path)


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
