"""What SQLite refuses at once while another process does the same, its busy timeout notwithstanding."""

import sqlite3
import time
from collections.abc import Callable
from typing import Final

PAUSE_S: Final = 0.02


def repeated_while_busy(step: Callable[[], object], *, patience_s: float) -> None:
    """Repeat a step until it is not refused as busy; blocks. Changing the journal mode is such a step, and reading meanwhile.

    Raises ``sqlite3.OperationalError`` once that has taken ``patience_s``.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            step()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > deadline_s:
                raise
            time.sleep(PAUSE_S)
        else:
            return
