"""Large objects: opening, chunks, assembly; what a second attempt finds, and what damage becomes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mover.copying_large import ChunkCopier, assemble, open_object, pin
from mover.copying_streamed import copy_streamed
from mover.model import Assembly, Chunk, LargeObject, TaskResult
from mover.uploading import drop_uploads
from tests.unit.mover.engine import PART_BYTES, entries_of, fill, make_ends, stored
from transports.errors import (
    Changed,
    Corrupt,
    Invalid,
    NotFound,
    TransportError,
    Unavailable,
)
from transports.faults import Fault, Faults
from transports.local import open_local
from transports.memory import MemoryTransport
from transports.record import Record
from transports.retry import Retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mover.ends import Ends
    from transports.base import Transport
    from transports.model import Entry, PartReceipt

DATA = bytes(range(256)) * 4


async def scene(target: Transport | None = None) -> tuple[Ends, LargeObject]:
    source = MemoryTransport()
    await fill(source, {"big": DATA})
    ends = make_ends(source, target or MemoryTransport())
    entry = (await entries_of(source))["big"]
    return ends, LargeObject(entry=entry)


async def held() -> None:
    """The fence of a task that nobody else takes."""


async def opened(
    ends: Ends, task: LargeObject, *, repeated: bool = False
) -> tuple[Chunk, Assembly]:
    info = await pin(ends, task.entry)
    (chunk,), assembly = await open_object(ends, task, info, "group", held, repeated=repeated)
    return chunk, assembly


async def test_parts_make_the_object_whole_and_keep_its_time() -> None:
    ends, task = await scene()
    chunk, assembly = await opened(ends, task)
    assert (chunk.first, chunk.last) == (1, len(DATA) // PART_BYTES)
    result = await ChunkCopier(ends, chunk).run(repeated=False)
    assert isinstance(ends.target, MemoryTransport)
    assert stored(ends.target) == {}, "nothing may be seen before the last part"
    done: TaskResult = await assemble(ends, assembly, result.parts)
    assert stored(ends.target) == {"big": DATA}
    assert (done.tally.copied_objects, done.tally.copied_bytes) == (1, len(DATA))
    assert ends.target.store.objects["big"].attributes.mtime_ns == 10**18
    assert ends.target.store.uploads == {}
    # Finishing twice is what a lease that was lost leads to.
    again = await assemble(ends, assembly, result.parts)
    assert again.tally == done.tally


async def test_a_second_attempt_sends_only_what_is_missing() -> None:
    inner = MemoryTransport()
    target = Record(Faults(inner, [Fault(verb="write_part", nth=9, error=Unavailable("big"))]))
    ends, task = await scene(target=target)
    chunk, assembly = await opened(ends, task)
    with pytest.raises(Unavailable):
        await ChunkCopier(ends, chunk).run(repeated=False)
    before = target.log.counts["write_part"]
    result = await ChunkCopier(ends, chunk).run(repeated=True)
    assert target.log.counts["write_part"] - before < len(DATA) // PART_BYTES
    await assemble(ends, assembly, result.parts)
    assert stored(inner) == {"big": DATA}


async def test_all_uploads_of_a_key_but_one_are_dropped() -> None:
    ends, task = await scene()
    for _ in range(2):
        await opened(ends, task)
    chunk, _ = await opened(ends, task)
    await drop_uploads(ends, "big", held, keep=chunk.upload_id)
    assert [each.upload_id for each in await ends.target.list_uploads("big")] == [chunk.upload_id]


async def test_an_upload_whose_name_got_lost_on_the_way_is_dropped() -> None:
    inner = MemoryTransport()
    lost = Fault(verb="begin_upload", error=Unavailable("big"), after=True)
    ends, task = await scene()

    def count(verb: str, error: TransportError, wait_s: float) -> None:
        ends.live.retries += 1

    async def at_once(wait_s: float) -> None:
        return

    target = Retry(Faults(inner, [lost]), sleep=at_once, on_retry=count)
    ends = make_ends(ends.source, target)
    chunk, _ = await opened(ends, task)
    assert ends.live.retries == 1
    assert list(inner.store.uploads) == [chunk.upload_id]


async def test_parts_of_another_version_are_never_mixed() -> None:
    ends, task = await scene()
    chunk, assembly = await opened(ends, task)
    result = await ChunkCopier(ends, chunk).run(repeated=False)
    await fill(ends.source, {"big": DATA[::-1]})
    with pytest.raises(Changed):
        await ChunkCopier(ends, chunk).run(repeated=False)
    with pytest.raises(Changed):
        await assemble(ends, assembly, result.parts)
    assert isinstance(ends.target, MemoryTransport)
    assert stored(ends.target) == {}
    assert ends.target.store.uploads == {}


@pytest.mark.parametrize(
    ("objects", "error"), [({"big": DATA + b"more"}, Changed), ({"big": DATA[::-1]}, Changed)]
)
async def test_a_look_tells_another_object(
    objects: dict[str, bytes], error: type[Exception]
) -> None:
    ends, task = await scene()
    assert (await pin(ends, task.entry)).entry.size == len(DATA)
    await fill(ends.source, objects)
    with pytest.raises(error):
        await pin(ends, task.entry)


async def test_a_source_that_is_gone_leaves_no_upload() -> None:
    ends, task = await scene()
    chunk, assembly = await opened(ends, task)
    result = await ChunkCopier(ends, chunk).run(repeated=False)
    assert isinstance(ends.source, MemoryTransport)
    del ends.source.store.objects["big"]
    with pytest.raises(NotFound):
        await assemble(ends, assembly, result.parts)
    assert list(await ends.target.list_uploads("")) == []


async def test_a_flipped_bit_is_caught_by_the_checksum_that_the_source_keeps(
    tmp_path: Path,
) -> None:
    inner = MemoryTransport()
    await fill(inner, {"big": DATA})
    flips = Fault(verb="read_into", nth=3, flip_at=5)
    target = open_local(str(tmp_path / "target"), token="0123456789abcdef", create=True)
    try:
        ends = make_ends(Faults(inner, [flips]), target)
        task = LargeObject(entry=(await entries_of(inner))["big"])
        chunk, assembly = await opened(ends, task)
        result = await ChunkCopier(ends, chunk).run(repeated=False)
        with pytest.raises(Corrupt):
            await assemble(ends, assembly, result.parts)
        assert not (tmp_path / "target" / "big").exists()
        assert list(await target.list_uploads("")) == []

        chunk, assembly = await opened(ends, task)
        result = await ChunkCopier(ends, chunk).run(repeated=False)
        done = await assemble(ends, assembly, result.parts)
        assert (tmp_path / "target" / "big").read_bytes() == DATA
        assert done.tally.verified_strong == 1
    finally:
        await target.close()


async def test_an_object_that_the_target_cannot_hold_is_invalid() -> None:
    ends, task = await scene()
    too_large = task.entry._replace(size=ends.target.capabilities.object_size_max + 1)
    info = await pin(ends, task.entry)
    with pytest.raises(Invalid):
        await open_object(ends, LargeObject(entry=too_large), info, "group", held, repeated=False)
    assert list(await ends.target.list_uploads("")) == []


class Streaming(MemoryTransport):
    """Offers streams, as stores without ranges do."""

    async def stream(self, entry: Entry) -> AsyncIterator[bytes]:
        for at in range(0, len(DATA), 100):
            yield DATA[at : at + 100]


class Watched(MemoryTransport):
    """Remembers how much counted as copied before each part."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: Ends | None = None
        self.counted: list[int] = []

    async def write_part(self, *arguments: Any, **named: Any) -> PartReceipt:
        assert self.ends is not None
        self.counted.append(self.ends.live.copied_bytes)
        return await super().write_part(*arguments, **named)


@pytest.mark.parametrize(("failing", "parts"), [("", 1), ("finish_upload", 2), ("write_part", 2)])
async def test_a_stream_counts_part_by_part_and_once(
    failing: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "sleep", held_for)
    inner = Watched()
    faults = [Fault(verb=failing, nth=1, error=Unavailable("big"))] if failing else []
    source = Streaming()
    await fill(source, {"big": DATA})
    ends = inner.ends = make_ends(source, Faults(inner, faults))
    task = LargeObject(entry=(await entries_of(source))["big"])
    result = await copy_streamed(ends, task.entry, await pin(ends, task.entry), held)
    once = list(range(0, len(DATA), PART_BYTES))
    assert (
        inner.counted[-len(once) :] == once
    )  # no attempt begins with what another one has brought
    assert ends.live.copied_bytes == result.tally.copied_bytes == len(DATA)
    assert stored(inner) == {"big": DATA}
    assert len(inner.counted) in {len(once), parts * len(once)}


async def held_for(wait_s: float) -> None:
    """No wait at all."""
