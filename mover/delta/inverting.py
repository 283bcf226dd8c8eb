"""One-sided delta: from what an old copy has of a new object to a plan that makes the new one. Pure.

The reader has the signature of the *new* object and scans its *old* copy with it: the operations then
say which bytes of the old copy stand where in the new object. Turned round they make the new object
of the old copy, and what is left must be fetched.
"""

from collections.abc import Iterable, Iterator

from mover.delta.model import CONSTANT, Op, OpKind, Signature, joined


def fetch_plan(ops: Iterable[Op], signature: Signature, *, gap_bytes: int) -> list[Op]:
    """The canonical operations that make the signed object: LITERAL means to fetch.

    ``ops`` are those of the old copy. What is known but shorter than ``gap_bytes`` between two ranges
    to fetch is fetched with them: another request would cost more.
    """
    inverted = joined(_inverted(ops, signature.head.size))
    known = joined(_with_twins(list(inverted), signature))
    return list(joined(_without_gaps(list(known), gap_bytes)))


def _inverted(ops: Iterable[Op], size: int) -> Iterator[Op]:
    """Copies in the order of the signed object, and literals where nothing is known of it."""
    copies = sorted((op.origin, op.start, op.length) for op in ops if op.kind is OpKind.COPY)
    at = 0
    for origin, start, length in copies:
        late = max(at - origin, 0)
        if late >= length:
            continue
        if origin > at:
            yield _missing(at, origin)
        yield Op(origin + late, start + late, length - late, OpKind.COPY)
        at = origin + length
    if at < size:
        yield _missing(at, size)


def _missing(start: int, stop: int) -> Op:
    return Op(start, start, stop - start, OpKind.LITERAL)


def _with_twins(ops: list[Op], signature: Signature) -> Iterator[Op]:
    """Make missing blocks of equal ones that are there, and blocks of one byte of nothing.

    A scan finds one block for each place of the old copy, though several of the signed object may be
    equal to it.
    """
    wanted = {
        signature.digest(block)
        for op in ops
        if op.kind is OpKind.LITERAL
        for block in _blocks(op, signature)
    }
    twins = _origins(ops, signature, wanted) if wanted else {}
    for op in ops:
        if op.kind is OpKind.LITERAL:
            yield from _filled(op, signature, twins)
        else:
            yield op


def _blocks(op: Op, signature: Signature) -> range:
    """The blocks that lie wholly in the bytes of an operation."""
    wide, size = signature.head.block_bytes, signature.head.size
    stop = signature.head.blocks if op.stop == size else op.stop // wide
    return range(-(-op.start // wide), stop)


def _origins(
    ops: list[Op], signature: Signature, wanted: set[bytes]
) -> dict[tuple[bytes, int], int]:
    """Where in the old copy the blocks with these digests are, by digest and length."""
    found: dict[tuple[bytes, int], int] = {}
    for op in ops:
        if op.kind is not OpKind.COPY:
            continue
        for block in _blocks(op, signature):
            digest = signature.digest(block)
            if digest in wanted:
                start, stop = signature.head.block_range(block)
                found.setdefault((digest, stop - start), op.origin + start - op.start)
    return found


def _filled(op: Op, signature: Signature, twins: dict[tuple[bytes, int], int]) -> Iterator[Op]:
    anchors = memoryview(signature.anchors)
    at = op.start
    for block in _blocks(op, signature):
        start, stop = signature.head.block_range(block)
        if int.from_bytes(anchors[4 * block : 4 * block + 4], "little") == CONSTANT:
            found = Op(start, signature.keys[8 * block], stop - start, OpKind.FILL)
        elif (origin := twins.get((signature.digest(block), stop - start))) is not None:
            found = Op(start, origin, stop - start, OpKind.COPY)
        else:
            continue
        if at < start:
            yield _missing(at, start)
        yield found
        at = stop
    if at < op.stop:
        yield _missing(at, op.stop)


def _without_gaps(ops: list[Op], gap_bytes: int) -> Iterator[Op]:
    """Fetch what is known where it is short and stands between two ranges to fetch."""
    held: list[Op] = []
    after_literal = False
    for op in ops:
        if op.kind is not OpKind.LITERAL:
            held.append(op)
            continue
        if held and after_literal and op.start - held[0].start < gap_bytes:
            yield _missing(held[0].start, op.start)
        else:
            yield from held
        held.clear()
        yield op
        after_literal = True
    yield from held
