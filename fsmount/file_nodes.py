"""What the tree shows of one file: attributes, how long the kernel may keep them, extended attributes.

Look-ups in what the case knows; nothing here waits or asks the service.
"""

from collections.abc import Iterable, Iterator

from fsmount.answers import DirEntry
from fsmount.catalog import Entry, Listed
from fsmount.content import Contents, Known
from fsmount.errors import NoAttributeError
from fsmount.inodes import ROOT, Inode, Kind, directory_inode, inode_of
from fsmount.objects import mime_type_of
from fsmount.tree import Attributes, directory_attributes, file_attributes, meta_json

# How long the kernel may believe an answer without asking again. Bytes and names never change, but a file
# may be deleted elsewhere, so names are confirmed now and then; that costs an index look-up, no request.
NAME_S = 60.0
SETTLED_S = 3600.0  # attributes of content that is stored and verified
RECORDED_S = 10.0  # attributes that a record tells: the body may still turn out longer or shorter
ABSENT_S = 60.0  # names that can't exist here; file managers probe for them all day
UNSETTLED_S = 0.0  # what the next look may change: sizes and dates that no record has told yet

_MOST_METAS = 16_384  # as many as `recent` keeps of their records

XATTR_FILE_ID = b"user.claude.file_id"
XATTR_MIME_TYPE = b"user.mime_type"
XATTR_MD5 = b"user.claude.md5"
XATTR_SHA256 = b"user.claude.sha256"
XATTR_VERIFIED = b"user.claude.verified"


class FileNodes:
    """Turns catalog entries and content knowledge into what the kernel is told."""

    def __init__(self, contents: Contents, *, is_writable: bool) -> None:
        self._contents = contents
        self._is_writable = is_writable
        self._metas: dict[int, tuple[object, bytes]] = {}

    def directory(self, entry: Entry) -> Attributes:
        """Return the attributes of a file's directory; dated 1970 until its record is known."""
        attr_timeout_s = NAME_S if entry.record else UNSETTLED_S
        return self._directory(entry.mtime_ns, attr_timeout_s, directory_inode(entry.number))

    def listed(self, page: Iterable[Listed]) -> Iterator[DirEntry]:
        """Yield the lines of the root's listing, with the same attributes as `directory`."""
        # One is made the ordinary way, and the others after it, past the named tuples' slower way of being
        # made: there may be a million.
        model = self._directory(0, NAME_S)
        mode, nlink = model.mode, model.nlink
        make = tuple.__new__
        for number, claude_file_id, mtime_ns, has_record in page:
            attr_timeout_s = NAME_S if has_record else UNSETTLED_S
            fields = (directory_inode(number), mode, 0, mtime_ns, nlink, attr_timeout_s, NAME_S)
            yield make(DirEntry, (claude_file_id.encode(), make(Attributes, fields), number))

    def meta(self, entry: Entry) -> Attributes:
        """Return the attributes of meta.json; the record must be known."""
        return self._file(entry, Kind.META, len(self.meta_bytes(entry)), NAME_S)

    def content(self, entry: Entry, size_bytes: int | None) -> Attributes:
        """Return the attributes of the content; with an unknown size, ones that are asked for again."""
        if size_bytes is None:
            return self._file(entry, Kind.CONTENT, 0, UNSETTLED_S)
        is_settled = self._contents.is_stored(entry.claude_file_id)
        return self._file(entry, Kind.CONTENT, size_bytes, SETTLED_S if is_settled else RECORDED_S)

    def size_bytes(self, entry: Entry) -> int | None:
        """Return the true size where the case has seen the bytes, else the recorded one."""
        known = self._contents.find(entry.claude_file_id)
        if known and known.size_bytes is not None:
            return known.size_bytes
        return entry.record.size_bytes if entry.record else None

    def meta_bytes(self, entry: Entry) -> bytes:
        """Return what meta.json reads; the record must be known.

        Who lists it needs its length, and often opens it a moment later.
        """
        assert entry.record is not None
        record, data = self._metas.get(entry.number, (None, b""))
        if record is not entry.record:
            data = meta_json(entry.record.raw)
            if len(self._metas) >= _MOST_METAS:
                del self._metas[next(iter(self._metas))]
            self._metas[entry.number] = entry.record, data
        return data

    def xattrs(self, entry: Entry, kind: Kind) -> dict[bytes, bytes]:
        """Return the extended attributes of one node, from what is known."""
        values: dict[bytes, str | None] = {XATTR_FILE_ID: entry.claude_file_id}
        if kind is Kind.CONTENT and entry.record:
            known = self._contents.find(entry.claude_file_id) or _NOTHING_KNOWN
            values |= {
                XATTR_MIME_TYPE: mime_type_of(entry.record),
                XATTR_MD5: known.md5 or entry.record.md5,
                XATTR_SHA256: known.sha256,
                XATTR_VERIFIED: known.verified,
            }
        return {
            name: value.encode("utf-8", "backslashreplace")
            for name, value in values.items()
            if value
        }

    def xattr(self, entry: Entry, kind: Kind, name: bytes) -> bytes:
        """Return one extended attribute.

        Errors: NoAttributeError.
        """
        try:
            return self.xattrs(entry, kind)[name]
        except KeyError:
            raise NoAttributeError(f"no attribute {name.decode(errors='replace')}") from None

    def _directory(self, mtime_ns: int, attr_timeout_s: float, inode: Inode = ROOT) -> Attributes:
        return directory_attributes(
            inode,
            mtime_ns,
            writable=self._is_writable,
            entry_timeout_s=NAME_S,
            attr_timeout_s=attr_timeout_s,
        )

    def _file(self, entry: Entry, kind: Kind, size_bytes: int, timeout_s: float) -> Attributes:
        inode: Inode = inode_of(entry.number, kind)
        return file_attributes(
            inode,
            size_bytes,
            entry.mtime_ns,
            attr_timeout_s=timeout_s,
            entry_timeout_s=min(timeout_s, NAME_S),
        )


_NOTHING_KNOWN = Known(None, None, None, "no", is_stored=False)
