"""Compare two ends and write nothing: what is missing, what differs, what is extra.

Pairs that listings cannot decide are asked of the stores, on a fixed number of lanes and a page at
a time, so memory does not grow with the listing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mover.comparing import Verdict, compare
from mover.ends import Ends
from mover.feeding import pair_pages
from mover.gathering import RetryFile
from mover.jobs import JobDirectory
from mover.listing import PairPage
from mover.model import FAILURES_SHOWN, Compare, Failure, Report, State, Tally
from mover.planning import Policy
from mover.probing import probe
from mover.progress import Monitor, Progress
from transports.errors import TransportError
from transports.model import Entry, Kind

LANES = 32
"""Undecided pairs asked about at a time."""


class Difference(NamedTuple):
    """One name on which the ends do not agree; ``what`` is missing, differs, extra or error."""

    key: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what} {self.key}: {self.detail}"


DifferenceSink = Callable[[Difference], None]
"""Receives every difference, in the order of keys within a page."""


class Checker:
    """Compares page by page; the names that a copy would mend go into the retry file."""

    def __init__(self, ends: Ends, policy: Policy, sink: DifferenceSink, names: RetryFile) -> None:
        self._ends = ends
        self._policy = policy
        self._sink = sink
        self._names = names
        self.tally = Tally()
        self.failures: list[Failure] = []

    async def page(self, page: PairPage) -> None:
        """Compare the pairs of a page and name its extras."""
        wants = self._policy.wants
        pairs = [pair for pair in page.pairs if wants(pair[0])]
        undecided: list[tuple[Entry, Entry]] = []
        found: list[Difference] = []
        for number, (source, target) in enumerate(pairs):
            if target is None:
                if not self._is_implied_marker(pairs, number):
                    found.append(Difference(source.key, "missing", "it is not in the target"))
                continue
            verdict = self._compare(source, target)
            if verdict is Verdict.DIFFERENT:
                found.append(Difference(source.key, "differs", _how(source, target)))
            elif verdict is Verdict.ASK:
                undecided.append((source, target))
        await self._ask(undecided, found)
        self._count(pairs)
        for difference in sorted(found):
            self._report(difference, mendable=True)
        for entry in page.extras:
            if wants(entry) and entry.kind is not Kind.DIRECTORY:
                self._report(Difference(entry.key, "extra", "it is not in the source"))

    def _compare(self, source: Entry, target: Entry) -> Verdict:
        return compare(
            source,
            target,
            self._ends.spec.compare,
            source_is_local=self._policy.source.local,
            target_is_local=self._policy.target.local,
        )

    def _is_implied_marker(self, pairs: Sequence[tuple[Entry, Entry | None]], number: int) -> bool:
        """A folder marker needs no counterpart where its own content makes the directory."""
        marker = pairs[number][0]
        return (
            marker.kind is Kind.DIRECTORY
            and number + 1 < len(pairs)
            and pairs[number + 1][0].key.startswith(marker.key)
        )

    async def _ask(self, undecided: list[tuple[Entry, Entry]], found: list[Difference]) -> None:
        waiting = iter(undecided)

        async def lane() -> None:
            for source, target in waiting:
                try:
                    same = await probe(self._ends, source, target)
                except TransportError as error:
                    found.append(Difference(source.key, "error", str(error)))
                    continue
                if not same:
                    what = "content" if self._ends.spec.compare is Compare.CHECKSUM else "time"
                    found.append(Difference(source.key, "differs", f"the {what} is not the same"))

        async with asyncio.TaskGroup() as crew:
            for number in range(min(LANES, len(undecided))):
                crew.create_task(lane(), name=f"probe-{number}")

    def _count(self, pairs: Sequence[tuple[Entry, Entry | None]]) -> None:
        self.tally.planned_objects += len(pairs)
        self.tally.planned_bytes += sum(source.size for source, _ in pairs if source.size > 0)
        self.tally.skipped_objects += len(pairs)

    def _report(self, difference: Difference, *, mendable: bool = False) -> None:
        self._sink(difference)
        self.tally.failed_objects += 1
        if mendable:
            self.tally.skipped_objects -= 1
            self._names.add(difference.key)
        if len(self.failures) < FAILURES_SHOWN:
            self.failures.append(Failure(difference.key, difference.what, difference.detail))


async def check_ends(
    ends: Ends, directory: JobDirectory, sink: DifferenceSink, monitor: Monitor
) -> Report:
    """Compare the ends of a job. Raises ``TransportError`` when a listing fails: no silent gap."""
    started_s = time.monotonic()
    policy = Policy.of(ends.spec, ends.source.capabilities, ends.target.capabilities, time.time())
    monitor.begin(directory.job, resumed=False)
    with RetryFile(directory.check_path) as names:
        checker = Checker(ends, policy, sink, names)
        async for page in pair_pages(ends, prefix=policy.selector.literal_prefix, extras=True):
            await checker.page(page)
            monitor.update(comparison_progress(directory.job, checker.tally, started_s))
    report = Report(
        job=directory.job,
        state=State.INCOMPLETE if checker.tally.failed_objects else State.DONE,
        tally=checker.tally,
        seconds=time.monotonic() - started_s,
        failures=checker.failures,
        retry_file=names.written,
    )
    monitor.end(report)
    return report


def comparison_progress(job: str, tally: Tally, started_s: float) -> Progress:
    """How a comparison stands that began at ``started_s`` of the monotonic clock."""
    return Progress(
        job=job,
        seconds=time.monotonic() - started_s,
        planned_objects=tally.planned_objects,
        planned_bytes=tally.planned_bytes,
        planned_all=False,
        copied_objects=0,
        copied_bytes=0,
        skipped_objects=tally.skipped_objects,
        failed_objects=tally.failed_objects,
    )


def _how(source: Entry, target: Entry) -> str:
    if source.kind is not target.kind:
        return f"it is a {target.kind.value}, not a {source.kind.value}"
    if source.size != target.size:
        return f"it has {target.size} bytes, not {source.size}"
    return "the size is equal, but not the time or the etag"
