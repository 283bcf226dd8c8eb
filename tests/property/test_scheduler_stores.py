"""SQLite does what the reference does, whatever the order of the verbs."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scheduler.errors import SchedulerError
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import (
    ANY_POOL,
    FINAL_STATES,
    Advanced,
    Discard,
    Done,
    Lease,
    NewGroup,
    NewTask,
    Release,
    Retry,
)
from scheduler.sqlite_store import SqliteTaskStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scheduler.model import Disposition
    from scheduler.store import TaskStore

GROUPS = ("g1", "g2", "g3")
WORKERS = ("w1", "w2")

_tasks = st.lists(
    st.builds(
        NewTask,
        payload=st.binary(max_size=4),
        weight=st.integers(0, 1000),
        group=st.sampled_from([None, None, None, *GROUPS]),
        key=st.sampled_from([None, None, "k1", "k2", "k3"]),
        pool=st.sampled_from([ANY_POOL, ANY_POOL, "eu"]),
    )
    | st.builds(NewTask, payload=st.just(b"failed"), discarded=st.just("f"), result=st.just(b"r")),
    max_size=4,
)
_groups = st.lists(
    st.builds(
        NewGroup,
        name=st.sampled_from(GROUPS),
        size=st.integers(1, 3),
        then=st.builds(
            NewTask, payload=st.just(b"then"), group=st.sampled_from([None, None, "g1"])
        ),
    ),
    max_size=2,
    unique_by=lambda group: group.name,
)
_dispositions: st.SearchStrategy[Disposition] = st.one_of(
    st.just(Done()),
    st.builds(Release, after_s=st.sampled_from([0, 10])),
    st.builds(Retry, after_s=st.sampled_from([0, 1, 10]), reason=st.sampled_from(["", "r"])),
    st.builds(Discard, reason=st.just("d")),
)


class StoresAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.reference = MemoryTaskStore(attempts_max=3)
        self.store = self.open_store()
        self.now_s = 1_700_000_000.0
        self.leases: list[Lease] = []

    def open_store(self) -> TaskStore:
        """The store that is held against the reference."""
        path = Path(self.directory.name) / "queue"
        return self.loop.run_until_complete(SqliteTaskStore.open(path, attempts_max=3))

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.directory.cleanup()

    def both(self, verb: Callable[[TaskStore], Awaitable[object]]) -> object:
        """Ask both; the answers, or the kinds of refusal, must be equal."""

        async def ask(store: TaskStore) -> object:
            try:
                return await verb(store)
            except SchedulerError as error:
                return type(error)

        expected = self.loop.run_until_complete(ask(self.reference))
        answer = self.loop.run_until_complete(ask(self.store))
        assert answer == expected
        return answer  # not the reference's: a lease may carry a token of the store

    @rule(tasks=_tasks, groups=_groups, checkpoint=st.none() | st.binary(max_size=3))
    def enqueue(
        self, tasks: list[NewTask], groups: list[NewGroup], checkpoint: bytes | None
    ) -> None:
        self.both(lambda store: store.enqueue(tasks, groups=groups, checkpoint=checkpoint))

    @rule(
        worker=st.sampled_from(WORKERS),
        limit=st.integers(0, 4),
        pools=st.sampled_from([[ANY_POOL], [ANY_POOL, "eu"], ["eu"]]),
    )
    def claim(self, worker: str, limit: int, pools: list[str]) -> None:
        claimed = self.both(
            lambda store: store.claim(
                worker, limit=limit, lease_s=30, now_s=self.now_s, pools=pools
            )
        )
        assert isinstance(claimed, list)
        self.leases += claimed

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), disposition=_dispositions, follow_ups=_tasks, groups=_groups)
    def finish(
        self,
        data: st.DataObject,
        disposition: Disposition,
        follow_ups: list[NewTask],
        groups: list[NewGroup],
    ) -> None:
        lease = data.draw(st.sampled_from(self.leases[-8:]))
        self.both(
            lambda store: store.finish(
                lease,
                disposition,
                result=b"result of %d" % lease.task_id,
                follow_ups=follow_ups,
                groups=groups,
                now_s=self.now_s,
            )
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def finish_plainly(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases[-8:]))
        self.both(lambda store: store.finish(lease, Done(), result=b"r", now_s=self.now_s))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases[-8:]))
        self.both(lambda store: store.release(lease))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        held = data.draw(st.lists(st.sampled_from(self.leases[-8:]), unique_by=id, max_size=4))
        self.both(lambda store: store.extend(held, lease_s=30, now_s=self.now_s))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), follow_ups=_tasks, groups=_groups)
    def advance(
        self, data: st.DataObject, follow_ups: list[NewTask], groups: list[NewGroup]
    ) -> None:
        lease = data.draw(st.sampled_from(self.leases[-8:]))
        advanced = self.both(
            lambda store: store.advance(
                lease, b"step %d" % lease.step, follow_ups=follow_ups, groups=groups
            )
        )
        if isinstance(advanced, Advanced):
            self.leases.append(advanced.lease)

    @rule()
    def requeue(self) -> None:
        self.both(lambda store: store.requeue())

    @rule(dead=st.sets(st.sampled_from(WORKERS), max_size=1))
    def reap(self, dead: set[str]) -> None:
        self.both(lambda store: store.reap(now_s=self.now_s, dead=dead))

    @rule(seconds=st.sampled_from([0.5, 5, 31, -3]))
    def let_time_pass(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def forget_finished(self) -> None:
        self.both(lambda store: store.forget_finished())

    @rule(chance=st.integers(0, 9))
    def close_or_clear(self, chance: int) -> None:
        if chance == 0:
            self.both(lambda store: store.clear())
        elif chance == 1:
            self.both(lambda store: store.close_intake())

    @rule(amount=st.integers(0, 50), rate=st.sampled_from([1, 10]), burst=st.integers(0, 20))
    def reserve(self, amount: int, rate: int, burst: int) -> None:
        self.both(
            lambda store: store.reserve("b", amount, rate_per_s=rate, burst=burst, now_s=self.now_s)
        )

    @rule(value=st.none() | st.binary(max_size=3), worker=st.sampled_from(WORKERS))
    def tell(self, value: bytes | None, worker: str) -> None:
        self.both(lambda store: store.set_control("c", value))
        self.both(lambda store: store.get_control("c"))
        self.both(lambda store: store.beat(worker, value or b"", now_s=self.now_s))
        self.both(lambda store: store.workers(now_s=self.now_s, within_s=10))

    @invariant()
    def they_agree(self) -> None:
        async def everything(store: TaskStore) -> object:
            return (
                await store.stats(),
                await store.is_drained(),
                await store.results(FINAL_STATES),
                await store.load_checkpoint(),
                [await store.group_outcomes(group) for group in GROUPS],
            )

        self.both(everything)


StoresAgree.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestStoresAgree = StoresAgree.TestCase
