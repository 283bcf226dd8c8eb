"""``--verify full``: read back what was written and compare it with what was sent."""

from collections.abc import Sequence

from mover.ends import Ends
from mover.probing import digest_of
from transports import digests
from transports.errors import Corrupt, TransportError
from transports.model import Blob, Checksum, Entry, Kind, Receipt

ALGORITHM = "xxh3"
"""The fastest digest here; only ever compared with itself."""


async def verify_small(
    ends: Ends, blobs: Sequence[Blob], receipts: Sequence[Receipt | TransportError]
) -> Sequence[Receipt | TransportError]:
    """Read each object that landed again; a difference takes the place of its receipt."""
    verified: list[Receipt | TransportError] = []
    for blob, receipt in zip(blobs, receipts, strict=True):
        if isinstance(receipt, TransportError) or blob.entry.kind is not Kind.OBJECT:
            verified.append(receipt)
            continue
        try:
            await _reread(ends, blob)
        except TransportError as error:
            verified.append(error)
        else:
            verified.append(receipt)
    return verified


async def _reread(ends: Ends, blob: Blob) -> None:
    info = await ends.target.head(blob.entry.key)
    (again,) = await ends.target.read_small([info.entry])
    if isinstance(again, TransportError):
        raise again
    if again.data != blob.data:
        raise Corrupt(
            f"{ends.target.location}{blob.entry.key}",
            algorithm=ALGORITHM,
            expected=digests.xxh3_hex(blob.data),
            actual=digests.xxh3_hex(again.data),
        )


async def verify_copied(ends: Ends, entry: Entry) -> None:
    """Read both sides of a copy that a store made by itself. Raises ``Corrupt`` or ``Changed``."""
    whole = await digest_of(ends, ends.source, entry, ALGORITHM)
    await verify_whole(ends, ends.target_key(entry.key), Checksum(ALGORITHM, whole))


async def verify_whole(ends: Ends, key: str, whole: Checksum) -> None:
    """Read a large object of the target again, in pieces. Raises ``Corrupt``."""
    info = await ends.target.head(key)
    actual = await digest_of(ends, ends.target, info.entry, whole.algorithm)
    if actual != whole.hex:
        raise Corrupt(
            f"{ends.target.location}{key}",
            algorithm=whole.algorithm,
            expected=whole.hex,
            actual=actual,
        )
