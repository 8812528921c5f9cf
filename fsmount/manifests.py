"""The lists that travel with exported files: BagIt manifests, hashdeep's format, DFXML. Text in, text out.

Names in an export differ from those in a mount where a list could not carry them. RFC 8493 wants `%`
written as `%25` in a bag's manifests, the tools that check bags do not know that, and names in a mount
have `%` wherever something unsafe was escaped. So no name in an export has one: `_` takes its place.
The true name is in each file's record.
"""

import dataclasses
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal
from xml.sax.saxutils import escape

Algorithm = Literal["md5", "sha256"]
ALGORITHMS: tuple[Algorithm, ...] = ("md5", "sha256")

BAG_DECLARATION = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

# Besides `%`: what some tools take for the end of a line, what XML can't hold, and at the end of a name white
# space, which readers of manifests cut off, and dots, which file systems of Windows do.
_UNFIT = re.compile("[%\u0085\u2028\u2029\ufffe\uffff]|[\\s.]+$")
_BAGIT_UNSAFE = re.compile(r"[\r\n%]")


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """One file of an exported tree.

    Shape: `path` relative to the tree, with slashes; hashes in lowercase hex.
    """

    path: str
    size_bytes: int
    md5: str
    sha256: str


def payload_name(content_name: bytes) -> str:
    """Return the name that a file's content has in an export, from the one that it has in a mount.

    Shape: as many bytes or fewer, never empty, hidden or `meta.json` if the other is not.
    """
    return _UNFIT.sub(lambda match: "_" * len(match.group()), content_name.decode())


# -- BagIt (RFC 8493) ------------------------------------------------------------------------------


def bagit_path(path: str) -> str:
    """Return a path as a manifest has it: CR, LF and % percent-encoded, and only those."""
    return _BAGIT_UNSAFE.sub(lambda match: f"%{ord(match.group()):02X}", path)


def bagit_manifest(files: Iterable[Written], algorithm: Algorithm) -> Iterator[str]:
    """Yield the lines of a payload or tag manifest."""
    for file in files:
        digest = file.md5 if algorithm == "md5" else file.sha256
        yield f"{digest}  {bagit_path(file.path)}\n"


def bag_info(fields: Sequence[tuple[str, str]]) -> str:
    """Return bag-info.txt; a value is one line, whatever it holds."""
    return "".join(f"{label}: {' '.join(value.split())}\n" for label, value in fields)


# -- hashdeep --------------------------------------------------------------------------------------


def hashdeep_manifest(files: Iterable[Written], comments: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a list that `hashdeep -a` audits a tree against."""
    yield "%%%% HASHDEEP-1.0\n"
    yield "%%%% size,md5,sha256,filename\n"
    for comment in comments:
        yield f"## {' '.join(comment.split())}\n"
    yield "## \n"
    for file in files:
        yield f"{file.size_bytes},{file.md5},{file.sha256},{file.path}\n"


# -- DFXML -----------------------------------------------------------------------------------------

# The order of elements, and which have to be there, are those of the schema (dfxml.xsd, 1.1.0).
_DFXML_HEAD = """<?xml version='1.0' encoding='UTF-8'?>
<dfxml version='1.1.0' xmlns='http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML' \
xmlns:dc='http://purl.org/dc/elements/1.1/'>
  <metadata>
    <dc:type>Hash List</dc:type>
  </metadata>
  <creator version='1.0'>
    <program>fsmount</program>
    <version>{version}</version>
    <execution_environment>
      <os_sysname>{sysname}</os_sysname>
      <os_release>{release}</os_release>
      <host>{host}</host>
      <start_time>{time}</start_time>
    </execution_environment>
  </creator>
  <source>
    <image_filename>{source}</image_filename>
  </source>
"""


@dataclasses.dataclass(frozen=True, slots=True)
class FileObject:
    """One file of a DFXML listing.

    Units: `mtime_ns` since 1970, UTC; 0, which is unknown, is left out.
    """

    claude_file_id: str
    file: Written
    mtime_ns: int


def dfxml(
    objects: Iterable[FileObject], *, source: str, version: str, host: str, time: datetime
) -> Iterator[str]:
    """Yield a DFXML document; `source` is what the files were taken from."""
    yield _DFXML_HEAD.format(
        version=_xml(version),
        sysname=_xml(platform.system()),
        release=_xml(platform.release()),
        host=_xml(host),
        time=time.astimezone(UTC).isoformat(timespec="seconds"),
        source=_xml(source),
    )
    yield from map(_file_object, objects)
    yield "</dfxml>\n"


def _file_object(listed: FileObject) -> str:
    file, mtime_ns = listed.file, listed.mtime_ns
    mtime = f"    <mtime>{_time(mtime_ns)}</mtime>\n" if mtime_ns else ""
    return (
        "  <fileobject>\n"
        f"    <filename>{_xml(file.path)}</filename>\n"
        f"    <id>{_xml(listed.claude_file_id)}</id>\n"
        "    <name_type>r</name_type>\n"
        f"    <filesize>{file.size_bytes}</filesize>\n"
        f"{mtime}"
        f"    <hashdigest type='md5'>{file.md5}</hashdigest>\n"
        f"    <hashdigest type='sha256'>{file.sha256}</hashdigest>\n"
        "  </fileobject>\n"
    )


def _time(mtime_ns: int) -> str:
    seconds, nanoseconds = divmod(mtime_ns, 10**9)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return f"{whole}{fraction}Z"


def _xml(text: str) -> str:
    """Return text as XML; what no document can hold becomes a replacement character."""
    return escape(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
