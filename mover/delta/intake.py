"""Bytes that come in pieces of any size and are taken in fields of known size. Pure."""

from mover.delta.garbled import Foreign, Garbled


class Intake:
    """Holds what was fed and not yet taken: less than one field and one piece.

    ``offset`` is where the next field begins in the whole.
    """

    def __init__(self, what: str) -> None:
        self.offset = 0
        self._what = what
        self._held = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self._held += data

    def take(self, size: int) -> bytes | None:
        """The next field, or None where not all of it has come."""
        if len(self._held) < size:
            return None
        with memoryview(self._held) as view:
            field = bytes(view[:size])
        del self._held[:size]
        self.offset += size
        return field

    def end(self) -> None:
        """Raise ``Garbled`` where bytes are left."""
        if self._held:
            raise self.garbled("there are bytes behind its end")

    def garbled(self, detail: str, *, back: int = 0) -> Garbled:
        """The error to raise for the field that ended ``back`` bytes before the next one."""
        return Garbled(self._what, self.offset - back, detail)

    def foreign(self, detail: str, *, back: int) -> Foreign:
        """The same for bytes that never were what they should be."""
        return Foreign(self._what, self.offset - back, detail)
