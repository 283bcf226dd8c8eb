"""What fails inside a task can be tried again: exactly that, and all of it."""

from __future__ import annotations

from mover.ends import Single
from mover.model import SmallShard
from mover.payloads import decode_payload, encode_payload
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import NewTask, TaskState
from tests.unit.mover.engine import entries_of, fill, make_ends, make_executor, stored
from transports.errors import Corrupt, Denied, TransportError
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport


async def run_once(executor: object, store: MemoryTaskStore) -> None:
    from mover.executing import Executor

    assert isinstance(executor, Executor)
    (lease,) = await store.claim("w", limit=1, lease_s=60.0, now_s=0.0)
    outcome = await executor.run(lease)
    await store.finish(
        lease,
        outcome.disposition,
        result=outcome.result,
        follow_ups=outcome.follow_ups,
        now_s=0.0,
    )


async def failing(
    error: TransportError, *, single: Single | None = None
) -> tuple[MemoryTransport, MemoryTaskStore, object]:
    """A shard of which the writing of the first object fails once: the target, the store, who runs it."""
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, {"a": b"1"} if single else {"a": b"1", "b": b"2"})
    store = MemoryTaskStore()
    shard = SmallShard(copies=list((await entries_of(source)).values()), probes=[])
    await store.enqueue([NewTask(payload=encode_payload(shard))])
    await store.close_intake()
    faults = Faults(target, [Fault(verb="write_small", nth=1, error=error)])
    executor = make_executor(make_ends(source, faults, single=single), store)
    await run_once(executor, store)
    return target, store, executor


async def test_a_letter_holds_what_failed_and_its_retry_moves_it() -> None:
    target, store, executor = await failing(Denied("a"))
    (letter,) = await store.results({TaskState.DISCARDED})
    shard = decode_payload(letter.payload)
    assert isinstance(shard, SmallShard)
    assert [entry.key for entry in shard.copies] == ["a"]
    assert stored(target) == {"b": b"2"}
    assert await store.requeue() == 1
    await run_once(executor, store)
    assert stored(target) == {"a": b"1", "b": b"2"}
    assert await store.is_drained()


async def test_the_letter_of_a_single_object_names_it_by_its_source() -> None:
    single = Single(source_key="a", target_key="other")
    target, store, executor = await failing(Denied("other"), single=single)
    assert await store.requeue() == 1
    await run_once(executor, store)
    assert stored(target) == {"other": b"1"}


async def test_an_object_that_arrived_damaged_is_never_taken_for_done() -> None:
    error = Corrupt("a", algorithm="md5", expected="x", actual="y")
    target, store, executor = await failing(error)
    await fill(target, {"a": b"9"})  # damaged, and as long as it should be
    assert await store.requeue() == 1
    await run_once(executor, store)
    assert stored(target) == {"a": b"1", "b": b"2"}
