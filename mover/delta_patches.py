"""Pure: what a patch is, whether it can be, and what it took."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mover.delta.model import Op, OpKind, joined, unpack_ops
from mover.delta.parting import MIB, PartLimits
from transports.errors import Invalid
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Capabilities,
    Checksum,
    Entry,
    Presence,
    Receipt,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What is to be made, and of what.

    ``ops`` are the packed operations of the new object of ``size`` bytes, canonical, over ``basis``.
    ``whole`` is the new object's CRC-64/NVME; ``ladder`` has that of each of its MiB, where known.
    ``replaces`` is what the object takes the place of at ``key``. Where the basis is ``trusted`` to be
    the object, as their checksums say, the store copies it, and what it copied is not read again.
    """

    key: str
    size: int
    ops: bytes
    basis: Entry
    whole: Checksum
    ladder: Sequence[int] = ()
    attributes: Attributes = NO_ATTRIBUTES
    replaces: Entry | Presence = Presence.ANY
    trusted: bool = False


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a patch took. Bytes and parts of rounds that were given up count as well.

    ``near_bytes`` were read of the basis for mixed parts, ``checked_bytes`` to check copied ones.
    ``kept_parts`` an earlier process had brought. ``requests`` are calls to the stores of the basis and the target. ``refused`` says why the store
    copied no parts, where it turned out that it does not.
    """

    copied_bytes: int = 0
    near_bytes: int = 0
    checked_bytes: int = 0
    literal_bytes: int = 0
    filled_bytes: int = 0
    resent_bytes: int = 0
    copied_parts: int = 0
    mixed_parts: int = 0
    kept_parts: int = 0
    requests: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Patched:
    """The receipt of the new object, what it took, and the operations that made it in the end."""

    receipt: Receipt
    counts: Counts
    ops: bytes


class Passing(Protocol):
    """Sees the bytes of the new object that pass through the process which patches, in any order."""

    def begin(self) -> None:
        """Forget all: the object is made anew."""

    async def take(self, start: int, data: memoryview) -> None:
        """Bytes from ``start`` on; they are the caller's again afterwards. Must not fail."""


class Unseen(Passing):
    """Nobody looks."""

    def begin(self) -> None:
        """Nothing to forget."""

    async def take(self, start: int, data: memoryview) -> None:
        """Nothing to see."""


def check_ops(patch: Patch, location: str) -> None:
    """Raise ``Invalid`` unless the operations make just this object of just this basis."""
    end = 0
    try:
        for op in joined(unpack_ops(patch.ops)):
            if op.start != end:
                raise ValueError(f"nothing makes byte {end}")
            if op.kind is OpKind.COPY and op.origin + op.length > patch.basis.size:
                raise ValueError(f"the basis ends before byte {op.origin + op.length}")
            if op.kind is OpKind.FILL and op.origin > 255:
                raise ValueError(f"no byte: {op.origin}")
            end = op.stop
        if end != patch.size:
            raise ValueError(f"they end at byte {end} of {patch.size}")
        if patch.ladder and len(patch.ladder) != -(-patch.size // MIB):
            raise ValueError(f"a ladder of {len(patch.ladder)} steps for {patch.size} bytes")
    except ValueError as error:
        raise Invalid(location, f"the delta does not fit: {error}") from error
    if patch.whole.algorithm != "crc64nvme" and not patch.trusted:
        raise Invalid(location, f"a patch is proved by CRC-64/NVME, not {patch.whole.algorithm}")


def limits_for(
    target: Capabilities, near: Capabilities, wishes: PartLimits, patch: Patch
) -> PartLimits:
    """The target's arithmetic with our wishes; copies only where the store can make them.

    S3 copies ranges of objects over 5 MiB only, which is also the least size of a part.
    """
    copies = (
        wishes.copies
        and target.copies_parts
        and target.copy_domain == near.copy_domain != ""
        and patch.basis.size > max(target.part_size_min, wishes.copy_min)
    )
    return replace(
        wishes,
        part_min=target.part_size_min,
        part_max=target.part_size_max,
        count_max=target.part_count_max,
        grain=MIB if patch.ladder else target.part_alignment,
        copies=copies,
    )


def composes_whole(target: Capabilities, near: Capabilities) -> bool:
    """Whether the target makes parts of whole objects, such as the basis."""
    return target.composes and target.copy_domain == near.copy_domain != ""


def slice_of(buffer: memoryview, piece: Op, start: int) -> memoryview:
    """Where a piece belongs in the buffer of a part that begins at ``start``."""
    return buffer[piece.start - start : piece.stop - start]


def fill_with(buffer: memoryview, byte: int) -> None:
    """Fill a buffer with one byte."""
    block = bytes([byte]) * min(len(buffer), MIB)
    for start in range(0, len(buffer), MIB):
        view = buffer[start : start + MIB]
        view[:] = block[: len(view)]
