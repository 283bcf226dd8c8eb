"""Where the arrays of a safetensors file are: bytes that changed have theirs before them. Pure.

Such a file begins with the length of a JSON header (8 bytes, little-endian), then the header, then the
tensors. A name that comes, or a note that gets longer, shifts them all, and a tensor that comes shifts
those behind it.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

HEAD_BYTES: Final = 8
HEADER_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer header is not looked at: some hundred bytes are enough for a tensor."""

_WIDTHS: Final = {"BF16": 2, "F16": 2, "I16": 2, "U16": 2, "F32": 4, "I32": 4, "U32": 4}


class Tensor(NamedTuple):
    """One array, by its place in the file in bytes. ``width`` is of an element, 0 where unknown."""

    name: str
    start: int
    stop: int
    width: int


class Place(NamedTuple):
    """Where bytes from ``start`` to ``stop`` of the new file were in the old one: ``shift`` further on."""

    start: int
    stop: int
    shift: int
    width: int


def header_bytes(head: bytes, size: int) -> int:
    """The length of the header behind these first bytes of a file; 0 where it is none of this kind."""
    length = int.from_bytes(head[:HEAD_BYTES], "little")
    if len(head) < HEAD_BYTES or length > min(HEADER_BYTES_MAX, size - HEAD_BYTES):
        return 0
    return length


def tensors_of(header: bytes, size: int) -> list[Tensor]:
    """The tensors of a file of ``size`` bytes with this header; none where it makes no sense."""
    try:
        told = json.loads(header)
        base = HEAD_BYTES + len(header)
        found = [
            Tensor(name, base + start, base + stop, _WIDTHS.get(about["dtype"], 0))
            for name, about in told.items()
            if name != "__metadata__"
            for start, stop in [about["data_offsets"]]
        ]
        found.sort(key=lambda tensor: tensor.start)
        ends = [base, *(tensor.stop for tensor in found)]
        is_sound = all(
            end <= tensor.start <= tensor.stop <= size
            for end, tensor in zip(ends, found, strict=False)
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
    return found if is_sound else []


def places(old: Sequence[Tensor], new: Sequence[Tensor]) -> list[Place]:
    """Where the tensors of the new file were: those of the same name and length, in their order."""
    known = {tensor.name: tensor for tensor in old}
    return [
        Place(tensor.start, tensor.stop, before.start - tensor.start, tensor.width)
        for tensor in new
        if (before := known.get(tensor.name)) is not None
        if before.stop - before.start == tensor.stop - tensor.start > 0
    ]


def place_at(found: Sequence[Place], offset: int) -> tuple[Place | None, int | None]:
    """The place that has a byte, and where the next one begins; None for neither."""
    index = bisect_right(found, offset, key=lambda place: place.start)
    at = found[index - 1] if index and found[index - 1].stop > offset else None
    return at, found[index].start if index < len(found) else None
