"""A patch by hand at a store that copies ranges: what travels, and what is left when a step fails."""

import os
import random
from pathlib import Path
from typing import ClassVar

import pytest

from mover.beside import first_leaf
from mover.delta import kernel
from mover.delta.delta_format import STEP_BYTES
from mover.delta_diffing import diff
from mover.delta_drafts import file_draft
from mover.delta_inputs import FileInput, StoreInput
from mover.delta_ladders import RunningLadder, ladder_of
from mover.delta_signing import Outcome, SignWish
from mover.delta_storing import Storing, copies_ranges
from mover.errors import Damaged
from transports.base import Transport
from transports.errors import Changed, Corrupt, Unavailable, Unsupported
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.model import ByteRange, Entry
from transports.testing import put

MIB = 1024 * 1024
OLD = random.Random(11).randbytes(15 * MIB + 9)
NEW = OLD[: 9 * MIB] + b"inserted" + OLD[9 * MIB :] + bytes(3 * MIB)


def silent(done: int, size: int | None) -> None:
    """Nobody watches."""


class Place:
    """A store with an old object, and a directory with the delta that makes a new one of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = MemoryTransport()

    async def begin(self, old: bytes = OLD, new: bytes = NEW, *, ladder: bool) -> None:
        await put(self.store, {"old": old})
        signature = kernel.sign(old, SignWish(block_bytes=4096).head(len(old)))
        sums = RunningLadder() if ladder else None
        async with file_draft(str(self.directory / "delta")) as draft:
            await diff(
                signature, self.file("new", new), draft, threads=1, watch=silent, ladder=sums
            )

    def file(self, name: str, data: bytes | None = None) -> FileInput:
        path = self.directory / name
        if data is not None:
            path.write_bytes(data)
        return FileInput(os.open(path, os.O_RDONLY), name)

    async def patch(
        self, target: Transport | None = None, *, out: str = "old", basis: Entry | None = None
    ) -> Outcome | None:
        target = target or self.store
        entry = basis or (await self.store.head("old")).entry
        old = StoreInput(target, entry)
        assert copies_ranges(old, target)
        return await Storing(old, self.file("delta"), target, out, silent).run()

    async def content(self, key: str = "old") -> bytes:
        entry = (await self.store.head(key)).entry
        data = bytearray(entry.size)
        await self.store.read_into(entry, ByteRange(0, entry.size), memoryview(data))
        return bytes(data)

    async def nothing_is_left(self) -> None:
        assert await self.store.list_uploads() == []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("out", ["old", "other"])
@pytest.mark.parametrize("ladder", [True, False])
async def test_what_is_unchanged_never_moves(place: Place, out: str, ladder: bool) -> None:
    await place.begin(ladder=ladder)
    done = await place.patch(out=out)
    assert done is not None
    assert await place.content(out) == NEW
    assert done.stored_bytes >= 8 * MIB
    assert done.filled_bytes > 2 * MIB
    assert done.matched_bytes + done.literal_bytes + done.filled_bytes == len(NEW)
    near_bytes = done.read_bytes - done.wire_bytes
    assert (near_bytes < 9 * MIB) is ladder
    await place.nothing_is_left()


async def test_nothing_is_begun_where_nothing_can_be_copied(place: Place) -> None:
    await place.begin(new=OLD[::-1], ladder=True)
    assert await place.patch() is None
    assert await place.content() == OLD


async def test_a_store_that_refuses_copies(place: Place) -> None:
    await place.begin(ladder=True)
    refusing = Faults(
        place.store, [Fault(verb="copy_part", times=9, error=Unsupported("old", "501"))]
    )
    done = await place.patch(refusing)
    assert done is not None
    assert done.stored_bytes == 0
    assert await place.content() == NEW
    await place.nothing_is_left()


@pytest.mark.parametrize("ladder", [True, False])
async def test_a_basis_of_other_bytes(place: Place, ladder: bool) -> None:
    await place.begin(ladder=ladder)
    await put(place.store, {"old": OLD[::-1]})
    with pytest.raises(Corrupt if ladder else Damaged):
        await place.patch()
    assert await place.content() == OLD[::-1]
    await place.nothing_is_left()


@pytest.mark.parametrize("ladder", [True, False])
async def test_a_basis_that_was_replaced(place: Place, ladder: bool) -> None:
    await place.begin(ladder=ladder)
    basis = (await place.store.head("old")).entry
    await put(place.store, {"old": OLD[::-1]})
    with pytest.raises((Changed, ExceptionGroup)) as caught:
        await place.patch(basis=basis)
    assert isinstance(first_leaf(caught.value), Changed)
    assert await place.content() == OLD[::-1]
    await place.nothing_is_left()


class Racing(Faults):
    """Another writer puts an object where the new one is to be, just before it would be."""

    data: ClassVar[bytes] = b"theirs"

    async def _before(self, verb: str, key: str) -> Fault:
        if verb == "finish_upload":
            await put(self.inner, {"out": self.data})
        return await super()._before(verb, key)


async def test_another_writer_wins(place: Place) -> None:
    await place.begin(ladder=True)
    with pytest.raises(Changed):
        await place.patch(Racing(place.store, []), out="out")
    assert await place.content("out") == b"theirs"
    await place.nothing_is_left()


@pytest.mark.parametrize("verb", ["begin_upload", "copy_part", "write_part", "finish_upload"])
async def test_a_failure_leaves_nothing(place: Place, verb: str) -> None:
    await place.begin(ladder=True)
    with pytest.raises(Unavailable):
        await place.patch(Faults(place.store, [Fault(verb=verb, error=Unavailable("old"))]))
    assert await place.content() == OLD
    await place.nothing_is_left()


@pytest.mark.parametrize("size", [0, 1, STEP_BYTES - 1, STEP_BYTES, 3 * STEP_BYTES + 7])
def test_a_ladder_of_pieces_is_that_of_the_whole(size: int) -> None:
    data = memoryview(OLD)[:size]
    running = RunningLadder()
    for start in range(0, size, 777_777):
        running.update(data[start : start + 777_777])
    assert running.steps() == ladder_of(data)
