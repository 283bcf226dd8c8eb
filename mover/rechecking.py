"""Verify a target from a manifest, without the source: every row, in the order of keys.

The target is listed once, beside the rows; what the listing cannot tell is asked object by object,
on a fixed number of lanes. Memory is a page of each.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from mover.checking import LANES, Difference, DifferenceSink, comparison_progress
from mover.ends import Ends, closing_pages
from mover.errors import Rejected
from mover.feeding import found
from mover.gathering import RetryFile
from mover.jobs import JobDirectory
from mover.judging import (
    NOT_THERE,
    Finding,
    Wish,
    is_unproven,
    judge_digest,
    judge_listed,
    judge_told,
)
from mover.listing import merge
from mover.manifest import Row
from mover.model import FAILURES_SHOWN, Failure, Report, State, Tally
from mover.planning import Policy
from mover.probing import digest_of
from mover.progress import Monitor
from mover.recalling import Recall, RowSpill
from transports.errors import NotFound, TransportError
from transports.model import Entry

Pair = tuple[Row, Entry | None]
"""A row, and what the target's listing shows under its key."""


class Rechecker:
    """Judges pages of pairs; the names that a copy would mend go into the retry file."""

    def __init__(self, ends: Ends, sink: DifferenceSink, names: RetryFile) -> None:
        self._ends = ends
        self._sink = sink
        self._names = names
        self.tally = Tally()
        self.failures: list[Failure] = []
        self.unproven = 0

    async def page(self, pairs: Sequence[Pair]) -> None:
        """Judge a page and report what does not hold, in the order of keys."""
        mode, target = self._ends.spec.compare, self._ends.target.capabilities
        findings: list[tuple[str, Finding]] = []
        asked: list[tuple[Row, Entry | None, Wish]] = []
        for row, entry in pairs:
            self.tally.planned_objects += 1
            self.tally.planned_bytes += max(row.size, 0)
            self.unproven += is_unproven(row, mode)
            judgement = judge_listed(row, entry, mode, target)
            if isinstance(judgement, Finding):
                findings.append((row.source_key or row.key, judgement))
            elif judgement is not None:
                asked.append((row, entry, judgement))
        await self._ask(asked, findings)
        self.tally.skipped_objects += len(pairs) - len(findings)
        for key, finding in sorted(findings):
            self._report(Difference(key, finding.what, finding.detail))

    async def _ask(
        self,
        asked: Sequence[tuple[Row, Entry | None, Wish]],
        findings: list[tuple[str, Finding]],
    ) -> None:
        waiting = iter(asked)

        async def lane() -> None:
            for row, entry, wish in waiting:
                finding = await self._look(row, entry, wish)
                if finding is not None:
                    findings.append((row.source_key or row.key, finding))

        async with asyncio.TaskGroup() as crew:
            for number in range(min(LANES, len(asked))):
                crew.create_task(lane(), name=f"look-{number}")

    async def _look(self, row: Row, entry: Entry | None, wish: Wish) -> Finding | None:
        target = self._ends.target
        try:
            if wish is Wish.BYTES and entry is not None and row.checksum is not None:
                algorithm = row.checksum.algorithm
                return judge_digest(row, await digest_of(self._ends, target, entry, algorithm))
            return judge_told(row, await target.head(row.key))
        except NotFound:
            return NOT_THERE
        except (TransportError, ValueError) as error:
            return Finding("error", str(error))  # ValueError: a digest that nobody here knows

    def _report(self, difference: Difference) -> None:
        self._sink(difference)
        self.tally.failed_objects += 1
        self.tally.corrupt_objects += difference.what == "differs"
        if difference.what != "extra":
            self._names.add(difference.key)
        if len(self.failures) < FAILURES_SHOWN:
            self.failures.append(Failure(difference.key, difference.what, difference.detail))


async def recheck(
    ends: Ends, directory: JobDirectory, sink: DifferenceSink, monitor: Monitor
) -> Report:
    """Verify ``ends.target`` from the manifest that ``ends.source`` is the root of.

    Raises what ``Recall.run`` raises, and ``TransportError`` when the listing fails: no silent gap.
    """
    started_s = time.monotonic()
    monitor.begin(directory.job, resumed=False)
    with RetryFile(directory.check_path) as names, RowSpill() as spill:
        await Recall(ends.source, spill).run()
        rechecker = Rechecker(ends, sink, names)
        async for pairs in _pair_pages(ends, spill):
            await rechecker.page(pairs)
            monitor.update(comparison_progress(directory.job, rechecker.tally, started_s))
    if rechecker.unproven:
        monitor.note(
            f"the manifest has no checksum of {rechecker.unproven} objects:"
            " only what a listing shows was compared"
        )
    report = Report(
        job=directory.job,
        state=_state(rechecker.tally),
        tally=rechecker.tally,
        seconds=time.monotonic() - started_s,
        failures=rechecker.failures,
        retry_file=names.written,
    )
    monitor.end(report)
    return report


def _state(tally: Tally) -> State:
    if tally.corrupt_objects:
        return State.DAMAGED
    return State.INCOMPLETE if tally.failed_objects else State.DONE


async def _pair_pages(ends: Ends, spill: RowSpill) -> AsyncGenerator[list[Pair], None]:
    policy = Policy.of(ends.spec, ends.source.capabilities, ends.target.capabilities, time.time())
    if ends.single is not None:
        yield [await _single_pair(ends, spill, ends.single.target_key)]
        return
    wants = policy.selector.wants
    rows: dict[str, Row] = {}  # of the page that `merge` is pairing

    async def entries() -> AsyncGenerator[Sequence[Entry], None]:
        for page in spill.pages():
            rows.clear()
            wanted = [row for row in page if wants(row.key, max(row.size, 0), _mtime_ns(row))]
            rows.update((row.key, row) for row in wanted)
            if wanted:
                yield [Entry(row.key, row.size, 0) for row in wanted]

    recorded, listing = entries(), ends.target.list(policy.selector.literal_prefix)
    async with closing_pages(recorded), closing_pages(listing):
        async for page in merge(recorded, listing, extras=False):
            yield [(rows[source.key], target) for source, target in page.pairs]


async def _single_pair(ends: Ends, spill: RowSpill, key: str) -> Pair:
    row = spill.get(key)
    if row is None:
        raise Rejected(
            f"the manifest at {ends.source.location} has no row of {key}: for a tree, end the"
            " target in a slash"
        )
    return row, await found(ends.target, key)


def _mtime_ns(row: Row) -> int:
    return row.at_ms * 1_000_000 if row.mtime_ns is None else row.mtime_ns
