"""The three families of objects that carry bytes: uploaded files, generated files, versions of artifacts.

They differ in their records, in how their content is named, and in whether they can be deleted. Everything
else in this package treats them alike, by id.
"""

import enum
import re
from collections.abc import Mapping

import client
from fsmount.names import content_name, extension_of

Record = client.File | client.GeneratedFile | client.Artifact

# Its language is not told, but often its title ends in an extension.
_CODE = "application/vnd.ant.code"
_EXTENSION_AT_END = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


class State(enum.IntEnum):
    """Whether a file is shown."""

    SEEN = 0  # an answer named it, but it was not asked for
    LIVE = 1
    GONE = 2  # the API did not know it any more; it may be asked for again
    DELETED = 3  # deleted through this tool


class Told(enum.IntEnum):
    """How much is known of an object; a record is only ever replaced by one that tells more."""

    NOTHING = 0
    NAME = 1  # older lists leave out whether there is content at all
    ENTRY = 2  # what a list says: enough for the tree
    RECORD = 3  # what the object's own endpoint says


def family_of(claude_file_id: str) -> client.Family:
    """Return the family that an id belongs to; the longest prefix decides."""
    for family in (client.Family.GENERATED, client.Family.ARTIFACT):
        if claude_file_id.startswith(family.value):
            return family
    return client.Family.FILE


def record_of(claude_file_id: str, fields: Mapping[str, object]) -> Record:
    """Make a record of its family from decoded JSON.

    Errors: client.InvalidResponseError.
    """
    match family_of(claude_file_id):
        case client.Family.GENERATED:
            return client.GeneratedFile.from_dict(fields)
        case client.Family.ARTIFACT:
            return client.Artifact.from_dict(fields)
    return client.File.from_dict(fields)


def id_of(record: Record) -> str:
    """Return what the object is asked for with: for an artifact, the id of its version."""
    if isinstance(record, client.Artifact):
        return record.version_id or record.id
    return record.id


def told_by_entry(record: Record) -> Told:
    """Return how much an entry of a list tells: one without `mime_type` does not say if there is content."""
    if isinstance(record, client.Artifact) or "mime_type" in record.raw:
        return Told.ENTRY
    return Told.NAME


def mime_type_of(record: Record) -> str | None:
    """Return the type of the content; None where there is none, or where it is not known."""
    return record.artifact_type if isinstance(record, client.Artifact) else record.mime_type


def has_content(record: Record) -> bool:
    """Say whether there is something to download; an artifact always has its text."""
    return isinstance(record, client.Artifact) or record.mime_type is not None


def display_name_of(record: Record) -> str | None:
    """Return the name that people gave it; an artifact's title gets the extension of its type."""
    if not isinstance(record, client.Artifact):
        return record.filename
    title, kind = record.title, record.artifact_type
    extension = extension_of(kind)
    is_named = kind == _CODE and title and _EXTENSION_AT_END.search(title)
    if not title or is_named or title.lower().endswith(extension):
        return title
    return title + extension


def content_name_of(record: Record, told: Told) -> bytes | None:
    """Return the entry name of the content; None where there is no content, or no name to settle on yet."""
    name = display_name_of(record)
    if told <= Told.NAME:
        return content_name(name, None) if name else None
    return content_name(name, mime_type_of(record)) if has_content(record) else None


def is_deletable(claude_file_id: str) -> bool:
    """Say whether the service can delete it at all."""
    return family_of(claude_file_id) is client.Family.FILE
