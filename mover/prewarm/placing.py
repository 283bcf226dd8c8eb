"""Which node holds which file: rendezvous hashing.

Every node draws a number for every name, and the highest has it. So nobody keeps a table, the same nodes give the
same answer on every host and in every later job, and a node that comes takes its share from all others and moves
nothing else: 1/N of the names (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998).
"""

from collections.abc import Collection, Sequence
from hashlib import blake2b

from mover.prewarm.model import EVERY_NODE


def ranked(name: str, nodes: Collection[str]) -> list[str]:
    """The nodes in the order in which they would hold ``name``, the first holder first."""
    return sorted(nodes, key=lambda node: _draw(name, node), reverse=True)


def holders_of(name: str, nodes: Collection[str], replicas: int) -> list[str]:
    """The nodes that shall hold ``name``: so many, or all, the first of them to fetch it from the origin."""
    order = ranked(name, nodes)
    return order if replicas == EVERY_NODE else order[:replicas]


def successor(name: str, nodes: Collection[str], taken: Sequence[str]) -> str | None:
    """Who takes over from a node that has left, of those that do not hold ``name`` already; None: nobody."""
    return next((node for node in ranked(name, nodes) if node not in taken), None)


def _draw(name: str, node: str) -> bytes:
    # The lengths keep ("ab", "c") and ("a", "bc") apart; stray bytes of a file's name survive.
    label = node.encode("utf-8", "surrogateescape")
    key = name.encode("utf-8", "surrogateescape")
    return blake2b(len(label).to_bytes(4, "big") + label + key, digest_size=8).digest()
