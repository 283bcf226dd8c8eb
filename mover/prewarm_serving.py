"""Let other nodes of a job take files from this one's cache directory, over HTTP.

One verb: a POST of what is wanted, with a proof that who asks knows the job's secret (``peer_protocol``). Nothing of a
request is believed, and nothing of its body read, before that. Keys are looked up in the index and never made paths
of; what the index does not have as present and unchanged, below the job's own target, is not there.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from aiohttp import web

from mover.errors import Rejected
from mover.peer_protocol import (
    ANSWER,
    DIGEST,
    EXPIRES,
    PROOF,
    Said,
    Unproven,
    checked_address,
    digest_of,
)
from mover.prewarm.origins import Kept
from mover.prewarm.peer_talk import (
    ABSENT,
    PATH,
    REQUEST_BYTES_MAX,
    Garbled,
    Had,
    Wanted,
    decode_request,
    encode_head,
)
from mover.prewarm_shelf import Shelf
from mover.seeing_out import in_thread

LISTEN_VARIABLE: Final = "MOVER_PEER_LISTEN"
ADDRESS_VARIABLE: Final = "MOVER_PEER_AT"

PIECE_BYTES: Final = 1024 * 1024
"""What is read from the disk, and then sent, at a time."""

SERVED_MAX: Final = 8
"""Requests that are answered at a time: so many pieces are in memory, and so many times 128 files open."""

STALL_S: Final = 60.0
"""How long the other end may take none of an answer."""

EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})


class Serving:
    """Answers the requests of other nodes. ``clock`` gives the time in seconds since 1970."""

    def __init__(
        self, shelf: Shelf, secret: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._shelf = shelf
        self._secret = secret
        self._clock = clock
        self._turns = asyncio.Semaphore(SERVED_MAX)

    def app(self) -> web.Application:
        """It as a web application."""
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_post(PATH, self.give)
        return app

    async def give(self, request: web.Request) -> web.StreamResponse:
        """What of the wanted files is here: 200; or 400, 401."""
        try:
            said = self._proven(request)
            body = await request.read()
            if digest_of(body) != said.digest:
                raise Unproven("the proof is of another body")
            files = decode_request(body)
        except Unproven as error:
            return web.Response(status=401, text=f"{error}\n")
        except Garbled as error:
            return web.Response(status=400, text=f"{error}\n")
        async with self._turns:
            opened = await self._shelf.open_kept([os.fsdecode(each.key) for each in files])
            try:
                return await self._answer(request, said, files, opened)
            finally:
                for each in opened:
                    if each is not None:
                        os.close(each[1])

    async def _answer(
        self,
        request: web.Request,
        said: Said,
        files: Sequence[Wanted],
        opened: Sequence[tuple[Kept, int] | None],
    ) -> web.StreamResponse:
        had, spans = [], []
        for file, each in zip(files, opened, strict=True):
            if each is None or not file.is_of(each[0]):
                had.append(Had(ABSENT))
                continue
            kept, fd = each
            found = os.fstat(fd)
            size = file.stop - file.start
            had.append(Had(size, kept.digest, found.st_mtime_ns, found.st_mode & 0o777))
            spans.append(_Span(fd, file.start, file.stop))
        head = encode_head(had)
        told = Said(
            verb=ANSWER, path=PATH, expires_s=said.expires_s, span="", digest=digest_of(head)
        )
        response = web.StreamResponse(headers={PROOF: told.proof(self._secret)})
        response.content_length = len(head) + sum(span.stop - span.start for span in spans)
        await response.prepare(request)
        pieces = _pieces(spans)
        async with asyncio.timeout(STALL_S) as stalls:
            await response.write(head)
            while (piece := await in_thread(next, pieces, None)) is not None:
                stalls.reschedule(asyncio.get_running_loop().time() + STALL_S)
                await response.write(piece)
            await response.write_eof()
        return response

    def _proven(self, request: web.Request) -> Said:
        """What a request says of itself. Raises ``Unproven``."""
        headers = request.headers
        expires = headers.get(EXPIRES, "")
        if not expires.isascii() or not expires.isdecimal() or len(expires) > 12:
            raise Unproven("there is no proof")
        said = Said(
            verb=request.method,
            path=request.rel_url.raw_path,
            expires_s=int(expires),
            digest=headers.get(DIGEST, ""),
        )
        said.check(self._secret, headers.get(PROOF, ""), now_s=self._clock())
        return said


class _Span(NamedTuple):
    fd: int
    start: int
    stop: int


def _pieces(spans: Sequence[_Span]) -> Iterator[bytes]:
    """The bytes of all spans in pieces of about ``PIECE_BYTES``; small files go together.

    Raises OSError where a file has become shorter: an answer that ends early is heard at the other end.
    """
    gathered: list[bytes] = []
    size = 0
    for fd, start, stop in spans:
        while start < stop:
            piece = os.pread(fd, min(stop - start, PIECE_BYTES), start)
            if not piece:
                raise OSError("a file has become shorter while it was sent")
            start += len(piece)
            gathered.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                yield b"".join(gathered)
                gathered.clear()
                size = 0
    if gathered:
        yield b"".join(gathered)


# -- where it listens ------------------------------------------------------------------------------


class Server:
    """A server that runs. ``address`` is how other nodes reach it. Close it."""

    def __init__(self, runner: web.AppRunner, address: str) -> None:
        self._runner = runner
        self.address = address

    async def close(self) -> None:
        """Stop, with a second for answers that are under way. May be repeated."""
        await self._runner.cleanup()


async def serve_files(shelf: Shelf, secret: bytes, environment: Mapping[str, str]) -> Server:
    """Serve a cache directory where the environment says, or at any port of this host's address.

    Raises ``Rejected`` for what the environment says wrongly, OSError where it cannot listen.
    """
    host, port = listening_at(environment.get(LISTEN_VARIABLE, ""))
    told = environment.get(ADDRESS_VARIABLE, "")
    try:
        told = checked_address(told) if told else ""
    except ValueError as error:
        raise Rejected(f"{ADDRESS_VARIABLE}={error}") from error
    app = Serving(shelf, secret).app()
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or own_host(), port).start()
    except BaseException:
        await runner.cleanup()
        raise
    reached = own_host() if host in EVERYWHERE else host
    bound = runner.addresses[0][1]
    return Server(runner, told or f"http://{f'[{reached}]' if ':' in reached else reached}:{bound}")


def listening_at(text: str) -> tuple[str, int]:
    """Host and port in ``HOST:PORT``; ("", 0) for nothing. Raises ``Rejected``."""
    if not text:
        return "", 0
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise Rejected(f"{LISTEN_VARIABLE}={text}: write HOST:PORT, with port 0 for any")
    return host.removeprefix("[").removesuffix("]"), int(port)


def own_host() -> str:
    """The address from which this host speaks to others, found without sending anything; else the loopback's."""
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            return str(probe.getsockname()[0])
    return "127.0.0.1"
