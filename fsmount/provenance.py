"""Where a file was found, as far as the catalog knows: what an export tells beside the file's record."""

from collections.abc import Mapping

from fsmount.inventory import Item

Provenance = Mapping[str, object]


def provenance_of(item: Item) -> Provenance | None:  # noqa: ARG001 - the catalog keeps nothing of it yet
    """Return what is told in `provenance.json` of a file; None: nothing, and there is no such file."""
    return None
