"""Which parts of an upload that was left open are taken over, and how often they are noted."""

from __future__ import annotations

import pytest

from mover import delta_keeping
from mover.delta.parting import MIB, Part
from mover.delta_keeping import Keeper, Upkeep, kept_parts
from mover.delta_ladders import Ladder, ladder_of
from mover.delta_landing import QueueKeeper
from mover.delta_tasks import OpenUpload, Parcel, Patch, Spent
from mover.payloads import decode_payload, encode_payload
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import NewTask
from transports import digests
from transports.model import Checksum, Entry, PartReceipt
from transports.testing.support import some_bytes

NEW = some_bytes(3 * MIB + 5)
LADDER = Ladder(ladder_of(memoryview(NEW)), len(NEW))
PLAN = [Part(0, 2 * MIB, 0), Part(2 * MIB, len(NEW))]
CRCS = [digests.crc64nvme_hex(NEW[part.start : part.stop]) for part in PLAN]
SIZES = [2 * MIB, MIB + 5]


def listed(
    number: int, *, start: int = -1, size: int = 0, etag: str = "", crc: str = ""
) -> PartReceipt:
    return PartReceipt(number, start, size or SIZES[number - 1], etag, crc)


def noted(number: int, etag: str, *, crc: str = "", start: int | None = None) -> PartReceipt:
    place = PLAN[number - 1].start if start is None else start
    return PartReceipt(number, place, SIZES[number - 1], etag, crc or CRCS[number - 1])


@pytest.mark.parametrize(
    ("there", "notes", "kept"),
    [
        ([], [], []),
        ([listed(1, crc=CRCS[0]), listed(2, crc=CRCS[1])], [], [1, 2]),
        ([listed(2, crc=CRCS[1], start=2 * MIB)], [], [2]),
        ([listed(1, crc=CRCS[1])], [], []),  # other bytes
        ([listed(1, crc=CRCS[0], size=MIB)], [], []),  # cut elsewhere
        ([listed(1, crc=CRCS[0], start=7)], [], []),
        ([listed(3 - 1, crc=CRCS[1]), PartReceipt(3, -1, 9, "e", "00")], [], [2]),
        ([listed(1, etag="a"), listed(2, etag="b")], [], []),  # an etag alone proves nothing
        ([listed(1, etag="a"), listed(2, etag="b")], [noted(1, "a"), noted(2, "b")], [1, 2]),
        ([listed(1, etag="a")], [noted(1, "other")], []),  # written once more since
        ([listed(1, etag="a")], [noted(2, "a")], []),
        ([listed(1, etag="a")], [noted(1, "a", crc=CRCS[1])], []),  # of another plan
        ([listed(2, etag="a")], [noted(2, "a", start=MIB)], []),
        ([listed(1)], [noted(1, "")], []),
        ([listed(1, etag="a", crc=CRCS[1])], [noted(1, "a")], []),  # the store knows better
    ],
)
def test_what_is_taken_over(
    there: list[PartReceipt], notes: list[PartReceipt], kept: list[int]
) -> None:
    found = kept_parts(PLAN, LADDER, there, notes)
    assert [part.number for part in found] == kept
    assert [(part.start, part.crc64nvme) for part in found] == [
        (PLAN[number - 1].start, CRCS[number - 1]) for number in kept
    ]


def test_without_a_ladder_nothing_is_known() -> None:
    there = [listed(1, crc=CRCS[0])]
    assert kept_parts(PLAN, Ladder((), len(NEW)), there, []) == []


class Kept(Keeper):
    def __init__(self, left: OpenUpload | None = None) -> None:
        self.left = left
        self.notes: list[OpenUpload] = []

    async def keep(self, upload: OpenUpload) -> bool:
        self.notes.append(upload)
        return bool(upload.parts)

    async def forget(self) -> None:
        self.notes.clear()


async def test_progress_is_noted_now_and_then() -> None:
    now_s = [0.0]
    keeper = Kept()
    upkeep = Upkeep(keeper, clock=lambda: now_s[0])
    await upkeep.begun("u", [])
    assert not upkeep.is_kept
    parts = [noted(1, "a")]
    for second in range(1, 7):
        now_s[0] = float(second)
        await upkeep.landed("u", parts)
    assert len(keeper.notes) == 1 + 6 // delta_keeping.NOTE_EVERY_S
    assert upkeep.is_kept
    many = parts * 2000
    for second in range(7, 31):
        now_s[0] = float(second)
        await upkeep.landed("u", many)
    assert len(keeper.notes) == 4 + 2, "a long note is written less often"


async def test_an_upload_that_was_taken_over_is_kept_already() -> None:
    keeper = Kept(OpenUpload(upload_id="u"))
    upkeep = Upkeep(keeper)
    await upkeep.begun("u", [])
    assert (upkeep.is_kept, keeper.notes) == (True, [])


async def test_only_parts_move_a_task_on() -> None:
    """A task that moves on has all its attempts again: opening uploads must not be endless."""
    store = MemoryTaskStore()
    parcel = Parcel(name="p", size=1, piece_bytes=1)
    task = Patch(
        entry=Entry("k", 1, 0),
        basis=Entry("k", 1, 0),
        delta=parcel,
        ladder=parcel,
        whole=Checksum("crc64nvme", "0"),
        literal_bytes=0,
        matched_bytes=1,
        spent=Spent(),
    )
    await store.enqueue([NewTask(payload=encode_payload(task))])
    (lease,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    keeper = QueueKeeper(store, lease, task)
    assert not await keeper.keep(OpenUpload(upload_id="u"))
    await store.reap(now_s=0.0, dead=["w"])
    (lease,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    assert (decode_payload(lease.payload), lease.step) == (task, 0)
    keeper = QueueKeeper(store, lease, task)
    upload = OpenUpload(upload_id="u", parts=[noted(1, "a")])
    more = OpenUpload(upload_id="u", parts=[noted(1, "a"), noted(2, "b")])
    assert await keeper.keep(upload)
    assert await keeper.keep(more)
    await store.reap(now_s=0.0, dead=["w"])
    (lease,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    found = decode_payload(lease.payload)
    assert isinstance(found, Patch)
    assert (found.upload, lease.step, lease.attempt) == (more, 2, lease.attempt)
