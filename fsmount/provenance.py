"""Where a file was found, as far as the catalog knows: what an export tells beside the file's record."""

from collections.abc import Mapping

from fsmount.inventory import Inventory, Item

Provenance = Mapping[str, object]


def provenance_of(inventory: Inventory, item: Item) -> Provenance | None:  # noqa: ARG001 - see below
    """Return what is told in `provenance.json` of a file; None: nothing, and there is no such file.

    The catalog keeps nothing of it yet. Once it does, the next export adds what is told to a tree that is
    there already, without copying any content again.
    """
    return None
