"""What can go wrong with a store, named for the situation.

The leaf class decides what the caller does: a ``Transient`` is tried again, a ``Permanent`` is
reported, a ``Changed`` is planned again, a ``Corrupt`` is read again a few times and then fails
loudly. Nobody above an adapter reads a status code or searches a message.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TransportError(Exception):
    """A store did not do what was asked.

    ``location`` names the object or store without secrets, ``detail`` is one line for a person,
    ``retry_after_s`` is the store's own wish, where it gave one.
    """

    def __init__(
        self, location: str, detail: str = "", *, retry_after_s: float | None = None
    ) -> None:
        self.location = location
        self.detail = detail or self.situation
        self.retry_after_s = retry_after_s
        super().__init__(f"{location}: {self.detail}" if location else self.detail)

    situation = "the store failed"


class Transient(TransportError):
    """Trying again can help."""

    situation = "the store failed for now"


class Throttled(Transient):
    """The store asks for fewer requests (429, 503 SlowDown)."""

    situation = "the store asks to slow down"


class Unavailable(Transient):
    """The store or the way to it is down: 500, 502, 504, connection reset, DNS."""

    situation = "the store is unavailable"


class TimedOut(Transient):
    """Our own deadline passed."""

    situation = "timed out"


class Truncated(Transient):
    """Fewer bytes came than were promised; the first ``received_bytes`` are good.

    ``read_into`` leaves those bytes in the caller's buffer, so a retry reads on from there.
    """

    def __init__(self, location: str, *, received_bytes: int, expected_bytes: int) -> None:
        self.received_bytes = received_bytes
        self.expected_bytes = expected_bytes
        super().__init__(
            location, f"the body ended after {received_bytes} of {expected_bytes} bytes"
        )


class Permanent(TransportError):
    """Trying again is useless."""

    situation = "the store refused"


class NotFound(Permanent):
    """The object, bucket or directory is not there."""

    situation = "not found"


class AlreadyExists(Permanent):
    """A conditional write met an existing object."""

    situation = "already exists"


class Denied(Permanent):
    """Credentials are missing, wrong or not sufficient; or file permissions forbid it."""

    situation = "access denied"


class Invalid(Permanent):
    """The store cannot take this name, size or option."""

    situation = "not possible here"


class Unsupported(Invalid):
    """The store does not have this verb, or has it and does something else. It will say so again."""

    situation = "the store cannot do this"


class Obstructed(Invalid):
    """A file stands where a directory is needed, or a directory where an object should be."""

    situation = "something of another kind stands in the way"


class NoSpace(Permanent):
    """The target is full or over its quota."""

    situation = "no space left"


class Changed(TransportError):
    """The object is no longer the one that was listed: its pin (etag, version, mtime) moved.

    Not retried: it has to be listed and planned again.
    """

    situation = "the object changed while it was being copied"


class Corrupt(TransportError):
    """The bytes do not have the checksum that they should have."""

    def __init__(self, location: str, *, algorithm: str, expected: str, actual: str) -> None:
        self.algorithm = algorithm
        self.expected = expected
        self.actual = actual
        super().__init__(location, f"{algorithm} is {actual}, expected {expected}")


Translation = Callable[[BaseException, str], TransportError | None]


@contextmanager
def translating(translate: Translation, location: str) -> Iterator[None]:
    """Turn a library's exceptions into this module's, at an adapter's edge.

    ``translate(error, location)`` returns the error to raise in its place, with the original as
    its cause, or None when the error is not the store's doing: then it is a bug and flies on.
    """
    try:
        yield
    except TransportError:
        raise
    except Exception as error:
        translated = translate(error, location)
        if translated is None:
            raise
        raise translated from error
