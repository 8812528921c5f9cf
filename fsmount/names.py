"""Entry names: any file name that a user gave an upload, as one safe name in a directory.

The names are untrusted. What could hide a file, break a listing, act on a terminal or pass for another
name is percent-encoded; everything else stays as it is, so that the name is recognized. The true name is
always in meta.json.
"""

import hashlib
import mimetypes
import re
from collections.abc import Sequence

META_NAME = b"meta.json"
MAX_NAME_BYTES = 255  # what every file system that evidence is copied to takes

_FILE_ID = re.compile(rb"claude_(?:file|gen_file|artifact_version)_[A-Za-z0-9]{1,128}")
_HASH_DIGITS = 8
_MAX_EXTENSION_BYTES = 33  # with its dot; a longer "extension" is part of the name

# Bidirectional and zero-width controls: they make a name look like another one.
_INVISIBLE = "\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_UNSAFE = re.compile(f"[/\\x00-\\x1f\\x7f-\\x9f\ud800-\udfff{_INVISIBLE}]")

# The machine's own tables differ between systems, and a name must not: a short list, then Python's own.
_EXTENSIONS = {
    "application/gzip": ".gz",
    "application/json": ".json",
    "application/msword": ".doc",
    "application/pdf": ".pdf",
    "application/rtf": ".rtf",
    "application/vnd.ant.code": ".txt",
    "application/vnd.ant.mermaid": ".mmd",
    "application/vnd.ant.react": ".jsx",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.ms-powerpoint": ".ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.sqlite3": ".sqlite",
    "application/x-sqlite3": ".sqlite",
    "application/xml": ".xml",
    "application/x-7z-compressed": ".7z",
    "application/x-tar": ".tar",
    "application/x-yaml": ".yaml",
    "application/yaml": ".yaml",
    "application/x-zip-compressed": ".zip",
    "application/zip": ".zip",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/css": ".css",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/javascript": ".js",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/tab-separated-values": ".tsv",
    "text/xml": ".xml",
    "text/x-python": ".py",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
}
_PYTHONS_OWN = mimetypes.MimeTypes(filenames=())


def is_file_id(name: bytes) -> bool:
    """Say whether a name has the form of an id, so that asking the service for it makes sense."""
    return _FILE_ID.fullmatch(name) is not None


def content_name(filename: str | None, mime_type: str | None) -> bytes:
    """Return the entry name of a file's content.

    Shape: UTF-8, 1 to 255 bytes, never hidden, never `meta.json`; the same for the same arguments, always.
    """
    if not filename:
        return f"content{extension_of(mime_type)}".encode()
    if filename.casefold() == META_NAME.decode():
        return f"content-{filename}".encode()
    first = _percent(filename[0]) if filename[0] in ".-" else _escape(filename[0])
    name = (first + _escape(filename[1:])).encode()
    if len(name) <= MAX_NAME_BYTES:
        return name
    # One piece per character, so that the cut never goes through the middle of one, escaped or not.
    pieces = [first, *map(_escape, filename[1:])]
    return _shorten(pieces, filename, _stem_end(pieces))


def folder_name(text: str) -> bytes:
    """Return the entry name of a directory that is called by what people wrote; escaped as content is."""
    return content_name(text, None)


def told_apart(name: bytes, seed: str) -> bytes:
    """Return a name with a mark of `seed`, for where the plain name is taken; the extension stays."""
    text = name.decode()
    return _shorten(list(text), seed, _stem_end(text))


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda match: _percent(match.group()), text)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def extension_of(mime_type: str | None) -> str:
    """Return the extension that a type suggests, with its dot; empty where it suggests none."""
    essence = (mime_type or "").partition(";")[0].strip().lower()
    known = _EXTENSIONS.get(essence) or _PYTHONS_OWN.guess_extension(essence, strict=True)
    return known or ""


def _shorten(pieces: Sequence[str], seed: str, stem_end: int) -> bytes:
    """Put a mark of `seed` before the extension, and cut the stem to the room that is left."""
    full = seed.encode("utf-8", "surrogatepass")
    mark = "~" + hashlib.sha256(full).hexdigest()[:_HASH_DIGITS]
    end = (mark + "".join(pieces[stem_end:])).encode()
    stem = b""
    for piece in pieces[:stem_end]:
        longer = stem + piece.encode()
        if len(longer) + len(end) > MAX_NAME_BYTES:
            break
        stem = longer
    return stem + end


def _stem_end(pieces: Sequence[str]) -> int:
    """Return where the extension begins, its dot included; the end of the name when there is none."""
    dot = max((at for at, piece in enumerate(pieces) if piece == "."), default=len(pieces))
    return dot if len("".join(pieces[dot:]).encode()) <= _MAX_EXTENSION_BYTES else len(pieces)
