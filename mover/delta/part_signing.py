"""Signatures of objects that are written in parts: parts come in any order, from several workers. Pure.

Blocks know nothing of each other, so each part is signed by itself, and the columns are joined. All who
sign parts of one object must say the same head, without a word between them: it follows from the size,
the part size and the name of the upload.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mover.delta import kernel
from mover.delta.block_sizes import BLOCK_MIN, single_block_bytes
from mover.delta.checksums import section_sum
from mover.delta.kernel import Buffer
from mover.delta.model import Signature, SignatureHead
from mover.delta.signature_format import wire_strong_bytes

_SEED: Final = 0


def part_head(size: int, part_bytes: int, name: str) -> SignatureHead | None:
    """The head of the signature of an object of ``size`` bytes in parts of ``part_bytes``.

    ``name`` is of the upload, and makes the seed. None where no block size cuts each part into whole
    blocks.
    """
    block_bytes = single_block_bytes(size)
    while part_bytes % block_bytes:
        block_bytes //= 2
    if block_bytes < BLOCK_MIN:
        return None
    return SignatureHead(
        size=size,
        block_bytes=block_bytes,
        strong_bytes=wire_strong_bytes(size, block_bytes),
        seed=int.from_bytes(section_sum(name.encode(), number=_SEED), "little"),
    )


def sign_part(head: SignatureHead, data: Buffer) -> Signature:
    """The signature of bytes that begin with a block, and end with one or with the object."""
    return kernel.sign(data, replace(head, size=len(memoryview(data))))


def joined_parts(head: SignatureHead, parts: Mapping[int, Signature]) -> Signature:
    """The signature of the bytes that parts make, by where each begins; the head's size says how many.

    Raises ``ValueError`` where one is missing or is of another head.
    """
    starts = sorted(parts)
    at = starts[0] if starts else 0
    stop = at + head.size
    for start in starts:
        part = parts[start].head
        if start != at or start % head.block_bytes or replace(part, size=head.size) != head:
            raise ValueError(f"no part of the same signature begins at byte {at}")
        at += part.size
        if part.size % head.block_bytes and at != stop:
            raise ValueError(f"a part ends in a block, at byte {at}")
    if at != stop:
        raise ValueError(f"the parts end at byte {at} of {stop}")
    return Signature(
        head,
        b"".join(parts[start].anchors for start in starts),
        b"".join(parts[start].keys for start in starts),
        b"".join(parts[start].digests for start in starts),
    )
