"""A cache directory that is ours: verified copies of an origin's files, under paths that a job can predict.

What is in it and why stands in its index (``prewarm_shelf``); docs/prewarm.md tells how it is used, docs/formats.md
what lies where.
"""

import os
import secrets
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import NamedTuple

from mover.budget import ByteBudget
from mover.ends import closing_pages
from mover.errors import Rejected
from mover.model import CopySpec, Links
from mover.naming import refusal, visible
from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed, Wish
from mover.prewarm.origins import Misplaced, Origin, origin_at, written
from mover.prewarm_filling import Filler
from mover.prewarm_halves import Halves
from mover.prewarm_index import Index
from mover.prewarm_peers import Peers
from mover.prewarm_places import Ground, Nature, Place, Told, unheard
from mover.prewarm_serving import Server, serve_files
from mover.prewarm_shelf import Shelf
from mover.selecting import Selector
from mover.settings import BUDGET_BYTES
from transports.base import Transport
from transports.errors import NotFound, TransportError
from transports.local import CAPABILITIES, LocalTransport
from transports.location import Location, parse_location, same_or_inside
from transports.model import Entry, Kind, Proof
from transports.opening import decorate

LOOKED_AT_ONCE = 2_000
"""Files that one step of the index looks at, so that others have their turn in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a place is made of; ``single`` is the key of the one object that is meant, "" for all."""

    source: Transport
    single: str
    origin: Origin
    shelf: Shelf
    filler: Filler
    address: str
    opened: AsyncExitStack


class CachePlace(Place):
    """An origin, and the directory that its files are kept in. Open it with ``open_cache``."""

    def __init__(self, parts: _Parts, ground: Ground, nature: Nature) -> None:
        self.location = parts.origin.text
        self.nature = nature
        self._parts = parts
        self._marks = ground.spec.wish is Wish.WARM
        self._evicts = ground.spec.wish is Wish.EVICT

    # -- what there is -------------------------------------------------------------------------

    async def walk(self, selector: Selector, *, metadata: bool) -> AsyncIterator[Sequence[Entry]]:
        """See the port. What a directory cannot hold under its name comes too, for ``warm`` to refuse."""
        source, single = self._parts.source, self._parts.single
        if self._evicts:
            async for page in self._kept(selector):
                yield page
            return
        if single:
            entry = (await source.head(single)).entry
            if selector.wants(single, max(entry.size, 0), entry.mtime_ns):
                yield [entry]
            return
        async with closing_pages(source.list(selector.literal_prefix)) as pages:
            async for page in pages:
                wanted = [
                    entry
                    for entry in visible(page)
                    if entry.kind is Kind.OBJECT
                    and (entry.size or not entry.key.endswith("/"))
                    and selector.wants(entry.key, max(entry.size, 0), entry.mtime_ns)
                ]
                if wanted:
                    yield wanted

    async def _kept(self, selector: Selector) -> AsyncIterator[Sequence[Entry]]:
        """What is here of the origin, whether that still has it or not."""
        after, single = "", self._parts.single
        while page := await self._parts.shelf.kept(after=after):
            after = page[-1].key
            wanted = [
                entry
                for entry in page
                if entry.key == single
                or (not single and selector.wants(entry.key, entry.size, entry.mtime_ns))
            ]
            if wanted:
                yield wanted

    def _refusal(self, entry: Entry) -> str:
        """Why a file cannot be kept; "" when it can."""
        if entry.size < 0:
            return "the origin does not tell its size, so no room can be reserved for it"
        why = refusal(entry, self._parts.source.capabilities, CAPABILITIES, Links.SKIP)
        if not why:
            try:
                self._parts.origin.path(entry.key)
            except ValueError:
                return "a file cannot have this name"
        return why

    async def look(self, pieces: Sequence[Piece]) -> Look:
        """See the port. What is resident stays while this job runs, unless it only asks."""
        lacking = await self._lacking(pieces)
        asked_bytes = sum(max(piece.size, 0) for piece in pieces)
        missing = [piece for piece in pieces if piece.entry.key in lacking]
        missing_bytes = sum(max(piece.size, 0) for piece in missing)
        return Look(asked_bytes, asked_bytes - missing_bytes, missing)

    async def _lacking(self, pieces: Sequence[Piece]) -> dict[str, Entry]:
        """The files of these pieces that are not here, by key."""
        entries = {piece.entry.key: piece.entry for piece in pieces}
        kept = [entry for entry in entries.values() if not self._refusal(entry)]
        for some in _batches(kept):
            for place in await self._parts.shelf.look(some, marks=self._marks):
                del entries[some[place].key]
        return entries

    # -- what is done --------------------------------------------------------------------------

    async def warm(
        self,
        pieces: Sequence[Piece],
        *,
        holders: Sequence[str] = (),
        again: bool = False,
        told: Told = unheard,
    ) -> Warmed:
        """See the port. Files that are here already are not read again."""
        warmed = Warmed()
        wanted = []
        for entry in (await self._lacking(pieces)).values():
            if why := self._refusal(entry):
                name = f"{self.location}{entry.key}"
                warmed.failures.append((entry.key, "Invalid", f"{name}: {why}"))
            else:
                wanted.append(entry)
        if not wanted:
            return warmed
        others = [each for each in holders if each != self.address]
        filled = await self._parts.filler.fill(
            wanted, self._parts.source, holders=others, told=told
        )
        if filled.transient and not filled.files and len(filled.failures) == len(filled.transient):
            raise filled.transient[0]  # all of the origin is away, not some file of it
        warmed.read_files, warmed.read_bytes = filled.files, filled.bytes
        warmed.peer_bytes = min(filled.peer_bytes, filled.bytes)
        warmed.origin_bytes = filled.bytes - warmed.peer_bytes - filled.found_bytes
        warmed.failures += filled.failures
        return warmed

    async def evict(self, pieces: Sequence[Piece]) -> Warmed:
        """See the port. What another job that runs needs stays, and is a failure."""
        entries = {piece.entry.key: piece.entry for piece in pieces}
        warmed = Warmed()
        for some in _batches([each for each in entries.values() if not self._refusal(each)]):
            removed, needed = await self._parts.shelf.evict(some)
            warmed.read_files += removed.files
            warmed.read_bytes += removed.bytes
            for place in needed:
                name = f"{self.location}{some[place].key}"
                detail = f"{name}: another job that runs needs it"
                warmed.failures.append((some[place].key, "InUse", detail))
        return warmed

    async def brought(self, entries: Sequence[Entry]) -> Collection[str]:
        """See the port: by the index."""
        kept = [entry for entry in entries if not self._refusal(entry)]
        return await self._parts.shelf.brought([entry.key for entry in kept])

    @property
    def keeps_at(self) -> str:
        origin = self._parts.origin
        return f"{self.nature.where}/{origin.root}/{origin.prefix}"

    @property
    def address(self) -> str:
        return self._parts.address

    async def close(self) -> None:
        await self._parts.opened.aclose()


def _batches(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for start in range(0, len(entries), LOOKED_AT_ONCE):
        yield entries[start : start + LOOKED_AT_ONCE]


# -- opening ---------------------------------------------------------------------------------------


async def open_cache(location: str, ground: Ground, *, budget: ByteBudget | None = None) -> Place:
    """Open the cache directory ``ground.spec.into`` for the files of an origin.

    ``budget`` bounds the bytes in memory; the place has one of its own where none is given. A directory is made where
    there is none, unless the job only looks or evicts. Raises ``Rejected`` for what makes no sense, ``TransportError``
    for an origin or a directory that cannot be used.
    """
    spec = ground.spec
    path = directory_of(spec.into, ground.node)
    if spec.capacity_bytes < 0:
        raise Rejected("--capacity: a cache directory holds one byte at least")
    if spec.wish is not Wish.WARM and not os.path.isdir(path):
        raise Rejected(f"--into {path}: there is no such directory")
    target = parse_location(location)
    _refuse_overlap(target, path)
    source, single = await _open_source(target, ground)
    try:
        origin = origin_at(target.parent() if single else target.as_tree(), _endpoint(ground))
    except Misplaced as error:
        raise Rejected(str(error)) from error
    async with AsyncExitStack() as stack:
        index = await Index.open(path, ground.job)
        stack.push_async_callback(index.close)
        shelf = Shelf(index, origin, capacity_bytes=spec.capacity_bytes)
        directory = await _open_directory(path, ground, shelf, origin, stack)
        nature = Nature(
            judge=Judge.CACHE,
            certainty=Certainty.PROVEN,
            where=path,
            capacity_bytes=await shelf.capacity(),
            shares=True,
            proof=Proof.STRONG,
        )
        server, peers = await _meet_others(ground, shelf, stack)
        filler = Filler(
            spec=CopySpec(source=origin.text, target=path, server_copy=False, limit=spec.limit),
            origin=origin,
            directory=directory.transport,
            shelf=shelf,
            token=directory.token,
            budget=budget or ByteBudget(BUDGET_BYTES),
            peers=peers,
            halves=directory.halves,
        )
        parts = _Parts(
            source=source,
            single=single,
            origin=origin,
            shelf=shelf,
            filler=filler,
            address="" if server is None else server.address,
            opened=stack.pop_all(),
        )
    return CachePlace(parts, ground, nature)


class _Directory(NamedTuple):
    """A cache directory as a store, and the name of this process's unfinished files in it."""

    transport: Transport
    token: str
    halves: Halves


async def _open_directory(
    path: str, ground: Ground, shelf: Shelf, origin: Origin, stack: AsyncExitStack
) -> _Directory:
    """Open the directory to be written, and clear up what killed processes left there."""
    token = f"{ground.job}-{secrets.token_hex(4)}"
    transport = decorate(LocalTransport(path, token=token, create=True))
    halves = shelf.halves(transport)
    if ground.spec.wish is not Wish.WARM:
        stack.push_async_callback(transport.close)
    else:
        stack.push_async_callback(_let_go, path, transport, token, halves)
        if not await shelf.claim_store():
            raise Rejected(
                f"--into {path}: a job that runs needs files of a store of the same name,"
                f" {origin.root}, at another endpoint; use another directory"
            )
        await halves.settle()
        await transport.clean(token)
    return _Directory(transport, token, halves)


async def _let_go(path: str, transport: Transport, token: str, halves: Halves) -> None:
    """Clear up behind this process; what cannot be now is the next one's."""
    no_half_left = False
    with suppress(TransportError):
        no_half_left = await halves.end()
    with suppress(TransportError):
        await transport.clean(token)
    await transport.close()
    if no_half_left:
        # Nobody holds the stage of halves then, unless another process of the host does.
        last = LocalTransport(path, token=token)
        with suppress(TransportError):
            await last.clean(token)
        await last.close()


async def _meet_others(
    ground: Ground, shelf: Shelf, stack: AsyncExitStack
) -> tuple[Server | None, Peers | None]:
    """What other nodes take from this one, and what they are asked with; None in a job that has no use for it.

    None for the server as well where it cannot be: others read the origin then.
    """
    spec = ground.spec
    if spec.wish is not Wish.WARM or spec.replicas == 1:
        return None, None
    secret = (await ground.token()).encode("utf-8", "surrogateescape")
    peers = Peers(secret, ground.environment, ground.note)
    stack.push_async_callback(peers.close)
    try:
        server = await serve_files(shelf, secret, ground.environment)
    except OSError as error:
        why = error.strerror or type(error).__name__
        ground.note(f"other nodes cannot take from this one's cache: {why}")
        return None, peers
    stack.push_async_callback(server.close)
    return server, peers


def directory_of(into: str, node: str) -> str:
    """The cache directory of a node, absolute. Raises ``Rejected``."""
    if not into:
        raise Rejected("a cache directory needs a path: --into DIRECTORY")
    if "{node}" in into and (not node or "/" in node or "\0" in node or node in {".", ".."}):
        raise Rejected(f"--into {into}: {node!r} cannot be a part of a path; name it with --node")
    path = os.path.abspath(into.replace("{node}", node))
    if os.path.exists(path) and not os.path.isdir(path):
        raise Rejected(f"--into {path}: a file is there, and not a directory")
    return path


async def _open_source(target: Location, ground: Ground) -> tuple[Transport, str]:
    """The origin as a tree, and the key of the one object that is meant, "" for all."""
    if not target.is_tree:
        parent = await ground.open_source(written(target.parent()))
        with suppress(NotFound):
            if (await parent.head(target.name)).entry.kind is not Kind.DIRECTORY:
                return parent, target.name
    return await ground.open_source(written(target.as_tree())), ""


def _refuse_overlap(target: Location, path: str) -> None:
    if target.scheme != "file":
        return
    here = Location(scheme="file", path=os.path.realpath(path))
    there = Location(scheme="file", path=os.path.realpath(target.path))
    if same_or_inside(here, there) or same_or_inside(there, here):
        raise Rejected(f"--into {path} and the origin {target.path} lie in each other")


def _endpoint(ground: Ground) -> str:
    """Where the environment says that a store of this kind is, if it does."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        for prefix in ("MOVER_SOURCE_", ""):
            if found := ground.environment.get(prefix + name):
                return found
    return ""
