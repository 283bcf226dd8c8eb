"""The judge of last resort: how long a read takes, against how long first reads took.

What is in the mount's cache is read faster than what has to come from afar. So a few pages are read
again, past the page cache, and their times are held against those of the reads that warmed. This says
something only where a cache is much faster than its origin, and of the files that were sampled; it reads
up to a page of each, which may bring a block into the cache. So it is *inferred*, and where the two
times do not lie apart it says nothing.
"""

import random
import threading
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Final

from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed
from mover.prewarm.timing import verdict
from mover.prewarm_faults import MountFaults, MountGone
from mover.prewarm_judges import MountJudge
from mover.prewarm_reading import Reader
from transports.errors import Unsupported

SAMPLES: Final = 24
FIRST_READS: Final = 256


class TimedJudge(MountJudge):
    """Judges a sample of the pieces by the time that a page of each takes."""

    judge = Judge.TIMED
    certainty = Certainty.INFERRED

    def __init__(self, reader: Reader, faults: MountFaults) -> None:
        self._reader = reader
        self._faults = faults
        self._first_s: deque[float] = deque(maxlen=FIRST_READS)
        reader.on_first_read = self._first_s.append

    def look(self, pieces: Sequence[Piece], stop: threading.Event) -> Look:
        wanted = sum(piece.size for piece in pieces)
        full = [piece for piece in pieces if piece.size > 0]
        # The same pieces give the same sample, so that a second look sees what the first one saw.
        sample = random.Random(len(full)).sample(full, min(SAMPLES, len(full)))
        times: list[tuple[Piece, float]] = []
        for piece in sample:
            if stop.is_set():
                break
            try:
                times.append((piece, self._reader.probe(piece)))
            except OSError as error:
                fault = self._faults.of(error, self._reader.path(piece.entry.key))
                if isinstance(fault, MountGone):
                    raise fault from error
        first_s = median(self._first_s) if self._first_s else 0.0
        slow = verdict(first_s, [time_s for _, time_s in times])
        if slow is None:
            return Look(wanted, None)
        missing = [piece for (piece, _), is_slow in zip(times, slow, strict=True) if is_slow]
        share = 1 - len(missing) / len(times)
        return Look(wanted, int(wanted * share), missing)

    def evict(self, pieces: Sequence[Piece], stop: threading.Event) -> Warmed:
        raise Unsupported("", "nobody knows how this cache is told to free something")
