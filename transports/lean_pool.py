"""The lean lane's pool: a few kept connections to one endpoint, shared by many requests.

A request takes the connection used last, for it is the least likely to be stale. When all are taken
and no more may be opened, requests wait in the order in which they came. Silence is found by one
coarse timer per pool, because arming one per request costs more than it is worth: a request fails
between ``idle_timeout_s`` and a quarter more after the last byte moved.
"""

import asyncio
import math
import socket
import ssl
from collections import deque
from typing import Final

from transports.base import Pace
from transports.errors import Denied, TimedOut, Unavailable
from transports.lean_answer import Answer, Stale
from transports.lean_http import SCRATCH_BYTES, SLICE_BYTES, LeanConnection
from transports.lean_landing import (
    NO_LANDING,
    POUR_BYTES,
    BufferLanding,
    Drop,
    DropLanding,
    Landing,
    Pour,
    SinkLanding,
)
from transports.lean_running import Run, RunningConnection

ADDRESSES_KEPT_S: Final = 30.0
ADDRESSES_TRIED_MAX: Final = 3


class LeanPool:
    """Carries requests to one endpoint over kept connections.

    ``host`` and ``port`` say where to connect; ``server_hostname`` is the name in the certificate,
    where it differs. ``tls`` is one context for the life of the pool; without it the connections
    are plain. ``idle_timeout_s`` limits the silence within an exchange, ``keep_s`` the time for
    which an unused connection is kept. No event loop is touched before the first request.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        server_hostname: str | None = None,
        tls: ssl.SSLContext | None = None,
        connections_max: int,
        connect_timeout_s: float = 10.0,
        idle_timeout_s: float = 60.0,
        keep_s: float = 30.0,
    ) -> None:
        if connections_max < 1:
            raise ValueError(f"a pool needs at least one connection, not {connections_max}")
        self.location = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host = host
        self._port = port
        self._server_hostname = server_hostname or host
        self._tls = tls
        self._connections_max = connections_max
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._tick_s = min(idle_timeout_s, keep_s) / 4
        # A tick more than fits: the first one may come right after the last byte.
        self._quiet_ticks_max = math.ceil(idle_timeout_s / self._tick_s) + 1
        self._kept_ticks_max = math.ceil(keep_s / self._tick_s)
        # Received bytes are consumed before the loop asks for the buffer again, so one serves all
        # connections, and stays in the processor's cache.
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._pouring: memoryview | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: list[RunningConnection] = []
        self._open: dict[RunningConnection, int] = {}  # with the unsent bytes at the last tick
        self._slots = 0  # taken by connections that are open or being opened
        # As long as the number of requests that callers have under way: they limit that.
        self._waiters: deque[asyncio.Future[RunningConnection | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._addresses: list[str] = []
        self._addresses_until_s = 0.0
        self._rotation = 0
        self._closed = False
        self._all_lost: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return (
            f"<LeanPool {self.location} connections={self._slots} idle={len(self._idle)}"
            f" waiting={self.waiting}>"
        )

    @property
    def connections(self) -> int:
        """How many connections are open or being opened."""
        return self._slots

    @property
    def idle(self) -> int:
        """How many open connections nobody uses."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return sum(not waiter.done() for waiter in self._waiters)

    async def request(
        self,
        head: bytes,
        body: bytes | bytearray | memoryview | None = None,
        *,
        into: memoryview | Pour | Drop | None = None,
        pace: Pace | None = None,
    ) -> Answer:
        """Send one request and return its plain answer.

        ``head`` is complete, with its empty line; ``body`` (contiguous bytes) goes out from the
        caller's memory. ``into`` (writable bytes, a sink with the number of bytes, or ``Drop``) takes the
        body of a success, which must have exactly its length. ``pace`` is awaited with the size of
        each slice before it goes out, and again for a request that is sent again.

        A request on a kept connection that turns out closed before the first byte of the answer is
        sent once more on a new one, except POST, which might act twice.

        Raises ``NotPlain`` when the general client has to ask again, ``WrongLength`` (a kind of it)
        when the body is not as long as ``into``, ``Truncated`` when it breaks off (``into`` then
        holds the good bytes), ``TimedOut``, ``Unavailable``, and ``Denied`` for a certificate that
        is not trusted. A cancelled call closes its connection and lets go of both buffers at once;
        the server may or may not have acted.
        """
        connection = self._pick() or await self._acquire()
        loop = self._loop or self._known_loop()
        large = body is not None and (pace is not None or len(body) > SLICE_BYTES)
        again = not head.startswith(b"POST")
        landing: Landing | None = NO_LANDING if head.startswith(b"HEAD ") else None
        if into is not None:
            landing = self._landing_for(into)
        while True:
            try:
                answer = connection.begin(loop, head, None if large else body, landing)
                if large and body is not None:
                    await connection.send(body, pace)
                result = await answer
            except Stale:
                connection.drop()
                if not again:
                    self._free_slot()
                    raise
                again = False
                connection = await self._connect()
                continue
            except BaseException:
                # Also a cancel: what is half-sent or half-read can carry nothing else.
                connection.drop()
                self._free_slot()
                raise
            connection.finish()
            self._release(connection)
            return result

    async def run(self, run: Run) -> None:
        """Send the requests of a run (GET alone), one after the other on one connection.

        Returns with at least one answer in ``run.answers``. Where one came, it may end before all have: another run
        goes on. Raises as ``request`` does for the request behind the answers that came. A cancelled call closes its
        connection.
        """
        connection = self._pick() or await self._acquire()
        loop = self._loop or self._known_loop()
        again = True
        while True:
            try:
                await connection.begin_run(loop, run, self._pouring_room())
            except Stale:
                connection.drop()
                if run.answers or not again:
                    self._free_slot()
                    if run.answers:
                        return
                    raise
                again = False
                connection = await self._connect()
                continue
            except BaseException:
                connection.drop()
                self._free_slot()
                raise
            connection.finish()
            self._release(connection)
            return

    async def close(self) -> None:
        """Close all connections; requests under way fail with ``Unavailable``. May be repeated."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable(self.location, "the pool was closed"))
        for connection in list(self._open):
            if connection.idle:
                connection.drop()
            else:
                connection.fail(Unavailable(self.location, "the pool was closed"))
        if self._open:
            self._all_lost = asyncio.get_running_loop().create_future()
            await self._all_lost

    def _landing_for(self, into: memoryview | Pour | Drop) -> Landing:
        if isinstance(into, memoryview):
            return BufferLanding(into)
        if isinstance(into, Drop):
            return DropLanding(into.size_bytes, self._pouring_room())
        return SinkLanding(into.sink, into.size_bytes, self._pouring_room())

    def _pouring_room(self) -> memoryview:
        if self._pouring is None:
            self._pouring = memoryview(bytearray(POUR_BYTES))
        return self._pouring

    # -- lending ----------------------------------------------------------------------------------

    def _known_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = asyncio.get_running_loop()
        return loop

    def _pick(self) -> RunningConnection | None:
        """The connection that was used last, where one is idle."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        connection.idle = False
        return connection

    async def _acquire(self) -> RunningConnection:
        if self._closed:
            raise Unavailable(self.location, "the pool is closed")
        if self._slots < self._connections_max:
            self._slots += 1
            return await self._connect()
        waiter: asyncio.Future[RunningConnection | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiters.append(waiter)
        try:
            connection = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # It was granted in the same moment: the next in line shall have it.
                granted = waiter.result()
                self._free_slot() if granted is None else self._release(granted)
            raise
        if connection is None:
            return await self._connect()
        if not connection.reusable:  # it broke between the grant and now; its slot is ours
            connection.drop()
            return await self._connect()
        return connection

    def _release(self, connection: RunningConnection) -> None:
        if self._closed or not connection.reusable:
            connection.drop()
            self._free_slot()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle = True
        self._idle.append(connection)

    def _free_slot(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._slots -= 1

    def _on_lost(self, connection: LeanConnection) -> None:
        assert isinstance(connection, RunningConnection)  # noqa: S101 - the pool makes no others
        self._open.pop(connection, None)
        if connection.idle:
            connection.idle = False
            self._idle.remove(connection)
            self._free_slot()
        if not self._open and self._all_lost is not None and not self._all_lost.done():
            self._all_lost.set_result(None)

    # -- connecting -------------------------------------------------------------------------------

    async def _connect(self) -> RunningConnection:
        """Open a connection in the slot that the caller holds; the slot is freed on failure."""
        try:
            if self._closed:
                raise Unavailable(self.location, "the pool is closed")
            connection = await self._open_any()
        except BaseException:
            self._free_slot()
            raise
        return connection

    async def _open_any(self) -> RunningConnection:
        loop = asyncio.get_running_loop()
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                addresses = await self._resolve(loop)
                share_s = self._connect_timeout_s / len(addresses)
                for address in addresses:
                    try:
                        async with asyncio.timeout(share_s):
                            return await self._open_at(loop, address)
                    except ssl.SSLCertVerificationError as error:
                        raise Denied(
                            self.location,
                            f"the server's certificate is not trusted ({error.verify_message});"
                            " name its authority with ca_file or AWS_CA_BUNDLE",
                        ) from error
                    except (OSError, TimeoutError) as error:
                        failure = error
        except (OSError, TimeoutError) as error:  # the name cannot be resolved, or time is up
            failure = error
        self._addresses = []  # they may be out of date
        if isinstance(failure, TimeoutError) and not failure.errno:
            detail = f"no connection within {self._connect_timeout_s:g} s"
            raise TimedOut(self.location, detail) from failure
        raise Unavailable(self.location, f"cannot connect: {failure}") from failure

    async def _open_at(self, loop: asyncio.AbstractEventLoop, address: str) -> RunningConnection:
        _, connection = await loop.create_connection(
            lambda: RunningConnection(self.location, self._scratch, self._on_lost),
            address,
            self._port,
            ssl=self._tls,
            server_hostname=self._server_hostname if self._tls is not None else None,
        )
        if connection.lost:
            raise ConnectionResetError("the server closed the connection at once")
        self._open[connection] = 0
        if self._closed:
            connection.drop()
            raise Unavailable(self.location, "the pool was closed")
        if self._timer is None:
            self._timer = loop.call_later(self._tick_s, self._tick)
        return connection

    async def _resolve(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        """The addresses to try, in turn: a store's many front ends share the connections."""
        if not self._addresses or loop.time() >= self._addresses_until_s:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
            self._addresses_until_s = loop.time() + ADDRESSES_KEPT_S
        turn = self._rotation % len(self._addresses)
        self._rotation += 1
        return (self._addresses[turn:] + self._addresses[:turn])[:ADDRESSES_TRIED_MAX]

    # -- time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        for connection, waiting_before in list(self._open.items()):
            waiting = self._open[connection] = connection.waiting_bytes()
            if connection.pacing or waiting != waiting_before:
                connection.quiet_ticks = 0
                continue
            connection.quiet_ticks += 1
            connection.hurry()
            if connection.idle:
                if connection.quiet_ticks > self._kept_ticks_max:
                    connection.drop()
            elif connection.quiet_ticks >= self._quiet_ticks_max:
                detail = f"not a byte for {self._idle_timeout_s:g} s"
                connection.fail(TimedOut(self.location, detail))
        if self._open and self._loop is not None:
            self._timer = self._loop.call_later(self._tick_s, self._tick)
