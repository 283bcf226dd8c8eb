"""A proxy between a client and a store that breaks the network by script, and meters it.

It understands HTTP/1.1 only as far as needed to count requests and the bytes of bodies on a
connection that is kept alive; heads pass byte for byte. The client's Host header reaches the store
untouched, so signatures hold: the client signs the proxy's address and the store sees that one.

What the client's kernel has taken counts as passed. A client that reads slowly still gets up to its
receive buffer (some MB) at once, and the meter shows that as what it is: traffic on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter, deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.flow_meter import Meter
from tests.faults.http1 import PIECE_BYTES, Head, has_body, read_body, read_head
from tests.faults.links import Broken, Link, Passage, Struck
from tests.faults.script import Answer, Event, Latency, Reset, Script, Side, error_body
from tests.servers.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.faults.script import Fault, Rule

_EVENTS_MAX = 100_000


class FaultProxy(LoopThread):
    """A proxy on 127.0.0.1 in front of ``store_url``, running by itself in a thread.

    ``tls`` makes it serve https (a context with a certificate); ``store_tls`` is how it trusts a
    store on https. ``down`` meters bodies towards the client, ``up`` those towards the store.
    """

    def __init__(
        self,
        store_url: str,
        *rules: Rule,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        store_tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        parts = urlsplit(store_url)
        self._store_address = (parts.hostname or "127.0.0.1", parts.port)
        self._store_tls = store_tls if parts.scheme == "https" else None
        assert parts.scheme == "http" or store_tls is not None, "https needs store_tls"
        self._tls = tls
        self._seed = seed
        self._script = Script(rules, seed=seed)
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._crew: asyncio.TaskGroup | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()
        self._events: deque[Event] = deque(maxlen=_EVENTS_MAX)
        self._bugs: list[BaseException] = []
        self.requests = 0
        self.connections = 0
        self.methods: Counter[str] = Counter()
        self.down = Meter()
        self.up = Meter()

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def events(self) -> list[Event]:
        """The faults that struck, oldest first (the last 100,000)."""
        return list(self._events)

    def count(self, kind: type[Fault]) -> int:
        """How many faults of one kind struck."""
        return sum(isinstance(event.fault, kind) for event in self.events)

    def follow(self, *rules: Rule) -> None:
        """Replace the script; the rules count from 1 again. No rules: a healthy network."""
        self._script = Script(rules, seed=self._seed)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse new connections and reset the open ones, as a server that is down does."""
        self.call(self._unlisten())
        try:
            yield
        finally:
            self.call(self._listen())

    def stop(self) -> None:
        """End the proxy; a failure of its own, not of the network, is raised here."""
        super().stop()
        if self._bugs:
            raise BaseExceptionGroup("the proxy itself failed", self._bugs)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as self._crew:
            await self._listen()
            try:
                yield
            finally:
                await self._unlisten()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(
            self._welcome, "127.0.0.1", self._port, ssl=self._tls, limit=PIECE_BYTES
        )
        self._port = self._listener.sockets[0].getsockname()[1]

    async def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for link in list(self._links):
            await link.reset()
        conversations = list(self._conversations)
        for conversation in conversations:
            conversation.cancel()
        if conversations:
            await asyncio.wait(conversations)

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        assert self._crew is not None
        conversation = self._crew.create_task(
            self._serve(reader, writer), name=f"conversation-{self.connections}"
        )
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with contextlib.AsyncExitStack() as links:
                client = self._adopt(links, reader, writer)
                await self._converse(client, links)
        except* (OSError, asyncio.IncompleteReadError, Broken, Struck):
            pass
        except* Exception as group:
            self._bugs.append(group)

    def _adopt(
        self,
        links: contextlib.AsyncExitStack,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Link:
        link = Link(reader, writer)
        self._links.add(link)
        links.push_async_callback(link.close)
        links.callback(self._links.discard, link)
        return link

    async def _converse(self, client: Link, links: contextlib.AsyncExitStack) -> None:
        store: Link | None = None
        while (request := await read_head(client.reader)) is not None:
            method, target, _ = request.first
            self.requests += 1
            self.methods[method] += 1
            faults = self._script.choose(method=method, target=target)
            now_s = time.monotonic()
            for fault in faults:
                self._events.append(
                    Event(
                        number=self.requests,
                        at_s=now_s,
                        fault=fault,
                        method=method,
                        target=target,
                    )
                )
            await asyncio.sleep(sum(one.delay_s for one in faults if isinstance(one, Latency)))
            answers = [one for one in faults if isinstance(one, Answer)]
            if answers:
                keep = await self._refuse(request, client, answers[0])
            else:
                if store is None or store.reader.at_eof():
                    store = await self._reach_store(links)
                keep = await self._exchange(request, client, store, faults)
            if not keep:
                return

    async def _reach_store(self, links: contextlib.AsyncExitStack) -> Link:
        host, port = self._store_address
        reader, writer = await asyncio.open_connection(
            host, port, ssl=self._store_tls, limit=PIECE_BYTES
        )
        return self._adopt(links, reader, writer)

    async def _refuse(self, request: Head, client: Link, answer: Answer) -> bool:
        if request.fields.get("expect", "").lower() == "100-continue":
            # The client waits before it sends the body; told no, it may never send it.
            pieces_come = False
        else:
            pieces_come = True
            async for _ in read_body(client.reader, request, until_close=False):
                pass
        body = error_body(answer, target=request.first[1])
        retry = "" if answer.retry_after_s is None else f"Retry-After: {answer.retry_after_s}\r\n"
        keep = pieces_come and not request.closes
        head = (
            f"HTTP/1.1 {answer.status} {answer.code}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\n{retry}"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        await client.send(head.encode() + (b"" if request.first[0] == "HEAD" else body))
        return keep

    async def _exchange(
        self, request: Head, client: Link, store: Link, faults: Sequence[Fault]
    ) -> bool:
        async with asyncio.TaskGroup() as pair:
            sending = pair.create_task(
                self._send_request(request, client, store, faults), name="request"
            )
            keep = await self._return_response(request, client, store, faults)
            if not sending.done():
                # The store answered without hearing the whole request; the rest is nobody's.
                sending.cancel()
                keep = False
        return keep

    async def _send_request(
        self, request: Head, client: Link, store: Link, faults: Sequence[Fault]
    ) -> None:
        passage = Passage(faults, side=Side.REQUEST, sink=store, client=client, meter=self.up)
        # A store that hangs up on a request may have answered it: the response side will see.
        with contextlib.suppress(Broken):
            await store.send(request.raw)
            await passage.run(read_body(client.reader, request, until_close=False))

    async def _return_response(
        self, request: Head, client: Link, store: Link, faults: Sequence[Fault]
    ) -> bool:
        while (head := await read_head(store.reader)) is not None:
            if any(isinstance(fault, Reset) and fault.head for fault in faults):
                await client.reset()
                raise Struck
            await client.send(head.raw)
            if head.status >= 200:
                break
        if head is None:
            raise Broken
        if not has_body(head, method=request.first[0]):
            return not (request.closes or head.closes)
        passage = Passage(faults, side=Side.RESPONSE, sink=client, client=client, meter=self.down)
        await passage.run(read_body(store.reader, head, until_close=True))
        framed = "content-length" in head.fields or "transfer-encoding" in head.fields
        return framed and not (request.closes or head.closes)
