"""The port of prewarming: one target as one node sees it.

A mount, a gateway or a cache directory that is ours is a ``Place``. What is not promised here does not exist;
``tests/contract/place_contract.py`` holds each kind to it.

- Every verb may be called again with the same arguments, and several calls may run at once.
- Failures of single files are values, so that one does not hide the others. Of a whole place (the mount is gone,
  the gateway is away) they are ``TransportError``; ``Transient`` where another attempt may help.
- A cancelled call leaves what it has warmed, and nothing half-written is visible.
- What comes from an origin takes from the job's rates before it moves.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed, WarmSpec, Whole
from mover.selecting import Selector
from transports.base import Transport
from transports.model import Entry, Proof

Told = Callable[[int], None]
"""Hears that so many more bytes have come."""


def unheard(size_bytes: int) -> None:
    """Nobody wants to know how much has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the places of one job stand on in one process.

    ``node`` is this host's name in the job. ``take`` is awaited with a number of bytes before they come from an
    origin that no transport reads; ``limited`` says whether it may wait. ``open_source`` opens a location with
    the source's credentials, dressed in retries, limits and the job's rates; it is closed with the job.
    ``token`` gives the secret that nodes of this job show each other. ``note`` is one line for a person.
    """

    spec: WarmSpec
    job: str
    node: str
    environment: Mapping[str, str]
    take: Callable[[int], Awaitable[None]]
    limited: Callable[[], bool]
    open_source: Callable[[str], Awaitable[Transport]]
    token: Callable[[], Awaitable[str]]
    note: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """What planning needs to know of a place.

    ``cut_bytes`` is the size of the pieces that larger files are cut into, for several tasks; 0 where a file
    stays whole, because the judge knows files only. ``capacity_bytes`` is what the cache can hold in all,
    0 where nobody says. ``shares`` says that other nodes may take what this one has. With
    ``loads_whole``, ``warm_whole`` may be tried. ``proof`` is how the bytes of what ``warm`` has read are compared with
    the origin's, None where a cache does that by itself or nobody does.
    """

    judge: Judge
    certainty: Certainty
    where: str = ""
    cut_bytes: int = 0
    capacity_bytes: int = 0
    shares: bool = False
    loads_whole: bool = False
    proof: Proof | None = None


class Place(ABC):
    """One target on this node. Close it with ``close``."""

    location: str
    """The target as text, without secrets."""

    nature: Nature

    @abstractmethod
    def walk(self, selector: Selector, *, metadata: bool) -> AsyncIterator[Sequence[Entry]]:
        """Yield what is to be warmed, in pages whose files are near each other; in no other order.

        Only entries that the selector wants, never directories, links or special files. With ``metadata``
        each has been asked for by name, so that a cache of attributes has it. Keys are relative to the target;
        a target that is one file yields it under its own name. An error ends the walk by raising
        ``TransportError``: one that ends normally is complete.
        """

    @abstractmethod
    async def look(self, pieces: Sequence[Piece]) -> Look:
        """Say how much of these pieces is resident, reading nothing from the origin."""

    async def glance(self, pieces: Sequence[Piece]) -> Look:
        """Look before anything was read, to leave out what is resident already; cheaply, where looks are dear.

        May call missing what is resident, because to read that costs little.
        """
        return await self.look(pieces)

    async def look_whole(self) -> Whole | None:
        """Look at all that is below the target at once, where that costs less than looks at its files.

        It sees what is there now, whatever the selection. None where there is no such look, as here.
        """
        return None

    @abstractmethod
    async def warm(
        self,
        pieces: Sequence[Piece],
        *,
        holders: Sequence[str] = (),
        again: bool = False,
        told: Told = unheard,
    ) -> Warmed:
        """Read pieces so that they become resident; they are pieces that a look has called missing, or not.

        ``holders`` are addresses of nodes that have them. ``again`` says that they were read before in vain.
        ``told`` hears of bytes as they come, from any thread: for progress only, and not of each small file.
        """

    async def warm_whole(self, told: Callable[[int, int], None]) -> Warmed | None:
        """Have the cache load all that is below the target, and what it has already not again.

        ``told`` hears how many files and bytes it has come to, now and then, from any thread. None where it
        cannot be told so, or where it must be slowed down, as here. Else as ``warm``.
        """
        return None

    @abstractmethod
    async def evict(self, pieces: Sequence[Piece]) -> Warmed:
        """Make pieces give up their place; ``read_bytes`` tells what was freed.

        Raises ``Unsupported`` where the cache has no way to be told.
        """

    async def brought(self, entries: Sequence[Entry]) -> Collection[str]:
        """The keys of those files that the cache itself knows to have come from this target.

        Empty where a cache does not know where its files are from, as here.
        """
        return ()

    @property
    def keeps_at(self) -> str:
        """Where a reader finds the files by their keys, as a location: mostly the target itself."""
        return self.location

    @property
    def address(self) -> str:
        """Where other nodes may take from this one; "" where they cannot."""
        return ""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. May be repeated."""
