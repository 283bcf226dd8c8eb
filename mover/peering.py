"""The server of a worker that keeps parcels for others: pieces are put, read and removed over HTTP.

``PUT``, ``GET`` (also of a range) and ``DELETE`` below ``/parcels/``, each with a proof that who asks knows
the secret (``peer_protocol``). Nothing of a request is believed, and nothing of its body read, before that.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final

from aiohttp import web

from mover.beside import running_beside
from mover.peer_protocol import (
    ANSWER,
    DIGEST,
    EXPIRES,
    PIECE_BYTES_MAX,
    PREFIX,
    PROOF,
    Misnamed,
    Name,
    Said,
    Unproven,
    digest_of,
    name_in,
    span_in,
)
from mover.peer_shelf import Full, Shelf
from mover.seeing_out import in_thread

READ_BYTES: Final = 256 * 1024
"""How much of a body is taken at a time."""

STALL_S: Final = 60.0
"""How long nothing of a body may arrive; under a rate all of it comes as slowly as that lets it."""

READING_MAX: Final = 8
"""Pieces that are read from disk and sent at a time: so many times 8 MiB are in memory at most."""


class Keeping:
    """Answers the requests of other workers. ``clock`` gives the time in seconds since 1970."""

    def __init__(
        self, shelf: Shelf, secret: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._shelf = shelf
        self._secret = secret
        self._clock = clock
        self._reading = asyncio.Semaphore(READING_MAX)

    def app(self) -> web.Application:
        """It as a web application."""
        app = web.Application(client_max_size=PIECE_BYTES_MAX)
        app.router.add_put(PREFIX + "{name:.*}", self.put)
        app.router.add_get(PREFIX + "{name:.*}", self.get, allow_head=False)
        app.router.add_delete(PREFIX + "{name:.*}", self.remove)
        return app

    async def put(self, request: web.Request) -> web.Response:
        """Keep a piece: 201, or 507 where there is no room."""
        try:
            name, said = self._proven(request, is_piece=True)
            if not said.digest:
                raise Unproven("the proof is of no body")
        except (Misnamed, Unproven) as error:
            return _refusal(error)
        size = request.content_length
        if size is None or size > PIECE_BYTES_MAX:
            return web.Response(status=411 if size is None else 413)
        try:
            async with asyncio.timeout(STALL_S) as stalls:
                await self._shelf.put(name, size, _body(request, stalls), digest=said.digest)
        except Full:
            return web.Response(status=507)
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        except TimeoutError:
            return web.Response(status=408)
        return web.Response(status=201)

    async def get(self, request: web.Request) -> web.Response:
        """A piece, or a range of it: 200 or 206, or 404."""
        try:
            name, said = self._proven(request, is_piece=True)
            start, stop = span_in(said.span) if said.span else (0, None)
        except (Misnamed, Unproven) as error:
            return _refusal(error)
        async with self._reading:
            try:
                data = await self._shelf.read(name, start, stop)
            except FileNotFoundError:
                return web.Response(status=404)
            digest = await in_thread(digest_of, data)
            answer = Said(
                verb=ANSWER,
                path=said.path,
                expires_s=said.expires_s,
                span=said.span,
                digest=digest,
            )
            headers = {DIGEST: digest, PROOF: answer.proof(self._secret)}
            response = web.Response(status=206 if said.span else 200, body=data, headers=headers)
            await response.prepare(request)
            await response.write_eof()
            return response

    async def remove(self, request: web.Request) -> web.Response:
        """Remove what belongs to an object: 204, whether there was anything or not."""
        try:
            name, _ = self._proven(request, is_piece=False)
        except (Misnamed, Unproven) as error:
            return _refusal(error)
        self._shelf.remove(name)
        return web.Response(status=204)

    def _proven(self, request: web.Request, *, is_piece: bool) -> tuple[Name, Said]:
        """What a request asks for. Raises ``Unproven``, ``Misnamed``."""
        path, headers = request.rel_url.raw_path, request.headers
        expires = headers.get(EXPIRES, "")
        if not expires.isascii() or not expires.isdecimal() or len(expires) > 12:
            raise Unproven("there is no proof")
        said = Said(
            verb=request.method,
            path=path,
            expires_s=int(expires),
            span=headers.get("Range", ""),
            digest=headers.get(DIGEST, ""),
        )
        said.check(self._secret, headers.get(PROOF, ""), now_s=self._clock())
        return name_in(path, is_piece=is_piece), said


async def _body(request: web.Request, stalls: asyncio.Timeout) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_chunked(READ_BYTES):
        stalls.reschedule(asyncio.get_running_loop().time() + STALL_S)
        yield piece


def _refusal(error: Exception) -> web.Response:
    status = 401 if isinstance(error, Unproven) else 400
    return web.Response(status=status, text=f"{error}\n")


@contextlib.asynccontextmanager
async def serve_parcels(
    shelf: Shelf, secret: bytes, *, host: str, port: int
) -> AsyncGenerator[int, None]:
    """Keep parcels for others until the context ends; yields the port. Raises ``OSError``."""
    app = Keeping(shelf, secret).app()
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        async with running_beside(shelf.tend):
            yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
