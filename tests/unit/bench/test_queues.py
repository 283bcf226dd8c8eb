from bench.queues import SHARD_OBJECTS, Meter, measure, shard_payload, works
from mover.model import Chunk, SmallShard
from mover.payloads import decode_payload
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import TaskState


def test_the_payloads_are_what_a_planner_writes() -> None:
    shard = decode_payload(shard_payload())
    assert isinstance(shard, SmallShard)
    assert len(shard.copies) == SHARD_OBJECTS
    assert 80_000 < len(shard_payload()) < 130_000
    assert isinstance(decode_payload(works()["chunks"].payload), Chunk)


async def test_every_task_is_finished_and_paid_for() -> None:
    work = works()["chunks"]
    async with MemoryTaskStore() as store:
        enqueued, finished = await measure(store, Meter(None), work, 30)
        stats = await store.stats()
    assert stats.tasks[TaskState.DONE] == 30
    assert stats.open_tasks == 0
    assert min(enqueued.wall_us, finished.wall_us, finished.worker_us) > 0
    assert finished.server_us == 0
