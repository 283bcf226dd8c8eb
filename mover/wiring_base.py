"""What every request of this host is put together with: the loop, its queue, its resources, its errors.

Apart from ``wiring``, which knows all that a copy needs: a request that copies nothing need not import it.
"""

import gc
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from mover.beside import first_leaf
from mover.budget import ByteBudget
from mover.dressing import Resources
from mover.errors import Incomplete, MoverError, Rejected
from mover.jobs import JobDirectory
from mover.rating import RateWishes
from mover.settings import ATTEMPTS_MAX, BUDGET_BYTES
from scheduler.errors import StoreUnavailable
from scheduler.signals import hear_interrupts
from scheduler.sqlite_board import DirectoryBoard
from scheduler.sqlite_store import SqliteTaskStore
from scheduler.store import TaskStore
from transports.errors import Transient, TransportError

T = TypeVar("T")

COLLECT_EVERY = 20_000
"""Objects more than before that make the collector of cycles look; 700 is the interpreter's own.

A page of a listing is a thousand entries, which live for some tens of milliseconds. Looking through
them again and again, and with them through all that a process has imported, took a fifth of what
planning costs, and found nothing.
"""


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop."""
    import uvloop

    gc.set_threshold(COLLECT_EVERY)
    hear_interrupts()
    return uvloop.run(main)


@asynccontextmanager
async def open_queue(path: Path) -> AsyncGenerator[TaskStore, None]:
    """Open a job's queue. Raises ``Rejected`` for a file that is no queue of this version."""
    try:
        store = await SqliteTaskStore.open(path, attempts_max=ATTEMPTS_MAX)
    except StoreUnavailable as error:
        raise Rejected(f"{path}: {error}") from error
    async with store:
        yield store


@asynccontextmanager
async def open_resources(
    spec: RateWishes,
    directory: JobDirectory,
    worker_id: str,
    concurrency: int | None,
    *,
    leads: bool = False,
) -> AsyncGenerator[Resources, None]:
    """The resources of a process of a job of this host. Raises ``Rejected``, ``StoreUnavailable``."""
    async with AsyncExitStack() as stack:
        shared = None
        if spec.rate_links:
            board = DirectoryBoard(directory.path.parent)
            shared = await stack.enter_async_context(board.rates())
        yield Resources(
            budget=ByteBudget(BUDGET_BYTES),
            concurrency=concurrency,
            shared_rates=shared,
            worker_id=worker_id,
            leads=leads,
        )


async def flat(flow: Coroutine[Any, Any, T]) -> T:
    """The seam where exception groups end: the first failure of the request speaks for all."""
    try:
        return await flow
    except BaseExceptionGroup as group:
        raise _as_mover_error(group) from group
    except (TransportError, StoreUnavailable) as error:
        raise _as_mover_error(error) from error


def _as_mover_error(error: BaseException) -> BaseException:
    error = first_leaf(error)
    if isinstance(error, MoverError):
        return error
    if isinstance(error, Transient | StoreUnavailable):
        return Incomplete(str(error))
    if isinstance(error, TransportError):
        return Rejected(str(error))
    return error
