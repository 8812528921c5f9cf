"""The kernel's requests: convert, call `Filesystem`, convert back.

Waiting, deadlines and errors are `boundary`'s business, what the answer is `Filesystem`'s. Everything that
would change the tree, other than unlink and rmdir, is refused here.
"""

# ruff: noqa: ARG002 - the signatures are the library's

import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import NoReturn, TypeVar, cast

import pyfuse3
import trio
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ReaddirToken,
    RequestContext,
    StatvfsData,
)

from fsmount.answers import Absent, Stale
from fsmount.boundary import Boundary, RefusedRequest, described, log_failure
from fsmount.callers import Caller
from fsmount.errors import ReadOnlyError, errno_for
from fsmount.filesystem import Filesystem
from fsmount.inodes import ROOT, Handle, Inode
from fsmount.kernel_types import Owner, ReusedEntry, dot, negative, statfs_data
from fsmount.nowait import Data

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

_DOTS = (FileNameT(b"."), FileNameT(b".."))


def _refused(operation: str) -> Callable[..., Coroutine[None, None, NoReturn]]:
    """Make the handler of an operation that would change the tree."""

    async def refuse(_self: "Operations", number: int, /, *_more: object) -> NoReturn:
        error = ReadOnlyError(f"the tree can't be changed (node or handle {number})")
        log_failure(operation, error)
        raise FUSEError(errno_for(error))

    return refuse


class Operations(pyfuse3.Operations):
    """The handlers that pyfuse3 calls."""

    # The kernel may ask for a node that it has forgotten by its number, as servers of NFS do: numbers say
    # what they stand for, in every mount of a case.
    supports_dot_lookup = True

    _fs: Filesystem
    _boundary: Boundary
    # Set when the kernel's first message arrives; by the time a waiter runs, it has been answered.
    began: trio.Event

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self._owner = owner

    def attach(self, filesystem: Filesystem, boundary: Boundary) -> None:
        """Say who answers; before any request is taken from the kernel.

        Mounting comes before the fork to the background, and everything that answers after it.
        """
        self._fs = filesystem
        self._boundary = boundary
        self.began = trio.Event()

    def init(self) -> None:
        """Note the session's first message."""
        self.began.set()

    # -- names and attributes --------------------------------------------------------------------

    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """Find a name; an absent one is answered so that the kernel remembers it."""
        parent, own_name = Inode(parent_inode), bytes(name)
        return await self._run(
            lambda: f"lookup of {self._named(parent_inode, name)}",
            ctx,
            lambda: self._fs.lookup_nowait(parent, own_name),
            lambda: self._fs.lookup(parent, own_name, _caller(ctx)),
            lambda found: (
                negative(found) if isinstance(found, Absent) else self._owner.entry(found)
            ),
        )

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """Return attributes."""
        return await self._run(
            lambda: f"stat of {self._named(inode)}",
            ctx,
            lambda: self._fs.getattr_nowait(Inode(inode)),
            lambda: self._fs.getattr(Inode(inode), _caller(ctx)),
            self._owner.entry,
        )

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """Return where a link leads."""
        return self._now(
            lambda: f"readlink of {self._named(inode)}",
            lambda: FileNameT(_bytes(self._fs.readlink(Inode(inode)))),
        )

    async def getxattr(self, inode: InodeT, name: FileNameT, ctx: RequestContext) -> bytes:
        """Return one extended attribute, from memory."""
        return self._now(
            lambda: f"getxattr {_shown(name)} of {self._named(inode)}",
            lambda: _bytes(self._fs.getxattr(Inode(inode), bytes(name))),
        )

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[FileNameT]:
        """Return the names of the extended attributes, from memory."""
        return self._now(
            lambda: f"listxattr of {self._named(inode)}",
            lambda: [FileNameT(_bytes(n)) for n in self._fs.listxattr(Inode(inode))],
        )

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Answer df from memory; the tree has no blocks of its own."""
        return self._now(lambda: "statfs", lambda: statfs_data(self._fs.statfs()))

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Do nothing: nodes are worked out from their numbers, and none is held in memory."""

    # -- listing ---------------------------------------------------------------------------------

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Open a directory."""
        return await self._run(
            lambda: f"opendir of {self._named(inode)}",
            ctx,
            lambda: self._fs.directories.opendir_nowait(Inode(inode)),
            lambda: self._fs.directories.opendir(Inode(inode), _caller(ctx)),
            FileHandleT,
        )

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """Give entries until the kernel's buffer is full."""

        def fill() -> None:
            # The dots take the first two positions; all others are behind them.
            for position, name in enumerate(_DOTS, start=1):
                if start_id < position and not pyfuse3.readdir_reply(
                    token, name, self._dot(Handle(fh), name), position
                ):
                    return
            entries = self._fs.directories.readdir(Handle(fh), max(0, start_id - len(_DOTS)))
            told = ReusedEntry(self._owner.entry)
            for name, attributes, next_id in entries:
                if not pyfuse3.readdir_reply(
                    token, FileNameT(name), told.of(attributes), next_id + len(_DOTS)
                ):
                    return

        self._now(lambda: "readdir", fill)

    async def releasedir(self, fh: FileHandleT) -> None:
        """Close a directory; an error here would end the mount."""
        _quietly("releasedir", lambda: self._fs.directories.releasedir(Handle(fh)))

    # -- reading ---------------------------------------------------------------------------------

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        """Open a file; direct I/O is never used, it would break mmap."""
        caller = _caller(ctx)
        return await self._run(
            lambda: f"open of {self._named(inode)}",
            ctx,
            lambda: self._fs.files.open_nowait(Inode(inode), flags, caller),
            lambda: self._fs.files.open(Inode(inode), flags, caller),
            lambda opened: FileInfo(fh=FileHandleT(opened.handle), keep_cache=opened.keep_cache),
        )

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """Return all the bytes asked for up to the end: the kernel takes fewer for the end of the file."""
        handle = Handle(fh)
        data = await self._run(
            lambda: f"read of {self._fs.files.describe(handle)}",
            None,
            lambda: self._fs.files.read_nowait(handle, off, size),
            lambda: self._fs.files.read(handle, off, size),
            lambda data: _at_most(data, size),
        )
        return cast("bytes", data)  # the library takes whatever has the buffer protocol

    async def release(self, fh: FileHandleT) -> None:
        """Close a file; an error here would end the mount."""
        _quietly("release", lambda: self._fs.files.release(Handle(fh)))

    # -- deleting --------------------------------------------------------------------------------

    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Delete a file for ever, where the mount allows it."""
        await self._run(
            lambda: f"unlink of {self._named(parent_inode, name)}",
            ctx,
            _never_now,
            lambda: self._fs.unlink(Inode(parent_inode), bytes(name), _caller(ctx)),
            _nothing,
        )

    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Remove what a deleted file left."""
        await self._run(
            lambda: f"rmdir of {self._named(parent_inode, name)}",
            ctx,
            _never_now,
            lambda: self._fs.rmdir(Inode(parent_inode), bytes(name)),
            _nothing,
        )

    # -- everything that is never allowed --------------------------------------------------------

    setattr = _refused("setattr")
    mknod = _refused("mknod")
    mkdir = _refused("mkdir")
    symlink = _refused("symlink")
    link = _refused("link")
    rename = _refused("rename")
    create = _refused("create")
    write = _refused("write")
    setxattr = _refused("setxattr")
    removexattr = _refused("removexattr")

    # -- conversions -----------------------------------------------------------------------------

    def _named(self, inode: InodeT, name: bytes | None = None) -> str:
        return self._fs.describe(Inode(inode), name)

    async def _run(
        self,
        what: Callable[[], str],
        ctx: RequestContext | None,
        nowait: Callable[[], T | None],
        wait: Callable[[], Awaitable[T]],
        convert: Callable[[T], U],
    ) -> U:
        """Return the answer of `nowait`, or of `wait` when that is None, as the library takes it.

        Most requests are answered at once, without the cost of a deadline that could not pass.
        """
        try:
            found = nowait()
            if found is not None:
                return convert(found)
        except Exception as error:
            raise _refusal(what, error) from error

        async def work() -> U:
            return convert(await wait())

        try:
            return await self._boundary.run(what, ctx.pid if ctx else 0, work)
        except RefusedRequest as refusal:
            raise FUSEError(refusal.errno) from refusal
        except Exception as error:  # such as no memory left to say what went wrong
            raise FUSEError(errno_for(error)) from error

    def _now(self, what: Callable[[], str], work: Callable[[], T]) -> T:
        """Return the answer to a request that takes no waiting."""
        try:
            return work()
        except Exception as error:
            raise _refusal(what, error) from error

    def _dot(self, handle: Handle, name: bytes) -> EntryAttributes:
        """Return what a listing says of the directory itself, or of its parent."""
        is_itself = name == b"."
        find = self._fs.directories.inode_of if is_itself else self._fs.parent_of_open
        return dot(find(handle))


def _refusal(what: Callable[[], str], error: Exception) -> FUSEError:
    """Log what went wrong, if that can be done, and return what the kernel is told."""
    with contextlib.suppress(Exception):
        log_failure(described(what), error)
    return FUSEError(errno_for(error))


def _never_now() -> None:
    """Leave the answer to who may wait."""


def _nothing(_answer: None) -> None:
    """Convert an answer that says nothing."""


def _bytes(data: object) -> bytes:
    """Return bytes that the library can take; it would end the mount over anything else."""
    if not isinstance(data, bytes):
        raise TypeError(f"the answer is {type(data).__name__}, not bytes")
    return data


def _at_most(data: object, size: int) -> Data:
    """Return what was read, which the kernel takes up to the size that it asked for."""
    if not isinstance(data, bytes | memoryview):
        raise TypeError(f"the answer is {type(data).__name__}, not bytes")
    if len(data) > size:
        raise ValueError(f"the answer has {len(data)} bytes, {size} were asked for")
    return data


def _caller(ctx: RequestContext) -> Caller:
    return Caller(ctx.pid, ctx.uid, ctx.gid)


def _shown(name: bytes) -> str:
    return repr(os.fsdecode(name))


def _quietly(what: str, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:  # the kernel does not want to know, and the mount must go on
        log_failure(what, error)


def correct(stale: Stale) -> None:
    """Tell the kernel that a node's attributes, or a name in the root, are not as they were.

    Call it from a thread: the kernel may hold the node until a request to this process is answered. Pages
    are left alone, since dropping them would wait for reads that wait for us.
    """
    try:
        if isinstance(stale, bytes):
            pyfuse3.invalidate_entry(InodeT(ROOT), FileNameT(stale))
        else:
            pyfuse3.invalidate_inode(InodeT(stale), attr_only=True)
    except OSError as error:  # the kernel does not know the node, so there is nothing to correct
        log.debug("%r is not known to the kernel: %s", stale, error)


async def serve(max_tasks: int) -> None:
    """Answer requests until the file system is unmounted or `pyfuse3.terminate` is called."""
    await trio.lowlevel.checkpoint()
    await pyfuse3.main(max_tasks=max_tasks)
