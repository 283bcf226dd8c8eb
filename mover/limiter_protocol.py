"""The limiter protocol of ``juicefs sync --traffic-control-url``, without any network. Pure.

A client posts ``{"bytes": N}`` and may use as many as ``{"granted": G, "expired": MS}`` says, for
that many milliseconds; a negative N returns what it did not use. What the stock client really does
was found out with juicefs 1.4.2 and a server that answered whatever it liked (2026-11-27):

- It does not wait by itself. Whatever was granted, down to nothing, the thread that asked goes on
  when the answer arrives. The only brake is how long the answer takes.
- It asks for 1 MiB at a time, for all of its waiting threads together, up to 10 MiB. What was not
  granted it asks for again with the next request.
- It has no timeout that 45 s would reach, and one request is under way at a time.
- After an error (a 503, say) it logs and goes on without a limit.
- It pays 1 MiB for each read, the last and shorter one and the one that finds the end included: an
  object of 6 MB pays 7 MiB, one of 100 bytes pays 2. Trees of small files run below the rate.
- It was not seen to return anything, nor to care for ``expired``.

So an answer is held back until the turn of what it grants has come, grants at least what one thread
goes on with, and becomes an error only after all patience.
"""

from __future__ import annotations

import json
from typing import Final

from mover.units import Malformed

ASK_MAX_BYTES: Final = 1 << 50
BODY_MAX_BYTES: Final = 4096

GRANT_S: Final = 0.1
"""An answer grants up to this much of the rate; the client asks again for the rest. More would let
it pass in one lump."""

GRANT_MIN_BYTES: Final = 1 << 20
"""One thread of the stock client goes on with so much, granted or not: to grant less is to lose it."""

GRANT_VALID_S: Final = 1.0
"""How long a client may keep what it was granted."""


def parse_ask(body: bytes) -> int:
    """The number of bytes that a client asks for, or returns. Raises ``Malformed``."""
    shown = body[:200].decode(errors="replace")
    try:
        ask = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("request", shown, 'send JSON, as in {"bytes": 1048576}') from error
    size_bytes = ask.get("bytes") if isinstance(ask, dict) else None
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool):
        raise Malformed("request", shown, 'send a whole number of bytes: {"bytes": 1048576}')
    if not -ASK_MAX_BYTES <= size_bytes <= ASK_MAX_BYTES:
        raise Malformed("request", shown, "that is too many bytes")
    return size_bytes


def grant_for(asked_bytes: int, rate_bytes_per_s: float | None) -> int:
    """How much of what was asked for one answer is to grant; None is no limit."""
    if rate_bytes_per_s is None:
        return asked_bytes
    return min(asked_bytes, max(GRANT_MIN_BYTES, int(rate_bytes_per_s * GRANT_S)))


def answer(granted_bytes: int) -> dict[str, int]:
    """What the client is told."""
    return {"granted": granted_bytes, "expired": int(GRANT_VALID_S * 1000)}


class Returnable:
    """How much may still be returned: what was granted lately, and not returned yet.

    Without it anybody could lift the limit by returning what was never granted. Bytes may be
    returned for one to two times ``GRANT_VALID_S`` after they were granted.
    """

    def __init__(self) -> None:
        self._since_s = 0.0
        self._new = 0
        self._old = 0

    def grant(self, size_bytes: int, now_s: float) -> None:
        """Bytes were granted."""
        self._roll(now_s)
        self._new += size_bytes

    def accept(self, size_bytes: int, now_s: float) -> int:
        """How much of what comes back is taken."""
        self._roll(now_s)
        accepted = min(size_bytes, self._new + self._old)
        from_old = min(accepted, self._old)
        self._old -= from_old
        self._new -= accepted - from_old
        return accepted

    def _roll(self, now_s: float) -> None:
        age_s = now_s - self._since_s
        if age_s < GRANT_VALID_S:
            return
        self._old = self._new if age_s < 2 * GRANT_VALID_S else 0
        self._new = 0
        self._since_s = now_s
