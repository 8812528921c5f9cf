"""Handlers convert and refuse; nothing that comes out of a file system, or out of them, is unexpected."""

import errno
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pyfuse3
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import client
from fsmount import errors
from fsmount.answers import Absent, DirEntry, Opened, StatFs
from fsmount.boundary import Boundary
from fsmount.filesystem import Filesystem
from fsmount.inodes import Handle, Inode
from fsmount.kernel_types import Owner, ReusedEntry
from fsmount.operations import Operations, correct
from fsmount.tree import Attributes, directory_attributes, file_attributes, link_attributes

CTX = pyfuse3.RequestContext()
ENTRY_FIELDS = [
    *("st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize"),
    *("st_atime_ns", "st_mtime_ns", "st_ctime_ns", "entry_timeout", "attr_timeout"),
]
TOKEN = cast("pyfuse3.ReaddirToken", None)  # only the library can make one
FILE = file_attributes(
    Inode(5), 1025, 1_700_000_000_123_456_789, attr_timeout_s=3, entry_timeout_s=4
)
LINK = link_attributes(Inode(6), b"../a.txt", 7, attr_timeout_s=1, entry_timeout_s=2)
DIRECTORY = directory_attributes(Inode(4), 7, writable=False, attr_timeout_s=1, entry_timeout_s=2)


class FakeFilesystem:
    """Answers each operation with what `answers` says: a value, or an exception to be raised."""

    def __init__(self, answers: dict[str, object] | None = None, *, at_once: bool = False) -> None:
        self.answers = answers or {}
        self.at_once = at_once
        self.asked: list[tuple[object, ...]] = []
        self.directories = self.files = self

    def _now(self, *request: object) -> Any:
        """Answer at once, or leave that to who may wait."""
        return self._answer(*request) if self.at_once else None

    def lookup_nowait(self, parent, name):
        return self._now("lookup", parent, name)

    def getattr_nowait(self, inode):
        return self._now("getattr", inode)

    def opendir_nowait(self, inode):
        return self._now("opendir", inode)

    def open_nowait(self, inode, flags, _caller):
        return self._now("open", inode, flags)

    def read_nowait(self, handle, off, size):
        return self._now("read", handle, off, size)

    def _answer(self, *request: object) -> Any:
        self.asked.append(request)
        answer = self.answers.get(str(request[0]), self.answers.get("*"))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def lookup(self, parent, name, _caller):
        return self._answer("lookup", parent, name)

    async def getattr(self, inode, _caller):
        return self._answer("getattr", inode)

    async def opendir(self, inode, _caller):
        return self._answer("opendir", inode)

    def readdir(self, handle, start):
        return self._answer("readdir", handle, start)

    def inode_of(self, handle):
        return self._answer("inode_of", handle) or 4

    def parent_of_open(self, handle):
        return self._answer("parent_of_open", handle) or 1

    def releasedir(self, handle):
        return self._answer("releasedir", handle)

    async def open(self, inode, flags, _caller):
        return self._answer("open", inode, flags)

    async def read(self, handle, off, size):
        return self._answer("read", handle, off, size)

    def release(self, handle):
        return self._answer("release", handle)

    async def unlink(self, parent, name, _caller):
        return self._answer("unlink", parent, name)

    async def rmdir(self, parent, name):
        return self._answer("rmdir", parent, name)

    def readlink(self, inode):
        return self._answer("readlink", inode)

    def getxattr(self, inode, name):
        return self._answer("getxattr", inode, name)

    def listxattr(self, inode):
        return self._answer("listxattr", inode)

    def statfs(self):
        return self._answer("statfs")

    def describe(self, node, name=None):
        what = "claude_file_1" if node == 1 else "claude_file_1/a.txt"
        return self._answer("describe", node, name) or what


def operations_over(
    answers: dict[str, object] | None = None, *, umask: int = 0o077, at_once: bool = False
) -> tuple[Operations, FakeFilesystem]:
    """Return handlers over a fake file system, and that."""
    fake = FakeFilesystem(answers, at_once=at_once)
    handlers = Operations(Owner(1000, 1001, umask))
    handlers.attach(cast("Filesystem", fake), Boundary(90))
    return handlers, fake


Call = Callable[[Operations], Awaitable[object]]
CALLS: dict[str, Call] = {
    "lookup": lambda o: o.lookup(1, b"x", CTX),
    "getattr": lambda o: o.getattr(5, CTX),
    "readlink": lambda o: o.readlink(1 << 62, CTX),
    "getxattr": lambda o: o.getxattr(5, b"user.x", CTX),
    "listxattr": lambda o: o.listxattr(5, CTX),
    "statfs": lambda o: o.statfs(CTX),
    "opendir": lambda o: o.opendir(4, CTX),
    "readdir": lambda o: o.readdir(1, 2, TOKEN),
    "open": lambda o: o.open(5, os.O_RDONLY, CTX),
    "read": lambda o: o.read(1, 0, 4096),
    "unlink": lambda o: o.unlink(4, b"a.txt", CTX),
    "rmdir": lambda o: o.rmdir(1, b"claude_file_1", CTX),
}
REFUSED: dict[str, Call] = {
    "setattr": lambda o: o.setattr(
        5, pyfuse3.EntryAttributes(), pyfuse3.SetattrFields(), None, CTX
    ),
    "mknod": lambda o: o.mknod(1, b"x", 0o100600, 0, CTX),
    "mkdir": lambda o: o.mkdir(1, b".Trash-0", 0o700, CTX),
    "symlink": lambda o: o.symlink(1, b"x", b"target", CTX),
    "link": lambda o: o.link(5, 1, b"x", CTX),
    "rename": lambda o: o.rename(1, b"a", 1, b"b", 0, CTX),
    "create": lambda o: o.create(1, b"x", 0o600, os.O_RDWR, CTX),
    "write": lambda o: o.write(1, 0, b"SECRET BYTES"),
    "setxattr": lambda o: o.setxattr(5, b"user.x", b"SECRET BYTES", CTX),
    "removexattr": lambda o: o.removexattr(5, b"user.x", CTX),
}


def every_error() -> list[Exception]:
    """Return one exception of each kind that anything below a handler may raise."""

    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    kinds = sorted(below(errors.FsmountError), key=str)
    ours = [kind("what, which, what to do") for kind in kinds]
    theirs = [
        client.AuthenticationError(401, None, "m", "req_1"),
        client.NotFoundError(404, None, "m", "req_1"),
        client.RateLimitError(429, None, "m", "req_1"),
        client.APIConnectionError("cut", bytes_sent=True),
        client.InvalidResponseError("odd"),
    ]
    builtin = [
        *(ValueError("x"), TypeError("x"), KeyError("x"), AttributeError("x"), AssertionError()),
        *(MemoryError(), RecursionError(), StopIteration(), StopAsyncIteration(), TimeoutError()),
        *(OSError(errno.EAGAIN, "x"), OSError(errno.EINTR, "x"), OSError("no number")),
        *(UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), trio.ClosedResourceError()),
        ExceptionGroup("several", [ValueError("x"), OSError("y")]),
    ]
    return [*ours, *theirs, *builtin]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
async def test_every_error_of_every_operation_is_an_errno(operation, error, at_once):
    """The library answers the kernel with FUSEError, and ends the mount over anything else."""
    handlers, _ = operations_over({operation: error}, at_once=at_once)
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await CALLS[operation](handlers)
    assert errors.errno_for(error) == raised.value.errno
    assert raised.value.errno not in {errno.EAGAIN, errno.EINTR, errno.ENOSYS, 0}


@pytest.mark.parametrize("operation", ["lookup", "getattr", "getxattr", "listxattr", "statfs"])
@pytest.mark.parametrize("nonsense", [None, 42, "text", [1], object(), [None]])
@pytest.mark.parametrize("at_once", [False, True])
async def test_an_answer_of_the_wrong_type_is_an_error_of_that_operation(
    operation, nonsense, at_once
):
    """A bug below costs one EIO, not the mount."""
    handlers, _ = operations_over({operation: nonsense}, at_once=at_once)
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await CALLS[operation](handlers)
    assert errno.EIO == raised.value.errno


@pytest.mark.parametrize("nonsense", [None, 42, "text", object(), b"x" * 4097])
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_read_gives_bytes_and_no_more_than_asked_for(nonsense, at_once):
    """The kernel refuses an answer that is too long, and the library one that is no bytes."""
    handlers, _ = operations_over({"read": nonsense}, at_once=at_once)
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await CALLS["read"](handlers)
    assert errno.EIO == raised.value.errno


@pytest.mark.parametrize("nonsense", [None, "text", object()])
@pytest.mark.parametrize("operation", ["open", "opendir", "readdir"])
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_handle_of_the_wrong_type_is_an_error(operation, nonsense, at_once):
    """What is no handle, and what is no listing, never reaches the library."""
    handlers, _ = operations_over({operation: nonsense}, at_once=at_once)
    with pytest.raises(pyfuse3.FUSEError):
        await CALLS[operation](handlers)


@pytest.mark.parametrize("operation", sorted(set(CALLS) - {"statfs", "readdir"}))
async def test_what_cannot_be_described_is_still_answered(operation, caplog):
    """Naming the file for the log may fail like everything else."""
    failure = errors.AbsentError("gone")
    handlers, _ = operations_over({operation: failure, "describe": RuntimeError("no catalog")})
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await CALLS[operation](handlers)
    assert errno.ENOENT == raised.value.errno


@pytest.mark.parametrize("operation", ["release", "releasedir", "forget"])
@pytest.mark.parametrize("error", [KeyError(1), errors.ContentError("x"), MemoryError()])
async def test_closing_never_fails(operation, error):
    """The kernel wants no answer to these, and an exception would end the mount."""
    handlers, _ = operations_over({"*": error})
    argument = [(5, 1)] if operation == "forget" else 99
    assert await getattr(handlers, operation)(argument) is None


@pytest.mark.parametrize("operation", REFUSED)
async def test_whatever_would_change_the_tree_is_refused(operation, caplog):
    """EROFS, and not ENOSYS, which some tools take for a file system that can do it in another way."""
    caplog.set_level(logging.DEBUG)
    handlers, fake = operations_over()
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await REFUSED[operation](handlers)
    assert errno.EROFS == raised.value.errno
    assert operation in caplog.text
    assert "SECRET" not in caplog.text, "what programs write is nobody's business"
    assert [] == fake.asked


def test_no_handler_of_the_library_is_left_to_its_default_but_those_never_called():
    """A handler that is not ours answers ENOSYS, after which the kernel never asks again."""
    never_called = {"access"}  # by default_permissions
    no_work = {
        "flush",
        "fsync",
        "fsyncdir",
        "poll",
    }  # ENOSYS is the right answer: nothing is written
    not_requests = {"stacktrace"}
    theirs = {name for name in vars(pyfuse3.Operations) if not name.startswith("_")}
    handlers = {name for name in theirs if callable(vars(pyfuse3.Operations)[name])}
    assert never_called | no_work | not_requests == handlers - set(vars(Operations))


async def test_attributes_are_the_owners_and_masked():
    """One owner for all, the mode masked, whole blocks of 512 bytes, and one time for all three."""
    handlers, _ = operations_over({"lookup": FILE}, umask=0o077)
    entry = await handlers.lookup(4, b"a.txt", CTX)
    assert (5, 1025, 3, 1) == (entry.st_ino, entry.st_size, entry.st_blocks, entry.st_nlink)
    assert (1000, 1001) == (entry.st_uid, entry.st_gid)
    assert (stat.S_IFREG, 0o400) == (stat.S_IFMT(entry.st_mode), stat.S_IMODE(entry.st_mode))
    times = {entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns}
    assert {1_700_000_000_123_456_789} == times
    assert (131072, 3, 4) == (entry.st_blksize, entry.attr_timeout, entry.entry_timeout)


async def test_an_umask_of_nothing_shows_files_to_all():
    """Mode bits are taken away by the umask only."""
    handlers, _ = operations_over({"getattr": FILE}, umask=0)
    assert 0o444 == stat.S_IMODE((await handlers.getattr(5, CTX)).st_mode)


async def test_links_keep_the_mode_that_links_have():
    """Whatever the umask: it is nobody's business who may follow one, and archives record it."""
    handlers, _ = operations_over({"lookup": LINK}, umask=0o077)
    assert stat.S_IFLNK | 0o777 == (await handlers.lookup(4, b"a.txt", CTX)).st_mode


async def test_an_absent_name_is_an_answer_that_the_kernel_remembers():
    """Inode 0 with a lifetime, not ENOENT, which the kernel would ask for again and again."""
    handlers, _ = operations_over({"lookup": Absent(60.0)})
    entry = await handlers.lookup(1, b".Trash", CTX)
    assert (0, 60) == (entry.st_ino, entry.entry_timeout)


@pytest.mark.parametrize("keep_cache", [True, False])
async def test_opening_never_asks_for_direct_io(keep_cache):
    """Direct I/O would break mmap; whether pages stay is the file system's to say."""
    handlers, fake = operations_over({"open": Opened(Handle(7), keep_cache=keep_cache)})
    info = await handlers.open(5, os.O_RDONLY, CTX)
    assert (7, keep_cache, False, False) == (
        info.fh,
        bool(info.keep_cache),
        bool(info.direct_io),
        bool(info.nonseekable),
    )
    assert ("open", 5, os.O_RDONLY) in fake.asked


async def test_read_passes_offset_and_size_through():
    """Bytes come back as they are, short ones at the end of a file too."""
    handlers, fake = operations_over({"read": b"abc"})
    assert b"abc" == await handlers.read(7, 1 << 40, 4096)
    assert ("read", 7, 1 << 40, 4096) in fake.asked


async def test_listing_stops_when_the_buffer_is_full_and_goes_on_where_it_stopped(monkeypatch):
    """Each entry goes out with its attributes and the place after it; the first that does not fit waits."""
    entries = [DirEntry(b"n%d" % n, DIRECTORY, n + 10) for n in range(5)]
    taken: list[tuple[bytes, int, int]] = []

    def reply(_token, name, attributes, next_id):
        if len(taken) == 2:
            return False
        taken.append((name, attributes.st_ino, next_id))
        return True

    monkeypatch.setattr(pyfuse3, "readdir_reply", reply)
    handlers, fake = operations_over({"readdir": iter(entries)})
    await handlers.readdir(3, 9, TOKEN)
    assert [(b"n0", 4, 12), (b"n1", 4, 13)] == taken
    assert ("readdir", 3, 7) in fake.asked


@pytest.mark.parametrize("start", [0, 1, 2])
async def test_a_listing_begins_with_the_dots(monkeypatch, start):
    """The directory itself and its parent come first, and one that fills the buffer is not lost."""
    taken: list[tuple[bytes, int]] = []

    def reply(_token, name, attributes, next_id):
        assert stat.S_ISDIR(attributes.st_mode)
        taken.append((name, next_id))
        return True

    monkeypatch.setattr(pyfuse3, "readdir_reply", reply)
    handlers, _ = operations_over({"readdir": iter([DirEntry(b"n", DIRECTORY, 1)])})
    await handlers.readdir(3, start, TOKEN)
    assert [(b".", 1), (b"..", 2), (b"n", 3)][start:] == taken


@given(
    st.lists(
        st.builds(
            Attributes,
            inode=st.integers(4, 1 << 40),
            mode=st.sampled_from([stat.S_IFDIR | 0o555, stat.S_IFREG | 0o444]),
            size_bytes=st.sampled_from([0, 1, 4096]),
            mtime_ns=st.sampled_from([0, 10**9, 10**18 + 1]),
            nlink=st.sampled_from([1, 2]),
            attr_timeout_s=st.sampled_from([0.0, 60.0]),
            entry_timeout_s=st.sampled_from([0.0, 60.0]),
        ),
        max_size=8,
    )
)
def test_attributes_made_from_those_before_are_the_same(several):
    """A long listing makes new ones only where they differ in more than number and date."""
    owner = Owner(1000, 1001, 0o077)
    told = ReusedEntry(owner.entry)
    for attributes in several:
        expected, made = owner.entry(attributes), told.of(attributes)
        for name in ENTRY_FIELDS:
            assert getattr(expected, name) == getattr(made, name), name


async def test_statfs_has_no_blocks():
    """`df` leaves such a file system out, which is right for a view."""
    handlers, _ = operations_over({"statfs": StatFs(files=1234)})
    data = await handlers.statfs(CTX)
    assert (4096, 4096, 0, 0, 1234, 255) == (
        *(data.f_bsize, data.f_frsize, data.f_blocks, data.f_bfree),
        *(data.f_files, data.f_namemax),
    )


async def test_the_log_names_operation_and_file(caplog):
    """One line a failure, with what was tried, on which file, and the error's own words."""
    handlers, _ = operations_over({"read": errors.ContentError("the body is short (request r1)")})
    with pytest.raises(pyfuse3.FUSEError):
        await handlers.read(1, 0, 10)
    assert ["read of claude_file_1: the body is short (request r1)"] == caplog.messages


async def never(*_request: object) -> None:
    await trio.sleep_forever()


async def test_the_end_of_the_mount_passes_through_every_handler(autojump_clock, monkeypatch):
    """Cancellation from outside is not an error of the operation: it must not be swallowed."""
    handlers, fake = operations_over()
    monkeypatch.setattr(fake, "read", never)
    with trio.move_on_after(1) as scope:
        await handlers.read(1, 0, 10)
    assert scope.cancelled_caught


async def test_an_operation_that_hangs_is_answered_in_time(autojump_clock, monkeypatch):
    """The kernel can't take a request back, so there is an answer at the deadline at the latest."""
    handlers, fake = operations_over()
    monkeypatch.setattr(fake, "open", never)
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await handlers.open(5, 0, CTX)
    assert (errno.ETIMEDOUT, 90) == (raised.value.errno, trio.current_time())


def test_the_kernel_may_ask_by_number():
    """Otherwise a server of NFS gets ESTALE for whatever the kernel has forgotten meanwhile."""
    assert Operations.supports_dot_lookup is True


@pytest.mark.parametrize(
    ("stale", "call"),
    [(b"claude_file_1", ("entry", 1, b"claude_file_1")), (Inode(5), ("inode", 5, True))],
)
def test_correcting_the_kernel_leaves_pages_alone(monkeypatch, stale, call):
    """Dropping pages would wait for reads that wait for us; attributes and names do not."""
    calls: list[object] = []
    monkeypatch.setattr(
        pyfuse3, "invalidate_inode", lambda i, attr_only: calls.append(("inode", i, attr_only))
    )
    monkeypatch.setattr(pyfuse3, "invalidate_entry", lambda p, n: calls.append(("entry", p, n)))
    correct(stale)
    assert [call] == calls


def test_correcting_what_the_kernel_does_not_know_is_no_error(monkeypatch):
    """Most nodes are not in the kernel's memory."""

    def unknown(*_args: object, **_options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(pyfuse3, "invalidate_inode", unknown)
    correct(Inode(5))
