"""The flows that sign an object, and that read and write signatures.

An object is read once, from start to end, and a bounded part of it is in memory. Work that takes
longer than a moment runs in threads, so that signals and progress are seen.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from mover.delta import kernel
from mover.delta.block_sizes import single_block_bytes
from mover.delta.checksums import WholeDigest
from mover.delta.model import KEY_BYTES_MAX, Signature, SignatureHead, Strong
from mover.delta.signature_format import (
    SignatureFile,
    SignatureReader,
    Widths,
    mended_widths,
    wire_strong_bytes,
    write_signature,
)
from mover.delta_drafts import Draft
from mover.delta_inputs import FileInput, Input, spooled
from mover.errors import Rejected
from mover.seeing_out import in_thread

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""What a thread signs or hashes at a time: a few hundredths of a second."""

FEED_BYTES: Final = 8 * 1024 * 1024
"""What is signed at a time where the object comes as a stream."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a command did, in bytes; ``wire_bytes`` is the length of what it wrote or read of the wire.

    ``stored_bytes`` of the new object were copied by the store itself.
    """

    read_bytes: int = 0
    wire_bytes: int = 0
    literal_bytes: int = 0
    matched_bytes: int = 0
    filled_bytes: int = 0
    changed_bytes: int = 0
    new_bytes: int = 0
    blocks: int = 0
    block_bytes: int = 0
    ops: int = 0
    stored_bytes: int = 0


Watch = Callable[[int, int | None], None]
"""Told how many bytes are done, of how many where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignWish:
    """How to sign: 0 for ``block_bytes`` lets the size choose; ``full`` keeps digests uncut.

    ``mended`` keeps as little as a user takes who sees and mends a false match.
    """

    block_bytes: int = 0
    strong: Strong = Strong.XXH3_128
    full: bool = False
    mended: bool = False

    def head(self, size: int) -> SignatureHead:
        """The head of a signature of an object of ``size`` bytes, with a seed of its own."""
        block_bytes = self.block_bytes or single_block_bytes(size)
        widths = self._widths(size, block_bytes)
        return SignatureHead(
            size=size,
            block_bytes=block_bytes,
            strong=self.strong,
            strong_bytes=widths.strong_bytes,
            key_bytes=widths.key_bytes,
            seed=random_seed() if self.strong is Strong.XXH3_128 else 0,
        )

    def _widths(self, size: int, block_bytes: int) -> Widths:
        if self.full:
            return Widths(KEY_BYTES_MAX, self.strong.bytes_max)
        if self.mended:
            return mended_widths(size, block_bytes)
        return Widths(KEY_BYTES_MAX, wire_strong_bytes(size, block_bytes, self.strong))


def random_seed() -> int:
    """A seed of XXH3-128, that nobody knows before it is used."""
    return int.from_bytes(os.urandom(8), "little")


def refuse_unknown(head: SignatureHead) -> None:
    """Raise ``Rejected`` for a digest that cannot be computed here: it needs a package."""
    try:
        kernel.sign(b"", replace(head, size=0))
    except ValueError as error:
        raise Rejected(str(error)) from error


@dataclass(slots=True)
class _Columns:
    """Columns of a signature that come segment by segment; each segment is whole blocks."""

    head: SignatureHead
    anchors: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)

    def sign(self, data: memoryview | bytearray) -> Signature:
        """Sign a segment by itself; blocks know nothing of each other."""
        return kernel.sign(data, replace(self.head, size=len(data)))

    def add(self, part: Signature) -> None:
        self.anchors.append(part.anchors)
        self.keys.append(part.keys)
        self.digests.append(part.digests)

    def whole(self) -> Signature:
        columns = (b"".join(column) for column in (self.anchors, self.keys, self.digests))
        return Signature(self.head, *columns)


async def sign(
    old: Input, wish: SignWish, *, threads: int, watch: Watch, whole: WholeDigest | None = None
) -> Signature:
    """The signature of an input. ``whole`` is fed with all of its bytes; ``threads`` 0: by size.

    A pipe goes through a temporary file, since its size chooses the blocks. Raises ``MoverError``,
    ``TransportError``.
    """
    async with AsyncExitStack() as stack:
        if old.size is None:
            old = await spooled(old, stack)
        columns = _Columns(wish.head(old.size or 0))
        refuse_unknown(columns.head)
        if isinstance(old, FileInput):
            await _sign_file(old, columns, threads, watch, whole)
        else:
            await _sign_stream(old, columns, watch, whole)
        old.check_unchanged()
        return columns.whole()


async def _sign_file(
    old: FileInput, columns: _Columns, threads: int, watch: Watch, whole: WholeDigest | None
) -> None:
    threads = old.threads(threads)
    block_bytes = columns.head.block_bytes
    step = max(SEGMENT_BYTES // block_bytes, 1) * block_bytes
    with old.mapped() as view, ThreadPoolExecutor(threads) as crew:

        def sign_all(pieces: list[memoryview]) -> list[Signature]:
            signing = crew.map(columns.sign, pieces)
            if whole is not None:
                for piece in pieces:
                    whole.update(piece)
            return list(signing)

        for first in range(0, old.size, step * threads):
            stop = min(first + step * threads, old.size)
            pieces = [view[start : start + step] for start in range(first, stop, step)]
            for part in await in_thread(sign_all, pieces):
                columns.add(part)
            for piece in pieces:
                piece.release()
            watch(stop, old.size)


async def _sign_stream(
    old: Input, columns: _Columns, watch: Watch, whole: WholeDigest | None
) -> None:
    block_bytes = columns.head.block_bytes
    # One buffer for all: fresh memory costs more than signing what is put into it.
    buffer = memoryview(bytearray(max(FEED_BYTES // block_bytes, 1) * block_bytes))
    done = filled = 0

    async def take(piece: memoryview) -> None:
        nonlocal done, filled
        if whole is not None:
            whole.update(piece)
        done += len(piece)
        if not filled and len(piece) >= len(buffer):
            whole_bytes = len(piece) // block_bytes * block_bytes
            columns.add(await in_thread(columns.sign, piece[:whole_bytes]))
            piece = piece[whole_bytes:]
        while len(piece):
            length = min(len(piece), len(buffer) - filled)
            buffer[filled : filled + length] = piece[:length]
            piece = piece[length:]
            filled += length
            if filled == len(buffer):
                columns.add(await in_thread(columns.sign, buffer))
                filled = 0
        watch(done, old.size)

    await old.pour(take)
    if filled:
        columns.add(await in_thread(columns.sign, buffer[:filled]))


async def write_signature_file(file: SignatureFile, draft: Draft) -> int:
    """Write and publish a signature; return its length in bytes."""
    length = 0
    for piece in write_signature(file):
        await draft.write(piece)
        length += len(piece)
    await draft.publish()
    return length


async def read_signature(given: Input) -> tuple[SignatureFile, int]:
    """Read a signature, and tell its length in bytes. Raises ``Garbled``."""
    reader = SignatureReader()
    length = 0

    async def take(piece: memoryview) -> None:
        nonlocal length
        reader.feed(piece)
        length += len(piece)

    await given.pour(take)
    return reader.finish(), length
