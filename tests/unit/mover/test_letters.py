"""What fails inside a task can be tried again: exactly that, and all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from mover.ends import Single
from mover.gathering import gather_results
from mover.letters import another_attempt, comes_again, shard_outcome
from mover.model import Failure, LargeObject, SmallShard, Tally, TaskResult
from mover.payloads import decode_payload, decode_result, encode_payload
from mover.settings import OBJECT_ATTEMPTS_MAX, STORE_WISH_MAX_S
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import NewTask, Retry, TaskState
from scheduler.retries import RetryPolicy
from tests.unit.mover.engine import entries_of, fill, make_ends, make_executor, stored
from transports.errors import (
    Changed,
    Corrupt,
    Denied,
    NotFound,
    Throttled,
    TimedOut,
    Transient,
    TransportError,
    Truncated,
    Unavailable,
)
from transports.faults import Fault, Faults
from transports.memory import MemoryTransport
from transports.model import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from mover.executing import Executor
    from mover.gathering import Gathered


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


# --- What passes comes again ---

GONE = Corrupt("k", algorithm="md5", expected="x", actual="y")
BROKEN_OFF = Truncated("k", received_bytes=1, expected_bytes=2)


@pytest.mark.parametrize(
    ("error", "attempt", "again"),
    [
        (Throttled("k"), 1, True),
        (Unavailable("k"), OBJECT_ATTEMPTS_MAX - 1, True),
        (TimedOut("k"), 1, True),
        (BROKEN_OFF, 1, True),
        (Unavailable("k"), OBJECT_ATTEMPTS_MAX, False),
        (Unavailable("k"), OBJECT_ATTEMPTS_MAX + 1, False),
        (Denied("k"), 1, False),
        (NotFound("k"), 1, False),
        (Changed("k"), 1, False),
        (GONE, 1, False),
    ],
)
def test_only_what_may_pass_comes_again(error: TransportError, attempt: int, again: bool) -> None:
    assert comes_again(error, attempt) is again


@pytest.mark.parametrize(
    ("wishes", "after_s"),
    [((None,), 0.0), ((3.0, None, 7.0), 7.0), ((86400.0,), STORE_WISH_MAX_S)],
)
def test_another_attempt_waits_as_the_stores_asked(
    wishes: tuple[float | None, ...], after_s: float
) -> None:
    outcome = another_attempt([Throttled(f"k{n}", retry_after_s=w) for n, w in enumerate(wishes)])
    assert isinstance(outcome.disposition, Retry)
    assert outcome.disposition.after_s == after_s
    assert "Throttled: k0: the store asks to slow down" in outcome.disposition.reason


class Ran(NamedTuple):
    """A run of the shard of a, b and the pair of c: what failed for now and for good, what moved."""

    passing: str = ""
    final: str = ""
    moved: int = 0
    failed_before: bool = True
    attempt: int = 1


@pytest.mark.parametrize(
    ("ran", "disposition", "again", "letter"),
    [
        (Ran(moved=3), "Done", "", ""),
        (Ran(passing="ab", moved=1), "Done", "ab", ""),
        (Ran(passing="c", moved=2), "Done", "c", ""),
        (Ran(passing="a", final="b", moved=1), "Done", "a", "b"),
        (Ran(passing="a", final="bc"), "Done", "a", "bc"),
        (Ran(final="abc"), "Done", "", "abc"),
        # Nothing came: the attempts of the shard itself count.
        (Ran(passing="abc"), "Retry", "", ""),
        (Ran(passing="abc", attempt=OBJECT_ATTEMPTS_MAX - 1), "Retry", "", ""),
        (Ran(passing="abc", attempt=OBJECT_ATTEMPTS_MAX), "Done", "", "abc"),
        (Ran(passing="ab", moved=1, attempt=OBJECT_ATTEMPTS_MAX), "Done", "", "ab"),
        # Those of a shard that failed for the first time were somebody's death, not a store's.
        (Ran(passing="abc", failed_before=False), "Done", "abc", ""),
        (Ran(passing="abc", failed_before=False, attempt=40), "Done", "abc", ""),
    ],
)
def test_what_becomes_of_the_failures_of_a_shard(
    ran: Ran, disposition: str, again: str, letter: str
) -> None:
    copies = [Entry(key, 5, 0) for key in "ab"]
    pair = (Entry("c", 5, 0), Entry("c", 5, 1))
    shard = SmallShard(copies=copies, probes=[pair], failed=ran.failed_before)
    failures = [Failure(key, "Unavailable", "x") for key in ran.passing]
    failures += [Failure(key, "Denied", "x") for key in ran.final]
    tally = Tally(copied_objects=ran.moved, failed_objects=len(failures))
    transient: dict[str, Transient] = {key: Unavailable(key) for key in ran.passing}
    result = TaskResult(tally=tally, failures=failures)

    outcome = shard_outcome(shard, result, transient, attempt=ran.attempt)

    assert type(outcome.disposition).__name__ == disposition
    came, given_up = "", ""
    for task in outcome.follow_ups:
        rest = decode_payload(task.payload)
        assert isinstance(rest, SmallShard)
        assert rest.failed
        keys = "".join([each.key for each in rest.copies] + [each[0].key for each in rest.probes])
        if task.discarded:
            given_up, kept = keys, decode_result(task.result)
            assert kept.tally == Tally(failed_objects=len(letter))
            assert sorted(failure.key for failure in kept.failures) == sorted(letter)
            assert ("after" in task.discarded) == (ran.attempt >= OBJECT_ATTEMPTS_MAX)
        else:
            came = keys
            assert task.weight == 0  # it was counted with the shard
    assert (came, given_up) == (again, letter)
    if disposition == "Done":
        counted = decode_result(outcome.result)
        assert (counted.tally, counted.failures) == (Tally(copied_objects=ran.moved), [])


async def run_to_the_end(executor: Executor, store: MemoryTaskStore) -> list[float]:
    """Work as a worker does until the store is drained; the pauses before the attempts, in order."""
    policy, now_s = RetryPolicy(), 0.0
    pauses = []
    while not await store.is_drained():
        leases = await store.claim("w", limit=1, lease_s=60.0, now_s=now_s)
        if not leases:
            now_s += 0.25
            continue
        outcome = await executor.run(leases[0])
        wish = policy.decide(outcome.disposition, attempt=leases[0].attempt, rng=lambda: 0.99)
        if isinstance(wish, Retry):
            pauses.append(wish.after_s)
        await store.finish(
            leases[0],
            wish,
            result=outcome.result,
            follow_ups=outcome.follow_ups,
            groups=outcome.groups,
            now_s=now_s,
        )
    return pauses


OBJECTS = {"a": b"1", "b": b"22", "c": b"333"}


async def job_of(
    times: int, verb: str, *, large: bool = False
) -> tuple[MemoryTransport, MemoryTaskStore, Executor]:
    """A job of one task whose target is away for the first calls of a verb."""
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, {"a": b"1" * 1000} if large else OBJECTS)
    entries = list((await entries_of(source)).values())
    task = LargeObject(entry=entries[0]) if large else SmallShard(copies=entries, probes=[])
    store = MemoryTaskStore(attempts_max=50)
    await store.enqueue([NewTask(payload=encode_payload(task))])
    await store.close_intake()
    # A lane takes one object of so small a shard.
    away = [Fault(verb=verb, nth=1, times=times, error=Unavailable("a"))]
    return target, store, make_executor(make_ends(source, Faults(target, away)), store)


async def gathered(store: MemoryTaskStore, place: Path) -> Gathered:
    return await gather_results(store, place / "retry.txt")


@pytest.mark.parametrize("times", [1, 3, 4, 6, 3 + 3 * (OBJECT_ATTEMPTS_MAX - 1)])
async def test_a_store_that_comes_back_costs_no_object(times: int, tmp_path: Path) -> None:
    target, store, executor = await job_of(times, "write_small")
    await run_to_the_end(executor, store)
    report = await gathered(store, tmp_path)
    assert stored(target) == OBJECTS
    assert report.failures == []
    assert report.tally.copied_objects == 3
    assert report.tally.copied_bytes == 6
    assert report.tally.failed_objects == 0
    assert await store.results({TaskState.DISCARDED}) == []


async def test_a_store_that_stays_away_is_given_up_and_retry_mends_it(tmp_path: Path) -> None:
    calls = 3 + 3 * OBJECT_ATTEMPTS_MAX
    target, store, executor = await job_of(calls, "write_small")
    pauses = await run_to_the_end(executor, store)
    assert pauses == [pytest.approx(0.99 * 0.5 * 2**n) for n in range(OBJECT_ATTEMPTS_MAX - 1)]
    report = await gathered(store, tmp_path)
    assert stored(target) == {}
    assert (report.tally.copied_objects, report.tally.failed_objects) == (0, 3)
    assert {failure.error for failure in report.failures} == {"Unavailable"}
    (letter,) = await store.results({TaskState.DISCARDED})
    assert letter.reason.startswith("Unavailable: a: ")
    assert letter.reason.endswith(f"(and 2 more) (after {OBJECT_ATTEMPTS_MAX} attempts)")
    assert await store.requeue() == 1
    await run_to_the_end(executor, store)
    assert stored(target) == OBJECTS
    report = await gathered(store, tmp_path)
    assert (report.tally.copied_objects, report.tally.failed_objects) == (3, 0)


@pytest.mark.parametrize("verb", ["begin_upload", "write_part", "finish_upload"])
@pytest.mark.parametrize("times", [1, OBJECT_ATTEMPTS_MAX - 1])
async def test_a_large_object_has_attempts_at_every_step(
    verb: str, times: int, tmp_path: Path
) -> None:
    target, store, executor = await job_of(times, verb, large=True)
    assert await run_to_the_end(executor, store)
    report = await gathered(store, tmp_path)
    assert stored(target) == {"a": b"1" * 1000}
    assert (report.tally.copied_objects, report.tally.failed_objects) == (1, 0)
    assert target.store.uploads == {}


@pytest.mark.parametrize("verb", ["begin_upload", "write_part", "finish_upload"])
async def test_a_large_object_is_given_up_after_its_attempts(verb: str, tmp_path: Path) -> None:
    target, store, executor = await job_of(10_000, verb, large=True)
    assert len(await run_to_the_end(executor, store)) == OBJECT_ATTEMPTS_MAX - 1
    report = await gathered(store, tmp_path)
    assert [(each.key, each.error) for each in report.failures] == [("a", "Unavailable")]
    assert report.tally.failed_objects == 1
    assert stored(target) == {}
    assert target.store.uploads == {}


async def test_only_what_is_given_up_is_shown_as_failed() -> None:
    source, target = MemoryTransport(), MemoryTransport()
    await fill(source, OBJECTS)
    entries = list((await entries_of(source)).values())
    store = MemoryTaskStore()
    await store.enqueue([NewTask(payload=encode_payload(SmallShard(copies=entries, probes=[])))])
    await store.close_intake()
    faults = [
        Fault(verb="write_small", nth=1, error=Unavailable("a")),
        Fault(verb="write_small", nth=2, error=Denied("b")),
    ]
    ends = make_ends(source, Faults(target, faults))
    await run_to_the_end(make_executor(ends, store), store)
    assert (ends.live.copied_objects, ends.live.failed_objects) == (2, 1)
