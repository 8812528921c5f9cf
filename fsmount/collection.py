"""What walks found, kept: chats, people, projects, and which message or project names which file.

Every answer is one transaction, together with the cursor behind it, so whatever ends a walk, the next one
goes on from what is here and asks for nothing twice. All files that an answer names are kept; those outside
of what was asked for are not shown (`State.SEEN`), so that asking for more later costs no request for a chat
that has not changed.

Plain code without waiting.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import client
from fsmount.agenda import THROUGH, Agenda, Left, NamedBy, Pending
from fsmount.database import connect, reported, storable, transaction
from fsmount.names import is_file_id
from fsmount.objects import State, content_name_of, record_of, told_by_entry
from fsmount.places import Places, later_of
from fsmount.tree import mtime_ns_of

# A file that was gone or deleted stays so: messages go on naming files that exist no more.
_PUT_FILE = (
    "INSERT INTO file (claude_file_id, state, mtime_ns, content_name, record, told)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (claude_file_id) DO UPDATE SET"
    " state = CASE state WHEN 0 THEN excluded.state ELSE state END,"
    " mtime_ns = CASE WHEN excluded.told > told THEN excluded.mtime_ns ELSE mtime_ns END,"
    " record = CASE WHEN excluded.told > told THEN excluded.record ELSE record END,"
    " content_name = coalesce(content_name, excluded.content_name),"
    " told = max(told, excluded.told)"
)
_PUT_ORIGIN = (
    "INSERT INTO origin (chat, file, message_id, role, at)"
    " SELECT ?, number, ?, ?, ? FROM file WHERE claude_file_id = ? ON CONFLICT DO NOTHING"
)
_PUT_ATTACHMENT = (
    "INSERT INTO attachment (project, file, at)"
    " SELECT ?, number, ? FROM file WHERE claude_file_id = ? ON CONFLICT DO NOTHING"
)
_SHOW_FILES_OF_CHAT = (
    "UPDATE file SET state = 1 WHERE state = 0 AND claude_file_id GLOB ? AND number IN"
    " (SELECT file FROM origin WHERE chat = ? AND coalesce(at, ?) >= ? AND coalesce(at, ?) < ?)"
)
_WALKED = "UPDATE chat SET walked_at = updated_at WHERE number = ?"
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once: json.dumps would make one an entry
_NAMED = "named"  # stands for a list: what was named instead of being looked for
_CACHE_KIB = 64 * 1024
_CHECKPOINT_PAGES = 8000  # 32 MiB: a checkpoint waits for the disk
_EARLIEST, _LATEST = -(1 << 62), 1 << 62


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a walk is to show: whose files, and which families of them."""

    scope: client.Scope = dataclasses.field(default_factory=client.Scope)
    families: frozenset[client.Family] = frozenset({client.Family.FILE})
    chats: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the name under which what is left to do for it is kept; the same for the same wish."""
        fields: dict[str, object] = {
            name: sorted(value) if isinstance(value, tuple) else value.isoformat()
            for name, value in dataclasses.asdict(self.scope).items()
            if value
        }
        fields["families"] = sorted(family.name for family in self.families)
        if self.chats:
            fields["chats"] = sorted(self.chats)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


@dataclasses.dataclass(slots=True)
class Tally:
    """What was stored; `unfit` says which entries had to be left out, and why."""

    chats_listed: int = 0
    chats_read: int = 0
    projects_read: int = 0
    files_new: int = 0
    files_named: int = 0
    documents: int = 0
    unfit: list[str] = dataclasses.field(default_factory=list)


class Collection:
    """What walks found, of one case, as far as one wish is concerned.

    Errors of every method: CaseError when the database can't be read or written.
    """

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self._path = path
        self._wanted = wanted
        self._db = connect(path)
        # Rows of a million files come in no order of their indexes: with little memory, each one would be
        # read and written again and again.
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._places = Places(self._db)
        self._agenda = Agenda(self._db, wanted.key)
        self.tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._db.close()

    # -- where to go on --------------------------------------------------------------------------

    def begin(self) -> None:
        """Have the chats and projects read that are named, unless an earlier run has begun with them."""
        with self._transaction():
            if self._agenda.cursor(_NAMED) is None:
                for chat_id in self._wanted.chats:
                    self._agenda.add(NamedBy.CHAT, self._places.put_chat(client.Chat(chat_id)))
                for project_id in self._wanted.scope.projects:
                    self._agenda.add(NamedBy.PROJECT, self._places.put_project(project_id, None))
                self._agenda.put_cursor(_NAMED, THROUGH)

    def finish(self) -> None:
        """Let the next run begin anew with everything that can't be taken up where it ended."""
        with self._transaction():
            self._agenda.begin_lists_anew()

    def cursor_of(self, listing: client.Listing) -> str | None:
        """Return where a list was left: None to begin at its beginning, THROUGH when it is."""
        with reported(self._path):
            return self._agenda.cursor(listing.key)

    def forget_cursor(self, listing: client.Listing) -> None:
        """Begin a list, or a chat or project, anew."""
        with self._transaction():
            if listing.kind == "messages":
                chat = self._places.put_chat(client.Chat(listing.owner))
                self._agenda.go_on_behind(NamedBy.CHAT, chat, None)
            elif listing.kind == "attachments":
                project = self._places.put_project(listing.owner, None)
                self._agenda.go_on_behind(NamedBy.PROJECT, project, None)
            else:
                self._agenda.put_cursor(listing.key, None)

    def pending(self, after: tuple[int, int], limit: int) -> list[Pending]:
        """Return what is still to be read, in order, from behind a place."""
        with reported(self._path):
            return self._agenda.waiting(after, limit)

    def left(self) -> Left:
        """Return how much is still to be read."""
        with reported(self._path):
            return self._agenda.left()

    def people_of(self, email: str) -> list[str]:
        """Return the ids of the users with an e-mail address, as far as they are known."""
        with reported(self._path):
            rows = self._db.execute(
                "SELECT user_id FROM person WHERE lower(email) = lower(?) ORDER BY user_id",
                (email,),
            ).fetchall()
        return [user_id for (user_id,) in rows]

    # -- storing answers -------------------------------------------------------------------------

    def store(self, step: client.Step, page: client.Page) -> bool:
        """Store one answer and the cursor behind it, all or nothing.

        Say whether a chat that was read to its end has to be read once more, since a list told of a change
        that the answer does not know of yet.
        """
        before = dataclasses.replace(self.tally, unfit=list(self.tally.unfit))
        try:
            with self._transaction():
                return self._store(step, page)
        except BaseException:
            self.tally = before
            raise

    def give_up(self, listing: client.Listing) -> None:
        """Note that the service does not know a chat or project, so that it is not asked for again.

        One that a list named was deleted since, and is no loss; one that a person named may be misspelled.
        """
        if listing.owner in (*self._wanted.chats, *self._wanted.scope.projects):
            self.tally.unfit.append(
                f"{listing.owner}: the service does not know it, or not any more"
            )
        with self._transaction():
            if listing.kind == "messages":
                number = self._places.put_chat(client.Chat(listing.owner, is_deleted=True))
                self._db.execute(_WALKED, (number,))
                self._agenda.done(NamedBy.CHAT, number)
                self.tally.chats_read += 1
            else:
                self._agenda.done(NamedBy.PROJECT, self._places.put_project(listing.owner, None))
                self.tally.projects_read += 1

    def _store(self, step: client.Step, page: client.Page) -> bool:
        if step.listing.kind == "messages":
            return self._store_messages(step, page)
        if step.listing.kind == "attachments":
            self._store_attachments(step, page)
            return False
        for entry in page.entries:
            match entry:
                case client.Chat():
                    self._store_chat(entry)
                case client.Project():
                    self._agenda.add(
                        NamedBy.PROJECT, self._places.put_project(entry.id, entry.name)
                    )
                case client.User():
                    self._places.put_person(entry.id, entry.email)
        self._agenda.put_cursor(step.listing.key, _cursor_behind(step, page))
        return False

    def _store_chat(self, chat: client.Chat) -> None:
        self.tally.chats_listed += 1
        if not self._wanted.scope.admits_chat(chat):
            return
        number = self._places.put_chat(chat)
        if chat.is_deleted:
            self._db.execute(_WALKED, (number,))
            return
        row = self._db.execute(
            "SELECT 1 FROM chat WHERE number = ? AND walked_at = updated_at", (number,)
        ).fetchone()
        if row:
            self._show_files_of(number)
        else:
            self._agenda.add(NamedBy.CHAT, number)

    def _store_messages(self, step: client.Step, page: client.Page) -> bool:
        assert page.chat is not None
        number = self._places.put_chat(page.chat)
        mentions = self._put_files(page.entries)
        self._db.executemany(
            _PUT_ORIGIN,
            (
                (
                    number,
                    storable(mention.message_id) or "",
                    storable(mention.role),
                    _micros(mention.at),
                    mention.id,
                )
                for mention in mentions
            ),
        )
        if mentions:
            self._db.execute("UPDATE chat SET has_files = 1 WHERE number = ?", (number,))
        if step.cursor is None:
            self._agenda.put_read_at(number, storable(page.chat.updated_at))
        if page.has_more:
            self._agenda.go_on_behind(NamedBy.CHAT, number, page.cursor)
            return False
        return self._end_of_chat(number)

    def _end_of_chat(self, chat: int) -> bool:
        """Be done with a chat, unless it changed meanwhile: its answers and its list overtake each other."""
        read_at = self._agenda.read_at(chat)
        (change,) = self._db.execute(
            "SELECT updated_at FROM chat WHERE number = ?", (chat,)
        ).fetchone()
        if read_at is not None and later_of(change, read_at) != read_at:
            self._agenda.put_read_at(chat, change)
            self._agenda.go_on_behind(NamedBy.CHAT, chat, None)
            return True
        self._db.execute("UPDATE chat SET walked_at = ? WHERE number = ?", (read_at, chat))
        self._agenda.done(NamedBy.CHAT, chat)
        self.tally.chats_read += 1
        return False

    def _store_attachments(self, step: client.Step, page: client.Page) -> None:
        self.tally.documents += page.passed_over
        number = self._places.put_project(step.listing.owner, None)
        mentions = self._put_files(page.entries)
        self._db.executemany(
            _PUT_ATTACHMENT, ((number, _micros(mention.at), mention.id) for mention in mentions)
        )
        if page.has_more:
            self._agenda.go_on_behind(NamedBy.PROJECT, number, page.cursor)
        else:
            self._agenda.done(NamedBy.PROJECT, number)
            self.tally.projects_read += 1

    # -- rows ------------------------------------------------------------------------------------

    def _put_files(self, entries: Iterable[object]) -> list[client.Mention]:
        """Store what is named; an entry that can't be shown does not spoil the others, but is told."""
        mentions, rows = [], []
        for mention in entries:
            assert isinstance(mention, client.Mention)
            try:
                rows.append(self._file_row(mention))
                mentions.append(mention)
            except client.InvalidResponseError as error:
                self.tally.unfit.append(f"{mention.id!r:.200}: {error}")
        before = self._live_count()
        self._db.executemany(_PUT_FILE, rows)
        self.tally.files_new += self._live_count() - before
        self.tally.files_named += len(mentions)
        return mentions

    def _file_row(self, mention: client.Mention) -> tuple[str, int, int, bytes | None, str, int]:
        if not is_file_id(mention.id.encode("utf-8", "replace")):
            raise client.InvalidResponseError("the id can't be the name of a directory")
        record = record_of(mention.id, mention.record)
        told = told_by_entry(record)
        is_wanted = mention.family in self._wanted.families
        state = (
            State.LIVE if is_wanted and self._wanted.scope.admits_time(mention.at) else State.SEEN
        )
        # Entries of generated files and artifacts have no time of their own.
        mtime_ns = mtime_ns_of(record.created_at or mention.at)
        name = content_name_of(record, told)
        return mention.id, state, mtime_ns, name, _ENCODER.encode(mention.record), told

    def _show_files_of(self, chat: int) -> None:
        scope = self._wanted.scope
        since = _EARLIEST if scope.since is None else _micros(scope.since)
        until = _LATEST if scope.until is None else _micros(scope.until)
        before = self._live_count()
        for family in self._wanted.families:
            self._db.execute(
                _SHOW_FILES_OF_CHAT, (f"{family.value}*", chat, since, since, since, until)
            )
        self.tally.files_new += self._live_count() - before

    def _live_count(self) -> int:
        query = "SELECT value FROM tally WHERE name = 'live_files'"
        return int(self._db.execute(query).fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with reported(self._path), transaction(self._db):
            yield


def _cursor_behind(step: client.Step, page: client.Page) -> str | None:
    """Return where the next run goes on with a list.

    One by change is taken up at its end. Another list of chats does not name again what has changed since,
    and an end may have been days ago, so every run goes through it: that costs a request for a thousand
    chats, and none for those that have not changed. What organizations lead to, the lists of members, only
    one run knows. All others, once they are through, wait for the end of this run and then begin anew.
    """
    is_by_change = ("order_by", "updated_at") in step.listing.query
    if is_by_change:
        return page.cursor or step.cursor
    if step.listing.kind in ("chats", "organizations"):
        return None
    return page.cursor if page.has_more else THROUGH


def _micros(at: datetime | None) -> int | None:
    """Return a time as microseconds since 1970, UTC."""
    return None if at is None else mtime_ns_of(at.astimezone(UTC)) // 1000
