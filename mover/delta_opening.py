"""Opens what delta commands read and write: ``-`` is a pipe, a path a file, all else a store's object.

Stores are opened as by other commands: locations with options, credentials from the environment,
retries and limits. They are imported only where one is named, since that costs more than many a
delta.
"""

import os
import stat
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from mover.delta_drafts import Draft, PipeDraft, file_draft, store_draft
from mover.delta_inputs import FileInput, Input, PipeInput, StoreInput
from mover.errors import Rejected
from mover.spooling import spool_file
from mover.state_directory import state_directory
from transports.location import BadLocation, Location, parse_location

if TYPE_CHECKING:
    from transports.base import Transport
    from transports.model import Entry

PIPE: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Opens inputs and drafts of one command; what it opens is closed with ``stack``.

    Raises ``Rejected`` for what is not there or cannot be, and ``TransportError``.
    """

    stack: AsyncExitStack
    environment: Mapping[str, str]

    @property
    def notes(self) -> Path:
        """Where the uploads of this host's delta commands are noted."""
        return state_directory(self.environment) / "uploads"

    async def input(self, name: str) -> Input:
        """Open what is to be read."""
        if name == PIPE:
            return self._descriptor(os.dup(sys.stdin.fileno()), "standard input")
        location = _parse(name)
        if _is_local(location):
            try:
                fd = os.open(location.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise Rejected(f"{location.text} cannot be read: {error.strerror}") from error
            return self._descriptor(fd, location.text)
        transport, key = await self._store(location, "source")
        return StoreInput(transport, await _found(transport, key, location))

    def _descriptor(self, fd: int, name: str) -> Input:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            file = FileInput(fd, name)
            self.stack.callback(file.close)
            return file
        self.stack.callback(os.close, fd)
        if stat.S_ISDIR(mode):
            raise Rejected(f"{name} is a directory; give the name of a file")
        return PipeInput(fd, name)

    @asynccontextmanager
    async def draft(
        self, name: str, *, size: int | None = None, held: bool = False
    ) -> AsyncGenerator[Draft, None]:
        """Open what is to be written. With ``held`` even a pipe sees nothing before it is published."""
        if name == PIPE:
            # The buffered stream stays out of it: nothing else may come between these bytes.
            sys.stdout.flush()
            if not held:
                yield PipeDraft(sys.stdout.fileno(), "standard output")
                return
            with spool_file() as spool:
                yield PipeDraft(sys.stdout.fileno(), "standard output", spool)
            return
        location = _parse(name)
        if _is_local(location):
            async with file_draft(location.path) as file:
                yield file
            return
        transport, key = await self._store(location, "target")
        if not transport.capabilities.writable:
            raise Rejected(f"{location.text} cannot be written: it is a source only")
        async with store_draft(transport, key, size=size, notes=self.notes) as draft:
            yield draft

    async def target(self, name: str) -> "tuple[Transport, str] | None":
        """The store and the key of what is to be written; None for a file or a pipe."""
        return None if is_local(name) else await self._store(_parse(name), "target")

    async def _store(
        self, location: Location, side: Literal["source", "target"]
    ) -> "tuple[Transport, str]":
        from transports.opening import decorate, open_transport

        try:
            bare = await open_transport(
                location.parent(),
                side=side,
                environment=self.environment,
                token=os.urandom(8).hex(),
                create=side == "target",
            )
        except ValueError as error:
            raise Rejected(str(error)) from error
        self.stack.push_async_callback(bare.close)
        return decorate(bare), location.name


def is_local(name: str) -> bool:
    """Whether a name is of a pipe or a local file. Raises ``Rejected`` for what is no name."""
    return name == PIPE or _is_local(_parse(name))


def _parse(name: str) -> Location:
    try:
        location = parse_location(name)
    except BadLocation as error:
        raise Rejected(str(error)) from error
    if location.is_tree:
        raise Rejected(f"{location.text} names no object: a delta is of one file or object")
    return location


def _is_local(location: Location) -> bool:
    return location.scheme == "file" and not location.options


async def _found(transport: "Transport", key: str, location: Location) -> "Entry":
    from transports.errors import NotFound
    from transports.model import Kind

    try:
        info = await transport.head(key)
    except NotFound as error:
        raise Rejected(f"{location.text} does not exist") from error
    if info.entry.kind is not Kind.OBJECT:
        raise Rejected(f"{location.text} is a {info.entry.kind}; a delta is of one object")
    return info.entry


def beside(name: str, suffix: str) -> str:
    """The location of a companion of an object: its name with a suffix, and the same options."""
    location = _parse(name)
    if location.scheme in {"http", "https"}:
        base, mark, rest = _split_web(name)
        return f"{base}{suffix}{mark}{rest}"
    if location.scheme != "file" and "?" in name:
        base, mark, query = name.rpartition("?")
        return f"{base}{suffix}{mark}{query}"
    return f"{name}{suffix}"


def _split_web(name: str) -> tuple[str, str, str]:
    at = min((place for mark in "?#" if (place := name.find(mark)) >= 0), default=len(name))
    return name[:at], "", name[at:]
