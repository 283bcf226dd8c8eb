"""Pure: how to cut a large object into parts, and parts into chunks."""

from dataclasses import dataclass

from transports.model import ByteRange, Capabilities, PartSpec

MIB = 1024 * 1024

PART_BYTES = 8 * MIB
"""Part size where nothing forces a larger one: large enough that a request's overhead is below a
percent of its time on a fast link, small enough that sixteen fit in the byte budget."""

POURED_PART_BYTES = 32 * MIB
"""Part size where the bytes pass through no buffer of ours: a store has work with each request."""

CHUNK_BYTES = 64 * MIB
"""What one chunk task carries: what a killed worker may have to send again."""

TAPER = 32
"""A tapered run takes at most this part of what is left: eight workers of four slots each get one."""

PART_COUNT_SLACK = 0.9
"""Plan for at most this share of the store's part count, so that a grown object still fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """An object of ``size`` bytes as parts of ``part_bytes``; the last one may be smaller."""

    size: int
    part_bytes: int

    @property
    def count(self) -> int:
        return max(1, -(-self.size // self.part_bytes))

    def part(self, number: int) -> PartSpec:
        """The part of this number, which counts from 1."""
        start = (number - 1) * self.part_bytes
        stop = min(start + self.part_bytes, self.size)
        return PartSpec(number=number, range=ByteRange(start, stop))

    def runs(
        self, chunk_bytes: int = CHUNK_BYTES, *, tapered: bool = False
    ) -> list[tuple[int, int]]:
        """Cut the parts into runs of about ``chunk_bytes``: (first, last) numbers, inclusive.

        Tapered runs get shorter towards the end, so that many workers end at about the same time.
        """
        longest = max(1, chunk_bytes // self.part_bytes)
        found, first = [], 1
        while first <= self.count:
            left = self.count + 1 - first
            length = max(1, min(longest, left // TAPER)) if tapered else min(longest, left)
            found.append((first, first + length - 1))
            first += length
        return found


def plan_parts(size: int, target: Capabilities, *, wished_bytes: int = 0) -> PartPlan:
    """Choose the part size for an object of ``size`` bytes.

    Raises ValueError with one clear line when the target cannot hold an object of this size.
    """
    if size > target.object_size_max:
        raise ValueError(
            f"{size} bytes are more than the {target.object_size_max} a target object may have"
        )
    count_max = max(1, int(target.part_count_max * PART_COUNT_SLACK))
    part = max(wished_bytes or PART_BYTES, target.part_size_min, -(-size // count_max))
    if part > PART_BYTES:
        part = -(-part // MIB) * MIB  # whole MiB: sizes that people recognise in a listing of parts
    return PartPlan(size=size, part_bytes=min(part, target.part_size_max))
