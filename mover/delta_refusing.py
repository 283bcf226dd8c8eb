"""What a patch is refused for: an old object that is another, and a result that is wrong."""

from mover.delta.checksums import whole_digest
from mover.delta.delta_format import DeltaHead
from mover.delta_inputs import Input
from mover.errors import Damaged, Rejected


def refuse_other_size(old: Input, head: DeltaHead) -> None:
    """Raise ``Rejected`` for an old object of another size than the delta's basis."""
    if old.size != head.basis_size:
        raise Rejected(
            f"{old.name} has {old.size} bytes, and the delta is for an old object of"
            f" {head.basis_size}: it is another one, or it has changed since it was signed"
        )


async def refuse_other_basis(old: Input, head: DeltaHead | None) -> None:
    """Raise ``Rejected`` where the delta knows its basis, and it is not this one.

    Reads all of it. Asked only when the result is wrong: a right result proves the basis as well.
    """
    if head is None or not head.basis_whole:
        return
    digest = whole_digest()

    async def take(piece: memoryview) -> None:
        digest.update(piece)

    await old.pour(take)
    if digest.digest() != head.basis_whole:
        raise Rejected(
            f"{old.name} is not the old object that the delta is for (xxh3-128"
            f" {digest.digest().hex()}, expected {head.basis_whole.hex()}); nothing was written"
        )


def wrong_result(old: Input, made: bytes, expected: bytes) -> Damaged:
    """The error of a result that is not what was diffed."""
    return Damaged(
        f"nothing was written: the result would not be the object that was diffed (xxh3-128"
        f" {made.hex()}, expected {expected.hex()}); {old.name} is not the object"
        " that was signed, or has changed since"
    )
