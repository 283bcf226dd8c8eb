"""The whole engine in memory: no process, no disk but a directory for the report, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mover.budget import ByteBudget
from mover.crew import Crew
from mover.ends import Ends, Single
from mover.executing import Executor
from mover.jobs import JobDirectory
from mover.model import CopySpec, Tally
from mover.progress import Silent
from mover.running import Leader
from mover.stopping import Stop
from scheduler.memory_store import MemoryTaskStore
from transports.model import Attributes, Blob, Entry, Proof, Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mover.model import Report
    from mover.recording import ManifestWriter
    from scheduler.store import TaskStore
    from transports.base import Transport
    from transports.memory import MemoryTransport

PART_BYTES = 64
SPLIT_BYTES = 256


async def fill(transport: Transport, objects: Mapping[str, bytes]) -> None:
    blobs = [
        Blob(Entry(key, len(data), 0), data, Attributes(mtime_ns=10**18), Proof.NONE)
        for key, data in objects.items()
    ]
    for receipt in await transport.write_small(blobs):
        assert isinstance(receipt, Receipt), receipt


async def entries_of(transport: Transport) -> dict[str, Entry]:
    return {entry.key: entry async for page in transport.list() for entry in page}


def stored(transport: MemoryTransport) -> dict[str, bytes]:
    return {key: each.data for key, each in transport.store.objects.items()}


def make_ends(
    source: Transport,
    target: Transport,
    *,
    single: Single | None = None,
    manifest: ManifestWriter | None = None,
    **wishes: Any,
) -> Ends:
    wishes = {"split_bytes": SPLIT_BYTES, "part_bytes": PART_BYTES, "server_copy": False} | wishes
    return Ends(
        spec=CopySpec(source="memory://source/", target="memory://target/", **wishes),
        source=source,
        target=target,
        token="0123456789abcdef",
        budget=ByteBudget(1 << 20),
        live=Tally(),
        single=single,
        manifest=manifest,
    )


def make_executor(ends: Ends, store: TaskStore | None = None) -> Executor:
    return Executor(ends, store or MemoryTaskStore())


async def run_engine(
    ends: Ends, directory: Path, store: TaskStore, *, stop: Stop | None = None
) -> Report:
    """One run of a job by one leader without a crew."""
    directory.mkdir(parents=True, exist_ok=True)
    leader = Leader(
        directory=JobDirectory(directory),
        ends=ends,
        store=store,
        worker_id="leader",
        crew=Crew(directory, store, size=0, note=lambda line: None),
        monitor=Silent(),
        stop=stop or Stop(),
    )
    return await leader.run()
