"""The kernel's requests: convert, call `Filesystem`, convert back.

Waiting, deadlines and errors are `boundary`'s business, what the answer is `Filesystem`'s. Everything that
would change the tree, other than unlink and rmdir, is refused here.
"""

import logging
import os
import stat
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import NoReturn, TypeVar

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
    ModeT,
    ReaddirToken,
    RequestContext,
    StatvfsData,
)

from fsmount.answers import Absent, Stale
from fsmount.boundary import Boundary, RefusedRequest, log_failure
from fsmount.callers import Caller
from fsmount.errors import ReadOnlyError, errno_for
from fsmount.filesystem import Filesystem
from fsmount.inodes import ROOT, Handle, Inode
from fsmount.tree import PREFERRED_READ_BYTES, Attributes

log = logging.getLogger(__name__)

T = TypeVar("T")

_BLOCK_BYTES = 4096
_DOTS = (FileNameT(b"."), FileNameT(b".."))


class Owner:
    """Whom the nodes belong to, and what their mode is masked with."""

    def __init__(self, uid: int, gid: int, umask: int) -> None:
        self.uid = uid
        self.gid = gid
        self.umask = umask


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
    began: (
        trio.Event
    )  # the kernel's first message is being answered: it is by the time this is waited for

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
        caller = _caller(ctx)

        async def work() -> EntryAttributes:
            found = await self._fs.lookup(Inode(parent_inode), bytes(name), caller)
            return _negative(found) if isinstance(found, Absent) else self._entry(found)

        return await self._run(lambda: f"lookup of {self._named(parent_inode, name)}", caller, work)

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """Return attributes."""
        caller = _caller(ctx)

        async def work() -> EntryAttributes:
            return self._entry(await self._fs.getattr(Inode(inode), caller))

        return await self._run(lambda: f"stat of {self._named(inode)}", caller, work)

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """Return where a link leads."""
        return await self._run(
            lambda: f"readlink of {self._named(inode)}",
            _caller(ctx),
            _now(lambda: FileNameT(_checked(self._fs.readlink(Inode(inode))))),
        )

    async def getxattr(self, inode: InodeT, name: FileNameT, ctx: RequestContext) -> bytes:
        """Return one extended attribute, from memory."""
        return await self._run(
            lambda: f"getxattr {_shown(name)} of {self._named(inode)}",
            _caller(ctx),
            _now(lambda: _checked(self._fs.getxattr(Inode(inode), bytes(name)))),
        )

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[FileNameT]:
        """Return the names of the extended attributes, from memory."""
        return await self._run(
            lambda: f"listxattr of {self._named(inode)}",
            _caller(ctx),
            _now(lambda: [FileNameT(_checked(n)) for n in self._fs.listxattr(Inode(inode))]),
        )

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """Answer df from memory; the tree has no blocks of its own."""
        return await self._run(lambda: "statfs", _caller(ctx), _now(self._statfs))

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Do nothing: nodes are worked out from their numbers, and none is held in memory."""

    # -- listing ---------------------------------------------------------------------------------

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Open a directory."""
        caller = _caller(ctx)

        async def work() -> FileHandleT:
            return FileHandleT(await self._fs.opendir(Inode(inode), caller))

        return await self._run(lambda: f"opendir of {self._named(inode)}", caller, work)

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """Give entries until the kernel's buffer is full."""

        def fill() -> None:
            # The dots take the first two positions; all others are behind them.
            for position, name in enumerate(_DOTS, start=1):
                if start_id < position and not pyfuse3.readdir_reply(
                    token, name, self._dot(Handle(fh), name), position
                ):
                    return
            entries = self._fs.readdir(Handle(fh), max(0, start_id - len(_DOTS)))
            told = _Told(self._entry)
            for name, attributes, next_id in entries:
                if not pyfuse3.readdir_reply(
                    token, FileNameT(name), told.of(attributes), next_id + len(_DOTS)
                ):
                    return

        await self._run(lambda: "readdir", None, _now(fill))

    async def releasedir(self, fh: FileHandleT) -> None:
        """Close a directory; an error here would end the mount."""
        _quietly("releasedir", lambda: self._fs.releasedir(Handle(fh)))

    # -- reading ---------------------------------------------------------------------------------

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        """Open a file; direct I/O is never used, it would break mmap."""
        caller = _caller(ctx)

        async def work() -> FileInfo:
            opened = await self._fs.open(Inode(inode), flags, caller)
            return FileInfo(fh=FileHandleT(opened.handle), keep_cache=opened.keep_cache)

        return await self._run(lambda: f"open of {self._named(inode)}", caller, work)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        """Return all the bytes asked for up to the end: the kernel takes fewer for the end of the file."""

        async def work() -> bytes:
            return _checked(await self._fs.read(Handle(fh), off, size), size)

        return await self._run(lambda: f"read of {self._fs.describe_open(Handle(fh))}", None, work)

    async def release(self, fh: FileHandleT) -> None:
        """Close a file; an error here would end the mount."""
        _quietly("release", lambda: self._fs.release(Handle(fh)))

    # -- deleting --------------------------------------------------------------------------------

    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Delete a file for ever, where the mount allows it."""
        caller = _caller(ctx)
        await self._run(
            lambda: f"unlink of {self._named(parent_inode, name)}",
            caller,
            lambda: self._fs.unlink(Inode(parent_inode), bytes(name), caller),
        )

    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Remove what a deleted file left."""
        caller = _caller(ctx)
        await self._run(
            lambda: f"rmdir of {self._named(parent_inode, name)}",
            caller,
            lambda: self._fs.rmdir(Inode(parent_inode), bytes(name), caller),
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
        self, what: Callable[[], str], caller: Caller | None, work: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            return await self._boundary.run(what, caller.tid if caller else 0, work)
        except RefusedRequest as refusal:
            raise FUSEError(refusal.errno) from refusal
        except Exception as error:  # such as no memory left to say what went wrong
            raise FUSEError(errno_for(error)) from error

    def _statfs(self) -> StatvfsData:
        data = StatvfsData()
        data.f_bsize = data.f_frsize = _BLOCK_BYTES
        data.f_files = self._fs.statfs().files
        data.f_namemax = 255
        return data

    def _dot(self, handle: Handle, name: bytes) -> EntryAttributes:
        """Return what a listing says of the directory itself, or of its parent; the kernel keeps none."""
        entry = EntryAttributes()
        is_itself = name == b"."
        find = self._fs.inode_of_open if is_itself else self._fs.parent_of_open
        entry.st_ino = InodeT(find(handle))
        entry.st_mode = ModeT(stat.S_IFDIR)
        return entry

    def _entry(self, attributes: Attributes) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(attributes.inode)
        # Links have no permissions of their own; others than 0777 would find their way into archives.
        masked = 0 if stat.S_ISLNK(attributes.mode) else self._owner.umask
        entry.st_mode = ModeT(attributes.mode & ~masked)
        entry.st_nlink = attributes.nlink
        entry.st_uid = self._owner.uid
        entry.st_gid = self._owner.gid
        entry.st_size = attributes.size_bytes
        entry.st_blocks = attributes.blocks
        entry.st_blksize = PREFERRED_READ_BYTES
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = attributes.mtime_ns
        entry.entry_timeout = attributes.entry_timeout_s
        entry.attr_timeout = attributes.attr_timeout_s
        return entry


class _Told:
    """Makes the library's attributes of many nodes that differ in number and date alone.

    A listing of a million directories sets two fields of each instead of thirteen; the library copies them
    with every reply.
    """

    def __init__(self, make: Callable[[Attributes], EntryAttributes]) -> None:
        self._make = make
        self._last: Attributes | None = None

    def of(self, attributes: Attributes) -> EntryAttributes:
        """Return the attributes of one node, to be used before the next call."""
        last, self._last = self._last, attributes
        if last is None or not _differ_in_number_and_date_alone(attributes, last):
            self._entry = self._make(attributes)
            return self._entry
        entry = self._entry
        entry.st_ino = InodeT(attributes.inode)
        if attributes.mtime_ns != last.mtime_ns:
            entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = attributes.mtime_ns
        return entry


def _differ_in_number_and_date_alone(one: Attributes, other: Attributes) -> bool:
    _, mode, size_bytes, _, nlink, attr_timeout_s, entry_timeout_s = one
    _, other_mode, other_size, _, other_nlink, other_attr_s, other_entry_s = other
    return (
        mode == other_mode
        and size_bytes == other_size
        and attr_timeout_s == other_attr_s
        and entry_timeout_s == other_entry_s
        and nlink == other_nlink
    )


def _now(answer: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    """Make an answer that needs no waiting awaitable."""

    async def work() -> T:
        return answer()

    return work


def _checked(data: object, most_bytes: int | None = None) -> bytes:
    """Return bytes that the library can take; it would end the mount over anything else."""
    if not isinstance(data, bytes):
        raise TypeError(f"the answer is {type(data).__name__}, not bytes")
    if most_bytes is not None and len(data) > most_bytes:
        raise ValueError(f"the answer has {len(data)} bytes, {most_bytes} were asked for")
    return data


def _caller(ctx: RequestContext) -> Caller:
    return Caller(ctx.pid, ctx.uid, ctx.gid)


def _shown(name: bytes) -> str:
    return repr(os.fsdecode(name))


def _negative(absent: Absent) -> EntryAttributes:
    entry = EntryAttributes()
    entry.st_ino = InodeT(0)  # the protocol's "there is none, and remember that"
    entry.entry_timeout = absent.entry_timeout_s
    return entry


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
