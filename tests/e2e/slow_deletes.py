"""The mover, but its deletions take their time: ``python -m tests.e2e.slow_deletes rsync …``."""

import sys
import time
from collections.abc import Sequence

from mover import sweeping
from mover.__main__ import main
from transports.errors import TransportError
from transports.local_writing import Writer

REMOVAL_OBJECTS = 20
PAUSE_S = 0.1


def _slow_down() -> None:
    remove = Writer.remove

    def slowly(writer: Writer, keys: Sequence[str]) -> list[TransportError | None]:
        time.sleep(PAUSE_S)
        return remove(writer, keys)

    sweeping.REMOVAL_OBJECTS = REMOVAL_OBJECTS  # type: ignore[misc]
    Writer.remove = slowly  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    _slow_down()
    sys.exit(main())
