"""A task that is cancelled, or loses its lease, leaves no upload open, however slow its store is."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING

import pytest

from mover.model import LargeObject
from mover.payloads import encode_payload
from mover.uploading import DROP_S
from scheduler.errors import LeaseLost
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import NewTask
from scheduler.testing import run_virtually
from scheduler.worker import Worker
from scheduler.worker_policy import WorkerPolicy
from tests.e2e.support import copy_here, environment_for
from tests.faults.script import Rule, Stall
from tests.unit.mover.engine import fill, make_ends, make_executor, stored
from transports.decorator import Decorator
from transports.memory import MemoryTransport
from transports.model import NO_ATTRIBUTES, Attributes, Entry, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bench.stores import SeaweedServer
    from mover.executing import Executor
    from scheduler.model import Lease
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket
    from transports.base import Transport
    from transports.model import UploadInfo

DATA = b"0123456789abcdef" * 64
LEASE_S = 30.0


class SlowToOpen(Decorator):
    """The store has opened the upload at once; its answer takes ``delay_s``."""

    def __init__(self, inner: Transport, *, delay_s: float) -> None:
        super().__init__(inner)
        self._delay_s = delay_s
        self.opened = asyncio.Event()

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        upload_id = await self.inner.begin_upload(key, size, attributes, token=token)
        self.opened.set()
        await asyncio.sleep(self._delay_s)
        return upload_id


class WithoutRanges(Decorator):
    """A source that is read from start to end."""

    async def head(self, key: str) -> ObjectInfo:
        return dataclasses.replace(await self.inner.head(key), ranges=False)

    async def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        for at in range(0, len(DATA), 100):
            await asyncio.sleep(0)
            yield DATA[at : at + 100]


async def make_job(source: Transport) -> MemoryTaskStore:
    """A job of one large object."""
    await fill(source, {"big": DATA})
    entry = (await source.head("big")).entry
    store = MemoryTaskStore()
    await store.enqueue([NewTask(payload=encode_payload(LargeObject(entry=entry)))])
    await store.close_intake()
    return store


async def claim(store: MemoryTaskStore) -> Lease:
    (lease,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    return lease


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("delay_s", [0.0, DROP_S / 2])
def test_an_upload_that_is_being_opened_is_dropped(ranges: bool, delay_s: float) -> None:
    async def scene() -> None:
        inner = MemoryTransport()
        source = MemoryTransport() if ranges else WithoutRanges(MemoryTransport())
        store = await make_job(source)
        target = SlowToOpen(inner, delay_s=delay_s)
        executor = make_executor(make_ends(source, target), store)
        run = asyncio.get_running_loop().create_task(executor.run(await claim(store)), name="run")
        await target.opened.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert inner.store.uploads == {}

    run_virtually(scene)


async def _cancelled_after(executor: Executor, lease: Lease, steps: int) -> bool:
    run = asyncio.get_running_loop().create_task(executor.run(lease), name="run")
    for _ in range(steps):
        await asyncio.sleep(0)
        if run.done():
            return False
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
        return False
    return True


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_cancel_at_any_step_leaves_no_upload(ranges: bool) -> None:
    steps = 0
    while True:
        steps += 1
        target = MemoryTransport()
        source = MemoryTransport() if ranges else WithoutRanges(MemoryTransport())
        store = await make_job(source)
        executor = make_executor(make_ends(source, target), store)
        if not await _cancelled_after(executor, await claim(store), steps):
            break
        assert target.store.uploads == {}, steps
    assert steps > 5


def test_an_upload_that_is_opened_too_late_is_found_by_the_assembly() -> None:
    """The first holder's store answers when nobody waits any more; a second one has the task."""

    async def scene() -> None:
        target, source = MemoryTransport(), MemoryTransport()
        store = await make_job(source)
        slow = SlowToOpen(target, delay_s=DROP_S * 3)
        first = make_executor(make_ends(source, slow), store)
        run = asyncio.get_running_loop().create_task(first.run(await claim(store)), name="run")
        await slow.opened.wait()
        late = dict(target.store.uploads)
        target.store.uploads.clear()  # it is on its way
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await store.reap(now_s=0.0, dead=["w"])
        second = make_executor(make_ends(source, target), store)
        while not await store.is_drained():
            lease = await claim(store)
            outcome = await second.run(lease)
            target.store.uploads |= late
            late = {}
            await store.finish(
                lease,
                outcome.disposition,
                result=outcome.result,
                follow_ups=outcome.follow_ups,
                groups=outcome.groups,
                now_s=0.0,
            )
        assert stored(target) == {"big": DATA}
        assert target.store.uploads == {}

    run_virtually(scene)


class SlowToList(Decorator):
    """The answer to who has uploads open comes late, with what was opened meanwhile."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        self.asked.set()
        await self.go_on.wait()
        return await self.inner.list_uploads(prefix)


async def test_who_has_lost_a_task_drops_nothing_of_its_successor() -> None:
    target, source = MemoryTransport(), MemoryTransport()
    store = await make_job(source)
    await claim(store)
    await store.reap(now_s=0.0, dead=["w"])
    slow = SlowToList(target)
    stale = make_executor(make_ends(source, slow), store)
    run = asyncio.get_running_loop().create_task(stale.run(await claim(store)), name="stale")
    await slow.asked.wait()
    await store.reap(now_s=0.0, dead=["w"])
    successor = await make_executor(make_ends(source, target), store).run(await claim(store))
    (upload_id,) = target.store.uploads
    slow.go_on.set()
    with pytest.raises(LeaseLost):
        await run
    assert list(target.store.uploads) == [upload_id]
    assert successor.groups


def test_a_lease_that_is_lost_while_an_upload_is_opened() -> None:
    async def scene() -> None:
        inner, source = MemoryTransport(), MemoryTransport()
        store = await make_job(source)
        target = SlowToOpen(inner, delay_s=LEASE_S / 3 + DROP_S / 2)
        executor = make_executor(make_ends(source, target), store)
        loop = asyncio.get_running_loop()
        policy = WorkerPolicy(lease_s=LEASE_S)
        worker = Worker(
            store,
            executor.run,
            worker_id="w",
            policy=policy,
            clock=loop.time,
            disown=executor.disown,
        )
        working = loop.create_task(worker.run(), name="worker")
        await target.opened.wait()
        await store.reap(now_s=loop.time(), dead=["w"])
        (lease,) = await store.claim("other", limit=1, lease_s=600.0, now_s=loop.time())
        await asyncio.sleep(LEASE_S)
        assert worker.tally.lost == 1
        assert inner.store.uploads == {}
        other = make_executor(make_ends(source, inner), store)
        outcome = await other.run(lease)
        assert len(inner.store.uploads) == 1
        await other.disown(outcome)
        worker.stop()
        await working

    run_virtually(scene)


async def test_a_real_store_that_answers_late_has_no_open_upload(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, tmp_path: Path
) -> None:
    late = Stall(for_s=1.0)
    rule = Rule(fault=late, method="POST", path="uploads", nth={1})
    proxy = fault_proxy(seaweed.endpoint_url, rule)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "big.bin").write_bytes(bytes(20 * 1024 * 1024))
    copying = asyncio.get_running_loop().create_task(
        copy_here(
            f"{tmp_path}/source/",
            seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
            environment=environment_for(tmp_path / "state", seaweed),
        ),
        name="copy",
    )
    while not await asyncio.to_thread(seaweed_bucket.upload_keys):
        assert not copying.done(), copying
        await asyncio.sleep(0.02)
    copying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await copying
    assert proxy.count(Stall) == 1
    assert await asyncio.to_thread(seaweed_bucket.upload_keys) == []
