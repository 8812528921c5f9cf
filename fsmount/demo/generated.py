"""A corpus of any size that is worked out from ids instead of being held, for load and benchmarks.

A million files cost no more memory than ten: an id says which file it is, and the number gives its
name, time, size and bytes.
"""

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from .contents import PatternContent
from .model import (
    Chat,
    Message,
    Order,
    Organization,
    Project,
    StoredFile,
    User,
    tagged_id,
    timestamp,
)

_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_STEP = timedelta(seconds=37)
_USERS = 20

# Odd and large, so that neighbours start far apart in the shared pattern.
_SHIFT_PER_FILE = 611_953

_FILE_PREFIX = "claude_file_01"
_CHAT_PREFIX = "claude_chat_01"


class GeneratedCorpus:
    """`chats` chats with `files_per_chat` text files each, and `large_sizes` hung on the first chat.

    Units: bytes; the small files are `file_bytes` long, give or take half.
    """

    def __init__(
        self,
        *,
        chats: int = 1000,
        files_per_chat: int = 10,
        file_bytes: int = 20_000,
        large_sizes: Sequence[int] = (),
    ) -> None:
        org_uuid = "00000000-0000-4000-8000-000000000001"
        self.organizations = [Organization(org_uuid, "Example", _EPOCH)]
        made = (tagged_id("user", str(number)) for number in range(_USERS))
        self.users = {
            user_id: User(user_id, f"user{n}@example.com", f"User {n}", _EPOCH, org_uuid)
            for n, user_id in enumerate(made)
        }
        self.projects: dict[str, Project] = {}
        self._user_ids = list(self.users)
        self._chats = chats
        self._files_per_chat = files_per_chat
        self._file_bytes = file_bytes
        self._large_sizes = tuple(large_sizes)
        self._small = chats * files_per_chat
        self._deleted: set[int] = set()
        self._touched: dict[int, datetime] = {}
        self._keys: dict[Order, list[tuple[datetime, str]]] = {}

    @property
    def file_count(self) -> int:
        """Return how many files there are, deleted ones included."""
        return self._small + len(self._large_sizes)

    @property
    def large_ids(self) -> list[str]:
        """Return the ids of the large files, in the order of their sizes."""
        return [self.file_id(self._small + number) for number in range(len(self._large_sizes))]

    def hash_large_files(self) -> None:
        """Work out the hashes of the large files now (1.6 s for a GiB), so that no request waits for it."""
        for large_id in self.large_ids:
            self.find_listed(large_id)

    def file_ids(self) -> Iterable[str]:
        """Yield the ids of all files."""
        return map(self.file_id, range(self.file_count))

    def file_id(self, number: int) -> str:
        """Return the id of a file by its number."""
        return f"{_FILE_PREFIX}{number:022d}"

    def touch(self, number: int) -> None:
        """Let a chat be updated now, after everything that happened before."""
        at = _EPOCH + (self._chats + len(self._touched) + 1) * _STEP
        self._touched[number] = at
        self._keys.clear()

    def chat_keys(self, order: Order) -> Sequence[tuple[datetime, str]]:
        """Return (time, chat id) of every chat, ascending."""
        keys = self._keys.get(order)
        if keys is None:
            touched = self._touched if order == "updated_at" else {}
            keys = sorted(
                (touched.get(number, _EPOCH + number * _STEP), f"{_CHAT_PREFIX}{number:022d}")
                for number in range(self._chats)
            )
            self._keys[order] = keys
        return keys

    def find_chat(self, chat_id: str) -> Chat | None:
        """Return one chat."""
        number = _number(chat_id, _CHAT_PREFIX, self._chats)
        if number is None:
            return None
        created_at = _EPOCH + number * _STEP
        return Chat(
            chat_id,
            f"Chat {number}",
            created_at,
            self._touched.get(number, created_at),
            self.organizations[0].uuid,
            self._user_ids[number % _USERS],
        )

    def find_messages(self, chat_id: str) -> Sequence[Message]:
        """Return a chat's two messages: the files, and an answer."""
        number = _number(chat_id, _CHAT_PREFIX, self._chats)
        if number is None:
            return ()
        created_at = _EPOCH + number * _STEP
        numbers: Iterable[int] = range(
            number * self._files_per_chat, (number + 1) * self._files_per_chat
        )
        if number == 0:
            numbers = itertools.chain(numbers, range(self._small, self.file_count))
        files = tuple(self.file_id(file_number) for file_number in numbers)
        return (
            Message(f"claude_chat_msg_01{number:021d}A", "user", created_at, "Look.", files),
            Message(f"claude_chat_msg_01{number:021d}B", "assistant", created_at, "Done."),
        )

    def find_file(self, file_id: str) -> StoredFile | None:
        """Return a file that was not deleted."""
        number = _number(file_id, _FILE_PREFIX, self.file_count)
        return None if number in self._deleted else self.find_listed(file_id)

    def find_listed(self, file_id: str) -> StoredFile | None:
        """Return a file as messages name it, also after it was deleted."""
        number = _number(file_id, _FILE_PREFIX, self.file_count)
        if number is None:
            return None
        content = self._content(number)
        chat = number // self._files_per_chat if number < self._small else 0
        kind = ("document", "txt", "text/plain") if number < self._small else ("large", "bin", "")
        record = {
            "id": file_id,
            "created_at": timestamp(_EPOCH + chat * _STEP),
            "filename": f"{kind[0]} {number}.{kind[1]}",
            "mime_type": kind[2] or "application/octet-stream",
            "size_bytes": content.size_bytes,
            "md5": content.md5.hex(),
            "message_ids": [f"claude_chat_msg_01{chat:021d}A"],
            "claude_chat_ids": [f"{_CHAT_PREFIX}{chat:022d}"],
        }
        return StoredFile(record, content)

    def uploads(self) -> Iterable[tuple[datetime, str, str]]:
        """Yield (time, file id, user id) of every upload, newest first."""
        for number in reversed(range(self._small)):
            chat = number // self._files_per_chat
            user_id = self._user_ids[chat % _USERS]
            yield _EPOCH + chat * _STEP, self.file_id(number), user_id

    def delete_file(self, file_id: str) -> bool:
        """Delete a file; False when there is none."""
        number = _number(file_id, _FILE_PREFIX, self.file_count)
        if number is None or number in self._deleted:
            return False
        self._deleted.add(number)
        return True

    def delete_chat(self, chat_id: str) -> bool:
        """Return False: the chats of this corpus stay."""
        del chat_id
        return False

    def _content(self, number: int) -> PatternContent:
        shift = number * _SHIFT_PER_FILE
        if number >= self._small:
            return PatternContent(self._large_sizes[number - self._small], shift=shift)
        size = self._file_bytes // 2 + shift % max(1, self._file_bytes)
        return PatternContent(size, shift=shift, is_text=True)


def _number(tagged: str, prefix: str, count: int) -> int | None:
    """Return the number an id holds, if it is one of ours."""
    digits = tagged.removeprefix(prefix)
    if len(digits) != 22 or not tagged.startswith(prefix) or not digits.isdecimal():
        return None
    number = int(digits)
    return number if number < count else None
