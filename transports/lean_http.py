"""One keep-alive HTTP/1.1 connection, cut down to what moving bytes needs.

The lean lane exists because a general client spends more on building request and stream objects
than the network costs (``bench/lane.py`` measures it). A connection carries one request at a time:
prebuilt bytes go out, and what comes back is either a plain answer (``lean_answer`` says which) or
``NotPlain``, upon which the caller asks again through a general client.

Small bodies pass the parser (httptools), which hands them over as bytes. A large body never does:
as soon as the head is parsed, the kernel, or TLS, writes straight into the caller's buffer.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from transports.base import Pace
from transports.errors import TransportError, Truncated, Unavailable
from transports.lean_answer import (
    BODILESS,
    INTERIM_COUNT_MAX,
    Answer,
    NotPlain,
    Stale,
    judge_head,
    overlong,
)
from transports.lean_landing import Landing
from transports.lean_socket import LowWater, shut_down

SCRATCH_BYTES: Final = 128 * 1024
"""Size of the buffer that all connections of a pool share for receiving what passes the parser."""

PEEK_BYTES: Final = 4 * 1024
"""What is read at most while waiting for the head of an answer whose body has its own buffer.

The part of the body that comes with the head has to be copied, so it should be little.
"""

SLICE_BYTES: Final = 256 * 1024
"""A large body goes out in slices of this size: an encrypted slice is a copy, and so is bounded."""

PACED_SLICE_BYTES: Final = 64 * 1024
WRITE_HIGH_BYTES: Final = 512 * 1024
WRITE_LOW_BYTES: Final = 128 * 1024
JOIN_BYTES: Final = 32 * 1024
HEAD_END: Final = b"\r\n\r\n"


class LeanConnection(asyncio.BufferedProtocol):
    """A connection and the one exchange that it may carry at a time.

    ``quiet_ticks`` counts the pool's coarse timer since the last byte moved in either direction;
    no timer is armed per request. ``idle`` is the pool's: True while nobody borrows it.
    """

    __slots__ = (
        "_answer", "_answered", "_body", "_complete", "_fault", "_filled_bytes", "_headed", "_headers",
        "_interims", "_into", "_keep_alive", "_landing", "_location", "_low_water", "_on_lost", "_parser",
        "_paused", "_peek", "_pieces", "_raw_headers", "_received_bytes", "_resumed", "_scratch",
        "_served", "_soiled", "_status", "_tail", "_transport", "_unsent_bytes",
        "idle", "lost", "on_body", "on_header", "pacing", "quiet_ticks",
    )  # fmt: skip

    def __init__(
        self, location: str, scratch: memoryview, on_lost: Callable[["LeanConnection"], None]
    ) -> None:
        self._location = location
        self._scratch = self._landing = scratch
        self._peek = scratch[:PEEK_BYTES]
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._into: Landing | None = None
        self._filled_bytes = -1  # -1 until the body streams into the caller's landing
        self._low_water = LowWater()
        self._fault: NotPlain | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body = self._tail = b""
        self._status = self._served = self._interims = self._received_bytes = 0
        self._unsent_bytes = 0
        self._answered = self._headed = self._complete = self._keep_alive = False
        self._paused = self._soiled = False
        self.lost = self.idle = self.pacing = False
        self.quiet_ticks = 0
        # The parser calls these for every header and piece of a body. As methods of built-in
        # objects they cost a tenth of a call into Python, and there are a dozen per answer.
        self._raw_headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self.on_header = self._raw_headers.__setitem__
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)

    # -- the exchange ---------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """Whether the next request may go out here: nothing half-sent, half-read or unasked for."""
        return not self._soiled and not self.lost and self._answer is None

    def begin(
        self,
        loop: asyncio.AbstractEventLoop,
        head: bytes,
        body: bytes | bytearray | memoryview | None,
        into: Landing | None,
    ) -> asyncio.Future[Answer]:
        """Send a request and return the future of its answer; ``send`` follows for a large body."""
        self._answer = answer = loop.create_future()
        self._answered = self._headed = self._complete = False
        self._interims = self._received_bytes = self.quiet_ticks = 0
        if into is not None:
            self._into = into
            self._landing = self._peek
            self._tail = b""
            self._low_water.begin()
        transport = self._transport
        if transport is None or transport.is_closing():
            self.fail(self._loss(None))
        elif body is None:
            transport.write(head)
        elif len(body) <= JOIN_BYTES:
            # One buffer takes a shorter way through the loop than two; copying it costs less.
            transport.write(b"".join((head, body)))
        else:
            transport.writelines((head, body))
        return answer

    async def send(self, body: bytes | bytearray | memoryview, pace: Pace | None) -> None:
        """Send a large or paced body from the caller's memory, slice by slice, after ``begin``.

        Returns early when the answer came early or the connection broke: the future tells which.
        """
        transport, answer = self._transport, self._answer
        if transport is None or answer is None:
            return
        view = memoryview(body)
        step = SLICE_BYTES if pace is None else PACED_SLICE_BYTES
        self._unsent_bytes = len(view)
        for start in range(0, len(view), step):
            piece = view[start : start + step]
            if pace is not None and not answer.done():
                self.pacing = True  # waiting for the budget is not the network's silence
                await pace(len(piece))
                self.pacing = False
                self.quiet_ticks = 0
            if answer.done() or transport.is_closing():
                return
            transport.write(piece)
            self._unsent_bytes -= len(piece)
            while self._paused and not answer.done():
                self._resumed = asyncio.get_running_loop().create_future()
                await self._resumed

    def finish(self) -> None:
        """Close the books on an exchange whose answer has been taken; ``reusable`` holds after."""
        self._answer = None
        self._served += 1
        transport = self._transport
        # An answer before the end of our request: what is still to be sent would precede the next.
        if self._unsent_bytes or (transport is not None and transport.get_write_buffer_size()):
            self._soiled = True

    def drop(self) -> None:
        """Close at once. Afterwards nobody touches the caller's buffers, whatever was under way."""
        self._soiled = True
        self._forget_buffers()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.cancel() and not answer.cancelled():
            answer.exception()  # it has been looked at: no complaint when it is collected
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size():
            # Until the loop has closed the socket it may go on sending from the caller's memory,
            # which is about to be used for something else. Nothing leaves a socket shut down.
            shut_down(transport)
        transport.abort()

    def waiting_bytes(self) -> int:
        """How much the loop still has to send; the pool's timer watches it shrink."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # -- what the loop calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._landing

    def buffer_updated(self, nbytes: int) -> None:
        self.quiet_ticks = 0
        if self._filled_bytes >= 0:
            self._fill(nbytes)
            return
        if self._answer is None or self._answer.done():
            # Nobody asked. Whatever it is, the next answer must not be mistaken for it.
            self._soiled = True
            if self._answer is None and self._transport is not None:
                self._transport.abort()
            return
        self._answered = True
        try:
            if self._into is None:
                self._parser.feed_data(self._scratch[:nbytes])
            else:
                self._feed_head(self._scratch[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._soiled = True  # if the answer is complete, then what follows it is garbage
            if not self._complete and self._fault is None:
                status = self._status if self._headed else None
                self._fault = NotPlain("not an HTTP/1.1 answer", status=status)
        if self._fault is not None:
            fault, self._fault = self._fault, None
            self.fail(fault)
        elif self._complete:
            self._succeed()
        else:
            self._check_length(nbytes)

    def eof_received(self) -> None:
        # The loop closes it next; until connection_lost is called nobody may pick this one up.
        self._soiled = True

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.quiet_ticks = 0
        self._wake_sender()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self.fail(self._loss(exc))
        self._on_lost(self)

    # -- what the parser calls ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._raw_headers.clear()  # trailers behind the chunks of the answer before
        if self._complete:
            self._soiled = True  # a second answer to one request

    def on_headers_complete(self) -> None:
        raw = self._raw_headers
        headers = {name.lower(): value for name, value in raw.items()}
        raw.clear()
        if self._complete or self._fault is not None:
            return
        self._status = status = self._parser.get_status_code()
        if status < 200:
            self._interims += 1
            if status == 101 or self._interims > INTERIM_COUNT_MAX:
                self._fault = NotPlain("an interim answer that nobody asked for", status=status)
            return
        self._headed = True
        self._headers = headers
        self._keep_alive = self._parser.should_keep_alive()
        into = self._into
        self._fault = judge_head(status, headers, None if into is None else into.size_bytes)

    def on_message_complete(self) -> None:
        # At once, because an unasked second answer may follow in the same bytes. After an interim
        # answer there is no body, and the final head is still to come.
        if self._headed and not self._complete:
            self._complete = True
            self._body = self._take_body()

    # -- within ---------------------------------------------------------------------------------

    def _feed_head(self, come: memoryview) -> None:
        """Give the parser the head alone, so that the body can go where the caller wants it."""
        data = bytes(come)
        while data and not self._headed:
            joined = self._tail + data
            end = joined.find(HEAD_END)
            if end < 0:
                self._parser.feed_data(data)
                self._tail = joined[1 - len(HEAD_END) :]
                return
            cut = end + len(HEAD_END) - len(self._tail)
            self._parser.feed_data(data[:cut])  # the final head, or one of an interim answer
            self._tail = b""
            data = data[cut:]
        into = self._into
        if not self._headed or self._fault is not None or into is None:
            return
        if into.size_bytes == BODILESS:
            # The parser waits for the body that the head announces, and there is none.
            self._parser = httptools.HttpResponseParser(self)
            self._soiled = self._soiled or bool(data)
            self._filled_bytes = 0
            self._complete = True
            return
        if self._status >= 300:
            # An error's body is for the parser, as is everything else from here on.
            self._into = None
            self._landing = self._scratch
            if data:
                self._parser.feed_data(data)
            return
        self._soiled = self._soiled or len(data) > into.size_bytes
        data = data[: into.size_bytes]
        self._filled_bytes = 0
        if into.size_bytes:
            # The old one waits for a body that it will never see; the next answer needs another.
            self._parser = httptools.HttpResponseParser(self)
        if self._land(into, data):
            self._complete = self._filled_bytes == into.size_bytes

    def _fill(self, nbytes: int) -> None:
        into = self._into
        if into is not None and self._land(into, nbytes) and self._filled_bytes >= into.size_bytes:
            self._complete = True
            self._succeed()

    def _land(self, into: Landing, come: bytes | int) -> bool:
        """Account for bytes of the body, given or landed already; False when nobody takes them."""
        self._filled_bytes += come if isinstance(come, int) else len(come)
        try:
            if isinstance(come, int):
                into.landed(come)
            else:
                into.put(come)
        except TransportError as error:
            self.fail(error)
            return False
        self._landing = into.room()
        self._low_water.adjust(self._transport, into.size_bytes - self._filled_bytes)
        return True

    def hurry(self) -> None:
        """Told by the pool when nothing has come for a while: take whatever there is."""
        self._low_water.hurry(self._transport)

    def _check_length(self, nbytes: int) -> None:
        """Give up an answer without an end; a body in the caller's buffer never comes here."""
        self._received_bytes += nbytes
        if fault := overlong(self._received_bytes, self._status if self._headed else None):
            self.fail(fault)

    def _succeed(self) -> None:
        answer = self._answer
        if not self._keep_alive:
            self._soiled = True
        if self._into is None:
            body = self._body
            received = len(body)
        else:
            body = b""
            received = self._filled_bytes
            self._forget_buffers()
        if answer is not None and not answer.done():
            self._deliver(answer, Answer(self._status, self._headers, body, received))
        if self._resumed is not None:
            self._wake_sender()

    def _deliver(self, waiting: asyncio.Future[Answer], answer: Answer) -> None:
        waiting.set_result(answer)

    def fail(self, error: Exception) -> None:
        """End the exchange with an error: the connection's, or the pool's (a timeout, a closed pool)."""
        self._soiled = True
        self._forget_buffers()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._wake_sender()

    def _take_body(self) -> bytes:
        body = b"".join(self._pieces)  # of one piece it is that piece, not a copy
        self._pieces.clear()
        return body

    def _forget_buffers(self) -> None:
        self._into = None
        self._filled_bytes = -1
        self._landing = self._scratch

    def _wake_sender(self) -> None:
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    def _loss(self, cause: Exception | None) -> TransportError:
        detail = str(cause) if cause is not None else "the server closed the connection"
        if not self._answered:
            kind = Stale if self._served else Unavailable
            return kind(self._location, f"{detail}, before the answer")
        length = self._headers.get(b"content-length")
        if not self._headed or self._status >= 300 or length is None:
            return Unavailable(self._location, f"{detail}, within the answer")
        held = self._into is None
        received = sum(map(len, self._pieces)) if held else self._filled_bytes
        return Truncated(self._location, received_bytes=received, expected_bytes=int(length))
