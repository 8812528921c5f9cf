"""Cases with content in them, made without a service."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import trio

import client
from fsmount.case import Case
from fsmount.catalog import Catalog
from fsmount.store import ContentStore, FinishedSpool


def make_case(
    directory: Path,
    bodies: Mapping[str, bytes],
    *,
    unverified: Mapping[str, bytes] | None = None,
    not_stored: tuple[str, ...] = (),
) -> Case:
    """Make a case that holds files by name; return it. A file's id ends in its place among all of them.

    `bodies` are stored and verified, `unverified` stored without a digest, of `not_stored` only the record
    is known.
    """
    case = Case.open(directory)
    names = [*bodies, *(unverified or {}), *not_stored]
    records = [
        client.File.from_dict(
            {
                "id": file_id(number),
                "created_at": "2026-03-02T10:00:00Z",
                "filename": name,
                "mime_type": "text/plain",
            }
        )
        for number, name in enumerate(names)
    ]
    with contextlib.closing(Catalog(case.catalog_path)) as catalog:
        trio.run(catalog.put_records, records)
    stored = [(body, "yes") for body in bodies.values()]
    stored += [(body, "no") for body in (unverified or {}).values()]
    with contextlib.closing(ContentStore(case.catalog_path, case.content_dir)) as store:
        store.adopt([_spool(case, n, body, how) for n, (body, how) in enumerate(stored)])
    return case


def file_id(number: int) -> str:
    """Return the id of the file in that place."""
    return f"claude_file_01case{number:03}"


def _spool(case: Case, number: int, body: bytes, verified: str) -> FinishedSpool:
    path = case.spool_dir / f"{file_id(number)}.1"
    path.write_bytes(body)
    return FinishedSpool(
        claude_file_id=file_id(number),
        place=path.rename,
        size_bytes=len(body),
        md5=hashlib.md5(body).hexdigest(),
        sha256=hashlib.sha256(body).hexdigest(),
        verified="yes" if verified == "yes" else "no",
        how="content-md5" if verified == "yes" else "none",
        request_id="req",
    )
