"""Puts together what a worker needs to hand parcels to others, and to keep them for others."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from mover.depots import KeepWish, Peering
from mover.errors import Rejected
from mover.peer_protocol import SECRET_BYTES_MIN, SECRET_VARIABLE, checked_address

EVERYWHERE = frozenset({"", "0.0.0.0", "::"})


@asynccontextmanager
async def open_peers(
    wish: KeepWish | None, environment: Mapping[str, str], note: Callable[[str], None]
) -> AsyncGenerator[Peering | None, None]:
    """The peering of this process; None where no secret is set, and parcels go through stores alone.

    Raises ``Rejected`` for a wish that cannot be.
    """
    secret = environment.get(SECRET_VARIABLE, "").encode("utf-8", "surrogateescape")
    if wish is None and not secret:
        yield None
        return
    _refuse_weak(secret)
    from mover.peer_parcels import open_peering  # aiohttp, which a worker of disks has no need of

    async with AsyncExitStack() as stack:
        if wish is None:
            yield await stack.enter_async_context(open_peering(secret, environment))
            return
        from mover.peer_shelf import open_shelf
        from mover.peering import serve_parcels

        told = _address_told(wish)
        try:
            shelf = stack.enter_context(open_shelf(wish.room_bytes))
            serving = serve_parcels(shelf, secret, host=wish.host, port=wish.port)
            port = await stack.enter_async_context(serving)
        except OSError as error:
            raise Rejected(f"--parcels {wish.host}:{wish.port}: {error.strerror}") from error
        address = told or checked_address(f"http://{_bracketed(wish.host)}:{port}")
        note(f"keeps parcels for others at {address}")
        yield await stack.enter_async_context(
            open_peering(secret, environment, shelf=shelf, address=address)
        )


def _refuse_weak(secret: bytes) -> None:
    if not secret:
        raise Rejected(
            f"--parcels: set {SECRET_VARIABLE} to the same secret on all workers,"
            " as openssl rand -hex 32 makes one"
        )
    if len(secret) < SECRET_BYTES_MIN:
        raise Rejected(f"{SECRET_VARIABLE}: a secret has {SECRET_BYTES_MIN} characters at least")


def _address_told(wish: KeepWish) -> str:
    """The address that others are told, where somebody says it. Raises ``Rejected``."""
    if not wish.told and wish.host in EVERYWHERE:
        raise Rejected(
            f"--parcels {wish.host}:{wish.port}: say with --parcels-at where others reach this host"
        )
    try:
        return checked_address(wish.told) if wish.told else ""
    except ValueError as error:
        raise Rejected(f"--parcels-at {error}") from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
