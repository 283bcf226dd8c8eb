"""Move a shard of small objects: whole objects in batches, on a fixed number of lanes.

A lane takes the next batch, reserves its bytes, reads it, writes it and counts it. No child, future
or record is made per object; errors of single objects are values that are counted and named.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from mover.attributes import SYMLINK_TYPE, dress
from mover.comparing import Verdict, compare
from mover.ends import Ends, closing_pages
from mover.manifest import Deed, Row, copied_row, finished_row, same_row
from mover.model import (
    Compare,
    Delta,
    Failure,
    LargeObject,
    Links,
    SmallShard,
    Tally,
    TaskResult,
    Verify,
)
from mover.probing import probe
from mover.recording import now_ms
from mover.rereading import verify_copied, verify_small
from mover.verifying import proof_of
from transports.errors import Changed, Corrupt, NotFound, Transient, TransportError
from transports.model import Blob, Entry, Kind, Proof, Receipt

LANES = 32
"""Lanes per shard. The store's own limit decides how many requests run; lanes only feed it."""


class ShardCopier:
    """Copies the objects of one shard; ``result`` holds the counts and the failures.

    ``transient`` holds the errors of those failures, by key, that another attempt may mend. ``large`` are
    objects that differ after all and are too large to be moved whole, for tasks of their own. ``rows`` receives what a manifest says of each object that did not fail; None keeps no record.
    """

    def __init__(self, ends: Ends, rows: list[Row] | None = None) -> None:
        self._ends = ends
        self._rows = rows
        self._source = ends.source.capabilities
        self._target = ends.target.capabilities
        self._makes_links = ends.spec.links is Links.PRESERVE and self._target.has_symlinks
        self._changed: list[Entry] = []
        self._waiting: deque[Entry] = deque()
        self.taken = 0
        self.result = TaskResult(tally=Tally())
        self.transient: dict[str, Transient] = {}
        self.large: list[LargeObject] = []

    async def run(self, shard: SmallShard, *, repeated: bool) -> TaskResult:
        """Copy what is to be copied; with ``repeated``, leave out what an earlier attempt did.

        A cancel leaves every object either as it was or whole.
        """
        self.result.failures.extend(shard.refused)
        self.result.tally.failed_objects += len(shard.refused)
        copies: Sequence[Entry] = shard.copies
        if repeated:
            copies = await self._outstanding(copies)
        if shard.probes:
            copies = [*copies, *await self._probed(shard.probes)]
        await self._on_lanes(copies)
        await self._again()
        return self.result

    @property
    def left(self) -> int:
        """Objects that no lane has taken yet; ``taken`` counts the others."""
        return len(self._waiting)

    def give_away(self, count: int) -> list[Entry]:
        """Take the last ``count`` objects out of the shard: somebody else will copy them."""
        given = [self._waiting.pop() for _ in range(min(count, self.left))]
        given.reverse()
        return given

    async def _on_lanes(self, copies: Sequence[Entry]) -> None:
        if not copies:
            return
        self._waiting.extend(copies)
        batches = self._batches()
        move = self._copy_in_store if self._ends.copies_in_store else self._move

        async def lane() -> None:
            for batch in batches:
                await move(batch)

        # A lane is at one store at a time: to keep both busy takes as many as both bear together.
        at_source = 0 if self._target.local else self._source.concurrency_max
        lanes = min(LANES, self._target.concurrency_max + at_source, len(copies))
        async with asyncio.TaskGroup() as crew:
            for number in range(lanes):
                crew.create_task(lane(), name=f"lane-{number}")

    def _batches(self) -> Iterator[list[Entry]]:
        """Cut by count and bytes; small enough that every lane gets some of them, to the end."""
        waiting = self._waiting
        most = max(self._source.small_batch_count, self._target.small_batch_count)
        bytes_max = min(self._source.small_batch_bytes, self._target.small_batch_bytes)
        while waiting:
            count_max = max(1, min(most, -(-len(waiting) // (2 * LANES))))
            batch = [waiting.popleft()]
            size = batch[0].size
            while waiting and len(batch) < count_max and size + waiting[0].size <= bytes_max:
                batch.append(waiting.popleft())
                size += batch[-1].size
            self.taken += len(batch)
            yield batch

    async def _move(self, batch: list[Entry]) -> None:
        ends = self._ends
        size = 0
        for entry in batch:
            size += entry.size
        async with ends.budget.reserve(size):
            ready, sources = [], []
            for entry, blob in zip(batch, await ends.source.read_small(batch), strict=True):
                if isinstance(blob, TransportError):
                    self._failed(entry, blob)
                else:
                    ready.append(self._dressed(blob))
                    sources.append(entry)
            if ready:
                receipts = await ends.target.write_small(ready)
                if ends.spec.verify is Verify.FULL:
                    receipts = await verify_small(ends, ready, receipts)
                self._landed(sources, ready, receipts)

    def _dressed(self, blob: Blob) -> Blob:
        entry = self._ends.at_target(blob.entry)
        if self._makes_links and blob.attributes.content_type == SYMLINK_TYPE:
            entry = entry._replace(kind=Kind.SYMLINK)
        attributes = dress(blob.entry, blob.attributes, self._source, self._target)
        return blob._replace(entry=entry, attributes=attributes)

    def _landed(
        self,
        sources: list[Entry],
        blobs: list[Blob],
        receipts: Sequence[Receipt | TransportError],
    ) -> None:
        rows = self._rows
        at_ms = 0 if rows is None else now_ms()
        for entry, blob, receipt in zip(sources, blobs, receipts, strict=True):
            if isinstance(receipt, TransportError):
                self._failed(entry, receipt)
            else:
                if self._ends.spec.verify is Verify.FULL:
                    proof = Proof.STRONG
                else:
                    proof = proof_of(blob.proof, receipt.proof, self._source, self._target)
                self._done(len(blob.data), proof)
                if rows is not None:
                    rows.append(copied_row(blob, receipt, proof, at_ms))

    def _done(self, size: int, proof: Proof, *, over_wire: bool = True) -> None:
        tally, live = self.result.tally, self._ends.live
        tally.copied_objects += 1
        tally.copied_bytes += size
        live.copied_objects += 1
        live.copied_bytes += size
        if over_wire and self._ends.crosses_network:
            tally.wire_bytes += size
        if proof is Proof.STRONG:
            tally.verified_strong += 1
        elif proof is Proof.WEAK:
            tally.verified_weak += 1
        else:
            tally.verified_none += 1

    def _failed(self, entry: Entry, error: TransportError) -> None:
        if isinstance(error, Changed) and entry not in self._changed:
            self._changed.append(entry)
            return
        tally = self.result.tally
        tally.failed_objects += 1
        if isinstance(error, Corrupt):
            tally.corrupt_objects += 1
        if isinstance(error, Transient):
            self.transient[entry.key] = error
        self.result.failures.append(Failure(entry.key, type(error).__name__, str(error)))

    async def _copy_in_store(self, batch: list[Entry]) -> None:
        ends = self._ends
        for entry in batch:
            try:
                receipt = await copy_in_store(ends, entry)
            except TransportError as error:
                self._failed(entry, error)
            else:
                self._done(max(entry.size, 0), receipt.proof, over_wire=False)
                if self._rows is not None:
                    self._rows.append(copied_in_store_row(ends, entry, receipt))

    async def _again(self) -> None:
        """Plan objects that changed while they were being read once more, then report them."""
        changed, self._changed = self._changed, []
        if not changed:
            return
        fresh = []
        for entry in changed:
            try:
                fresh.append((await self._ends.source.head(entry.key)).entry)
            except TransportError as error:
                self._failed(entry, error)
        self._changed = fresh  # a second change of these is a failure
        await self._on_lanes(fresh)

    async def _outstanding(self, copies: Sequence[Entry]) -> Sequence[Entry]:
        """What an earlier attempt at this shard, cut short, did not bring over.

        Asked of the target by listing the shard's own range of keys: a page or two instead of a
        request per object.
        """
        if not copies or self._ends.single is not None:
            return copies
        there = await self._listed(copies[0].key, copies[-1].key)
        left = []
        for entry in copies:
            found = there.get(entry.key)
            if found is not None and self._is_same(entry, found):
                self._done(max(entry.size, 0), Proof.WEAK, over_wire=False)
                self._note_same(entry, found, Deed.FOUND)
            else:
                left.append(entry)
        return left

    async def _listed(self, first: str, last: str) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        prefix = _common_prefix(first, last)
        pages = self._ends.target.list(prefix, stop_at=last + "\0")
        try:
            async with closing_pages(pages) as listing:
                async for page in listing:
                    found.update((entry.key, entry) for entry in page if entry.key >= first)
        except NotFound:
            return {}  # the target has not been made yet
        return found

    def _is_same(self, source: Entry, target: Entry) -> bool:
        mode = self._ends.spec.compare
        if mode is Compare.CHECKSUM:
            mode = Compare.MTIME  # the bytes were checked when they were written
        verdict = compare(
            source,
            target,
            mode,
            source_is_local=self._source.local,
            target_is_local=self._target.local,
        )
        return verdict is Verdict.SAME

    async def _probed(self, probes: Sequence[tuple[Entry, Entry]]) -> list[Entry]:
        """The sources among the undecided pairs that differ; the others are counted as skipped."""
        different = []
        tally = self.result.tally
        pending = iter(probes)

        async def lane() -> None:
            for source, target in pending:
                try:
                    same = await probe(self._ends, source, target)
                except TransportError as error:
                    self._failed(source, error)
                    continue
                if same:
                    tally.skipped_objects += 1
                    self._note_same(source, target, Deed.SKIPPED)
                elif 0 <= source.size <= self._ends.spec.split_bytes:
                    different.append(source)
                else:
                    self.large.append(self._large(source, target))

        async with asyncio.TaskGroup() as crew:
            for number in range(min(LANES, len(probes))):
                crew.create_task(lane(), name=f"probe-{number}")
        return sorted(different)

    def _large(self, source: Entry, target: Entry) -> LargeObject:
        wants_basis = self._ends.spec.delta is not Delta.NEVER
        return LargeObject(entry=source, basis=target if wants_basis else None)

    def _note_same(self, source: Entry, target: Entry, deed: Deed) -> None:
        if self._rows is not None:
            row = same_row(source, target, deed, now_ms(), target_is_local=self._target.local)
            self._rows.append(row)


async def copy_in_store(ends: Ends, entry: Entry) -> Receipt:
    """Let the store copy one object; the receipt's proof says how well that is proved."""
    receipt = await ends.target.copy(entry, ends.source, ends.target_key(entry.key))
    if ends.spec.verify is Verify.FULL and entry.kind is Kind.OBJECT:
        await verify_copied(ends, entry)
        return receipt._replace(proof=Proof.STRONG)
    return receipt


def copied_in_store_row(ends: Ends, entry: Entry, receipt: Receipt) -> Row:
    """The row of an object that a store copied by itself; a file's time went with it."""
    mtime_ns = entry.mtime_ns if ends.source.capabilities.local else None
    return finished_row(ends.at_target(entry), receipt, now_ms(), mtime_ns=mtime_ns)


def _common_prefix(first: str, last: str) -> str:
    length = 0
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        length += 1
    return first[:length]
