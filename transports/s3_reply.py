"""What comes back from a store, whichever road it took."""

from collections.abc import Mapping
from typing import NamedTuple

from transports.errors import Changed


class Reply(NamedTuple):
    """An answer: ``headers`` by lower-case name; ``body`` is empty where it went to a buffer."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    received_bytes: int

    def text(self, name: bytes) -> str:
        """A header as text, "" where it is missing."""
        return self.headers.get(name, b"").decode("utf-8", "surrogateescape")

    @property
    def etag(self) -> str:
        """The ETag without quotes, "" where there is none."""
        return self.text(b"etag").strip('"')


class WrongLength(Changed):
    """A body is longer than the buffer for it: the object is not the one that was listed."""

    def __init__(self, location: str, expected_bytes: int, announced_bytes: int) -> None:
        self.expected_bytes = expected_bytes
        self.announced_bytes = announced_bytes
        super().__init__(
            location, f"the body has {announced_bytes} bytes, {expected_bytes} were expected"
        )
