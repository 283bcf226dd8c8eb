"""``python -m bench kernel``: how fast the delta kernel signs and scans, beside one pass of XXH3-128."""

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench import kernel_data, report
from bench.kernel_data import Pair
from mover.delta import _native, kernel
from mover.delta.model import SignatureHead

BLOCKS = (2048, 16_384, 65_536)
SEARCH_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured, and what it must reach: of XXH3-128's rate, or in GB/s."""

    name: str
    floor: float
    goal: float
    is_ratio: bool


SIGN = Case("sign", 0.35, 0.7, is_ratio=True)
IDENTICAL = Case("scan, identical", 0.5, 0.85, is_ratio=True)
INSERTED = Case("scan, 1 byte inserted", 0.45, 0.8, is_ratio=True)
EDITED = Case("scan, 1 % edited in place", 0.45, 0.8, is_ratio=True)
DIFFERENT = Case("scan, all different", 2.5, 5.0, is_ratio=False)
DIFFERENT_SCALAR = Case("scan, all different, scalar", 2.5 / 3, 5.0 / 3, is_ratio=False)
ZEROS = Case("scan, zeros", 0.3, 0.9, is_ratio=False)
PERIODIC = Case("scan, periodic", 0.3, 0.9, is_ratio=False)
WORST = Case("scan, worst found", 0.3, 0.9, is_ratio=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """A case of one block size: medians of its rate in GB/s and of its ratio to XXH3-128."""

    block_bytes: int
    case: Case
    rate: float
    ratio: float
    note: str = ""

    def row(self) -> list[str]:
        reached = self.ratio if self.case.is_ratio else self.rate
        unit = "" if self.case.is_ratio else " GB/s"
        verdict = "goal" if reached >= self.case.goal else "floor"
        return [
            f"{self.block_bytes // 1024} KiB",
            self.case.name,
            f"{self.rate:.2f}",
            f"{self.ratio:.2f}",
            f"{self.case.floor:.2f}{unit}",
            f"{self.case.goal:.2f}{unit}",
            verdict if reached >= self.case.floor else "below",
            self.note,
        ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``run`` reads."""
    parser.add_argument("--mib", type=int, default=512, help="of data for each case")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> str:
    """Measure all cases and return the table. Raises ``ValueError`` for sizes that make no sense."""
    if arguments.mib < 64 or arguments.repeats < 1:
        raise ValueError("--mib must be at least 64, and --repeats at least 1")
    bench = Bench(size=arguments.mib * 2**20, repeats=arguments.repeats, seed=arguments.seed)
    rows = [figure.row() for block_bytes in BLOCKS for figure in bench.figures(block_bytes)]
    head = ("block", "case", "GB/s", "of XXH3", "floor", "goal", "reached", "")
    return (
        f"XXH3-128 on {bench.size >> 20} MiB: {statistics.median(bench.baselines):.2f} GB/s "
        f"({_native.levels()[0]}); CPU time, medians of {bench.repeats}\n\n"
        + report.table(head, rows)
        + "\n\n"
        + report.table(
            ("block", "2 threads", "memory", "another Python thread meanwhile"), bench.notes
        )
        + "\n"
    )


class Bench:
    """The data of all cases, and what was measured of them."""

    def __init__(self, *, size: int, repeats: int, seed: int) -> None:
        self.size, self.repeats, self.seed = size, repeats, seed
        self.old = kernel_data.randoms(seed, size)
        self.other = kernel_data.randoms(seed + 1, size)
        self.baselines: list[float] = []
        self.notes: list[list[str]] = []

    def figures(self, block_bytes: int) -> Iterator[Figure]:
        head = SignatureHead(size=self.size, block_bytes=block_bytes)
        yield self._figure(block_bytes, SIGN, lambda: kernel.sign(self.old, head))
        signature = kernel.sign(self.old, head)
        index = kernel.Index(signature)
        scalar = kernel.Index(signature, level="scalar")
        yield self._scan(index, IDENTICAL, self.old)
        yield self._scan(index, INSERTED, kernel_data.inserted(self.old))
        yield self._scan(index, EDITED, kernel_data.edited(self.old, self.other))
        yield self._scan(index, DIFFERENT, self.other)
        yield self._scan(scalar, DIFFERENT_SCALAR, self.other)
        yield self._scan(index, ZEROS, bytes(self.size))
        yield self._scan(index, PERIODIC, kernel_data.periodic(b"\x00\x01\x02\x03\x05", self.size))
        yield self._worst(block_bytes)
        self.notes.append(
            [
                f"{block_bytes // 1024} KiB",
                f"{self._gain(index):.2f}x (floor 1.60x, goal 1.85x)",
                f"{index.memory_bytes / head.blocks:.1f} B a block (floor 64, goal 40)",
                f"{self._others(index):.0%} (floor 90%)",
            ]
        )

    def _worst(self, block_bytes: int) -> Figure:
        pairs = kernel_data.hard_pairs(self.seed, block_bytes, SEARCH_BYTES)
        found = kernel_data.worst(pairs, lambda pair: _rate_of_pair(pair, block_bytes))
        pair = kernel_data.stretched(found, self.size)
        return self._scan(_index(pair, block_bytes), WORST, pair.new, note=pair.name)

    def _scan(self, index: kernel.Index, case: Case, new: bytes, note: str = "") -> Figure:
        block_bytes = index.signature.head.block_bytes
        return self._figure(block_bytes, case, lambda: kernel.scan(index, new), note)

    def _figure(
        self, block_bytes: int, case: Case, work: Callable[[], object], note: str = ""
    ) -> Figure:
        rates, ratios = [], []
        for _ in range(self.repeats):
            baseline = self.size / seconds(lambda: _native.digest(self.old)) / 1e9
            rate = self.size / seconds(work) / 1e9
            self.baselines.append(baseline)
            rates.append(rate)
            ratios.append(rate / baseline)
        return Figure(block_bytes, case, statistics.median(rates), statistics.median(ratios), note)

    def _gain(self, index: kernel.Index) -> float:
        """How much faster two threads scan data that are all different, by the clock."""
        gains = []
        for _ in range(self.repeats):
            one = seconds(lambda: kernel.scan(index, self.other), time.perf_counter)
            two = seconds(lambda: kernel.scan(index, self.other, threads=2), time.perf_counter)
            gains.append(one / two)
        return statistics.median(gains)

    def _others(self, index: kernel.Index) -> float:
        """How quick another Python thread is while one scans, beside alone; it needs a core of its own."""
        shares = []
        for _ in range(self.repeats):
            scanning, took_s = _ticks(lambda: kernel.scan(index, self.other))
            idle, slept_s = _ticks(partial(time.sleep, took_s))
            shares.append(scanning / took_s / (idle / slept_s))
        return statistics.median(shares)


def _ticks(work: Callable[[], object]) -> tuple[int, float]:
    """How far a thread counts while ``work`` runs, and how long that is by the clock."""
    ended = threading.Event()
    count = 0

    def tick() -> None:
        nonlocal count
        while not ended.is_set():
            count += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    took_s = seconds(work, time.perf_counter)
    ended.set()
    ticker.join()
    return count, took_s


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """What a call takes; of the processor alone, so that a busy neighbour shows less."""
    begun = clock()
    work()
    return clock() - begun


def _index(pair: Pair, block_bytes: int) -> kernel.Index:
    head = SignatureHead(size=len(pair.old), block_bytes=block_bytes)
    return kernel.Index(kernel.sign(pair.old, head))


def _rate_of_pair(pair: Pair, block_bytes: int) -> float:
    index = _index(pair, block_bytes)
    return len(pair.new) / min(seconds(lambda: kernel.scan(index, pair.new)) for _ in range(2))
