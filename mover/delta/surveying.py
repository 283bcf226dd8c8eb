"""What a difference from a known base will take, before anything of it is sent; and how it is cut. Pure.

Operations of a scan are gone through twice: first to find, by samples, which bytes are old elements with
changes, and what that saves; then, if it pays, to cut them into pieces that are read and written.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mover.delta.aligning import (
    Asking,
    Piece,
    Regions,
    Shape,
    Window,
    cut,
    find_pieces,
    saved_bytes,
)
from mover.delta.model import Op, OpKind, unpack_ops


@dataclass(slots=True, kw_only=True)
class Survey:
    """What was found: ``pieces`` are old elements with changes, in their order.

    ``literal_bytes`` is what the delta is expected to bring, ``edits`` in how many places at least.
    """

    pieces: list[Piece] = field(default_factory=list)
    literal_bytes: int = 0
    edits: int = 0


def survey(ops: bytes, shape: Shape) -> Asking[Survey]:
    """Go through packed operations, which are canonical, and ask for samples where that may save bytes."""
    found = Survey()
    for region in Regions().of(unpack_ops(ops)):
        pieces = yield from find_pieces(region, shape)
        literals = [op for op in region.ops if op.kind is OpKind.LITERAL]
        found.pieces += pieces
        found.edits += len(literals)
        found.literal_bytes += sum(op.length for op in literals) - saved_bytes(region, pieces)
    return found


def windowed(ops: bytes, pieces: Iterable[Piece]) -> Iterator[Op | Window]:
    """The same operations, with what the survey found in windows."""
    waiting = deque(pieces)
    for region in Regions().of(unpack_ops(ops)):
        stop, mine = region.ops[-1].stop, list[Piece]()
        while waiting and waiting[0].start < stop:
            mine.append(waiting.popleft())
        yield from cut(region, mine)


def in_batches(
    items: Iterable[Op | Window], *, bytes_max: int, reads_max: int, items_max: int
) -> Iterator[list[Op | Window]]:
    """Operations and windows in batches, bounded by what must be read for them.

    Literals are read of the new version, windows of both; long literals are cut.
    """
    batch: list[Op | Window] = []
    held = reads = 0
    for item in _cut_literals(items, bytes_max):
        taken = _read_bytes(item)
        is_full = held + taken > bytes_max or reads == reads_max or len(batch) == items_max
        if batch and is_full:
            yield batch
            batch, held, reads = [], 0, 0
        batch.append(item)
        held, reads = held + taken, reads + (taken > 0)
    if batch:
        yield batch


def _cut_literals(items: Iterable[Op | Window], bytes_max: int) -> Iterator[Op | Window]:
    for item in items:
        if isinstance(item, Window) or item.kind is not OpKind.LITERAL:
            yield item
            continue
        for start in range(item.start, item.stop, bytes_max):
            yield Op(start, start, min(bytes_max, item.stop - start), OpKind.LITERAL)


def _read_bytes(item: Op | Window) -> int:
    if isinstance(item, Window):
        return 2 * (item.stop - item.start)
    return item.length if item.kind is OpKind.LITERAL else 0
