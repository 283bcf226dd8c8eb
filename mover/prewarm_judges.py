"""What a judge of residency must be able to do, for the places of mounts."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence

from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed, Whole

CUT_BYTES = 256 * 1024 * 1024
"""Large files are cut into pieces of so much, where the judge can tell of parts of a file."""


class MountJudge(ABC):
    """Says what is in a mount's cache. All verbs block, and raise ``MountGone``."""

    judge: Judge
    certainty: Certainty
    cut_bytes: int = CUT_BYTES
    keeps_pages: bool = False
    """Whether the page cache is the cache that is warmed."""

    @abstractmethod
    def look(self, pieces: Sequence[Piece], stop: threading.Event) -> Look:
        """How much of these pieces is resident."""

    def look_whole(self, root: str, stop: threading.Event) -> Whole | None:
        """The same of all that is below a directory; None where that is no cheaper, as here."""
        return None

    @abstractmethod
    def evict(self, pieces: Sequence[Piece], stop: threading.Event) -> Warmed:
        """Free what is resident of them. Raises ``Unsupported``."""
