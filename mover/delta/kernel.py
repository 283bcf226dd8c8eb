"""The one door of the delta engine: sign old bytes, and scan new ones for them.

The work is done in C (``_native``), which lets other threads run meanwhile; ``reference`` says in plain
Python what it does. Everything is a function of the bytes alone: pieces, segments' order and the number
of threads do not show in the results.

A digest may be cut short (``strong_bytes``) or be fooled on purpose (XXH3-128). Then a COPY may name
a block that is not equal: whoever makes an object of the operations must check it whole.

Digests other than XXH3-128 are made in Python by hashlib or blake3, of the blocks whose key was met.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from mmap import mmap

from mover.delta import _native
from mover.delta.anchors import segment_bytes, slow_digest
from mover.delta.model import Signature, SignatureHead, Strong

Buffer = bytes | bytearray | memoryview | mmap


@dataclass(frozen=True, slots=True)
class Columns:
    """Some blocks of a signature in a row, as ``Signature`` holds all of them."""

    anchors: bytes
    keys: bytes
    digests: bytes


@dataclass(slots=True)
class ScanStats:
    """What scans did so far, in bytes: passed, hashed by digests, and paid for vain candidates.

    ``runs`` counts matches with those that follow each of them as in the basis.
    """

    scanned: int = 0
    hashed: int = 0
    failed: int = 0
    runs: int = 0


def sign(data: Buffer, head: SignatureHead) -> Signature:
    """The signature of a whole object in memory. Raises ``ValueError`` where the size is not the head's."""
    with memoryview(data) as view, view.cast("B") as flat:
        if len(flat) != head.size:
            raise ValueError(f"{len(flat)} bytes are not the {head.size} of the head")
        columns = sign_blocks(head, 0, flat)
    return Signature(head, columns.anchors, columns.keys, columns.digests)


def sign_blocks(head: SignatureHead, first_block: int, data: Buffer) -> Columns:
    """The columns of the blocks from ``first_block`` on, all whole but for the object's last.

    Raises ``ValueError`` where ``data`` are not such blocks, or where their digest cannot be made here.
    """
    with memoryview(data) as view, view.cast("B") as flat:
        start = first_block * head.block_bytes
        stop = start + len(flat)
        if stop > head.size or (stop % head.block_bytes and stop != head.size):
            raise ValueError(f"bytes {start} to {stop} are not whole blocks of the object")
        fast = head.strong is Strong.XXH3_128
        columns = _native.sign(
            flat,
            head.block_bytes,
            head.strong_bytes,
            head.seed,
            key_bytes=head.key_bytes,
            digests=fast,
        )
        if fast:
            return Columns(*columns)
        return Columns(columns[0], columns[1], b"".join(_slow_digests(head, flat)))


def _slow_digests(head: SignatureHead, data: memoryview) -> Iterator[bytes]:
    digest = slow_digest(head.strong)
    for start in range(0, len(data), head.block_bytes):
        yield digest(data[start : start + head.block_bytes])[: head.strong_bytes]


class Signer:
    """Signs a stream of pieces of any length, in order. At most one block waits in memory."""

    def __init__(self, head: SignatureHead) -> None:
        self._head = head
        self._rest = bytearray()
        self._blocks = 0
        self._columns: list[Columns] = []

    def feed(self, data: Buffer) -> None:
        """Take the next bytes. Raises ``ValueError`` where they are more than the head's size."""
        head = self._head
        with memoryview(data) as given, given.cast("B") as view:
            if self._blocks * head.block_bytes + len(self._rest) + len(view) > head.size:
                raise ValueError(f"more than the {head.size} bytes of the head")
            taken = min(head.block_bytes - len(self._rest), len(view)) if self._rest else 0
            self._rest += view[:taken]
            if len(self._rest) == head.block_bytes:
                self._sign(self._rest)
                self._rest = bytearray()
            whole = taken + (len(view) - taken) // head.block_bytes * head.block_bytes
            if whole > taken:
                self._sign(view[taken:whole])
            self._rest += view[whole:]

    def finish(self) -> Signature:
        """The signature. Raises ``ValueError`` where bytes are missing."""
        if self._rest:
            self._sign(self._rest)
            self._rest = bytearray()
        columns = self._columns
        return Signature(
            self._head,
            b"".join(each.anchors for each in columns),
            b"".join(each.keys for each in columns),
            b"".join(each.digests for each in columns),
        )

    def _sign(self, data: Buffer) -> None:
        columns = sign_blocks(self._head, self._blocks, data)
        self._columns.append(columns)
        self._blocks += len(columns.anchors) // 4


class Index:
    """A signature made ready for scans. Immutable; threads may share it.

    Raises ``ValueError`` where an anchor is not in its block, or where the digest cannot be made here.
    """

    def __init__(self, signature: Signature, *, level: str = "", segment: int = 0) -> None:
        head = signature.head
        self.signature = signature
        self.segment_bytes = segment or segment_bytes(head.block_bytes)
        self.native = _native.Index(
            head.size,
            head.block_bytes,
            head.strong_bytes,
            head.seed,
            signature.anchors,
            signature.keys,
            signature.digests,
            key_bytes=head.key_bytes,
            equal=_slow_equal(signature),
            level=level,
        )

    @property
    def memory_bytes(self) -> int:
        """What the signature and the index take in memory."""
        return self.native.memory_bytes

    def segments(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The pieces of [start, stop) that are scanned each by itself: cut at fixed offsets."""
        while start < stop:
            edge = min((start // self.segment_bytes + 1) * self.segment_bytes, stop)
            yield start, edge
            start = edge


def _slow_equal(signature: Signature) -> Callable[[int, bytes], bool] | None:
    head = signature.head
    if head.strong is Strong.XXH3_128:
        return None
    digest = slow_digest(head.strong)
    return lambda block, data: digest(data)[: head.strong_bytes] == signature.digest(block)


def scan(
    index: Index,
    data: Buffer,
    *,
    start: int = 0,
    threads: int = 1,
    passed: Callable[[int], None] | None = None,
) -> bytes:
    """The operations that make ``data``, as the bytes from ``start`` on of the new object.

    ``data`` must not change meanwhile. Where one thread scans, ``passed`` is told after each segment how
    much of ``data`` that was so far. Raises what the making of a slow digest raises.
    """
    packed, _ = scan_counted(index, data, start=start, threads=threads, passed=passed)
    return packed


def scan_counted(
    index: Index,
    data: Buffer,
    *,
    start: int = 0,
    threads: int = 1,
    passed: Callable[[int], None] | None = None,
) -> tuple[bytes, ScanStats]:
    """As ``scan``, and what it took."""
    stats = ScanStats()
    with memoryview(data) as view, view.cast("B") as flat:

        def one(piece: tuple[int, int]) -> _Result:
            return index.native.scan(flat, start, *piece)

        def told(piece: tuple[int, int]) -> _Result:
            result = one(piece)
            if passed is not None:
                passed(piece[1] - start)
            return result

        pieces = list(index.segments(start, start + len(flat)))
        if threads > 1 and len(pieces) > 1:
            with ThreadPoolExecutor(min(threads, len(pieces)), "delta-scan") as pool:
                results = list(pool.map(one, pieces))
        else:
            results = [told(piece) for piece in pieces]
        for _, counted in results:
            _add(stats, counted)
        stats.scanned = len(flat)
    return merge(ops for ops, _ in results), stats


_Result = tuple[bytes, tuple[int, int, int]]


def _add(stats: ScanStats, counted: tuple[int, int, int]) -> None:
    hashed, failed, runs = counted
    stats.hashed += hashed
    stats.failed += failed
    stats.runs += runs


class Scanner:
    """Scans a stream of pieces of any length, in order; any partition gives the same operations.

    A segment and a block wait in memory. What the calls of ``feed`` return is to be merged.
    """

    def __init__(self, index: Index, *, start: int = 0) -> None:
        self._index = index
        self._block_bytes = index.signature.head.block_bytes
        # The same pages all the time: fresh ones cost more than scanning what is put into them.
        self._room = memoryview(mmap(-1, index.segment_bytes + self._block_bytes))
        self._base = start  # where the room begins, which is where the next segment does
        self._filled = 0
        self.stats = ScanStats()

    def feed(self, data: Buffer, *, final: bool = False) -> bytes:
        """Take the next bytes, and return the operations that are certain by now."""
        parts: list[bytes] = []
        with memoryview(data) as view, view.cast("B") as flat:
            taken = 0
            while taken < len(flat):
                length = min(len(flat) - taken, len(self._room) - self._filled)
                self._room[self._filled : self._filled + length] = flat[taken : taken + length]
                taken += length
                self._filled += length
                parts += self._scan(final=False)
        if final:
            parts += self._scan(final=True)
        return merge(parts)

    def _scan(self, *, final: bool) -> list[bytes]:
        """Scan the segments that are there with the block behind them, and let go of them."""
        parts: list[bytes] = []
        begin, end = self._base, self._base + self._filled
        held = self._room[: self._filled]
        for start, stop in self._index.segments(begin, end):
            if not final and stop + self._block_bytes > end:
                break
            ops, counted = self._index.native.scan(held, begin, start, stop)
            parts.append(ops)
            _add(self.stats, counted)
            self.stats.scanned += stop - start
            self._base = stop
        if rest := end - self._base:
            self._room[:rest] = held[self._filled - rest :]
        self._filled = rest
        return parts


@dataclass(frozen=True, slots=True)
class Differences:
    """Which elements differ, and by what.

    ``gaps`` has for each element that differs how many before it do not (255 and more: the byte 255,
    and then the rest). ``planes`` has the first bytes of what is told of them, then the second ones,
    and so on: old XOR new, or new less old in zigzag.
    """

    gaps: bytes
    planes: tuple[bytes, ...]


def differ(old: Buffer, new: Buffer, *, width: int, subtract: bool) -> Differences:
    """How little-endian elements of ``width`` bytes, 2 or 4, differ.

    Raises ``ValueError`` where there are not as many, or where they are not whole.
    """
    return Differences(*_native.differ(old, new, width, subtract))


def change(data: bytearray, found: Differences, *, width: int, subtract: bool) -> None:
    """Make the new elements of the old ones, in place.

    Raises ``ValueError`` for differences that are not of these elements; some are changed then.
    """
    _native.change(data, width, subtract, found.gaps, b"".join(found.planes))


def merge(parts: Iterable[bytes]) -> bytes:
    """Operations of parts that follow each other, as one canonical list.

    Where one ends behind the next one's begin, the earlier stays. Raises ``ValueError`` for a gap.
    """
    return _native.join(bytearray().join(parts))
