"""Signatures of objects that are patched: what passes, what is known, what is read, what fails."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from mover import delta_signing
from mover.budget import ByteBudget
from mover.delta import kernel
from mover.delta.model import Op, OpKind, SignatureHead, pack_ops, unpack_ops
from mover.delta.parting import PartLimits
from mover.delta_ladders import ladder_of
from mover.delta_patches import Patch
from mover.delta_patching import Patcher
from mover.delta_resigning import Resigner
from mover.delta_stored import keep_signature, stored_signature
from tests.unit.mover.delta_pairs import Pair
from transports import digests
from transports.errors import Unavailable
from transports.faults import Fault, Faults
from transports.local import LocalTransport
from transports.memory import MemoryTransport
from transports.model import Blob, ByteRange, Checksum, Entry, Proof, Receipt
from transports.testing import put

if TYPE_CHECKING:
    from pathlib import Path

    from mover.delta.model import Signature
    from mover.delta_inputs import Input
    from transports.base import Transport

MIB = 1024 * 1024
BLOCK = 2048
DRAW = random.Random(8)
OLD = DRAW.randbytes(8 * MIB + 99)
AT = 3 * MIB + 1000
EDITED = OLD[:AT] + b"edited" + OLD[AT + 6 :]
GROWN = OLD + DRAW.randbytes(3000)
MOVED = b"inserted" + OLD
COPY, LITERAL = OpKind.COPY, OpKind.LITERAL


def ops_of(new: bytes) -> list[Op]:
    """Operations over ``OLD``, as a scan finds them."""
    head = SignatureHead(size=len(OLD), block_bytes=BLOCK)
    packed = kernel.scan(kernel.Index(kernel.sign(OLD, head)), new)
    return list(unpack_ops(packed))


async def begun(
    store: Transport, *, signed: bool = True, block_bytes: int = BLOCK, key: str = "x"
) -> Entry:
    """The old object, and its signature where it was ``signed`` while it was written."""
    await put(store, {key: OLD})
    basis = (await store.head(key)).entry
    if signed:
        head = SignatureHead(size=len(OLD), block_bytes=block_bytes, strong_bytes=11, seed=7)
        receipt = Receipt(key, len(OLD), basis.etag, Proof.STRONG, version=basis.version)
        assert await keep_signature(store, kernel.sign(OLD, head), receipt)
    return basis


async def patched(
    store: Transport, basis: Entry, new: bytes, ops: list[Op], *, copies: bool = True
) -> bool:
    """Make the new object of the old one; whether its signature was kept, and is right."""

    async def send(span: ByteRange, buffer: memoryview) -> None:
        buffer[:] = new[span.start : span.stop]

    budget = ByteBudget(64 * MIB)
    resigner = await Resigner.of(store, budget, basis, len(new))
    patcher = Patcher(
        target=store,
        near=store,
        literals=send,
        resend=send,
        budget=budget,
        token="resigning",
        limits=PartLimits(copies=copies, copy_min=64 * 1024, mixed_bytes=MIB),
        passing=resigner,
    )
    patch = Patch(
        key="x",
        size=len(new),
        ops=pack_ops(ops),
        basis=basis,
        whole=Checksum("crc64nvme", digests.crc64nvme_hex(new)),
        ladder=ladder_of(memoryview(new)),
    )
    done = await patcher.run(patch)
    is_kept = await resigner.finish(done.ops, done.receipt)
    found = await stored_signature(store, (await store.head("x")).entry)
    assert (found is not None) is is_kept
    if found is not None:
        assert found.signature == kernel.sign(new, found.signature.head)
    return is_kept


@pytest.mark.parametrize(
    ("new", "signed", "copies", "is_kept"),
    [
        (EDITED, True, True, True),
        (GROWN, True, True, True),
        (OLD[: 5 * MIB], True, True, True),
        (EDITED, False, True, False),
        (MOVED, True, True, False),
        (MOVED, False, False, True),
    ],
)
async def test_where_the_store_copies(
    new: bytes, signed: bool, copies: bool, is_kept: bool
) -> None:
    """It tells checksums of what it copied, so nobody reads that: rows are the old ones, or none."""
    store = MemoryTransport()
    basis = await begun(store, signed=signed)
    assert await patched(store, basis, new, ops_of(new), copies=copies) is is_kept


async def test_blocks_of_another_size_are_signed_anew() -> None:
    store = MemoryTransport()
    basis = await begun(store, block_bytes=MIB)
    assert not await patched(store, basis, EDITED, ops_of(EDITED))
    basis = await begun(store, block_bytes=MIB)
    assert await patched(store, basis, EDITED, ops_of(EDITED), copies=False)


async def test_a_false_match_is_no_row() -> None:
    """The operations say that the edited block is as it was; the ladder knows better."""
    store = MemoryTransport()
    basis = await begun(store)
    assert await patched(store, basis, EDITED, [Op(0, 0, len(OLD), COPY)])


@pytest.mark.parametrize("verb", ["write_small", "read_small"])
async def test_a_store_that_fails_costs_the_signature_only(verb: str) -> None:
    inner = MemoryTransport()
    basis = await begun(inner)
    faults = Faults(inner, [Fault(verb=verb, times=1, error=Unavailable("x"))])
    assert not await patched(faults, basis, EDITED, ops_of(EDITED))
    assert inner.store.objects["x"].data == EDITED


async def test_what_an_earlier_process_has_brought_is_read() -> None:
    """Its bytes passed somewhere else: little of them is read near by, and much is not."""
    store = MemoryTransport()
    for kept, is_kept in ((MIB // 2, True), (6 * MIB, False)):
        basis = await begun(store, signed=False)
        resigner = await Resigner.of(store, ByteBudget(64 * MIB), basis, 16 * MIB)
        new = OLD + OLD[: 16 * MIB - len(OLD)]
        await put(store, {"x": new})
        made = (await store.head("x")).entry
        await resigner.take(kept, memoryview(new)[kept:])
        receipt = Receipt("x", len(new), made.etag, Proof.STRONG)
        ops = pack_ops([Op(0, 0, len(new), LITERAL)])
        assert await resigner.finish(ops, receipt) is is_kept


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What sign steps have read."""
    found: list[object] = []

    async def sign(old: Input, *given: Any, **wishes: Any) -> Signature:
        found.append(old)
        return await delta_signing.sign(old, *given, **wishes)

    monkeypatch.setattr("mover.delta_sending.sign", sign)
    return found


async def synced(pair: Pair, new: bytes) -> int:
    """Bring another version to the target; what has crossed up to then."""
    await pair.go_on(new)
    await pair.run(pair.ends())
    (made,) = await pair.target.read_small([(await pair.target.head("big")).entry])
    assert isinstance(made, Blob)
    assert made.data == new
    return (await pair.result()).tally.delta_wire_bytes


async def test_the_next_sync_reads_nothing_at_the_target(signed: list[object]) -> None:
    """And what crosses is what crosses without the wish."""
    crossed = []
    for wish in (False, True):
        pair = Pair(sign_on_write=wish)
        await begun(pair.target, key="big")
        crossed.append(await synced(pair, EDITED))
        assert signed == []
        await synced(pair, GROWN)
        assert bool(signed) is not wish
        signed.clear()
    assert crossed[0] == crossed[1]


async def test_the_next_sync_reads_nothing_on_a_disk(signed: list[object], tmp_path: Path) -> None:
    pair = Pair(sign_on_write=True)
    disk: Any = LocalTransport(tmp_path / "root", token="resigning", create=True)
    pair.target = disk
    await begun(pair.target, signed=False, key="big")
    await synced(pair, EDITED)
    assert signed, "nothing was left of what was not signed"
    signed.clear()
    await synced(pair, MOVED)
    await synced(pair, GROWN)
    assert signed == []
    await disk.close()


@pytest.mark.parametrize("new", [EDITED, MOVED, GROWN])
async def test_on_a_disk(tmp_path: Path, new: bytes) -> None:
    store = LocalTransport(tmp_path / "root", token="resigning", create=True)
    basis = await begun(store, signed=False)
    assert await patched(store, basis, new, ops_of(new))
    (tmp_path / "root/x").touch()
    assert await stored_signature(store, (await store.head("x")).entry) is None
    await store.close()
