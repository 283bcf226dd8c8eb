"""Worker processes on this host: start them, replace the ones that die, end them.

A worker is ``python -m mover.crew_member DIRECTORY WORKER_ID LEADER_PID CONCURRENCY``; all it needs stands in
the job's directory, and its credentials come with the environment. It is told to end by SIGTERM
(it drains), and ends by itself when its leader dies.
"""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from mover.delta_tasks import Keeper
from mover.measuring import Estimate, Gauge
from mover.model import Tally
from mover.progress import WorkerProgress
from scheduler.model import WorkerBeat
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
    """

    objects: int
    bytes: int
    planned_objects: int = 0
    planned_bytes: int = 0
    skipped: int = 0
    rates: list[Estimate] = []
    keeper: Keeper | None = None
    node: str = ""


def beat(
    live: Tally, gauge: Gauge | None = None, keeper: Keeper | None = None, node: str = ""
) -> bytes:
    """The note that a worker leaves with its sign of life."""
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
        )
    )


async def read_beats(store: TaskStore, *, now_s: float, within_s: float) -> dict[str, Beat]:
    """What the workers of a job last said of themselves, by worker; those that said nothing lack."""
    return beats_in(await store.workers(now_s=now_s, within_s=within_s))


def beats_in(signs: Iterable[WorkerBeat]) -> dict[str, Beat]:
    """The same of signs of life that were read."""
    return {
        each.worker_id: msgspec.msgpack.decode(each.note, type=Beat) for each in signs if each.note
    }


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
            WorkerProgress(name, note.objects, note.bytes)
            for name, note in beats.items()
            if name in self._started and name != without
        )

    def _signal(self, number: int) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)


def _reason(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
