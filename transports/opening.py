"""Open a location, and dress what was opened. The one place that knows every adapter.

Adapters are imported when a location asks for them, so that a copy between two directories pays for
neither S3 nor HTTP. The order in which decorators are worn is ``decorate``'s:

    retry(record(limit(throttle(adapter))))

It means something. A call that backs off holds no slot and no bytes, because retry is outermost;
each try is recorded; a call waits for its slot first and then for its rate, so that what was granted
is spent at once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from transports.base import Transport
from transports.limit import Brake, Limit
from transports.limit_policy import LimitPolicy
from transports.location import BadLocation, Location
from transports.record import Log, Record
from transports.retry import Retry
from transports.retry_policy import DEFAULT_POLICY, RetryPolicy
from transports.retry_tries import OnRetry
from transports.throttle import (
    DEFAULT_SLICE_BYTES,
    DEFAULT_SLICE_REQUESTS,
    Take,
    Throttle,
)

if TYPE_CHECKING:
    from transports.filesystem_calls import FileSystem

Side = Literal["source", "target"]
Links = Literal["follow", "skip", "preserve"]

_SIDES: Final = {"source": "MOVER_SOURCE_", "target": "MOVER_TARGET_"}

# A credential is a set. Where a side brings its own, what is left of the ambient one would be mixed
# into it: a session token of another key, or a key that goes before the side's profile.
_CREDENTIAL_SETS: Final = (
    frozenset(
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
         "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"}
    ),
    frozenset({"HTTP_AUTHORIZATION", "HTTP_QUERY"}),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportPolicy:
    """What a transport is to wear.

    ``retry`` None: errors fly at once. ``limit`` None: what the store's capabilities say, adapting;
    ``LimitPolicy.fixed(n)`` pins it. ``brake`` joins the limit with those of other processes.
    ``take_bytes`` and ``take_requests`` None: no rate (see ``Throttle``, also for the slices).
    ``log`` records every try. ``on_retry`` is told of each. Chance and time are passed on to
    whoever waits.
    """

    retry: RetryPolicy | None = DEFAULT_POLICY
    limit: LimitPolicy | None = None
    brake: Brake | None = None
    take_bytes: Take | None = None
    take_requests: Take | None = None
    slice_bytes: Callable[[], int] = lambda: DEFAULT_SLICE_BYTES
    slice_requests: Callable[[], int] = lambda: DEFAULT_SLICE_REQUESTS
    log: Log | None = None
    on_retry: OnRetry | None = None
    rng: random.Random | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


DEFAULT_TRANSPORT_POLICY: Final = TransportPolicy()


def decorate(transport: Transport, policy: TransportPolicy = DEFAULT_TRANSPORT_POLICY) -> Transport:
    """Put on what the policy asks for, in the order that stands above."""
    if policy.take_bytes is not None or policy.take_requests is not None:
        transport = Throttle(
            transport,
            take_bytes=policy.take_bytes,
            take_requests=policy.take_requests,
            slice_bytes=policy.slice_bytes,
            slice_requests=policy.slice_requests,
        )
    transport = Limit(transport, policy.limit, clock=policy.clock, brake=policy.brake)
    if policy.log is not None:
        transport = Record(transport, policy.log)
    if policy.retry is not None:
        transport = Retry(
            transport,
            policy.retry,
            rng=policy.rng,
            clock=policy.clock,
            sleep=policy.sleep,
            on_retry=policy.on_retry,
        )
    return transport


def environment_of(side: Side, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment as one side sees it: ``MOVER_SOURCE_X`` or ``MOVER_TARGET_X`` as ``X``.

    Neither side sees the other's. A side that brings any part of a credential brings all of it.
    """
    prefix = _SIDES[side]
    own = {
        name.removeprefix(prefix): value
        for name, value in environment.items()
        if name.startswith(prefix) and name != prefix
    }
    hidden = {name for names in _CREDENTIAL_SETS if names & own.keys() for name in names}
    ambient = {
        name: value
        for name, value in environment.items()
        if name not in hidden and not name.startswith(tuple(_SIDES.values()))
    }
    return ambient | own


async def open_transport(
    location: Location,
    *,
    side: Side,
    environment: Mapping[str, str],
    token: str = "",
    links: Links = "follow",
    create: bool = False,
    wants_directory: Callable[[str], bool] | None = None,
) -> Transport:
    """Open the tree at a location, bare.

    ``environment`` is the process's; the side's own variables are folded over it. ``token`` names
    the job in what unfinished writes leave behind. ``links``, ``create`` and ``wants_directory``
    are for local trees (see ``LocalTransport``).

    Raises ``ValueError`` for an unknown scheme or option, with the known ones, and ``Denied`` where
    credentials are missing; no other request is needed, nor made, to open.
    """
    own = environment_of(side, environment)
    scheme, engine = location.scheme, location.options.get("engine", "")
    if engine not in {"", "fsspec"}:
        raise BadLocation(f"engine={engine!r} is not known: write engine=fsspec or leave it out")
    if engine == "":
        if scheme == "file":
            return _open_local(location, token, links, create, wants_directory)
        if scheme == "memory":
            return _open_memory(location)
        if scheme == "s3":
            from transports.s3 import open_s3

            return await open_s3(
                bucket=location.authority,
                prefix=location.as_tree().path,
                options=location.options,
                environment=own,
            )
        if scheme in {"http", "https"}:
            from transports.http import open_http

            return open_http(location, own)
    from transports.filesystem import open_filesystem

    plain = {name: value for name, value in location.options.items() if name != "engine"}
    return await open_filesystem(
        replace(location.as_tree(), options=plain), token=token, environment=own
    )


def from_filesystem(filesystem: "FileSystem", path: str, *, token: str = "") -> Transport:
    """A transport over an fsspec filesystem that the caller made, and keeps, rooted at ``path``."""
    from transports.filesystem import FilesystemTransport

    return FilesystemTransport(filesystem, path, token=token)


def _open_local(
    location: Location,
    token: str,
    links: Links,
    create: bool,
    wants_directory: Callable[[str], bool] | None,
) -> Transport:
    from transports.local import open_local

    if unknown := sorted(location.options.keys() - {"engine"}):
        raise BadLocation(f"unknown option {unknown[0]!r}: a file location has none")
    return open_local(
        location.path,
        token=token,
        links=links,
        create=create,
        wants_directory=wants_directory,
    )


def _open_memory(location: Location) -> Transport:
    from transports.memory import MemoryTransport
    from transports.memory_store import named_store

    if unknown := sorted(location.options.keys() - {"engine"}):
        raise BadLocation(f"unknown option {unknown[0]!r}: a memory location has none")
    return MemoryTransport(
        named_store(location.authority), name=location.authority, prefix=location.as_tree().path
    )
