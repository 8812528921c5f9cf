"""Which requests lead from people, chats and projects to files. Asked for steps, fed with pages.

A `Walk` neither sends nor waits: whoever drives it takes steps, has them answered in any order, and says what
became of each. A list goes on from a page's cursor only once the page has been handed in, so a step that
failed is simply put back and asked again. What is found is in the pages; what is kept of it is the driver's
business, and so is which chats and projects are read.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal

from client import _listed as listed
from client._errors import InvalidResponseError
from client._listed import Chat, Page
from client._models import Fields
from client._wire import Request, decode_object, get_listing, request_id_of, segment

ListKind = Literal["organizations", "users", "projects", "chats", "messages", "attachments"]
Query = tuple[tuple[str, str], ...]

_APPS = "/v1/compliance/apps"
_SMALLER = 10  # how much less is asked for where an answer was too large


@dataclasses.dataclass(frozen=True, slots=True)
class _Rules:
    """How one kind of list is paged: the most entries, where they stand, and how it goes on."""

    limit: int
    entries: str = "data"
    cursor_name: Literal["after_id", "page"] = "page"


_RULES: Mapping[ListKind, _Rules] = {
    "organizations": _Rules(1000),
    "users": _Rules(1000),
    "projects": _Rules(100),
    "chats": _Rules(1000, cursor_name="after_id"),
    "messages": _Rules(1000, entries="chat_messages", cursor_name="after_id"),
    "attachments": _Rules(100),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """A list to go through: its kind, whose it is (an id, or ""), and what narrows it."""

    kind: ListKind
    owner: str = ""
    query: Query = ()

    @property
    def is_of_files(self) -> bool:
        """Say whether the list names files: it is that of a chat or a project."""
        return self.kind in ("messages", "attachments")

    @property
    def key(self) -> str:
        """Return the list's name, under which its cursor may be kept."""
        return "&".join([self.kind, self.owner, *(f"{name}={value}" for name, value in self.query)])


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One request of a walk.

    Units: `limit` entries, the most that the answer may have.
    """

    listing: Listing
    cursor: str | None
    limit: int

    @property
    def request(self) -> Request:
        """Return what to send.

        Errors: ValueError for an owner that can't be an id.
        """
        kind, owner = self.listing.kind, self.listing.owner
        query = [*self.listing.query, ("limit", str(self.limit))]
        if self.cursor is not None:
            query.append((_RULES[kind].cursor_name, self.cursor))
        return get_listing(_path(kind, owner), query, owner or f"the list of {kind}")

    @property
    def smaller(self) -> "Step | None":
        """Return the step that asks for less at once; None where there is no less."""
        if self.limit == 1:
            return None
        return dataclasses.replace(self, limit=max(1, self.limit // _SMALLER))


def _path(kind: ListKind, owner: str) -> str:
    match kind:
        case "organizations":
            return "/v1/compliance/organizations"
        case "users":
            return f"/v1/compliance/organizations/{segment(owner)}/users"
        case "messages":
            return f"{_APPS}/chats/{segment(owner)}/messages"
        case "attachments":
            return f"{_APPS}/projects/{segment(owner)}/attachments"
    return f"{_APPS}/{kind}"


class Walk:
    """The steps that are still to be taken.

    A step is out from `next_step` until `answered`, `put_back` or `give_up`.
    """

    def __init__(self) -> None:
        self._lists: deque[Step] = deque()
        self._reads: deque[Step] = deque()
        self._out: dict[bool, int] = {False: 0, True: 0}  # by whether they are of files

    def start(self, listing: Listing, cursor: str | None = None) -> None:
        """Go through a list, or read a chat or project, from behind `cursor`."""
        step = Step(listing, cursor, _RULES[listing.kind].limit)
        self._queue_of(step).append(step)

    def next_step(self) -> Step | None:
        """Return what to ask next; None when there is nothing, or nothing yet.

        Lists come first: they cost little and tell how much there is to do.
        """
        queue = self._lists or self._reads
        if not queue:
            return None
        step = queue.popleft()
        self._out[step.listing.is_of_files] += 1
        return step

    def answered(self, step: Step, page: Page) -> None:
        """Go on behind a page; what it holds is taken care of by now."""
        self.give_up(step)
        if page.has_more:
            self._queue_of(step).appendleft(dataclasses.replace(step, cursor=page.cursor))

    def put_back(self, step: Step) -> None:
        """Ask again: it failed, and nothing of it counts."""
        self.give_up(step)
        self._queue_of(step).appendleft(step)

    def give_up(self, step: Step) -> None:
        """Leave the rest of the list, or chat, of a step alone."""
        self._out[step.listing.is_of_files] -= 1

    @property
    def waiting_reads(self) -> int:
        """How many chats and projects are waiting to be asked for."""
        return len(self._reads)

    @property
    def is_listing(self) -> bool:
        """Say whether lists are still to be gone through, other than those of files."""
        return bool(self._lists or self._out[False])

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is waiting and nothing is out."""
        return not (self._lists or self._reads or any(self._out.values()))

    def _queue_of(self, step: Step) -> deque[Step]:
        return self._reads if step.listing.is_of_files else self._lists


def read_page(step: Step, headers: Mapping[str, str], body: bytes) -> Page:
    """Return what an answer to a step holds.

    Errors: InvalidResponseError, for an answer that can't be what was asked for, or that leads nowhere.
    """
    try:
        return _page_of(step, decode_object(step.request, headers, body))
    except InvalidResponseError as error:
        if error.request_id:
            raise
        what = f"{step.request.about}: {error}"
        raise InvalidResponseError(what, request_id=request_id_of(headers)) from error


def _page_of(step: Step, document: Mapping[str, object]) -> Page:
    kind = step.listing.kind
    raw = listed.entries_of(document, _RULES[kind].entries)
    cursor, has_more = _goes_on(step, document)
    if kind == "messages":
        chat = Chat.from_dict(document)
        if chat.id != step.listing.owner:
            raise InvalidResponseError(f"the answer is about {chat.id!r:.200}")
        mentions = [mention for message in raw for mention in listed.mentions_of(message)]
        return Page(mentions, cursor, has_more, chat)
    if kind == "attachments":
        files = [listed.attachment_of(entry) for entry in raw]
        found = [file for file in files if file is not None]
        return Page(found, cursor, has_more, passed_over=len(files) - len(found))
    return Page([_READERS[kind](entry) for entry in raw], cursor, has_more)


_READERS: Mapping[ListKind, Callable[[object], listed.Entry]] = {
    "organizations": lambda entry: Fields(entry, "organization", "uuid").required_text("uuid"),
    "users": listed.User.from_dict,
    "projects": listed.Project.from_dict,
    "chats": Chat.from_dict,
}


def _goes_on(step: Step, document: Mapping[str, object]) -> tuple[str | None, bool]:
    """Return the cursor behind a page and whether more follows; a list that would not move on is refused."""
    is_cursor = _RULES[step.listing.kind].cursor_name == "after_id"
    # An empty text is no place to go on from: asked for, it would be the beginning again.
    cursor = document.get("last_id" if is_cursor else "next_page") or None
    has_more = document.get("has_more", None if is_cursor else cursor is not None)
    if not isinstance(has_more, bool) or not isinstance(cursor, str | None):
        raise InvalidResponseError("the list does not say whether it goes on")
    if has_more and cursor in (None, step.cursor):
        raise InvalidResponseError("the list does not go on from where it is")
    return cursor, has_more
