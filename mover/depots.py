"""Where parcels are: in the store of the target, and on shelves of workers that keep them for others."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from mover.delta_tasks import Keeper
from transports.base import Transport
from transports.model import Entry
from transports.timing import Stopwatch


class Peers(Protocol):
    """The workers that keep parcels, as one worker sees them from its side of a job.

    A keeper is named by its address. Nothing is raised for one that is away, full, or restarted: what it was
    to keep goes to the store, and what it was to give is gone.
    """

    @property
    def own(self) -> Keeper | None:
        """The worker itself; None where it keeps nothing, or was not reached by others lately."""

    def is_away(self, keeper: str) -> bool:
        """Whether a keeper was not reached lately, and is let alone."""

    async def put(self, keeper: str, key: str, data: bytes) -> bool:
        """Leave a piece with a keeper; whether it has taken it."""

    async def get(self, keeper: str, piece: Entry) -> bytes | None:
        """A piece, all ``size`` bytes of it; None where it cannot be had."""

    async def remove(self, keeper: str, prefix: str) -> None:
        """Remove all of an object's pieces, if the keeper can be reached."""

    def forget(self, job: str) -> None:
        """Remove what this worker keeps for a job."""

    def lost(self, keeper: str) -> None:
        """Hear that somebody did not get what a keeper was to give."""


UNSLICED_BYTES: Final = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What bytes between two sides count against, and what times them."""

    take: Callable[[int], Awaitable[None]] | None = None
    slice_bytes: Callable[[], int] = lambda: UNSLICED_BYTES
    reads: Stopwatch | None = None
    writes: Stopwatch | None = None

    async def pass_on(self, size: int) -> None:
        """Wait until so many bytes may cross."""
        if self.take is not None:
            await self.take(size)


class Peering(Protocol):
    """What one process has to do with parcels of other workers, for all of its jobs."""

    def seen_from(self, meter: Meter | None = None, *, near_source: bool | None = None) -> Peers:
        """The keepers of one side; what is between counts with ``meter``, or nowhere.

        ``near_source`` says of which side this worker is itself, None: of neither.
        """

    def holding(self, job: str) -> AbstractContextManager[None]:
        """Nothing that is kept for the job here is too old while the context lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWish:
    """How a worker is to keep parcels: where it listens, the address that others are ``told``.

    ``room_bytes`` bound what it keeps.
    """

    host: str
    port: int
    room_bytes: int
    told: str = ""


@dataclass(frozen=True, slots=True)
class Depot:
    """The places of parcels as seen from one side; no peers where workers hand on nothing."""

    store: Transport
    at_target: Peers | None = None
    at_source: Peers | None = None

    def peers_of(self, keeper: Keeper) -> Peers | None:
        """The way to a keeper."""
        return self.at_source if keeper.near_source else self.at_target


async def no_keepers() -> Sequence[Keeper]:
    """The keepers of a job in which nobody keeps parcels."""
    return ()
