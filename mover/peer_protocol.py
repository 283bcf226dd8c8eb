"""Pure: what is said between workers that hand each other parcels: names, and proofs of a shared secret.

A request names a piece and carries a proof that who makes it knows the secret, for this verb, this
name, these bytes, until a time. The answer to a read carries one as well. The secret itself is never said.
docs/formats.md has every header.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from mover.naming import HIDDEN

SECRET_VARIABLE: Final = "MOVER_PARCELS_SECRET"
SECRET_BYTES_MIN: Final = 16

PREFIX: Final = "/parcels/"

PIECE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A body may be no longer."""

EXPIRES: Final = "Mover-Expires"
DIGEST: Final = "Mover-Digest"
PROOF: Final = "Mover-Proof"

VALID_S: Final = 300
"""How long a request may be made, by the clocks of both hosts: so much may they be apart."""

ANSWER: Final = "ANSWER"
"""The verb of an answer's proof."""

_SEGMENT: Final = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,79}")
_SPAN: Final = re.compile(r"bytes=([0-9]{1,9})-([0-9]{1,9})")


class Unproven(Exception):
    """A request or an answer lacks the proof that it comes from one who knows the secret."""


class Misnamed(ValueError):
    """A path that names no piece, or a range that is none."""


class Name(NamedTuple):
    """A piece; or with an empty ``piece`` all that belongs to an object of a job."""

    job: str
    object: str
    piece: str = ""

    @property
    def path(self) -> str:
        """Where a keeper has it."""
        return PREFIX + "/".join(filter(None, self))


def name_at_target(key: str) -> Name:
    """The name of a piece, or of an object's prefix, by the key that it has at the target.

    Raises ``Misnamed``.
    """
    if not key.startswith(HIDDEN):
        raise Misnamed("the key names no parcel")
    return _name(key.removeprefix(HIDDEN).removesuffix("/").split("/"))


def name_in(path: str, *, is_piece: bool) -> Name:
    """The name in the path of a request. Raises ``Misnamed``."""
    segments = path.removeprefix(PREFIX).split("/")
    if not path.startswith(PREFIX) or len(segments) != 2 + is_piece:
        raise Misnamed("the path names no parcel")
    return _name(segments)


def _name(segments: list[str]) -> Name:
    if len(segments) not in {2, 3} or not all(map(_SEGMENT.fullmatch, segments)):
        raise Misnamed("the path names no parcel")
    return Name(*segments)


def span_text(start: int, stop: int) -> str:
    """A range as a header has it; the last byte is included there."""
    return f"bytes={start}-{stop - 1}"


def span_in(text: str) -> tuple[int, int]:
    """Start and stop of the range in a header. Raises ``Misnamed``."""
    found = _SPAN.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise Misnamed("the range is none")
    return int(found[1]), int(found[2]) + 1


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """What stands for a body in a proof: its SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a proof is of. ``digest`` is that of the body, ``span`` the header of a range, "" for none."""

    verb: str
    path: str
    expires_s: int
    span: str = ""
    digest: str = ""

    def proof(self, secret: bytes) -> str:
        """The HMAC-SHA256 of all of it, in hex."""
        said = (self.verb, self.path, self.span, str(self.expires_s), self.digest)
        return hmac.new(secret, "\n".join(said).encode(), hashlib.sha256).hexdigest()

    def check(self, secret: bytes, proof: str, *, now_s: float) -> None:
        """Raise ``Unproven`` unless the proof is right, and neither too old nor of a far future."""
        if not hmac.compare_digest(self.proof(secret).encode(), proof.encode()):
            raise Unproven("the proof is wrong: the two workers have other secrets")
        if not now_s <= self.expires_s <= now_s + 2 * VALID_S:
            raise Unproven("the request has expired: the clocks of the two hosts are apart")


def checked_address(text: str) -> str:
    """A worker's address as others use it, without a slash at its end. Raises ``ValueError``."""
    parts = urlsplit(text)
    is_bare = not (parts.query or parts.fragment or parts.username or parts.path.strip("/"))
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_bare:
        raise ValueError(f"{text}: write http://HOST:PORT or https://HOST:PORT")
    if parts.port == 0:
        raise ValueError(f"{text}: 0 is no port")
    return text.rstrip("/")
