"""Small bodies that nobody wants, many in a row: the connection itself asks for the next.

To wake a coroutine for each of them costs as much as the exchange. So a *run* of requests is handed over whole, and
each goes out when the answer before it is complete; whoever waits is woken once, at the end.
"""

import asyncio
from collections.abc import Sequence

from transports.lean_answer import Answer
from transports.lean_draining import DrainingConnection
from transports.lean_http import HEAD_END, PEEK_BYTES
from transports.lean_landing import DropLanding


class Run:
    """Prebuilt requests, and ``answers`` as they come: never more than one request is under way.

    ``sizes`` are those of the bodies of successes, in bytes. It ends early behind an answer that is none, and where the
    server closes the connection.
    """

    __slots__ = ("answers", "heads", "sizes")

    def __init__(self, heads: Sequence[bytes], sizes: Sequence[int]) -> None:
        self.heads = heads
        self.sizes = sizes
        self.answers: list[Answer] = []


class RunningConnection(DrainingConnection):
    """A lean connection that can be given a run."""

    __slots__ = ("_room", "_run")

    _run: Run | None
    _room: memoryview

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._run = None
        super().connection_made(transport)

    def begin_run(
        self, loop: asyncio.AbstractEventLoop, run: Run, room: memoryview
    ) -> asyncio.Future[Answer]:
        """Send the first request, as ``begin``; the future has the last answer. ``room`` is shared."""
        self._run = run
        self._room = room
        waiting = self.begin(loop, run.heads[0], None, DropLanding(run.sizes[0], room))
        self._landing = self._scratch  # nothing is kept, so head and body may come together
        return waiting

    def finish(self) -> None:
        self._run = None
        super().finish()

    def drop(self) -> None:
        self._run = None
        super().drop()

    def _feed_head(self, come: memoryview) -> None:
        """Take the body that came with the head for what it is in a run: a number of bytes."""
        cut = 0
        if self._run is not None and not self._tail and len(come) > PEEK_BYTES:
            cut = bytes(come[:PEEK_BYTES]).find(HEAD_END) + len(HEAD_END)
        if cut < len(HEAD_END):
            super()._feed_head(come)
            return
        super()._feed_head(come[:cut])
        into, more = self._into, len(come) - cut
        if self._fault is not None:
            return
        if into is None:
            self._parser.feed_data(come[cut:])  # what an error says
            return
        if self._filled_bytes < 0:
            super()._feed_head(come[cut:])  # it was an interim answer
            return
        self._soiled = self._soiled or more > into.size_bytes
        if self._land(into, min(more, into.size_bytes)):
            self._complete = self._filled_bytes == into.size_bytes

    def _deliver(self, waiting: asyncio.Future[Answer], answer: Answer) -> None:
        run = self._run
        if run is None:
            waiting.set_result(answer)
            return
        run.answers.append(answer)
        self._served += 1
        transport, number = self._transport, len(run.answers)
        is_over = number == len(run.heads) or answer.status >= 300 or self._soiled
        if is_over or transport is None or transport.is_closing():
            waiting.set_result(answer)
            return
        self._answered = self._headed = self._complete = False
        self._interims = self._received_bytes = 0
        self._into = DropLanding(run.sizes[number], self._room)
        self._landing = self._scratch
        self._tail = b""
        transport.write(run.heads[number])
