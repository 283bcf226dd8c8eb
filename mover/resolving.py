"""What a command line's two locations mean: which stores, which roots, a tree or one object.

1. A location that ends in a slash, or names only a bucket, is a tree.
2. Otherwise an object of exactly that name is that object.
3. Otherwise a prefix or directory of that name is a tree.
4. A single object goes to the exact name of the target, or under it where the target is a tree.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mover.ends import Single, closing_pages
from mover.errors import MoverError, Rejected
from mover.model import CopySpec, Links
from mover.recording import ManifestWriter
from transports.base import Transport
from transports.errors import NotFound, Transient, TransportError
from transports.location import Location, local_location, parse_location, same_or_inside
from transports.model import Kind
from transports.opening import decorate, from_filesystem, open_transport
from transports.retry import Retry

End = str | tuple[Any, str]
"""A location as text, or an fsspec filesystem with a path in it."""

READ_ONLY_SCHEMES = frozenset({"http", "https"})

Side = Literal["source", "target"]

LINKS: dict[Links, Literal["follow", "skip", "preserve"]] = {
    Links.FOLLOW: "follow",
    Links.SKIP: "skip",
    Links.PRESERVE: "preserve",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Opens the ends of one job; what it opens is closed with the stack."""

    spec: CopySpec
    job: str
    environment: Mapping[str, str]
    stack: AsyncExitStack

    async def at(self, end: End | Location, side: Side, *, create: bool = False) -> Transport:
        """Open a store at a root, with enough patience for a hiccup and no more."""
        if isinstance(end, tuple):
            transport = from_filesystem(*end, token=self.job)
        else:
            location = end if isinstance(end, Location) else parse_location(end)
            transport = await open_transport(
                location,
                side=side,
                token=self.job,
                environment=self.environment,
                links=LINKS[self.spec.links],
                create=create,
            )
        self.stack.push_async_callback(transport.close)
        return transport


Resolved = tuple[Transport, Transport, Single | None]
"""Source, target, and the keys of the one object that is moved, if it is one."""


async def resolve(
    spec: CopySpec,
    job: str,
    environment: Mapping[str, str],
    given: tuple[End, End] | None,
    stack: AsyncExitStack,
) -> Resolved:
    """Open both ends, undecorated.

    Raises ``Rejected`` or ``ValueError`` for what makes no sense, ``TransportError`` for a store
    that does not let us in.
    """
    opener = Opener(spec=spec, job=job, environment=environment, stack=stack)
    source_end, target_end = given or (spec.source, spec.target)
    if isinstance(source_end, tuple) or isinstance(target_end, tuple):
        return await _resolve_trees(opener, source_end, target_end)
    source, target = parse_location(source_end), parse_location(target_end)
    if target.scheme in READ_ONLY_SCHEMES:
        raise Rejected(f"the target {target.text} cannot be written: HTTP is a source only")
    is_tree, opened = await _open_source(opener, source)
    if is_tree:
        root = await opener.at(target.as_tree(), "target", create=True)
        _refuse_overlap(source, target, opened, root)
        if spec.delete:
            _refuse_inside(source, target, opened, root)
        await _look(root)
        return opened, root, None
    if spec.delete:
        raise Rejected(
            f"{source.text} is one object, and deleting is for trees: leave out --delete, or end"
            " the source in a slash"
        )
    if target.is_tree or await _is_tree(opener, target):
        root = await opener.at(target.as_tree(), "target", create=True)
        single = Single(source_key=source.name, target_key=source.name)
    else:
        root = await opener.at(target.parent(), "target", create=True)
        single = Single(source_key=source.name, target_key=target.name)
    _refuse_same(source, target, single, opened, root)
    await _look(root)
    return opened, root, single


async def resolve_recorded(
    spec: CopySpec,
    job: str,
    environment: Mapping[str, str],
    given: tuple[End, End] | None,
    stack: AsyncExitStack,
) -> Resolved:
    """Open a manifest (``spec.source``) and the target that is to be verified, undecorated.

    Raises as ``resolve`` does, also for a target that is not there: most likely it is mistyped.
    """
    opener = Opener(spec=spec, job=job, environment=environment, stack=stack)
    manifest = await opener.at(parse_location(spec.source).as_tree(), "target")
    target = parse_location(spec.target)
    if target.is_tree or await _is_tree(opener, target):
        root = await opener.at(target.as_tree(), "target")
        await _look(root, must_exist=True)
        return manifest, root, None
    root = await opener.at(target.parent(), "target")
    return manifest, root, Single(source_key=target.name, target_key=target.name)


async def open_manifest(
    spec: CopySpec,
    directory: Path,
    job: str,
    environment: Mapping[str, str],
    stack: AsyncExitStack,
) -> ManifestWriter:
    """Open where a job is recorded: ``spec.manifest``, or ``directory`` where it names none.

    It is opened with the target's credentials. Raises as ``resolve`` does.
    """
    location = local_location(f"{directory}/")
    if spec.delete and not spec.manifest:
        _refuse_state(location, spec)
    if spec.manifest:
        location = parse_location(spec.manifest).as_tree()
        refuse_within(location, {"source": [spec.source], "target": [spec.target]})
    opened = await open_record(location, job, environment, stack)
    return ManifestWriter(opened, job=job, source=spec.source, target=spec.target)


async def open_record(
    location: Location,
    job: str,
    environment: Mapping[str, str],
    stack: AsyncExitStack,
    *,
    create: bool = True,
) -> Transport:
    """Open the root of manifests, with the target's credentials, to be read and written.

    Raises ``Rejected`` for a place that cannot be written, ``TransportError`` for one that does not let us in.
    """
    if location.scheme == "memory":
        raise Rejected("a manifest in this process's memory would be gone with it")
    # A token of this process alone: what it left unfinished it may remove while others write.
    token = f"{job}-{secrets.token_hex(4)}"
    bare = await open_transport(
        location, side="target", token=token, environment=environment, create=create
    )
    stack.push_async_callback(bare.close)
    if not bare.capabilities.writable:
        raise Rejected(f"the manifest {location.text} cannot be written: it is a source only")
    if bare.capabilities.local:
        stack.push_async_callback(_clean_quietly, bare, token)
    return decorate(bare)


async def open_base(
    spec: CopySpec, job: str, environment: Mapping[str, str], stack: AsyncExitStack
) -> Transport:
    """Open the older copy of the source's tree, with the source's credentials, undecorated.

    Raises as ``resolve`` does; ``Rejected`` also where nothing is there: most likely it is mistyped.
    """
    location = parse_location(spec.base).as_tree()
    opener = Opener(spec=spec, job=job, environment=environment, stack=stack)
    base = await opener.at(location, "source")
    if not await _has_content(base):
        raise Rejected(f"--base {location.text} does not exist, or has nothing in it")
    return base


async def base_of(
    spec: CopySpec,
    job: str,
    environment: Mapping[str, str],
    stack: AsyncExitStack,
    target: Transport,
    *,
    at_once: bool,
) -> "Once | None":
    """What opens the base of a job, if it has one.

    Not ``at_once`` in a fleet: of its workers only those near the source need see it. Raises as
    ``open_base``, and ``Rejected`` for a base that the job would delete.
    """
    if not spec.base:
        return None
    base = Once(lambda: open_base(spec, job, environment, stack))
    if at_once:
        opened, location = await base(), parse_location(spec.base).as_tree()
        if spec.delete and _share_store(opened, target):
            _refuse_doomed(location, spec)
    return base


def _refuse_doomed(base: Location, spec: CopySpec) -> None:
    if same_or_inside(_real(base), _real(parse_location(spec.target))):
        raise Rejected(
            f"--base {base.text} lies inside the target {spec.target}, and --delete would remove it;"
            " keep it elsewhere"
        )


class Once:
    """Opens a store when it is first asked for; what cannot be is not tried again, unless it may pass."""

    def __init__(self, opens: Callable[[], Awaitable[Transport]]) -> None:
        self._opens = opens
        self._turn = asyncio.Lock()
        self._opened: Transport | Exception | None = None

    async def __call__(self) -> Transport:
        """The store. Raises what opening it raises."""
        async with self._turn:
            if self._opened is None:
                try:
                    self._opened = await self._opens()
                except Transient:
                    raise
                except (TransportError, MoverError, ValueError) as error:
                    self._opened = error
        if isinstance(self._opened, Exception):
            raise self._opened
        return self._opened


async def _clean_quietly(transport: Transport, token: str) -> None:
    """What is left is empty, and the next run removes it; a failure is no news."""
    with contextlib.suppress(TransportError):
        await transport.clean(token)


def refuse_within(manifest: Location, ends: Mapping[str, Sequence[str]]) -> None:
    """Raise ``Rejected`` for a record inside of what it records: it would be moved with it, or be an extra there.

    ``ends`` are locations, by what they are to a person.
    """
    for what, text in [(what, text) for what, texts in ends.items() for text in texts]:
        try:
            end = parse_location(text)
        except ValueError:
            continue  # a filesystem that a caller made has no location
        if same_or_inside(_real(manifest), _real(end)):
            raise Rejected(
                f"the manifest {manifest.text} lies inside the {what}; choose another place"
            )


def _refuse_state(directory: Location, spec: CopySpec) -> None:
    """A deletion would take the job's own queue and record for something that only the target has."""
    try:
        target = parse_location(spec.target)
    except ValueError:
        return
    if same_or_inside(_real(directory), _real(target)):
        raise Rejected(
            f"the target {spec.target} holds this job's own state, which --delete would remove: set"
            " MOVER_STATE to a directory outside of it"
        )


async def _resolve_trees(opener: Opener, source: End, target: End) -> Resolved:
    if opener.spec.delete:
        raise Rejected(
            "whether two filesystems of this process overlap cannot be told: to delete, give"
            " locations"
        )
    return await opener.at(source, "source"), await opener.at(target, "target", create=True), None


async def _open_source(opener: Opener, source: Location) -> tuple[bool, Transport]:
    if source.is_tree:
        tree = await opener.at(source, "source")
        await _look(tree, must_exist=True)
        return True, tree
    parent = await opener.at(source.parent(), "source")
    patient = Retry(parent)
    try:
        info = await patient.head(source.name)
    except NotFound:
        info = None
    if info is not None and info.entry.kind is not Kind.DIRECTORY:
        return False, parent
    tree = await opener.at(source.as_tree(), "source")
    if info is None and not await _has_content(tree):
        raise Rejected(
            f"{source.text} does not exist: there is no such object, prefix or directory"
        )
    return True, tree


async def _is_tree(opener: Opener, target: Location) -> bool:
    if target.scheme == "file":
        return os.path.isdir(target.path)
    return await _has_content(await opener.at(target.as_tree(), "target"))


async def _has_content(tree: Transport) -> bool:
    async with closing_pages(Retry(tree).list()) as pages:
        try:
            return await anext(pages, None) is not None
        except NotFound:
            return False


async def _look(tree: Transport, *, must_exist: bool = False) -> None:
    """One look, so that a missing bucket or a wrong key is said at once and not object by object."""
    try:
        await Retry(tree).first_after("")
    except NotFound:
        if must_exist or not tree.capabilities.local:
            raise


def _refuse_overlap(source: Location, target: Location, opened: Transport, root: Transport) -> None:
    if _share_store(opened, root) and same_or_inside(_real(target), _real(source)):
        raise Rejected(
            f"the target {target.text} is the source or lies inside it; choose another target"
        )


def _refuse_inside(source: Location, target: Location, opened: Transport, root: Transport) -> None:
    """What lies in the source is an extra of the target around it."""
    if _share_store(opened, root) and same_or_inside(_real(source), _real(target)):
        raise Rejected(
            f"the source {source.text} lies inside the target {target.text}, and --delete would"
            " remove it; choose another target"
        )


def _refuse_same(
    source: Location, target: Location, single: Single, opened: Transport, root: Transport
) -> None:
    place = (
        target
        if target.name == single.target_key
        else replace(target, path=f"{target.as_tree().path}{single.target_key}")
    )
    if _share_store(opened, root) and _real(place) == _real(source):
        raise Rejected(f"the target {place.text} is the source; choose another target")


def _share_store(source: Transport, target: Transport) -> bool:
    """Equal texts name different places where the environment gives each side its own endpoint."""
    ours, theirs = source.capabilities.copy_domain, target.capabilities.copy_domain
    return ours == theirs


def _real(location: Location) -> Location:
    if location.scheme != "file":
        return replace(location, options={})
    return replace(location, path=os.path.realpath(location.path))
