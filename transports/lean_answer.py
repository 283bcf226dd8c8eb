"""What the lean lane may answer, and what it must leave to the general client. Pure."""

from typing import Final, NamedTuple

from transports.errors import Unavailable

HEAD_BYTES_MAX: Final = 64 * 1024
"""A head that has not ended after so many bytes is given up."""

ERROR_BODY_BYTES_MAX: Final = 64 * 1024
"""Errors come with a short document; a longer one is not read."""

WHOLE_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""The longest body that is held in memory without a buffer of the caller's."""

INTERIM_COUNT_MAX: Final = 8
"""How many 1xx answers may come before the final one."""

BODILESS: Final = -1
"""Expected of an answer to HEAD: the length that it tells is that of a body that does not come."""


class Answer(NamedTuple):
    """A plain answer: status 2xx, or an error with its body.

    ``headers`` have lower-case names; of a repeated one the last counts. ``body`` is empty where
    the body went to the caller's buffer; ``received_bytes`` counts it in both cases.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    received_bytes: int


class Stale(Unavailable):
    """A kept connection closed before the first byte of the answer: the request may go again."""

    situation = "the kept connection was closed before the answer"


class NotPlain(Exception):
    """An answer that is not for the lean lane: ask again through the general client.

    Not a ``TransportError``, because nothing is wrong with the store. ``status`` and ``length``
    (the Content-Length, in bytes) are None where they did not become known.
    """

    def __init__(
        self, reason: str, *, status: int | None = None, length: int | None = None
    ) -> None:
        self.reason = reason
        self.status = status
        self.length = length
        super().__init__(f"{reason} (status {status}, length {length})")


class WrongLength(NotPlain):
    """A success whose Content-Length is not the size of the caller's buffer.

    ``status``, ``length`` and ``headers`` tell whether the object has changed.
    """

    def __init__(self, *, status: int, length: int, headers: dict[bytes, bytes]) -> None:
        self.headers = headers
        super().__init__("the body does not have the expected length", status=status, length=length)


def judge_head(
    status: int, headers: dict[bytes, bytes], expected_bytes: int | None
) -> NotPlain | None:
    """Say why a final answer with this head is not plain; None when it is.

    ``expected_bytes`` is the size of the caller's buffer, ``BODILESS``, or None where the body is held whole,
    which may then be chunked: large stores send their listings so. The parser has seen to it that a
    Content-Length is a single number and does not stand beside an encoding.
    """
    digits = headers.get(b"content-length")
    length = None if digits is None else int(digits)
    if status >= 400:
        if length is not None and length > ERROR_BODY_BYTES_MAX and expected_bytes != BODILESS:
            return NotPlain("the body of the error is too long", status=status, length=length)
        return None  # errors may be chunked: large stores send them so
    if status >= 300:
        return NotPlain("redirected", status=status, length=length)
    if expected_bytes == BODILESS:
        return None
    if length is None:
        is_whole = status == 204 or headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        if is_whole and expected_bytes is None:
            return None
        return NotPlain("the length of the body is not given", status=status)
    if expected_bytes is not None:
        if length != expected_bytes:
            return WrongLength(status=status, length=length, headers=headers)
    elif length > WHOLE_BODY_BYTES_MAX:
        return NotPlain("the body is too long to be held whole", status=status, length=length)
    return None


def overlong(received_bytes: int, status: int | None) -> NotPlain | None:
    """Say that an answer that is not complete is too long; None while it may go on.

    ``received_bytes`` counts all of it as it came; ``status`` is None before the end of its head.
    """
    if status is None:
        fits = received_bytes <= HEAD_BYTES_MAX
        return None if fits else NotPlain("the head of the answer has no end")
    longest = ERROR_BODY_BYTES_MAX if status >= 300 else WHOLE_BODY_BYTES_MAX
    if received_bytes <= HEAD_BYTES_MAX + longest:
        return None
    return NotPlain("the body is too long", status=status)
