"""Find out which of some files are not resident, of a judge that may only know how much is."""

from collections.abc import Sequence
from typing import Final

from mover.prewarm.model import Look, Piece
from mover.prewarm_places import Place

NAMING_LOOKS_MAX: Final = 200
"""Looks that a shard may take to find out which of its files are missing; then all that may be are named."""


async def missing_of(place: Place, look: Look) -> list[Piece]:
    """The pieces that are not wholly resident, found by looking at ever fewer of them.

    Where that would take too many looks, all are named that may be.
    """
    found: list[Piece] = []
    waiting = [look]
    looks = 0
    while waiting:
        each = waiting.pop()
        lacks = each.bytes - (each.resident_bytes or 0)
        is_exact = sum(piece.size for piece in each.missing) == lacks
        if is_exact or len(each.missing) <= 1 or looks >= NAMING_LOOKS_MAX:
            found += each.missing
            continue
        half = len(each.missing) // 2
        looks += 2
        waiting += [await place.look(each.missing[:half]), await place.look(each.missing[half:])]
    return found


def files_of(pieces: Sequence[Piece]) -> list[str]:
    """The names of the files that pieces belong to. One that is cut counts where it begins, or alone."""
    return list(dict.fromkeys(piece.entry.key for piece in pieces))
