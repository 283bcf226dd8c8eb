"""The one error of all that is read from outside: a signature or a delta that is none. Pure."""


class Garbled(ValueError):
    """Bytes that are no signature or delta of this version, or no longer the whole of one.

    ``what`` is ``signature`` or ``delta``, ``offset`` the byte of it where that was seen, ``detail``
    one line for a person.
    """

    def __init__(self, what: str, offset: int, detail: str) -> None:
        self.what = what
        self.offset = offset
        self.detail = detail
        super().__init__(f"the {what} cannot be used: at byte {offset}, {detail}")


class Foreign(Garbled):
    """It never was one: bytes of something else, or of a version that is not known here."""
