"""Two stores and the queue of one job between them, and what may befall it: death, replacement, cancel."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mover.beside import first_leaf
from mover.delta_parcels import clean_up
from mover.measuring import Measured
from mover.model import Delta, LargeObject, Tally, TaskResult
from mover.naming import is_hidden
from mover.payloads import decode_payload, decode_result, encode_payload
from scheduler.memory_store import MemoryTaskStore
from scheduler.model import FINAL_STATES, NewTask
from tests.unit.mover.engine import entries_of, fill, make_ends, make_executor
from transports.decorator import Decorator
from transports.memory import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from mover.ends import Ends
    from mover.payloads import Payload
    from scheduler.model import Lease, Outcome
    from transports.base import Transport

MIB = 1024 * 1024
OLD = random.Random(1).randbytes(3 * MIB + 77)
FIRST, SECOND = MIB + 1_000, 2 * MIB + 5_000
NEW = OLD[:FIRST] + b"inserted" + OLD[FIRST:SECOND] + bytes(70_000) + OLD[SECOND:] + b"tail"
OTHER = random.Random(2).randbytes(3 * MIB)
CHANGES = [NEW[: 2 * MIB] + b"one" + NEW[2 * MIB :], NEW[:MIB] + b"two" + NEW[MIB:]]
"""What comes in the place of an object while it is worked at, and again."""

SHORT_OLD = OLD[: MIB + 77]
SHORT_NEW = OLD[:200_000] + b"inserted" + OLD[200_000:300_000] + SHORT_OLD[370_000:] + b"tail"
"""The same in little, for what is done a hundred times."""


class Pair:
    """A source, a target with the old version, and the queue of one job."""

    def __init__(self, **wishes: Any) -> None:
        self.source, self.target = MemoryTransport(), MemoryTransport()
        self.store = MemoryTaskStore()
        self.wishes: dict[str, Any] = {"delta": Delta.ALWAYS, "part_bytes": 0} | wishes

    async def begin(self, old: bytes = OLD, new: bytes = NEW) -> None:
        await fill(self.target, {"big": old})
        await self.go_on(new)

    async def go_on(self, new: bytes) -> None:
        """Another version at the source, for what is at the target."""
        await fill(self.source, {"big": new})
        entry = (await entries_of(self.source))["big"]
        basis = (await entries_of(self.target))["big"]
        task = LargeObject(entry=entry, basis=basis)
        await self.store.enqueue([NewTask(payload=encode_payload(task))])

    def ends(self, source: Transport | None = None, target: Transport | None = None) -> Ends:
        return make_ends(source or self.source, target or self.target, **self.wishes)

    def wrapped(self, wrap: Callable[[Transport], Transport]) -> Ends:
        """Ends of which each store is reached through what ``wrap`` makes."""
        return self.ends(wrap(self.source), wrap(self.target))

    async def claim(self) -> tuple[Lease, Payload] | None:
        for lease in await self.store.claim("w", limit=1, lease_s=60.0, now_s=0.0):
            return lease, decode_payload(lease.payload)
        return None

    async def finish(self, lease: Lease, outcome: Outcome) -> None:
        await self.store.finish(
            lease,
            outcome.disposition,
            result=outcome.result,
            follow_ups=outcome.follow_ups,
            groups=outcome.groups,
            now_s=0.0,
        )

    async def run(
        self, ends: Ends, before: Callable[[Payload], object] = lambda task: None
    ) -> None:
        """Run all tasks; ``before`` sees each of them first."""
        executor = make_executor(ends, self.store)
        while claimed := await self.claim():
            lease, task = claimed
            before(task)
            await self.finish(lease, await executor.run(lease))

    async def run_patiently(self, ends: Ends) -> None:
        """Run all tasks, those too that are to be tried again later."""
        executor = make_executor(ends, self.store)
        at_s = 0.0
        while leases := await self.store.claim("w", limit=1, lease_s=60.0, now_s=at_s):
            await self.finish(leases[0], await executor.run(leases[0]))
            at_s += 1000.0

    async def run_twice(self, ends: Ends) -> None:
        """Run each task twice: its first worker dies before it can say what it did."""
        executor = make_executor(ends, self.store)
        while claimed := await self.claim():
            await executor.run(claimed[0])
            await self.store.reap(now_s=0.0, dead=["w"])
            claimed = await self.claim()
            assert claimed is not None
            await self.finish(claimed[0], await executor.run(claimed[0]))

    async def run_cancelled(self, ends: Ends, step: type[Payload]) -> None:
        """Run all tasks of a job that is cancelled before its first ``step``."""
        executor = make_executor(ends, self.store)
        while claimed := await self.claim():
            lease, task = claimed
            ending = executor.give_up if isinstance(task, step) else executor.run
            await self.finish(lease, await ending(lease))

    async def result(self) -> TaskResult:
        total = TaskResult(tally=Tally())
        for task in await self.store.results(FINAL_STATES):
            if task.result:
                result = decode_result(task.result)
                total.tally.add(result.tally)
                total.failures.extend(result.failures)
        return total

    def is_clean(self) -> bool:
        """Whether nothing is left but data."""
        return not any(map(is_hidden, self.target.store.objects)) and not self.target.store.uploads

    @property
    def made(self) -> bytes:
        return self.target.store.objects["big"].data


async def slow_link() -> Measured:
    """What a job knows of its link that has a limit."""
    return Measured(limit=1e6)


class Killed(BaseException):
    """Nothing of the process goes on."""


class Mortal(Decorator):
    """Kills its process at one call, counted over all verbs of both ends together.

    With ``after`` the store has done it before. Who is dead stays dead: nothing is cleaned up.
    """

    VERBS = (
        "head",
        "read_small",
        "read_into",
        "write_small",
        "begin_upload",
        "write_part",
        "copy_part",
        "finish_upload",
        "abort_upload",
        "list_uploads",
        "delete",
        "list",
    )

    def __init__(self, inner: Transport, fate: list[int], *, after: bool) -> None:
        super().__init__(inner)
        self._fate = fate
        self._after = after
        for verb in self.VERBS:
            setattr(self, verb, self._wrapped(getattr(self, verb), is_listing=verb == "list"))

    def _wrapped(self, call: Any, *, is_listing: bool) -> Any:
        async def wrapped(*arguments: Any, **named: Any) -> Any:
            self._fate[0] -= 1
            if self._fate[0] < 0 or (self._fate[0] == 0 and not self._after):
                raise Killed
            result = await call(*arguments, **named)
            if self._fate[0] <= 0:
                raise Killed
            return result

        async def listing(*arguments: Any, **named: Any) -> Any:
            self._fate[0] -= 1
            if self._fate[0] <= 0:
                raise Killed
            async for page in call(*arguments, **named):
                yield page

        return listing if is_listing else wrapped


async def is_cleaned(pair: Pair) -> bool:
    """Whether the end of the job removes what is left; no upload may be."""
    assert not pair.target.store.uploads
    await clean_up(pair.ends())
    return pair.is_clean()


def replaced(store: MemoryTransport, data: bytes, key: str = "big") -> None:
    """Replace an object, as somebody else does who does not wait for us."""

    def put() -> None:
        asyncio.run(fill(store, {key: data}))

    with ThreadPoolExecutor(1) as thread:
        thread.submit(put).result()


SomePair = TypeVar("SomePair", bound=Pair)


async def killed_at_every_call(
    begin: Callable[[], Awaitable[SomePair]], *, after: bool, least: int
) -> AsyncIterator[SomePair]:
    """Yield a pair for each call of a run: its worker died there, and another ended its work.

    There must be more than ``least`` of them.
    """
    deaths = 0
    while await _dies(pair := await begin(), deaths + 1, after=after):
        deaths += 1
        await pair.store.reap(now_s=0.0, dead=["w"])
        await pair.run(pair.wrapped(lambda store: store))
        yield pair
    assert deaths > least


async def _dies(pair: Pair, at: int, *, after: bool) -> bool:
    """Whether the run has so many calls."""
    fate = [at]
    try:
        await pair.run(pair.wrapped(lambda store: Mortal(store, fate, after=after)))
    except BaseException as error:
        if not isinstance(first_leaf(error), Killed):
            raise
        return True
    return False


@dataclass(kw_only=True)
class Replacing:
    """Called before each task: somebody else replaces an object before a task of the kind ``step``.

    Each such task takes the next of ``those``, of which None deletes the object; after the last nothing
    happens any more.
    """

    store: MemoryTransport
    step: type[Payload]
    those: Sequence[bytes | None]
    key: str = "big"
    done: list[bytes | None] = field(default_factory=list)

    def __call__(self, task: Payload) -> None:
        if not isinstance(task, self.step) or len(self.done) == len(self.those):
            return
        data = self.those[len(self.done)]
        self.done.append(data)
        if data is None:
            del self.store.store.objects[self.key]
        else:
            replaced(self.store, data, self.key)
