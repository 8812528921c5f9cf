"""The tree without a kernel: what is found, listed and opened, and what each answer costs."""

import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import trio

import client
from fsmount.answers import Absent, Rules, Stale
from fsmount.callers import Caller, program_of
from fsmount.catalog import Catalog
from fsmount.content import Contents
from fsmount.deletion import Deleter, Readers
from fsmount.errors import (
    AbsentError,
    AccessRefusedError,
    NoAttributeError,
    NotADirectoryHereError,
    NotEmptyError,
    OfflineError,
    ReadOnlyError,
    RefusedError,
)
from fsmount.filesystem import Filesystem
from fsmount.inodes import HIDDEN_DIR, ROOT, STATUS, Inode, Kind, inode_of
from fsmount.objects import State
from fsmount.service import Service
from fsmount.store import ContentStore
from fsmount.tree import Attributes
from tests.support.scripted import ScriptedSource

ME = Caller(os.getpid(), os.getuid(), os.getgid())
OTHER = Caller(1, 0, 0)
BODY = b"the content"


class ScriptedFiles(ScriptedSource):
    """A service with records, one body for all of them, and deletion."""

    def __init__(self, records: dict[str, dict[str, object]]) -> None:
        super().__init__(BODY)
        self.records = records
        self.asked: list[str] = []
        self.deleted: list[str] = []

    async def get(self, claude_file_id: str) -> client.File:
        self.asked.append(claude_file_id)
        await trio.lowlevel.checkpoint()
        if claude_file_id not in self.records:
            raise client.NotFoundError(404, "not_found_error", "File not found", "req_404")
        return client.File.from_dict(self.records[claude_file_id])

    async def delete(self, claude_file_id: str) -> None:
        self.deleted.append(claude_file_id)
        del self.records[claude_file_id]


class Journal:
    """A custody log in memory, which may be made to fail."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.failure: Exception | None = None

    def append_many(self, events: Sequence[tuple[str, object]]) -> None:
        for event, data in events:
            self.append(event, data)

    def append(self, event: str, data: object, *, durable: bool = False) -> None:
        del data, durable
        if self.failure:
            raise self.failure
        self.events.append(event)


def record(file_id: str, **fields: object) -> dict[str, object]:
    return {
        "id": file_id,
        "created_at": "2026-01-02T03:04:05Z",
        "filename": "a.txt",
        "mime_type": "text/plain",
        "size_bytes": len(BODY),
        "md5": None,
    } | fields


class World:
    """A file system and what is around it."""

    def __init__(
        self, fs: Filesystem, files: ScriptedFiles, catalog: Catalog, journal: Journal
    ) -> None:
        self.fs = fs
        self.files = files
        self.catalog = catalog
        self.journal = journal
        self.stale: list[Stale] = []

    async def entry(self, file_id: str) -> Attributes:
        found = await self.fs.lookup(ROOT, file_id.encode(), ME)
        assert isinstance(found, Attributes)
        return found

    async def names(self, file_id: str) -> list[bytes]:
        handle = await self.fs.directories.opendir((await self.entry(file_id)).inode, ME)
        names = [entry.name for entry in self.fs.directories.readdir(handle, 0)]
        self.fs.directories.releasedir(handle)
        return names


@contextlib.asynccontextmanager
async def world(
    directory: Path,
    *ids: str,
    offline: bool = False,
    rules: Rules | None = None,
    records: dict[str, dict[str, object]] | None = None,
) -> AsyncIterator[World]:
    """Build a file system over a new case; `records` is what the service knows besides nothing."""
    for name in ("content", "spool"):
        (directory / name).mkdir(exist_ok=True)
    files = ScriptedFiles(dict(records or {}))
    journal = Journal()
    rules = rules or Rules()
    with contextlib.ExitStack() as stack:
        catalog = stack.enter_context(contextlib.closing(Catalog(directory / "catalog.sqlite3")))
        store = stack.enter_context(
            contextlib.closing(ContentStore(directory / "catalog.sqlite3", directory / "content"))
        )
        await catalog.add_ids(ids)
        async with trio.open_nursery() as nursery:
            service = None if offline else Service(files, nursery)
            contents = Contents(
                store,
                service,
                spool_dir=directory / "spool",
                nursery=nursery,
                journal=journal.append_many,
            )
            readers = Readers()
            deleter = None
            if service and rules.allow_delete:
                deleter = Deleter(
                    service,
                    journal,
                    readers,
                    nursery,
                    allow_move=False,
                    on_doubt=lambda _key: None,
                )
            stale: list[Stale] = []
            fs = Filesystem(
                catalog,
                contents,
                service,
                deleter,
                readers,
                rules,
                status=lambda: b'{"state": "fine"}\n',
                on_stale=stale.append,
                on_gone=lambda key, _error: journal.append("gone", key),
            )
            built = World(fs, files, catalog, journal)
            built.stale = stale
            yield built
            nursery.cancel_scope.cancel()
            await contents.aclose()


A = "claude_file_01a"
B = "claude_file_01b"


async def test_the_root_is_listed_without_a_request_and_in_a_stable_order(tmp_path):
    """Positions stay valid while files are added between two calls."""
    async with world(tmp_path, A, B) as w:
        handle = await w.fs.directories.opendir(ROOT, ME)
        first = next(w.fs.directories.readdir(handle, 0))
        await w.catalog.add_ids(["claude_file_01c"])
        rest = [entry.name for entry in w.fs.directories.readdir(handle, first.next_id)]
        assert [A.encode(), B.encode(), b"claude_file_01c"] == [first.name, *rest]
        assert [] == w.files.asked


@pytest.mark.parametrize(
    "name", [b".Trash", b"autorun.inf", b"claude_file_", b"claude_file_\xff", b"x" * 300]
)
async def test_a_name_that_is_no_id_is_absent_for_a_while_at_no_cost(tmp_path, name):
    """The kernel may remember it, so that it does not even ask again."""
    async with world(tmp_path) as w:
        found = await w.fs.lookup(ROOT, name, ME)
        assert isinstance(found, Absent)
        assert found.entry_timeout_s >= 60
        assert [] == w.files.asked


async def test_an_unknown_id_is_asked_for_once_a_minute(autojump_clock, tmp_path):
    """A loop over a mistyped id does not eat the budget."""
    async with world(tmp_path) as w:
        for _ in range(5):
            assert isinstance(await w.fs.lookup(ROOT, A.encode(), ME), Absent)
        assert [A] == w.files.asked
        await trio.sleep(61)
        await w.fs.lookup(ROOT, A.encode(), ME)
        assert [A, A] == w.files.asked


async def test_many_askers_share_one_request_for_a_record(tmp_path):
    """A grep with many threads costs one record a file."""
    async with world(tmp_path, A, records={A: record(A)}) as w, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(w.names, A)
    assert [A] == w.files.asked


async def test_a_directory_lists_content_before_its_record(tmp_path):
    """`rm -r` meets the content first, and deletes it before it comes to meta.json."""
    async with world(tmp_path, A, records={A: record(A)}) as w:
        assert [b"a.txt", b"meta.json"] == await w.names(A)


async def test_a_listing_tells_no_size_that_nobody_knows(tmp_path):
    """Without a recorded size the entry is not believed by the kernel, and a look finds the truth."""
    async with world(tmp_path, A, records={A: record(A, size_bytes=None)}) as w:
        directory = await w.entry(A)
        handle = await w.fs.directories.opendir(directory.inode, ME)
        listed = next(w.fs.directories.readdir(handle, 0)).attributes
        assert (0.0, 0.0) == (listed.attr_timeout_s, listed.entry_timeout_s)
        assert [] == w.files.requests
        assert len(BODY) == (await w.fs.getattr(listed.inode, ME)).size_bytes
        assert 1 == len(w.files.requests)


async def test_hidden_names_in_a_directory_cost_not_even_the_record(tmp_path):
    """No content name begins with a dot, so the answer is known."""
    async with world(tmp_path, A, records={A: record(A)}) as w:
        directory = await w.entry(A)
        assert isinstance(await w.fs.lookup(directory.inode, b".hidden", ME), Absent)
        assert [] == w.files.asked


async def test_listing_and_stat_say_the_same(tmp_path):
    """Whatever is known of a file, with or without a record, allowed to be deleted or not."""
    for rules in (Rules(), Rules(allow_delete=True)):
        async with world(tmp_path, A, B, rules=rules) as w:
            await w.catalog.put_record(client.File.from_dict(record(A)))
            entries = list(w.fs.directories.readdir(await w.fs.directories.opendir(ROOT, ME), 0))
            assert [A.encode(), B.encode()] == [entry.name for entry in entries]
            for entry in entries:
                assert await w.fs.getattr(entry.attributes.inode, ME) == entry.attributes


async def test_a_listed_file_that_is_gone_disappears(tmp_path):
    """What the API does not know is absent, and no longer listed."""
    async with world(tmp_path, A) as w:
        with pytest.raises(client.NotFoundError):
            await w.names(A)
        handle = await w.fs.directories.opendir(ROOT, ME)
        assert [] == list(w.fs.directories.readdir(handle, 0))


async def test_reading_meta_json_gives_the_record(tmp_path):
    """Exactly as large as stat says, and without touching content."""
    async with world(tmp_path, A, records={A: record(A, extra_field={"z": 1})}) as w:
        await w.names(A)
        inode = inode_of(1, Kind.META)
        opened = await w.fs.files.open(inode, os.O_RDONLY, ME)
        data = bytes(await w.fs.files.read(opened.handle, 0, 1 << 20))
        assert len(data) == (await w.fs.getattr(inode, ME)).size_bytes
        assert {"z": 1} == json.loads(data)["extra_field"]
        assert data[5:9] == await w.fs.files.read(opened.handle, 5, 4)
        w.fs.files.release(opened.handle)
        assert [] == w.files.requests


async def test_the_status_reads_as_large_as_it_says(tmp_path):
    """The hidden file is found by name and listed nowhere."""
    async with world(tmp_path, A) as w:
        hidden = await w.fs.lookup(ROOT, b".fsmount", ME)
        assert isinstance(hidden, Attributes)
        assert HIDDEN_DIR == hidden.inode
        found = await w.fs.lookup(HIDDEN_DIR, b"status.json", ME)
        assert isinstance(found, Attributes)
        opened = await w.fs.files.open(STATUS, os.O_RDONLY, ME)
        assert found.size_bytes == len(await w.fs.files.read(opened.handle, 0, 9999))


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC])
async def test_opening_for_writing_is_refused(tmp_path, flags):
    """Also in a mount that allows deleting, where the kernel would let it through."""
    async with world(tmp_path, A, rules=Rules(allow_delete=True), records={A: record(A)}) as w:
        await w.names(A)
        with pytest.raises(ReadOnlyError):
            await w.fs.files.open(inode_of(1, Kind.CONTENT), flags, ME)


async def test_small_files_are_whole_before_they_are_open(tmp_path):
    """Up to the bound, opening waits for the whole; above it, it waits for nothing."""
    async with world(tmp_path, A, records={A: record(A)}) as w:
        await w.names(A)
        await w.fs.files.open(inode_of(1, Kind.CONTENT), os.O_RDONLY, ME)
        assert 1 == len(w.files.requests)
    (tmp_path / "large").mkdir()
    rules = Rules(verified_open_bytes=0)
    async with world(tmp_path / "large", A, rules=rules, records={A: record(A)}) as w:
        await w.names(A)
        opened = await w.fs.files.open(inode_of(1, Kind.CONTENT), os.O_RDONLY, ME)
        assert 0 == len(w.files.requests)
        assert BODY == await w.fs.files.read(opened.handle, 0, 100)


async def test_a_denied_program_causes_no_request_at_all(tmp_path):
    """Neither for a record, nor for a size that only the content tells, nor for content; others may."""
    me = frozenset({program_of(ME.tid).comm})
    records = {A: record(A, size_bytes=None)}
    content = inode_of(1, Kind.CONTENT)
    async with world(tmp_path, A, rules=Rules(deny_programs=me), records=records) as w:
        directory = (await w.entry(A)).inode
        for look in (
            lambda: w.fs.directories.opendir(directory, ME),
            lambda: w.fs.lookup(directory, b"a.txt", ME),
            lambda: w.fs.files.open(content, os.O_RDONLY, ME),
        ):
            with pytest.raises(AccessRefusedError):
                await look()
        assert [] == w.files.asked
        await w.fs.directories.opendir(directory, OTHER)
        await w.fs.directories.opendir(directory, ME)
        for look in (
            lambda: w.fs.lookup(directory, b"a.txt", ME),
            lambda: w.fs.getattr(content, ME),
            lambda: w.fs.files.open(content, os.O_RDONLY, ME),
        ):
            with pytest.raises(AccessRefusedError):
                await look()
        assert ([A], []) == (w.files.asked, w.files.requests)
        assert 6 == w.fs.counters.denied
        await w.fs.files.open(content, os.O_RDONLY, OTHER)
        assert len(BODY) == (await w.fs.getattr(content, ME)).size_bytes
        await w.fs.files.open(content, os.O_RDONLY, ME)
        assert (1, 6) == (len(w.files.requests), w.fs.counters.denied)


async def test_what_the_kernel_forgot_is_found_by_its_number(tmp_path):
    """Itself and the directory that it is in, as servers of NFS need; any other number is absent."""
    async with world(tmp_path, A, records={A: record(A)}) as w:
        directory, content = await w.entry(A), inode_of(1, Kind.CONTENT)
        found = [
            await w.fs.lookup(Inode(inode), name, ME)
            for inode, name in [
                (content, b"."),
                (content, b".."),
                (directory.inode, b"."),
                (directory.inode, b".."),
                (ROOT, b"."),
            ]
        ]
        expected = [content, directory.inode, directory.inode, ROOT, ROOT]
        assert expected == [node.inode for node in found if isinstance(node, Attributes)]
        for strange in (0, 7, 4_000, 1 << 61, 0xF << 58 | 1 << 62, (1 << 64) - 1):
            with pytest.raises(AbsentError):
                await w.fs.lookup(Inode(strange), b".", ME)


async def test_attributes_are_there_for_the_right_nodes(tmp_path):
    """Content has them all, the root has none, and an unknown name is ENODATA."""
    async with world(tmp_path, A, records={A: record(A)}) as w:
        await w.names(A)
        content = inode_of(1, Kind.CONTENT)
        assert [] == w.fs.listxattr(ROOT)
        assert b"text/plain" == w.fs.getxattr(content, b"user.mime_type")
        with pytest.raises(NoAttributeError):
            w.fs.getxattr(content, b"security.selinux")
        with pytest.raises(NoAttributeError):
            w.fs.getxattr(ROOT, b"user.mime_type")
        assert [] == w.files.requests


async def test_offline_asks_nobody(tmp_path):
    """Unknown ids are absent, unknown records an error that says why."""
    async with world(tmp_path, A, offline=True) as w:
        assert isinstance(await w.fs.lookup(ROOT, B.encode(), ME), Absent)
        with pytest.raises(OfflineError):
            await w.names(A)


async def test_deleting_needs_permission_and_the_right_entry(tmp_path):
    """Without --allow-delete everything is read-only; with it, only content may go."""
    async with world(tmp_path, A, records={A: record(A)}) as w:
        directory = await w.entry(A)
        with pytest.raises(ReadOnlyError):
            await w.fs.unlink(directory.inode, b"a.txt", ME)
    rules = Rules(allow_delete=True)
    async with world(tmp_path, A, rules=rules, records={A: record(A)}) as w:
        directory = await w.entry(A)
        with pytest.raises(RefusedError):
            await w.fs.unlink(directory.inode, b"meta.json", ME)
        with pytest.raises(AbsentError):
            await w.fs.unlink(directory.inode, b"other", ME)
        with pytest.raises(RefusedError):
            await w.fs.unlink(ROOT, A.encode(), ME)
        with pytest.raises(NotEmptyError):
            await w.fs.rmdir(ROOT, A.encode())
        assert [] == w.files.deleted


async def test_rm_r_in_steps(autojump_clock, tmp_path):
    """Content, record and directory go one after the other; then nothing is left to find."""
    async with world(tmp_path, A, B, rules=Rules(allow_delete=True), records={A: record(A)}) as w:
        directory = await w.entry(A)
        await w.fs.unlink(directory.inode, b"a.txt", OTHER)
        assert [A] == w.files.deleted
        assert ["delete_requested", "delete_outcome"] == w.journal.events
        assert [b"meta.json"] == await w.names(A)
        await w.fs.unlink(directory.inode, b"meta.json", OTHER)
        await w.fs.rmdir(ROOT, A.encode())
        assert isinstance(await w.fs.lookup(ROOT, A.encode(), ME), Absent)
        handle = await w.fs.directories.opendir(ROOT, ME)
        assert [B.encode()] == [entry.name for entry in w.fs.directories.readdir(handle, 0)]


async def test_what_a_deleted_file_left_goes_by_itself(autojump_clock, tmp_path):
    """After `rm` of the content alone, the directory is gone a little later."""
    async with world(tmp_path, A, rules=Rules(allow_delete=True), records={A: record(A)}) as w:
        directory = await w.entry(A)
        await w.fs.unlink(directory.inode, b"a.txt", OTHER)
        await trio.sleep(11)
        with pytest.raises(AbsentError):
            await w.fs.getattr(directory.inode, ME)


async def test_nothing_is_deleted_when_the_custody_log_fails(tmp_path):
    """Without a trace there is no deletion."""
    async with world(tmp_path, A, rules=Rules(allow_delete=True), records={A: record(A)}) as w:
        directory = await w.entry(A)
        w.journal.failure = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="space"):
            await w.fs.unlink(directory.inode, b"a.txt", OTHER)
        w.journal.failure = None
        assert [] == w.files.deleted
        assert [b"a.txt", b"meta.json"] == await w.names(A)


async def test_what_is_deleted_is_forgotten_though_its_deleter_is_killed(tmp_path, monkeypatch):
    """After the confirmation nothing keeps the case from following."""
    async with world(tmp_path, A, rules=Rules(allow_delete=True), records={A: record(A)}) as w:
        directory = await w.entry(A)
        scope = trio.CancelScope()
        append = w.journal.append

        def append_and_kill(event: str, data: object, *, durable: bool = False) -> None:
            append(event, data, durable=durable)
            if event == "delete_outcome":
                trio.from_thread.run_sync(scope.cancel)

        monkeypatch.setattr(w.journal, "append", append_and_kill)
        with scope:
            await w.fs.unlink(directory.inode, b"a.txt", OTHER)
        assert scope.cancelled_caught
        with trio.fail_after(5):
            while (entry := w.catalog.find(A)) and entry.state is not State.DELETED:
                await trio.sleep(0.01)
        assert ["delete_requested", "delete_outcome"] == w.journal.events


async def test_whoever_has_read_may_not_delete(tmp_path):
    """The process that opened the content is refused; another one is not."""
    async with world(tmp_path, A, rules=Rules(allow_delete=True), records={A: record(A)}) as w:
        directory = await w.entry(A)
        opened = await w.fs.files.open(inode_of(1, Kind.CONTENT), os.O_RDONLY, ME)
        w.fs.files.release(opened.handle)
        with pytest.raises(RefusedError, match="allow-move"):
            await w.fs.unlink(directory.inode, b"a.txt", ME)
        assert [] == w.files.deleted
        await w.fs.unlink(directory.inode, b"a.txt", OTHER)
        assert [A] == w.files.deleted


async def test_a_file_is_not_a_directory(tmp_path):
    """Looking below a file is an error of its own."""
    async with world(tmp_path, A, records={A: record(A)}) as w:
        await w.names(A)
        with pytest.raises(NotADirectoryHereError):
            await w.fs.lookup(inode_of(1, Kind.CONTENT), b"x", ME)
        with pytest.raises(NotADirectoryHereError):
            await w.fs.directories.opendir(inode_of(1, Kind.META), ME)
        with pytest.raises(AbsentError):
            await w.fs.getattr(inode_of(77, Kind.DIRECTORY), ME)
