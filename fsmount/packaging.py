"""Makes a bag, a hashdeep audit or a DFXML listing of an exported tree, from its ledger.

Nothing is hashed a second time: the ledger has what was hashed when the bytes were written. That is why the
bagit library does not make the bag. It would move everything, read all of it again, and write version
0.97. It has the last word, though: a bag that it does not call complete is an error.
"""

import dataclasses
import logging
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import bagit

import fsmount
from fsmount import manifests
from fsmount.digest import RunningDigest
from fsmount.errors import ExportError
from fsmount.manifests import ALGORITHMS, FileObject, Written
from fsmount.target import LEDGER, PAYLOAD, TAGS, Target, written

Format = Literal["bagit", "hashdeep", "dfxml"]
HASHDEEP, DFXML, BAG_INFO, SEAL = "hashdeep.txt", "dfxml.xml", "bag-info.txt", "bagit.txt"
# The file whose presence says that a tree has been packaged in this form.
_MARKS: Mapping[Format, str] = {"bagit": BAG_INFO, "hashdeep": HASHDEEP, "dfxml": DFXML}
AUDIT = f"hashdeep -a -r -l -k {HASHDEEP} {PAYLOAD} {TAGS}"

_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is told of an export beside its files."""

    case: str
    case_created_at: str
    user: str
    without_content: int
    missing: int


def unseal(target: Target) -> None:
    """Take back the claim that the tree is a bag, before something is added to it."""
    target.remove(SEAL)


def formats_of(target: Target, wanted: Format) -> list[Format]:
    """Return which forms to write: the wanted one, and those that the tree has and that must stay right."""
    return [
        form
        for form, mark in _MARKS.items()
        if form == wanted or (target.directory / mark).exists()
    ]


def package(
    target: Target, formats: Sequence[Format], facts: Facts, tags: Sequence[Written]
) -> list[Written]:
    """Write the lists of a finished tree, and return those that nothing else vouches for.

    Shape: `tags` are files of it that are no file's own.

    Errors: ExportError when the bag is not valid; OSError.
    """
    target.sync()
    tags = [*tags, _of_disk(target.directory, LEDGER)]
    lists: list[Written] = []
    if "hashdeep" in formats:
        lists.append(_write(target, HASHDEEP, _hashdeep(target, facts, tags)))
    if "dfxml" in formats:
        lists.append(_write(target, DFXML, _dfxml(target, facts)))
    if "bagit" in formats:
        lists += _write_bag(target, facts, [*tags, *lists])
    target.sync()
    if "bagit" in formats:
        _validate(target.directory)
    return lists


def payload_totals(target: Target) -> tuple[int, int]:
    """Return how many payload files the tree has, and how many bytes."""
    sizes = [file.size_bytes for file in _payload(target)]
    return len(sizes), sum(sizes)


def _payload(target: Target) -> Iterator[Written]:
    return (exported.payload for exported in target.ledger if exported.payload)


def _tags(target: Target) -> Iterator[Written]:
    return (tag for exported in target.ledger for tag in exported.tags)


# -- hashdeep and DFXML ----------------------------------------------------------------------------


def _hashdeep(target: Target, facts: Facts, tags: Iterable[Written]) -> Iterator[str]:
    comments = [
        _description(facts),
        f"written by fsmount {fsmount.__version__} on {socket.gethostname()}",
        f"to audit, in this directory: {AUDIT}",
    ]
    files = (file for source in (_payload(target), _tags(target), tags) for file in source)
    return manifests.hashdeep_manifest(files, comments)


def _dfxml(target: Target, facts: Facts) -> Iterator[str]:
    objects = (
        FileObject(exported.claude_file_id, exported.payload, exported.mtime_ns)
        for exported in target.ledger
        if exported.payload
    )
    return manifests.dfxml(
        objects,
        source=_description(facts),
        version=fsmount.__version__,
        host=socket.gethostname(),
        time=datetime.now(UTC),
    )


def _description(facts: Facts) -> str:
    return f"Files of Claude Enterprise, acquired through the Compliance API; case {facts.case}"


# -- BagIt -----------------------------------------------------------------------------------------


def _write_bag(target: Target, facts: Facts, tags: Sequence[Written]) -> list[Written]:
    """Write a bag's own files and return its tag manifests.

    bagit.txt comes last, when the others are on the disk: a directory without it is no bag.
    """
    own = [
        _write(
            target,
            f"manifest-{algorithm}.txt",
            manifests.bagit_manifest(_payload(target), algorithm),
        )
        for algorithm in ALGORITHMS
    ]
    own.append(_write(target, BAG_INFO, [manifests.bag_info(_bag_fields(target, facts))]))
    declaration = [manifests.BAG_DECLARATION]
    own.append(_digest_of(SEAL, declaration))
    tag_manifests = []
    for algorithm in ALGORITHMS:
        files = (file for source in (own, tags, _tags(target)) for file in source)
        lines = manifests.bagit_manifest(files, algorithm)
        tag_manifests.append(_write(target, f"tagmanifest-{algorithm}.txt", lines))
    target.sync()
    _write(target, SEAL, declaration)
    return tag_manifests


def _bag_fields(target: Target, facts: Facts) -> list[tuple[str, str]]:
    files, size_bytes = payload_totals(target)
    return [
        ("Bagging-Date", datetime.now(UTC).strftime("%Y-%m-%d")),
        ("Bag-Software-Agent", f"fsmount {fsmount.__version__}"),
        ("External-Description", _description(facts)),
        ("External-Identifier", facts.case),
        ("Payload-Oxum", f"{size_bytes}.{files}"),
        ("Fsmount-Case", facts.case),
        ("Fsmount-Case-Created", facts.case_created_at),
        ("Fsmount-Version", fsmount.__version__),
        ("Fsmount-Host", socket.gethostname()),
        ("Fsmount-User", facts.user),
        ("Fsmount-Files", str(len(target.ledger))),
        ("Fsmount-Files-Without-Content", str(facts.without_content)),
        ("Fsmount-Files-Missing", str(facts.missing)),
    ]


def _validate(directory: Path) -> None:
    """Let the library look whether everything that the manifests list is there, and nothing else.

    Errors: ExportError.
    """
    logging.getLogger("bagit").setLevel(logging.CRITICAL)  # what it says comes in its error, too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons' about its ways
            bagit.Bag(str(directory)).validate(completeness_only=True)
    except bagit.BagError as error:
        raise ExportError(
            f"{directory} is not a valid bag: {error}; something else writes there, or has"
        ) from error


# -- files -----------------------------------------------------------------------------------------


def _write(target: Target, path: str, lines: Iterable[str]) -> Written:
    return target.write(path, (line.encode() for line in lines))


def _digest_of(path: str, lines: Iterable[str]) -> Written:
    digest = RunningDigest()
    digest.update([line.encode() for line in lines])
    return written(path, digest)


def _of_disk(directory: Path, path: str) -> Written:
    digest = RunningDigest()
    with (directory / path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update([block])
    return written(path, digest)
