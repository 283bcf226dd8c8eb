"""Pure: from the operations of a new object to the parts of an upload that make it.

A part is either *copied*, a range of the basis that the store puts there by itself, or *mixed*: bytes
that are read near the target, sent, or filled in. Copied bytes cost nothing on the way, so there are
to be as many as the store's arithmetic allows: a part in the middle must not be small, so a change
of one byte takes a whole small part out of the copies around it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from mover.delta.model import OP, Op, OpKind

MIB: Final = 1024 * 1024
MIXED: Final = -1
"""In place of where a part begins in the basis: it is not copied."""

_LOOK_BACK: Final = 3
"""Copies before a copy that can be its neighbour in a best plan. Of three that lie between two
chosen ones the middle one could be taken as well: its own neighbours leave room enough for parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """A store's arithmetic, and our own wishes; sizes are in bytes. Raises ``ValueError``.

    Cuts lie on multiples of ``grain``, so that a ladder of checksums says what each part must have.
    Copies shorter than ``copy_min`` are not worth a request. Mixed parts, which pass through memory,
    have about ``mixed_bytes``, and at most ``mixed_bytes_max`` unless there would be too many parts.
    ``copies`` is False where the store copies no parts.
    """

    part_min: int = 5 * MIB
    part_max: int = 5 * 1024 * MIB
    count_max: int = 10_000
    grain: int = 1
    copy_min: int = MIB
    mixed_bytes: int = 16 * MIB
    mixed_bytes_max: int = 64 * MIB
    copies: bool = True

    def __post_init__(self) -> None:
        if min(self.part_min, self.count_max, self.grain, self.copy_min, self.mixed_bytes) < 1:
            raise ValueError("limits of parts begin at 1")
        if self.longest < 2 * self.shortest:
            raise ValueError(
                f"parts of {self.part_min} to {self.part_max} bytes cannot be cut every {self.grain}"
            )

    @property
    def shortest(self) -> int:
        """What every part but the last has at least, in whole grains."""
        return _up(self.part_min, self.grain)

    @property
    def shortest_copy(self) -> int:
        return _up(max(self.part_min, self.copy_min), self.grain)

    @property
    def longest(self) -> int:
        """What a part has at most, in whole grains."""
        return self.part_max // self.grain * self.grain

    def mixed(self, size_bytes: int) -> int:
        """A size of mixed parts near ``size_bytes`` whose halves are still parts."""
        return min(self.longest, max(_up(size_bytes, self.grain), 2 * self.shortest))


class Part(NamedTuple):
    """Bytes ``start`` to ``stop`` of the new object; ``origin`` in the basis, or ``MIXED``."""

    start: int
    stop: int
    origin: int = MIXED

    @property
    def is_copied(self) -> bool:
        return self.origin != MIXED


def plan_composed(
    ops: Iterable[Op], size: int, basis_size: int, limits: PartLimits
) -> list[Part] | None:
    """The parts of an object that is all of its basis and then more: the basis, and mixed ones.

    For stores that make parts of whole objects only. None where the object is not like that, or where
    what is new would take larger parts than pass through memory.
    """
    first = next(iter(ops), None)
    if first != Op(0, 0, basis_size, OpKind.COPY) or not basis_size < size:
        return None
    each = max(limits.mixed_bytes, -(-(size - basis_size) // (limits.count_max - 1)))
    if each > limits.mixed_bytes_max:
        return None
    cuts = [*range(basis_size, size, each), size]
    return [Part(0, basis_size, 0), *(Part(start, stop) for start, stop in pairwise(cuts))]


def plan_parts(ops: Iterable[Op], size: int, limits: PartLimits) -> list[Part]:
    """The parts of an object of ``size`` bytes, in their order; an empty one has one empty part.

    ``ops`` is the canonical list. Raises ``ValueError`` when no such parts can hold the object.
    """
    if size > limits.longest * limits.count_max:
        raise ValueError(
            f"{size} bytes are more than {limits.count_max} parts of {limits.longest} bytes"
        )
    if size == 0:
        return [Part(0, 0)]
    runs = _copyable(ops, size, limits) if limits.copies else []
    chosen = _best(runs, size, limits)
    mixed_bytes = limits.mixed(limits.mixed_bytes)
    widest = limits.mixed(max(limits.mixed_bytes, limits.mixed_bytes_max))
    while True:
        if _count(chosen, size, mixed_bytes, limits) <= limits.count_max:
            return _tiled(chosen, size, mixed_bytes, limits)
        if mixed_bytes >= widest:
            return _fewer(runs, size, limits)
        mixed_bytes = min(2 * mixed_bytes, widest)


def _fewer(runs: Sequence[Part], size: int, limits: PartLimits) -> list[Part]:
    """Give up the shortest copies, as few as it takes.

    Mixed parts are long enough then that the object fits without any copy, in half of the parts.
    Of equal copies those at the start are kept: what is given up lies together and makes long parts.
    """
    half = -(-2 * size // limits.count_max)
    mixed_bytes = limits.mixed(max(limits.mixed_bytes_max, half))
    by_length = sorted(runs, key=lambda run: (run.start - run.stop, run.start))
    kept: list[Part] = []
    fits, too_many = 0, len(runs) + 1
    while fits + 1 < too_many:
        middle = (fits + too_many) // 2
        chosen = _best(sorted(by_length[:middle]), size, limits)
        if _count(chosen, size, mixed_bytes, limits) <= limits.count_max:
            kept, fits = chosen, middle
        else:
            too_many = middle
    return _tiled(kept, size, mixed_bytes, limits)


def _copyable(ops: Iterable[Op], size: int, limits: PartLimits) -> list[Part]:
    """The ranges that could be copied, each the most of its operation; the last may be short."""
    runs = []
    for op in ops:
        if op.kind is not OpKind.COPY:
            continue
        start = _up(op.start, limits.grain)
        stop = op.stop if op.stop == size else op.stop // limits.grain * limits.grain
        if stop - start >= (1 if stop == size else limits.shortest_copy):
            runs.append(Part(start, stop, op.origin + start - op.start))
    return runs


# -- which copies ------------------------------------------------------------------------------


class _Choice(NamedTuple):
    """The best way to a copy: it gave up ``front`` bytes of its own and ``back`` of the one before.

    ``spare`` is what its own end can still give up.
    """

    copied: int
    spare: int
    run: int
    front: int
    back: int
    before: "_Choice | None"


def _best(runs: Sequence[Part], size: int, limits: PartLimits) -> list[Part]:
    """Those of the runs, trimmed, that copy the most bytes with room for parts between them.

    A gap that is too small for a part grows into its neighbours: first into the one before, which
    nothing else can need any more. More bytes now or more to spare later: both ways are followed.
    """
    if not runs:
        return []
    recent: list[list[_Choice]] = [[_Choice(0, 0, -1, 0, 0, None)]]
    for index in range(len(runs)):
        ways = [
            way
            for choices in recent
            for before in choices
            if (way := _follow(before, runs, index, size, limits)) is not None
        ]
        recent = [*recent[1 - _LOOK_BACK :], _undominated(ways)]
    best: _Choice | None = max(way for choices in recent for way in choices)
    chosen: list[Part] = []
    back = 0
    while best is not None and best.run >= 0:
        run = runs[best.run]
        chosen.append(Part(run.start + best.front, run.stop - back, run.origin + best.front))
        back, best = best.back, best.before
    return chosen[::-1]


def _follow(
    before: _Choice, runs: Sequence[Part], index: int, size: int, limits: PartLimits
) -> _Choice | None:
    """Choose a run after another one, or after the start; None where there is no room."""
    run = runs[index]
    gap = run.start - (runs[before.run].stop if before.run >= 0 else 0)
    missing = max(0, limits.shortest - gap) if gap else 0
    back = min(missing, before.spare)
    front = missing - back
    length = run.stop - run.start - front
    if length < (1 if run.stop == size else limits.shortest_copy):
        return None
    spare = max(0, length - limits.shortest_copy)
    return _Choice(before.copied + length - back, spare, index, front, back, before)


def _undominated(ways: list[_Choice]) -> list[_Choice]:
    kept: list[_Choice] = []
    for way in sorted(ways, key=lambda way: (-way.copied, -way.spare)):
        if not kept or way.spare > kept[-1].spare:
            kept.append(way)
    return kept


# -- parts of them -----------------------------------------------------------------------------


def _spans(chosen: Sequence[Part], size: int) -> Iterable[Part]:
    """The chosen copies and the gaps between them."""
    end = 0
    for run in chosen:
        if run.start > end:
            yield Part(end, run.start)
        yield run
        end = run.stop
    if end < size:
        yield Part(end, size)


def _count(chosen: Sequence[Part], size: int, mixed_bytes: int, limits: PartLimits) -> int:
    return sum(
        -(-(span.stop - span.start) // (limits.longest if span.is_copied else mixed_bytes))
        for span in _spans(chosen, size)
    )


def _tiled(chosen: Sequence[Part], size: int, mixed_bytes: int, limits: PartLimits) -> list[Part]:
    parts: list[Part] = []
    for span in _spans(chosen, size):
        longest = limits.longest if span.is_copied else mixed_bytes
        parts.extend(_evenly(span, longest, limits.grain))
    return parts


def _evenly(span: Part, longest: int, grain: int) -> Iterable[Part]:
    """Cut a span into parts of about one size: none is left over that would be too small."""
    count = -(-(span.stop - span.start) // longest)
    grains = -(-(span.stop - span.start) // grain)
    for number in range(count):
        start = span.start + number * grains // count * grain
        stop = span.start + (number + 1) * grains // count * grain
        origin = span.origin + start - span.start if span.is_copied else MIXED
        yield Part(start, min(stop, span.stop), origin)


# -- what a mixed part is made of --------------------------------------------------------------


def pieces_of(packed: bytes | memoryview, part: Part) -> list[Op]:
    """The operations of a part, cut to it. ``packed`` is the canonical list of the object."""
    count = len(packed) // OP.size
    index = bisect_right(range(count), part.start, key=lambda i: _op_at(packed, i).start) - 1
    pieces: list[Op] = []
    while 0 <= index < count and (op := _op_at(packed, index)).start < part.stop:
        start, stop = max(op.start, part.start), min(op.stop, part.stop)
        if start < stop:
            origin = op.origin if op.kind is OpKind.FILL else op.origin + start - op.start
            pieces.append(Op(start, origin, stop - start, op.kind))
        index += 1
    return pieces


def _op_at(packed: bytes | memoryview, index: int) -> Op:
    start, origin, length, kind, _ = OP.unpack_from(packed, index * OP.size)
    return Op(start, origin, length, OpKind(kind))


class NearRead(NamedTuple):
    """One read of the basis, and the pieces that it serves."""

    start: int
    stop: int
    pieces: list[Op]


def near_reads(
    pieces: Iterable[Op], *, gap_bytes: int = MIB // 4, read_bytes: int = 8 * MIB
) -> list[NearRead]:
    """The reads that bring all copied pieces of a part.

    Pieces that lie at most ``gap_bytes`` apart in the basis come together, as long as the read stays
    within ``read_bytes``: to read a little more is quicker than to ask again. A longer piece is read
    alone.
    """
    reads: list[NearRead] = []
    for piece in sorted((p for p in pieces if p.kind is OpKind.COPY), key=lambda p: p.origin):
        stop = piece.origin + piece.length
        if reads:
            last = reads[-1]
            joined = max(last.stop, stop)
            if piece.origin <= last.stop + gap_bytes and joined - last.start <= read_bytes:
                last.pieces.append(piece)
                reads[-1] = last._replace(stop=joined)
                continue
        reads.append(NearRead(piece.origin, stop, [piece]))
    return reads


def _up(size: int, grain: int) -> int:
    return -(-size // grain) * grain
