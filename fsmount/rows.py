"""What rows of the case's database mean: which files are shown, which have content, and their records.

The conditions are SQL on the rows of table `file` under some name, for those who choose rows by them.
"""

import json
from pathlib import Path

import client
from fsmount.errors import CaseError
from fsmount.objects import Record, Told, record_of


def shown_files(table: str, *, shows_kept: bool) -> str:
    """Return the condition for files that are shown, on the rows of table `file` under some name.

    With `shows_kept`, also those that are gone from the service but kept in the case: without the service
    there is nobody to ask.
    """
    if not shows_kept:
        return f"{table}.state = 1"
    return (
        f"({table}.state = 1 OR {table}.state = 2 AND EXISTS (SELECT 1 FROM content kept WHERE"  # noqa: S608
        f" kept.claude_file_id = {table}.claude_file_id AND kept.is_stored AND kept.verified = 'yes'))"
    )


def has_content(table: str) -> str:
    """Return the condition for files that are known to have content; as `objects.has_content` of a record.

    A damaged record has none, and spoils no query for others. A name is no proof: it is settled as soon as a
    list tells it, which may be before the type is known.
    """
    return (
        f"({table}.told >= {Told.ENTRY:d} AND ({table}.claude_file_id GLOB '{client.Family.ARTIFACT.value}*'"
        f" OR CASE WHEN json_valid({table}.record) THEN json_extract({table}.record, '$.mime_type') END"
        " IS NOT NULL))"
    )


def may_have_content(table: str) -> str:
    """Return the condition for files with content, and for those of which nobody knows yet."""
    return f"({table}.told < {Told.ENTRY:d} OR {has_content(table)})"


def stored_record(catalog: Path, claude_file_id: str, text: str | None) -> Record | None:
    """Return the record that a row holds, None when it holds none.

    Errors: CaseError.
    """
    try:
        return record_of(claude_file_id, json.loads(text)) if text else None
    except (ValueError, client.InvalidResponseError) as error:
        raise CaseError(
            f"the catalog {catalog} holds a damaged record of {claude_file_id}: {error};"
            " restore the catalog from a copy"
        ) from error
