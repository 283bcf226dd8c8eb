"""Worker processes on this host: start them, replace the ones that die, end them.

A worker is ``python -m mover.crew_member DIRECTORY WORKER_ID LEADER_PID CONCURRENCY``; all it needs stands in
the job's directory, and its credentials come with the environment. It is told to end by SIGTERM
(it drains), and ends by itself when its leader dies.
"""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from mover.delta_tasks import Keeper
from mover.measuring import Estimate, Gauge
from mover.model import Tally
from mover.pacing import RateMeter
from mover.prewarm.model import Residence
from mover.prewarm.summing import Fullness, without_looks
from mover.progress import WorkerProgress
from scheduler.model import HEARD_S, WorkerBeat
from scheduler.store import TaskStore

REPLACEMENTS_MAX = 20
"""Workers replaced in one run. More deaths than that are not bad luck; the leader goes on alone."""

GRACE_S = 10.0
"""How long a worker may take to drain before it is killed."""


RUN_S_MAX = 1e9
"""Older than any run: the last words of every worker of a job."""


class Beat(msgspec.Struct, array_like=True, frozen=True):
    """What a worker says of itself in the queue: counts of objects and bytes since its start.

    ``rates`` are what it has reached between two sides: ``Gauge.estimates``. ``keeper`` says that it keeps
    parcels for others, and where. ``node`` is the name of its host where that matters.

    ``moving_bytes`` have come of tasks that have not come to their ends, ``bytes_per_s`` is its rate. Of a prewarm
    ``skipped_bytes`` need not be read, and ``residency`` is what it has seen, by node, in the ``round`` of that number.
    """

    objects: int
    bytes: int
    planned_objects: int = 0
    planned_bytes: int = 0
    skipped: int = 0
    rates: list[Estimate] = []
    keeper: Keeper | None = None
    node: str = ""
    moving_bytes: int = 0
    bytes_per_s: int = 0
    skipped_bytes: int = 0
    round: int = 0
    residency: list[Residence] = []

    @property
    def bytes_come(self) -> int:
        """All that it has moved, whole or not."""
        return self.bytes + self.moving_bytes


def beat(
    live: Tally,
    gauge: Gauge | None = None,
    keeper: Keeper | None = None,
    node: str = "",
    *,
    meter: RateMeter | None = None,
    moving_bytes: int = 0,
    **of_prewarm: Any,
) -> bytes:
    """The note that a worker leaves with its sign of life; ``meter`` is kept from one to the next."""
    meter = meter or RateMeter()
    meter.add(time.monotonic(), live.copied_bytes + moving_bytes)
    return msgspec.msgpack.encode(
        Beat(
            live.copied_objects,
            live.copied_bytes,
            live.planned_objects,
            live.planned_bytes,
            live.skipped_objects,
            [] if gauge is None else gauge.estimates(),
            keeper,
            node,
            moving_bytes,
            int(meter.per_s()),
            **of_prewarm,
        )
    )


async def read_beats(store: TaskStore, *, now_s: float, within_s: float) -> dict[str, Beat]:
    """What the workers of a job last said of themselves, by worker; those that said nothing lack.

    Of one that has been silent for ``HEARD_S`` nothing is under way any more: others begin that anew.
    """
    signs = await store.workers(now_s=now_s, within_s=within_s)
    silent = {each.worker_id for each in signs if each.at_s < now_s - HEARD_S}
    return {
        name: msgspec.structs.replace(note, moving_bytes=0, bytes_per_s=0)
        if name in silent
        else note
        for name, note in beats_in(signs).items()
    }


def beats_in(signs: Iterable[WorkerBeat]) -> dict[str, Beat]:
    """The same of signs of life that were read."""
    return {
        each.worker_id: msgspec.msgpack.decode(each.note, type=Beat) for each in signs if each.note
    }


def bytes_come(notes: Collection[Beat]) -> int:
    """What all workers have moved; what is under way fills the plan up, and does not exceed it."""
    settled = sum(note.bytes for note in notes)
    moving = sum(note.moving_bytes for note in notes)
    left = sum(note.planned_bytes - note.skipped_bytes for note in notes) - settled
    return settled + max(0, min(moving, left))


def residency_of(notes: Collection[Beat]) -> tuple[Residence, ...]:
    """What the workers of a prewarm have seen by node, in the latest round that any of them has begun."""
    latest = max((note.round for note in notes), default=0)
    rows = [
        row if note.round == latest else without_looks(row)
        for note in notes
        for row in note.residency
    ]
    return Fullness.of(rows).nodes


class Crew:
    """The worker processes of one job; with ``size`` 0 there are none and nothing is done."""

    def __init__(
        self,
        directory: Path,
        store: TaskStore,
        *,
        size: int,
        note: Callable[[str], None],
        concurrency: int | None = None,
    ) -> None:
        self._directory = directory
        self._store = store
        self._size = size
        self._note = note
        self._concurrency = concurrency
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._started: set[str] = set()
        self._draining = False
        self._replaced = 0

    async def run(self) -> None:
        """Keep ``size`` workers running until the queue is drained and each has ended by itself."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._size):
                group.create_task(self._keep_one(), name=f"crew-{number}")

    async def _keep_one(self) -> None:
        while not self._draining:
            worker_id = f"worker-{uuid.uuid4().hex[:8]}"
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "mover.crew_member",
                str(self._directory),
                worker_id,
                str(os.getpid()),
                str(self._concurrency or 0),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                # Ctrl-C goes to a terminal's whole foreground group; the leader alone decides,
                # or its SIGTERM would be a worker's second signal: stop at once.
                start_new_session=True,
            )
            self._processes[worker_id] = process
            self._started.add(worker_id)
            code = await process.wait()
            del self._processes[worker_id]
            if code == 0 or self._draining:
                return
            await self._store.reap(now_s=0.0, dead=[worker_id])
            self._replaced += 1
            if self._replaced > REPLACEMENTS_MAX:
                self._note(f"{self._replaced} workers have died; going on without this one")
                return
            self._note(
                f"{worker_id} died ({_reason(code)}); its tasks are taken back, a new one starts"
            )

    def drain(self) -> None:
        """Tell the workers to give back what they hold and to end."""
        self._draining = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the workers now; their leases are taken back by the next run."""
        self._draining = True
        self._signal(signal.SIGKILL)

    async def end(self) -> None:
        """Leave no process behind, whatever happened."""
        self.drain()
        try:
            async with asyncio.timeout(GRACE_S):
                for process in list(self._processes.values()):
                    await process.wait()
        except TimeoutError:
            self.kill()
            for process in list(self._processes.values()):
                await process.wait()

    async def progress(self, now_s: float, *, without: str) -> tuple[WorkerProgress, ...]:
        """What this run's worker processes say of themselves, the dead ones' last words included."""
        if not self._size:
            return ()
        beats = await read_beats(self._store, now_s=now_s, within_s=RUN_S_MAX)
        return tuple(
            WorkerProgress(name, note.objects, note.bytes_come, note.node)
            for name, note in beats.items()
            if name in self._started and name != without
        )

    def _signal(self, number: int) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)


def _reason(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
