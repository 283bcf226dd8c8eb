"""Pure: ranges of keys (to be replaced)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyRange:
    """After ``after``, up to and with ``upto``."""

    after: str = ""
    upto: str | None = None

    @property
    def stop_at(self) -> str | None:
        return None if self.upto is None else self.upto + "\0"
