"""The two ends of a move, opened and decorated, with what the executors need to know of them."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from mover.budget import ByteBudget
from mover.delta_tasks import Keeper
from mover.depots import Depot, Peers, no_keepers
from mover.measuring import Gauge, Measured
from mover.model import CopySpec, Tally, Verify
from mover.recording import ManifestWriter
from transports.base import Transport
from transports.model import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """A move of one object: its key under the source's root, and its key under the target's."""

    source_key: str
    target_key: str


async def nothing_measured() -> Measured:
    """The rates of a job in which nobody measures anything."""
    return Measured()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Source and target of one job in one process.

    ``token`` names the job in the stores (staging directories). ``budget`` bounds the bytes in
    memory, ``live`` counts what this process has done so far, for progress only. ``manifest`` is None
    where nothing is recorded: in a check, or a plan. ``unmetered_source`` and ``unmetered_target`` are
    the same stores for workers that are near them, without a rate on bytes; None where there is no
    such rate, or no such side. ``gauge`` has what this process has measured between two sides, ``rates``
    tells what all processes of the job know by now.
    ``peers`` and ``unmetered_peers`` are the ways to workers that keep parcels, beyond the link and on this
    side of it; both None where none do. ``keepers`` tells those that are there now.
    ``base`` opens the store of older copies near the source, once; it raises ``TransportError``,
    ``MoverError`` or ``ValueError`` where it cannot. None where there is none.
    """

    spec: CopySpec
    source: Transport
    target: Transport
    token: str
    budget: ByteBudget
    live: Tally
    single: Single | None = None
    manifest: ManifestWriter | None = None
    unmetered_source: Transport | None = None
    unmetered_target: Transport | None = None
    rates: Callable[[], Awaitable[Measured]] = nothing_measured
    gauge: Gauge | None = None
    base: Callable[[], Awaitable[Transport]] | None = None
    peers: Peers | None = None
    unmetered_peers: Peers | None = None
    keepers: Callable[[], Awaitable[Sequence[Keeper]]] = no_keepers

    @property
    def near_source(self) -> Transport:
        """The source, for who is near it."""
        return self.unmetered_source or self.source

    @property
    def near_target(self) -> Transport:
        """The target, for who is near it."""
        return self.unmetered_target or self.target

    @property
    def near_depot(self) -> Depot:
        """Where parcels are, for who is near the target."""
        return Depot(self.near_target, self.unmetered_peers, self.peers)

    @property
    def far_depot(self) -> Depot:
        """Where parcels are, for who is near the source: their bytes cross the link."""
        return Depot(self.target, self.peers, self.unmetered_peers)

    @property
    def own_keeper(self) -> Keeper | None:
        """The address of this process, where it keeps parcels for others of the job."""
        return None if self.peers is None else self.peers.own

    def at_target(self, entry: Entry) -> Entry:
        """The entry under its target key."""
        return entry if self.single is None else entry._replace(key=self.single.target_key)

    def target_key(self, key: str) -> str:
        return key if self.single is None else self.single.target_key

    @property
    def crosses_network(self) -> bool:
        """Whether the bytes of this move leave the machine."""
        return not (self.source.capabilities.local and self.target.capabilities.local)

    @property
    def pours(self) -> bool:
        """Whether ranges go from the source's connections into the target's file, past our memory."""
        return self.source.capabilities.pours and self.target.capabilities.takes_pours

    @property
    def copies_in_store(self) -> bool:
        """Whether the store can copy by itself, without the bytes passing through here.

        Not where the bytes are to be seen: to be verified in full, or to be kept to a rate on a
        disk.
        """
        if self.spec.verify is Verify.FULL or (self.spec.limit and not self.crosses_network):
            return False
        domain = self.source.capabilities.copy_domain
        return (
            self.spec.server_copy
            and self.source.capabilities.server_copy
            and domain != ""
            and domain == self.target.capabilities.copy_domain
        )

    @property
    def clones(self) -> bool:
        """Whether an object of the target becomes another one there without crossing the link."""
        target = self.target.capabilities
        copies = target.copies_parts and target.copy_domain != ""
        return target.multipart and (copies or self.spec.has_sides)


def closing_pages(
    pages: AsyncIterator[Sequence[Entry]],
) -> "aclosing[AsyncGenerator[Sequence[Entry], None]]":
    """Listings are generators underneath; closing one early ends its requests."""
    return aclosing(pages)  # type: ignore[arg-type]
