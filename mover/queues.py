"""Where a job's tasks are kept: what ``--queue`` means, and the board that it names.

``""``                      the jobs of this host, in the state directory
``sqlite:///DIRECTORY``     the same in another directory
``redis://HOST:PORT/0``     a fleet's queue (and ``rediss``, ``redis+cluster``, ``redis+sentinel``)
"""

import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from mover.errors import Incomplete, Rejected
from mover.state_directory import state_directory
from scheduler.board import FleetBoard, JobBoard
from scheduler.errors import StoreUnavailable

PASSWORD_VARIABLE = "MOVER_QUEUE_PASSWORD"
"""Environment variable with the queue's password, where its URL has none."""


def is_fleet(queue: str) -> bool:
    """Whether a queue's address names a server that workers on other hosts reach."""
    return queue.partition("://")[0].partition("+")[0] in {"redis", "rediss", "unix"}


def jobs_directory(queue: str, environment: Mapping[str, str]) -> Path:
    """The directory of the jobs of a local queue. Raises ``Rejected`` for an address of no kind."""
    if not queue:
        return state_directory(environment) / "jobs"
    scheme, separator, rest = queue.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/"):
        return Path(rest)
    raise Rejected(
        f"--queue {queue}: write redis://HOST:PORT/0 for a fleet or sqlite:///DIRECTORY for this host"
    )


@asynccontextmanager
async def open_board(queue: str, environment: Mapping[str, str]) -> AsyncGenerator[JobBoard, None]:
    """The board that a queue's address names.

    Raises ``Rejected`` for an address, a password or a server that will not do, and ``Incomplete``
    for a server that does not answer.
    """
    if is_fleet(queue):
        async with open_fleet_board(queue, environment) as board:
            yield board
        return
    from scheduler.sqlite_board import DirectoryBoard

    with _translated():
        yield DirectoryBoard(jobs_directory(queue, environment))


@asynccontextmanager
async def open_fleet_board(
    queue: str, environment: Mapping[str, str]
) -> AsyncGenerator[FleetBoard, None]:
    """The board of a fleet; raises as ``open_board`` does."""
    from scheduler.redis_board import RedisBoard  # redis takes 0.1 s to import
    from scheduler.redis_server import RedisServer, check_url

    try:
        check_url(queue)
    except ValueError as error:
        raise Rejected(f"--queue: {error}") from error
    with _translated():
        server = await RedisServer.open(queue, password=environment.get(PASSWORD_VARIABLE))
        try:
            yield RedisBoard(server)
        finally:
            await server.aclose()


@contextmanager
def _translated() -> Iterator[None]:
    """What a queue says becomes what a command says: whether to wait, or to change something."""
    try:
        yield
    except StoreUnavailable as error:
        raise (Rejected if error.permanent else Incomplete)(_with_remedy(error)) from error


def shown(queue: str) -> str:
    """A queue's address as it may be shown: without a password."""
    from scheduler.redis_server import without_secret

    return without_secret(queue)


def _with_remedy(error: StoreUnavailable) -> str:
    text = f"queue {error.location}: {error.detail}"
    if "password" in error.detail.lower() or "auth" in error.detail.lower():
        return f"{text}; set {PASSWORD_VARIABLE}, and the user in the URL"
    return text if error.permanent else f"{text}; is the server running?"


def refuse_secret(queue: str) -> None:
    """Raise ``Rejected`` for a password in an address that stands on a command line."""
    if not is_fleet(queue):
        return
    from scheduler.redis_server import has_secret

    if has_secret(queue):
        raise Rejected(
            f"--queue: a password on a command line is seen by everybody; set {PASSWORD_VARIABLE},"
            " or MOVER_QUEUE to the whole URL"
        )


def worker_id() -> str:
    """A name for this process that no other has, also after its process id is used again."""
    return f"{os.uname().nodename}-{os.getpid()}-{os.urandom(3).hex()}"
