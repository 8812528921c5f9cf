"""Exports a case's files to a directory: what is verified, nothing else, and what is missing by name.

First what the case holds, then what has to be fetched. Each file is noted in the ledger of the directory once
it is whole there; whatever ends an export, the next one goes on from that.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import trio

from fsmount.acquisition import (
    Access,
    Acquisition,
    UnavailableError,
    open_acquisition,
)
from fsmount.actor import actor, user_name
from fsmount.case import Case
from fsmount.content_rows import StoredContent
from fsmount.custody import CustodyLog
from fsmount.display import Progress
from fsmount.errors import ExportError, UsageError, first_of
from fsmount.inventory import Inventory, Item
from fsmount.ledger import Exported
from fsmount.manifests import Written, payload_name
from fsmount.names import META_NAME
from fsmount.objects import display_name_of
from fsmount.packaging import Facts, Format, formats_of, package, payload_totals, unseal
from fsmount.store import content_path
from fsmount.target import PAYLOAD, TAGS, DifferentError, Target, is_about_name
from fsmount.tree import meta_json

T = TypeVar("T")

_WORKERS = 4  # files at a time; more would wait for the same budget and the same disk
_MISSING = f"{TAGS}/missing.jsonl"
_PROVENANCE = "provenance.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """A file that was not exported, and why."""

    claude_file_id: str
    filename: str | None
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What an export came to.

    `files` and `bytes` count the payload of the directory, `added` what this run brought or replaced;
    `lists` has the SHA-256 of each list that vouches for the rest, by its path.
    """

    directory: str
    formats: tuple[Format, ...]
    files: int
    bytes: int
    without_content: int
    added: int
    missing: tuple[Missing, ...]
    lists: Mapping[str, str] = dataclasses.field(default_factory=dict)


def export(
    case: Case,
    directory: Path,
    form: Format,
    access: Access | None,
    *,
    cache_bytes: int,
    progress: Progress,
) -> Outcome:
    """Export what a case shows; with `access`, what it lacks is fetched first.

    Errors: ExportError, CaseError, CustodyError; UsageError for an impossible directory.
    """
    directory = Path(os.path.realpath(directory))
    _check_apart(case, directory)
    identity = {"case": case.name, "case_created_at": case.created_at}
    with (
        Inventory(case.catalog_path) as inventory,
        closing(CustodyLog(case.custody_path)) as journal,
        _disk_errors_of(directory),
        closing(Target(directory, identity)) as target,
    ):
        run = _Run(case, inventory, target, progress)
        try:
            trio.run(run.copy_all, access, journal, cache_bytes)
            outcome = _finish(run, target, form)
        except BaseException as group:
            error = first_of(group)
            why = str(error) or type(error).__name__
            told = {**actor(), "directory": str(directory), "why": why}
            journal.append("export_interrupted", told)
            raise error from None
        entry = {**dataclasses.asdict(outcome), "missing": len(outcome.missing)}
        journal.append("exported", {**actor(), **entry}, durable=True)
    return outcome


class _Run:
    """One pass over the case."""

    def __init__(
        self, case: Case, inventory: Inventory, target: Target, progress: Progress
    ) -> None:
        self.case = case
        self.missing: list[Missing] = []
        self.added = 0
        self._handled: set[int] = set()  # what is at hand may change while a mount works beside us
        self._inventory = inventory
        self._target = target
        self._progress = progress

    async def copy_all(self, access: Access | None, journal: CustodyLog, cache_bytes: int) -> None:
        """Copy what is not there yet: first what the case holds, then what has to be fetched."""
        async with open_acquisition(
            self.case,
            access,
            journal.append_many,
            cache_bytes=cache_bytes,
            on_wait=self._progress.waits,
        ) as acquisition:
            await self._copy_some(acquisition, _is_at_hand)
            await self._copy_some(acquisition, lambda _item: True)

    async def _copy_some(self, acquisition: Acquisition, wanted: Callable[[Item], bool]) -> None:
        send, receive = trio.open_memory_channel[Item](0)
        async with trio.open_nursery() as nursery:
            for _ in range(_WORKERS):
                nursery.start_soon(self._work, acquisition, receive.clone())
            receive.close()
            async with send:
                for item in self._inventory.items():
                    if item.number not in self._handled and wanted(item):
                        self._handled.add(item.number)
                        await send.send(item)

    async def _work(
        self, acquisition: Acquisition, items: "trio.MemoryReceiveChannel[Item]"
    ) -> None:
        async with items:
            async for item in items:
                size_bytes = 0
                known = item
                try:
                    known = await self._with_record(acquisition, item)
                    size_bytes = await self._export(acquisition, known)
                except UnavailableError as error:
                    self._miss(known, str(error))
                self._progress.advance(size_bytes)
                acquisition.make_room()

    async def _with_record(self, acquisition: Acquisition, item: Item) -> Item:
        """Return a file with its record, which is asked for if need be.

        Errors: UnavailableError.
        """
        if item.record is not None:
            return item
        await acquisition.fetch_record(item.claude_file_id)
        found = self._inventory.find(item.claude_file_id)
        if found is None:
            raise UnavailableError("it was deleted meanwhile")
        return found

    async def _export(self, acquisition: Acquisition, item: Item) -> int:
        """Bring one file up to date in the target; return the size of its content in bytes.

        Errors: UnavailableError.
        """
        tags = self._tags_of(item)
        held = await self._held(item)
        has_payload = self._has_payload(item, held)
        if held and has_payload and _has_tags(held, tags) and self._target.has_tags(held):
            return _payload_bytes(held)
        unseal(self._target)
        if has_payload or item.content_name is None:
            exported = await self._in_thread(item, lambda: self._write(item, tags, held))
        else:
            async with acquisition.content(item) as acquired:
                with acquired.fd.using() as fd:
                    exported = await self._in_thread(
                        item, lambda: self._copy(item, tags, acquired.content, fd)
                    )
        self._target.ledger.add(exported)
        self.added += 1
        return _payload_bytes(exported)

    def _tags_of(self, item: Item) -> dict[str, bytes]:
        """Return what is told of a file beside its content, by path; its record must be known."""
        assert item.record is not None
        directory = f"{TAGS}/{item.claude_file_id}"
        tags = {f"{directory}/{META_NAME.decode()}": meta_json(item.record.raw)}
        origins = self._inventory.origins(item.number)
        if origins:
            named_by = [dataclasses.asdict(origin) for origin in origins]
            tags[f"{directory}/{_PROVENANCE}"] = meta_json({"named_by": named_by})
        return tags

    def _has_payload(self, item: Item, held: Exported | None) -> bool:
        """Say whether the content of a file, or its having none, was exported, and nothing contradicts it."""
        if held is None or held.payload is None or item.content_name is None:
            return held is not None and held.payload is None and item.content_name is None
        known = item.content.sha256 if item.content else None  # None after the catalog was restored
        return known in {None, held.payload.sha256} and _payload_path(item) == held.payload.path

    async def _held(self, item: Item) -> Exported | None:
        """Return what was exported of a file before, if it is still there; else clear its remains away."""
        held = self._target.ledger.find(item.claude_file_id)
        if held is None or self._target.has_payload(held):
            return held
        unseal(self._target)
        found = await self._in_thread(item, lambda: self._target.look_again(held))
        if found is None:
            self._target.drop(held)
        else:
            self._target.ledger.add(found)
        return found

    def _write(self, item: Item, tags: Mapping[str, bytes], held: Exported | None) -> Exported:
        """Write what is told of a file, and leave its content as it is."""
        told = tuple(self._target.write(path, [data]) for path, data in tags.items())
        if held is None:
            return Exported(item.claude_file_id, None, told, item.mtime_ns)
        return dataclasses.replace(held, tags=told, mtime_ns=item.mtime_ns)

    def _copy(
        self, item: Item, tags: Mapping[str, bytes], content: StoredContent, fd: int
    ) -> Exported:
        """Copy a file's content, and write what is told of it."""
        payload, stamp_ns = self._target.copy(
            fd,
            _payload_path(item),
            content,
            item.mtime_ns,
            may_go_on=trio.from_thread.check_cancelled,
        )
        return Exported(
            item.claude_file_id,
            payload,
            self._write(item, tags, None).tags,
            item.mtime_ns,
            stamp_ns,
            content.request_id,
            content.acquired_at,
            content.how,
        )

    async def _in_thread(self, item: Item, work: Callable[[], T]) -> T:
        """Do what waits for a disk in a thread; what concerns this file alone is its being unavailable."""
        try:
            return await trio.to_thread.run_sync(work)
        except DifferentError as error:
            path = content_path(self.case.content_dir, item.claude_file_id)
            raise UnavailableError(
                f"its stored bytes were changed since they were verified: {error};"
                f" remove {path} to have it fetched again"
            ) from error
        except OSError as error:
            if not is_about_name(error):
                raise
            raise UnavailableError(
                f"the disk of {self._target.directory} refuses its name: {error.strerror}"
            ) from error

    def _miss(self, item: Item, why: str) -> None:
        name = display_name_of(item.record) if item.record else None
        why = why.removeprefix(f"{item.claude_file_id}: ")
        self.missing.append(Missing(item.claude_file_id, name, why))


def _finish(run: _Run, target: Target, form: Format) -> Outcome:
    """Make what the directory holds a bag, an audit or a listing; what is missing is told in it, too."""
    formats = formats_of(target, form)
    unseal(target)
    tags: list[Written] = []
    if run.missing:
        lines = (json.dumps(dataclasses.asdict(missing)) + "\n" for missing in run.missing)
        tags.append(target.write(_MISSING, (line.encode() for line in lines)))
    else:
        target.remove(_MISSING)
    files, size_bytes = payload_totals(target)
    outcome = Outcome(
        str(target.directory),
        tuple(formats),
        files,
        size_bytes,
        len(target.ledger) - files,
        run.added,
        tuple(run.missing),
    )
    facts = Facts(
        run.case.name,
        run.case.created_at,
        user_name(),
        outcome.without_content,
        len(run.missing),
    )
    lists = package(target, formats, facts, tags)
    return dataclasses.replace(outcome, lists={file.path: file.sha256 for file in lists})


def _has_tags(held: Exported, tags: Mapping[str, bytes]) -> bool:
    told = {tag.path: tag.sha256 for tag in held.tags}
    return told == {path: hashlib.sha256(data).hexdigest() for path, data in tags.items()}


def _payload_path(item: Item) -> str:
    assert item.content_name is not None
    return f"{PAYLOAD}/{item.claude_file_id}/{payload_name(item.content_name)}"


def _payload_bytes(exported: Exported) -> int:
    return exported.payload.size_bytes if exported.payload else 0


def _is_at_hand(item: Item) -> bool:
    """Say whether a file can be exported without a request."""
    if item.record is None:
        return False
    return item.content_name is None or (item.content is not None and item.content.is_stored)


def _check_apart(case: Case, directory: Path) -> None:
    place = Path(os.path.realpath(case.path))
    if directory.is_relative_to(place) or place.is_relative_to(directory):
        raise UsageError(
            f"{directory} and the case {place} lie in each other; name another directory to export to"
        )


@contextlib.contextmanager
def _disk_errors_of(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"can't export to {directory}: {error.strerror or error}; mend that and run the same command"
            " again: it goes on where it stopped"
        ) from error
