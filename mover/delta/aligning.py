"""Which bytes that a scan did not find are old ones with some elements changed. Pure.

A scan of two known versions leaves *regions* that are dirty: literals, and short copies between them.
A region is cut where a tensor begins or ends. For each piece the places where its old bytes may be are
tried on samples: where the tensor was, where the neighbours were copied from, the same offset, the same
distance from the end. What remains is encoded window by window, and stays literal where that is less.

Who has both versions in memory asks ``windows`` and ``told``. Who reads them by ranges lets ``find_pieces``
ask for the samples, and then asks ``cut`` and ``tell``.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from mover import packing
from mover.delta import elements
from mover.delta.elements import WAYS, Way
from mover.delta.model import Op, OpKind
from mover.delta.tensors import Place, place_at

JOIN_BYTES: Final = 256 * 1024
"""A shorter copy between two literals belongs to their region: to tell of it takes a few bytes."""

REGION_OPS_MAX: Final = 50_000
"""A region is cut after so many operations: they are in memory together."""

SAMPLE_BYTES: Final = 16 * 1024
SAMPLES: Final = 4
WORTH: Final = 0.85
"""Samples that take more than this share of themselves are of other bytes, not of changed ones."""

SURELY_WORTH: Final = 0.25
"""Where samples take less than this, other places are not looked at: most bytes are equal here."""

LITERAL_BYTES_MIN: Final = 256
"""Fewer literal bytes in a window take less than the head of a section of changes."""

SECTION_BYTES: Final = 16
SURELY: Final = 8
"""Changes of a share as small as one in this are not compared with packed literals."""


class Region(NamedTuple):
    """Operations that belong together. With ``shifts`` they are dirty, else to be left as they are."""

    ops: list[Op]
    shifts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """Bytes ``start`` to ``stop`` of the new object, to be told as changes of those at ``origin``.

    ``ops`` make them otherwise.
    """

    start: int
    stop: int
    origin: int
    way: Way
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """A window that is told as changes; ``op`` is a COPY of the old bytes."""

    op: Op
    told: bytes


class Look(NamedTuple):
    """Bytes that are asked for: ``length`` of the new version from ``start``, of the old from ``origin``."""

    start: int
    origin: int
    length: int


Seen = tuple[memoryview, memoryview]
"""The old and the new bytes of a look."""

T = TypeVar("T")
Asking = Generator[list[Look], list[Seen], T]
"""Asks for samples of both versions, a few at a time, and comes to something."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of both versions in bytes, and where the tensors of the new one were."""

    old_size: int
    new_size: int
    places: Sequence[Place] = ()


class Piece(NamedTuple):
    """Bytes ``start`` to ``stop`` of the new object, whole elements, to be told as changes of those ``shift`` on.

    ``share`` is what samples took, as a share of themselves.
    """

    start: int
    stop: int
    shift: int
    way: Way
    share: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Both versions in memory, and where the tensors of the new one were."""

    old: memoryview
    new: memoryview
    places: Sequence[Place] = ()

    @property
    def shape(self) -> Shape:
        return Shape(len(self.old), len(self.new), self.places)

    def see(self, look: Look) -> Seen:
        start, origin, length = look
        return self.old[origin : origin + length], self.new[start : start + length]


class Regions:
    """Groups the operations of scans, which come in the order of the new object."""

    def __init__(self) -> None:
        self._shift = 0

    def of(self, ops: Iterable[Op]) -> Iterator[Region]:
        """The regions of these operations."""
        held: list[Op] = []
        inner: int | None = None
        for op in ops:
            shift = op.origin - op.start if op.kind is OpKind.COPY else None
            is_short = shift is not None and op.length < JOIN_BYTES and inner in (None, shift)
            if op.kind is OpKind.LITERAL or (held and is_short):
                held.append(op)
                inner = inner if shift is None else shift
                if len(held) == REGION_OPS_MAX:
                    yield from self._settled(held, inner, None)
                    held = []
                continue
            yield from self._settled(held, inner, shift)
            held, inner = [], None
            yield Region([op])
        yield from self._settled(held, inner, None)

    def _settled(self, held: list[Op], inner: int | None, after: int | None) -> Iterator[Region]:
        """What was held, without the copies at its end: no literal follows them."""
        tail = len(held)
        while tail and held[tail - 1].kind is OpKind.COPY:
            tail -= 1
        shifts = tuple(shift for shift in (inner, after, self._shift) if shift is not None)
        if tail:
            yield Region(held[:tail], shifts)
        if tail < len(held):
            yield Region(held[tail:])
        self._shift = next((shift for shift in (after, inner) if shift is not None), self._shift)


def windows(region: Region, pair: Pair) -> Iterator[Op | Window]:
    """A region as what is left as it is, and windows to be tried. Together they make all of it."""
    asking, seen = find_pieces(region, pair.shape), list[Seen]()
    try:
        looks = next(asking)
        while True:
            seen = [pair.see(look) for look in looks]
            looks = asking.send(seen)
    except StopIteration as end:
        yield from cut(region, end.value)


def find_pieces(region: Region, shape: Shape) -> Asking[list[Piece]]:
    """Those pieces of a region that are old elements with changes, in their order."""
    found: list[Piece] = []
    if region.shifts:
        at, stop = region.ops[0].start, region.ops[-1].stop
        for start, end, place in _cut_at_places(at, stop, shape.places):
            piece = yield from _piece(region, start, end, place, shape)
            if piece is not None:
                found.append(piece)
    return found


def cut(region: Region, pieces: Iterable[Piece]) -> Iterator[Op | Window]:
    """A region as operations, with the pieces in windows."""
    at = region.ops[0].start
    for piece in pieces:
        yield from _cut(region.ops, at, piece.start)
        at = piece.start
        while at < piece.stop:
            end = min(at + elements.BYTES_MAX, piece.stop)
            ops = tuple(_cut(region.ops, at, end))
            if _literal_bytes(ops) < LITERAL_BYTES_MIN:
                yield from ops
            else:
                yield Window(at, end, at + piece.shift, piece.way, ops)
            at = end
    if at == region.ops[0].start:
        yield from region.ops
    else:
        yield from _cut(region.ops, at, region.ops[-1].stop)


def saved_bytes(region: Region, pieces: Iterable[Piece]) -> int:
    """How many literal bytes of a region the pieces are expected to save, going by their samples."""
    return sum(
        max(
            0,
            _literal_bytes(_cut(region.ops, p.start, p.stop)) - round(p.share * (p.stop - p.start)),
        )
        for p in pieces
    )


def _literal_bytes(ops: Iterable[Op]) -> int:
    return sum(op.length for op in ops if op.kind is OpKind.LITERAL)


def _cut_at_places(
    at: int, stop: int, places: Sequence[Place]
) -> Iterator[tuple[int, int, Place | None]]:
    while at < stop:
        place, following = place_at(places, at)
        end = place.stop if place is not None else following
        end = stop if end is None else min(end, stop)
        yield at, end, place
        at = end


def _piece(
    region: Region, start: int, stop: int, place: Place | None, shape: Shape
) -> Asking[Piece | None]:
    """One piece of a region, without its edges that are no whole elements."""
    if stop - start < LITERAL_BYTES_MIN:
        return None
    shifts = (*region.shifts, 0, shape.old_size - shape.new_size)
    if place is not None:
        shifts = (place.shift,)
    best = yield from _best(start, stop, dict.fromkeys(shifts), place, shape)
    if best is None:
        return None
    share, shift, way = best
    first, last = _whole(start, stop, shift, way.width, place, shape)
    return Piece(first, last, shift, way, share) if first < last else None


def _whole(
    start: int, stop: int, shift: int, width: int, place: Place | None, shape: Shape
) -> tuple[int, int]:
    """The whole elements between two offsets that the basis has with this shift; none as (stop, stop).

    An array that nobody told of begins with the basis.
    """
    base = 0 if place is None else place.start + shift
    first = max(start, -shift)
    first += (base - first - shift) % width
    last = min(stop, shape.old_size - shift)
    last -= (last - first) % width
    return (first, last) if first < last else (stop, stop)


def _best(
    start: int, stop: int, shifts: Iterable[int], place: Place | None, shape: Shape
) -> Asking[tuple[float, int, Way] | None]:
    """The share, the shift and the way that tell samples of these bytes in the least; None for none."""
    ways = [way for way in WAYS if place is None or place.width in (0, way.width)]
    widest = max(way.width for way in ways)
    best: tuple[float, int, Way] | None = None
    for shift in shifts:
        # Whole elements of the widest are whole ones of all: one set of samples serves all ways.
        first, last = _whole(start, stop, shift, widest, place, shape)
        if last - first < (stop - start) // 2 or first == last:
            continue
        seen = yield _looks(first, last, shift, widest)
        for way in ways:
            share = _share(seen, way)
            if share < WORTH and (best is None or share < best[0]):
                best = share, shift, way
        if best is not None and best[0] < SURELY_WORTH:
            break
    return best


def _looks(first: int, last: int, shift: int, width: int) -> list[Look]:
    """Samples of the elements between two offsets, from end to end."""
    each = min(SAMPLE_BYTES, last - first)
    count = min(SAMPLES, (last - first) // each)
    looks = []
    for number in range(count):
        at = first + (last - first - each) * number // max(count - 1, 1)
        at -= (at - first) % width
        looks.append(Look(at, at + shift, each - each % width))
    return looks


def _share(seen: Sequence[Seen], way: Way) -> float:
    """How much samples take to tell, as a share of themselves."""
    told = sum(len(elements.encode(old, new, 0, way)) for old, new in seen)
    return told / sum(len(new) for _, new in seen)


def _cut(ops: Sequence[Op], start: int, stop: int) -> Iterator[Op]:
    """Those operations, and those parts of them, that make bytes ``start`` to ``stop``."""
    index = max(bisect_right(ops, start, key=lambda op: op.start) - 1, 0)
    while index < len(ops) and (op := ops[index]).start < stop:
        index += 1
        first, last = max(op.start, start), min(op.stop, stop)
        if first < last:
            origin = op.origin if op.kind is OpKind.FILL else op.origin + first - op.start
            yield Op(first, origin, last - first, op.kind)


def told(window: Window, pair: Pair) -> Changed | tuple[Op, ...]:
    """A window as changes, or as it was where that is less."""
    length = window.stop - window.start
    old = pair.old[window.origin : window.origin + length]
    return tell(window, old, pair.new[window.start : window.stop])


def tell(window: Window, old: memoryview, new: memoryview) -> Changed | tuple[Op, ...]:
    """The same, of the bytes of the window alone."""
    found = elements.encode(old, new, window.origin, window.way)
    op = Op(window.start, window.origin, window.stop - window.start, OpKind.COPY)
    changed = Changed(op, found)
    literals = [op for op in window.ops if op.kind is OpKind.LITERAL]
    literal_bytes = sum(op.length for op in literals)
    takes = len(found) + SECTION_BYTES
    if takes * SURELY <= literal_bytes:
        return changed
    if takes >= literal_bytes:
        return window.ops
    plain = b"".join(new[op.start - window.start : op.stop - window.start] for op in literals)
    packed = packing.pack_if_smaller(plain, level=1)
    return changed if takes < len(plain if packed is None else packed) else window.ops
