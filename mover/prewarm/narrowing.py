"""Pure: find what is missing by asking a judge that only gives sums, with few questions.

A group of which all or nothing is resident needs no second question; another is cut in parts and
asked again, until the parts are single pieces or the questions are used up.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from mover.prewarm.model import Look, Piece

GROUP_PIECES: Final = 512
PARTS: Final = 4


class Told(NamedTuple):
    """What a judge says of one group: how much of it is resident, and whether that is all."""

    resident_bytes: int
    is_all: bool


class Narrowing:
    """One look at pieces. Ask of ``group`` and tell ``told`` until the group is empty; then take ``look``.

    ``questions`` is how many may be asked beyond one for each ``GROUP_PIECES``.
    """

    def __init__(self, pieces: Sequence[Piece], *, questions: int) -> None:
        self._bytes = sum(piece.size for piece in pieces)
        # Of an empty file nothing can be missing.
        full = [piece for piece in pieces if piece.size > 0]
        self._groups: list[Sequence[Piece]] = [
            full[at : at + GROUP_PIECES] for at in range(0, len(full), GROUP_PIECES)
        ]
        self._groups.reverse()
        self._questions = questions + len(self._groups)
        self._resident_bytes = 0
        self._missing: list[Piece] = []

    @property
    def group(self) -> Sequence[Piece]:
        """What to ask of next; empty when all is told."""
        return self._groups[-1] if self._groups else ()

    def told(self, told: Told) -> None:
        """What the judge says of ``group``."""
        group = self._groups.pop()
        self._questions -= 1
        if told.is_all:
            self._resident_bytes += sum(piece.size for piece in group)
        elif (
            len(group) == 1
            or told.resident_bytes <= 0
            or self._questions < len(self._groups) + PARTS
        ):
            self._resident_bytes += told.resident_bytes
            self._missing.extend(group)
        else:
            self._groups.extend(_parts(group))

    @property
    def look(self) -> Look:
        """What all answers come to."""
        return Look(self._bytes, self._resident_bytes, self._missing)


def _parts(group: Sequence[Piece]) -> list[Sequence[Piece]]:
    size = -(-len(group) // PARTS)
    parts = [group[at : at + size] for at in range(0, len(group), size)]
    parts.reverse()
    return parts
