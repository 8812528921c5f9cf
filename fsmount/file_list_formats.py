"""A list of files as a table for people, as JSON or as CSV; written line by line, however long it is."""

import csv
import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import TextIO

from fsmount.file_list import ListedFile
from fsmount.logs import one_line

_COLUMNS = "{:<11} {:>14}  {:<8}  {:<32}  {:<24}  {:<24}  {}"
_HEAD = ("CREATED", "BYTES", "VERIFIED", "MD5", "USER", "CHAT", "FILE")
_WIDE = 24
_ORIGIN_FIELDS = (
    "user_id",
    "user_email",
    "chat_id",
    "chat_name",
    "project_id",
    "project_name",
    "message_id",
    "role",
    "named_at",
)
_FIELDS = [field.name for field in dataclasses.fields(ListedFile) if field.name != "origins"]


def write_table(items: Iterable[ListedFile], output: TextIO) -> None:
    """Write a line a file, its path in the mount last; where it was first named stands for all places."""
    output.write(_COLUMNS.format(*_HEAD).rstrip() + "\n")
    output.writelines(_line(item) + "\n" for item in items)


def write_json(items: Iterable[ListedFile], output: TextIO) -> None:
    """Write one array of objects, one a line."""
    output.write("[")
    separator = "\n"
    for item in items:
        output.write(separator + json.dumps(dataclasses.asdict(item)))
        separator = ",\n"
    output.write("\n]\n")


def write_csv(items: Iterable[ListedFile], output: TextIO) -> None:
    """Write a line a file; where it was named more than once, the values of each place between semicolons."""
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow([*_FIELDS, *_ORIGIN_FIELDS])
    for item in items:
        writer.writerow([*(_cell(getattr(item, name)) for name in _FIELDS), *_places(item)])


def _line(item: ListedFile) -> str:
    origin = item.origins[0] if item.origins else None
    user = origin and (origin.user_email or origin.user_id)
    chat = origin and (origin.chat_name or origin.chat_id or origin.project_name)
    path = item.claude_file_id + (f"/{item.name}" if item.name else "")
    state = "" if item.state == "live" else f"  ({item.state})"
    return one_line(
        _COLUMNS.format(
            (item.created_at or "")[:10],
            "" if item.size_bytes is None else f"{item.size_bytes:,}",
            item.verified if item.is_stored or item.sha256 or item.verified != "no" else "-",
            item.md5 or "",
            _cut(user or ""),
            _cut(chat or ""),
            path + state,
        )
    )


def _cut(text: str) -> str:
    return text if len(text) <= _WIDE else text[: _WIDE - 1] + "…"


def _places(item: ListedFile) -> Iterator[str]:
    for name in _ORIGIN_FIELDS:
        values = [_cell(getattr(origin, name)) for origin in item.origins]
        yield "; ".join(dict.fromkeys(filter(None, values)))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A name that is not valid Unicode must not end the output: what can't be written is escaped.
    return str(value).encode("utf-8", "backslashreplace").decode()
