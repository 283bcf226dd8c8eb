"""Write a job's manifest while it runs: one segment for each run of a task that touched objects.

A segment is written before its task is finished in the queue, so that whatever died, every finished
task has its segment; a task that ran twice has two.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from mover.errors import Incomplete, Rejected
from mover.manifest import Header, Row, encode_segment, segment_name
from transports.base import Transport
from transports.errors import Transient, TransportError
from transports.model import Attributes, Blob, Entry, Proof

SEGMENT_ATTRIBUTES = Attributes(content_type="application/zstd")


def now_ms(clock: Callable[[], float] = time.time) -> int:
    """The time that rows are stamped with: milliseconds since 1970."""
    return int(clock() * 1000)


class ManifestWriter:
    """Writes segments below the root of a transport, which stays the caller's to close.

    ``source`` and ``target`` are the ends as the user named them, ``node`` and ``judge`` as in ``Header``.
    Memory is a segment per call.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        job: str,
        source: str,
        target: str,
        node: str = "",
        judge: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._job = job
        self._source = source
        self._target = target
        self._node = node
        self._judge = judge
        self._clock = clock

    @property
    def location(self) -> str:
        """Where the segments of this job lie."""
        return f"{self._transport.location}{self._job}/"

    async def begin(self, worker: str) -> None:
        """Note that a run of the job starts, which also shows that the place can be written.

        Raises ``Rejected`` when it cannot, and ``Incomplete`` when its store is out of reach.
        """
        try:
            await self.write([], task=0, generation=0, worker=worker)
        except TransportError as error:
            message = f"the manifest cannot be written: {error}; --manifest names another place"
            raise (Incomplete if isinstance(error, Transient) else Rejected)(message) from error

    async def write(self, rows: Sequence[Row], *, task: int, generation: int, worker: str) -> None:
        """Write the segment of one run of one task; it is whole and durable when this returns.

        Raises ``TransportError`` when retries did not help. A cancel leaves it whole or not at all.
        """
        header = Header(
            job=self._job,
            task=task,
            generation=generation,
            worker=worker,
            source=self._source,
            target=self._target,
            written_at_ms=now_ms(self._clock),
            rows=len(rows),
            node=self._node,
            judge=self._judge,
        )
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(None, encode_segment, header, rows)
        entry = Entry(segment_name(header), len(data), header.written_at_ms * 1_000_000)
        blob = Blob(entry, data, SEGMENT_ATTRIBUTES, Proof.NONE)
        (receipt,) = await self._transport.write_small([blob])
        if isinstance(receipt, TransportError):
            raise receipt
