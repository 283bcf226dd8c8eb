"""From a walk to tasks: files are cut into pieces, and pieces packed into shards, one node's apart from another's."""

from collections.abc import Collection, Iterator, Sequence

from mover.prewarm.model import Piece, WarmSpec
from mover.prewarm.placing import holders_of
from transports.model import Entry

SHARD_FILES = 1000
SHARD_BYTES = 256 * 1024 * 1024
"""What a killed worker may have to look at again, and what one node takes as a unit."""


def pieces_of(entry: Entry, cut_bytes: int) -> Iterator[Piece]:
    """The pieces of a file: all of it, or runs of ``cut_bytes`` where it is longer (0: never cut)."""
    size = max(entry.size, 0)
    if cut_bytes == 0 or size <= cut_bytes:
        yield Piece(entry, 0, size)
        return
    for start in range(0, size, cut_bytes):
        yield Piece(entry, start, min(start + cut_bytes, size))


class Packer:
    """Packs the pieces of one target into shards, in the order in which they come.

    A shard is ``(nodes, pieces)``: those who shall have it, the first to fetch it. It is full at
    ``SHARD_FILES`` pieces or ``SHARD_BYTES``; ``rest`` gives what is left.
    """

    def __init__(self, spec: WarmSpec, nodes: Sequence[str], *, cut_bytes: int) -> None:
        self._replicas = spec.replicas
        self._nodes = nodes
        self._cut_bytes = cut_bytes
        self._open: dict[tuple[str, ...], list[Piece]] = {}
        self._bytes: dict[tuple[str, ...], int] = {}

    def add(
        self, entry: Entry, *, without: Collection[str] = ()
    ) -> Iterator[tuple[tuple[str, ...], list[Piece]]]:
        """Add a file, for its holders ``without`` some; yields the shards that it has filled."""
        for piece in pieces_of(entry, self._cut_bytes):
            name = entry.key if piece.is_whole else f"{entry.key}#{piece.start}"
            holding = holders_of(name, self._nodes, self._replicas)
            holders = tuple(node for node in holding if node not in without)
            if not holders:
                continue
            self._open.setdefault(holders, []).append(piece)
            filled = self._bytes.get(holders, 0) + piece.size
            self._bytes[holders] = filled
            if filled >= SHARD_BYTES or len(self._open[holders]) >= SHARD_FILES:
                yield holders, self._open.pop(holders)
                del self._bytes[holders]

    def rest(self) -> Iterator[tuple[tuple[str, ...], list[Piece]]]:
        """What has not filled a shard; the packer is empty then."""
        while self._open:
            yield self._open.popitem()
        self._bytes.clear()
