"""A cache directory that is ours: verified copies of an origin's files, under paths that a job can predict.

What is in it and why stands in its index (``prewarm_shelf``); docs/prewarm.md tells how it is used, docs/formats.md
what lies where.
"""

import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from mover.budget import ByteBudget
from mover.ends import closing_pages
from mover.errors import Rejected
from mover.model import CopySpec, Links, Tally
from mover.naming import refusal, visible
from mover.prewarm.model import Certainty, Judge, Look, Piece, Warmed, Wish
from mover.prewarm.origins import Misplaced, Origin, origin_at, written
from mover.prewarm_filling import Filler
from mover.prewarm_index import Index
from mover.prewarm_peers import Peers
from mover.prewarm_places import Ground, Nature, Place
from mover.prewarm_serving import Server, serve_files
from mover.prewarm_shelf import Shelf
from mover.selecting import Selector
from mover.settings import BUDGET_BYTES
from transports.base import Transport
from transports.errors import NotFound, TransportError
from transports.local import CAPABILITIES, LocalTransport
from transports.location import Location, parse_location, same_or_inside
from transports.model import Entry, Kind
from transports.opening import decorate

LOOKED_AT_ONCE = 2_000
"""Files that one step of the index looks at, so that others have their turn in between."""


@dataclass(slots=True, kw_only=True)
class _Parts:
    """What a place is made of."""

    source: Transport
    single: str
    origin: Origin
    index: Index
    shelf: Shelf
    filler: Filler
    directory: Transport
    server: Server | None


class CachePlace(Place):
    """An origin, and the directory that its files are kept in. Open it with ``open_cache``."""

    def __init__(self, parts: _Parts, ground: Ground, nature: Nature) -> None:
        self.location = parts.origin.text
        self.nature = nature
        self._parts = parts
        self._marks = ground.spec.wish is Wish.WARM
        self._is_closed = False

    # -- what there is -------------------------------------------------------------------------

    async def walk(self, selector: Selector, *, metadata: bool) -> AsyncIterator[Sequence[Entry]]:
        """See the port. What a directory cannot hold under its name comes too, for ``warm`` to refuse."""
        source, single = self._parts.source, self._parts.single
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
        self, pieces: Sequence[Piece], *, holders: Sequence[str] = (), again: bool = False
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
        filled = await self._parts.filler.fill(wanted, self._parts.source, holders=others)
        if filled.transient and not filled.files and len(filled.failures) == len(filled.transient):
            raise filled.transient[0]  # all of the origin is away, not some file of it
        warmed.read_files, warmed.read_bytes = filled.files, filled.bytes
        warmed.peer_bytes = min(filled.peer_bytes, filled.bytes)
        warmed.origin_bytes = filled.bytes - warmed.peer_bytes
        warmed.failures += filled.failures
        return warmed

    async def evict(self, pieces: Sequence[Piece]) -> Warmed:
        """See the port. What another job that runs needs stays, and is a failure."""
        entries = {piece.entry.key: piece.entry for piece in pieces}
        warmed = Warmed()
        for some in _batches([each for each in entries.values() if not self._refusal(each)]):
            freed_bytes, needed = await self._parts.shelf.evict(some)
            warmed.read_bytes += freed_bytes
            for place in needed:
                name = f"{self.location}{some[place].key}"
                detail = f"{name}: another job that runs needs it"
                warmed.failures.append((some[place].key, "InUse", detail))
        return warmed

    @property
    def address(self) -> str:
        server = self._parts.server
        return "" if server is None else server.address

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        parts = self._parts
        if parts.server is not None:
            await parts.server.close()
        if parts.filler.peers is not None:
            await parts.filler.peers.close()
        with suppress(TransportError):  # the next run clears up
            await parts.directory.clean(parts.filler.token)
        await parts.directory.close()
        await parts.index.close()


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
    target = parse_location(location)
    _refuse_overlap(target, path)
    is_new = spec.wish is Wish.WARM
    if not is_new and not os.path.isdir(path):
        raise Rejected(f"--into {path}: there is no such directory")
    source, single = await _open_source(target, ground)
    tree = target.parent() if single else target.as_tree()
    try:
        origin = origin_at(tree, _endpoint(ground))
    except Misplaced as error:
        raise Rejected(str(error)) from error
    async with AsyncExitStack() as stack:
        index = await _open_index(path, ground.job, stack)
        shelf = Shelf(index, origin, capacity_bytes=spec.capacity_bytes)
        if is_new and not await shelf.claim_store():
            raise Rejected(
                f"--into {path}: a job that runs needs files of a store of the same name,"
                f" {origin.root}, at another endpoint; use another directory"
            )
        server = peers = None
        if is_new and spec.replicas != 1:
            secret = (await ground.token()).encode("utf-8", "surrogateescape")
            peers = Peers(secret, ground.environment, ground.note)
            server = await _serve(shelf, secret, ground, stack)
        token = f"{ground.job}-{secrets.token_hex(4)}"
        directory = decorate(LocalTransport(path, token=token, create=True))
        stack.push_async_callback(directory.close)
        if is_new:
            await directory.clean(token)  # what killed processes left
        filler = Filler(
            spec=CopySpec(source=origin.text, target=path, server_copy=False, limit=spec.limit),
            origin=origin,
            directory=directory,
            shelf=shelf,
            token=token,
            budget=budget or ByteBudget(BUDGET_BYTES),
            live=Tally(),
            peers=peers,
        )
        nature = Nature(
            judge=Judge.CACHE,
            certainty=Certainty.PROVEN,
            where=path,
            capacity_bytes=await shelf.capacity(),
            shares=True,
        )
        stack.pop_all()
    parts = _Parts(
        source=source,
        single=single,
        origin=origin,
        index=index,
        shelf=shelf,
        filler=filler,
        directory=directory,
        server=server,
    )
    return CachePlace(parts, ground, nature)


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


async def _open_index(path: str, job: str, stack: AsyncExitStack) -> Index:
    index = await Index.open(path, job)
    stack.push_async_callback(index.close)
    return index


async def _serve(
    shelf: Shelf, secret: bytes, ground: Ground, stack: AsyncExitStack
) -> Server | None:
    """Let other nodes take from this one; None where that cannot be, and they read the origin."""
    try:
        server = await serve_files(shelf, secret, ground.environment)
    except OSError as error:
        why = error.strerror or type(error).__name__
        ground.note(f"other nodes cannot take from this one's cache: {why}")
        return None
    stack.push_async_callback(server.close)
    return server


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
