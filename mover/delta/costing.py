"""Pure: whether a delta is worth its trouble, in time and in money.

The model is that of two sides: the basis is signed near the target (or was, when it was written),
the new object is scanned near the source, what is different crosses the link, and the store of the
target copies the rest. A copy in full sends all of it. Rates are in bytes per second, times in
seconds, prices in US dollars.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mover.delta.optimising import Optimise
from mover.delta.parting import MIB

GB: Final = 1_000_000_000

SIGNATURE_BYTES_PER_BLOCK: Final = 10
"""An anchor, a key and a whole digest: what a block of a signature takes on its way."""

SAVING_MIN: Final = 0.05
"""A delta that promises less than this share of the copy in full is not begun."""

BAIL_OUT_BYTES: Final = 64 * MIB
BAIL_OUT_SHARE: Final = 0.01
BAIL_OUT_MATCHED: Final = 0.005

MISSED: Final = 0.02
"""How often an object is like its old version though none of its samples is: all of it moved far. A guess."""

_ANY_GAP: Final = 1 << 62


class Way(StrEnum):
    """How an object gets to the target."""

    FULL = "full"
    DELTA = "delta"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a cloud asks for, in US dollars.

    The defaults are those of Amazon S3 in us-east-1: USD 0.02 per GB between regions of the United
    States (AWS re:Post, January 2026), USD 0.005 per 1,000 PUT, COPY and part requests and USD
    0.0004 per 1,000 GET requests (the S3 price list as other pages repeat it, read in November
    2026), USD 0.04 per hour of one core (an on-demand instance of a common size, an estimate of that
    time). Reading and writing in the same region costs its requests only.
    """

    link_per_gb: float = 0.02
    put_per_1000: float = 0.005
    get_per_1000: float = 0.0004
    core_per_hour: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How fast things go: measured ones where there are any.

    ``link`` is between the sides, ``source_read`` and ``target_read`` are near each side,
    ``target_write`` is what mixed parts are written at, ``target_copy`` what the store copies by itself,
    ``scan`` is one core's. ``rtt_s`` is the link's round trip. The defaults beside the link's are cautious
    guesses for one machine a side.
    """

    link: float
    source_read: float = 500e6
    target_read: float = 500e6
    target_write: float = 300e6
    target_copy: float = 2e9
    scan: float = 3e9
    cores: int = 1
    rtt_s: float = 0.06

    def __post_init__(self) -> None:
        near = (self.source_read, self.target_read, self.target_write, self.target_copy)
        if min(self.link, self.scan, *near) <= 0 or self.cores < 1 or self.rtt_s < 0:
            raise ValueError("rates are more than nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One object: ``changed`` is the share of it that is expected to differ, from 0 to 1.

    ``basis_bytes`` is the old object's size. With a ``sidecar`` its signature is there already.
    ``ranges`` are how many changed ranges there may be: each makes a part in the middle of copies.
    """

    size_bytes: int
    basis_bytes: int
    changed: float
    sidecar: bool = False
    block_bytes: int = 64 * 1024
    ranges: int = 100
    request_bytes: int = 8 * MIB
    full_part_bytes: int = 16 * MIB
    part_min: int = 5 * MIB

    def __post_init__(self) -> None:
        if not 0 <= self.changed <= 1:
            raise ValueError(f"no share: {self.changed}")
        sizes = (self.block_bytes, self.request_bytes, self.full_part_bytes, self.part_min)
        if min(self.size_bytes, self.basis_bytes, self.ranges) < 0 or min(sizes) < 1:
            raise ValueError("sizes and counts are not negative")

    @property
    def signature_bytes(self) -> int:
        return -(-self.basis_bytes // self.block_bytes) * SIGNATURE_BYTES_PER_BLOCK

    @property
    def literal_bytes(self) -> int:
        """What is expected to be sent of the object itself; new bytes have no basis to be in."""
        return min(self.size_bytes, max(round(self.changed * self.size_bytes), self._grown))

    @property
    def mixed_bytes(self) -> int:
        """What is written anew at the target: a change takes a whole part with it."""
        around = self.ranges * self.part_min if self.literal_bytes else 0
        return min(self.size_bytes, self.literal_bytes + around)

    @property
    def _grown(self) -> int:
        return max(0, self.size_bytes - self.basis_bytes)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way is expected to take."""

    time_s: float
    money: float
    link_bytes: int

    def measure(self, optimise: Optimise) -> float:
        """What of it is to be small."""
        return self.time_s if optimise is Optimise.TIME else self.money

    def saves(self, full: "Cost", optimise: Optimise) -> bool:
        """Whether it saves more than ``SAVING_MIN`` of the copy in full."""
        return self.measure(optimise) < (1 - SAVING_MIN) * full.measure(optimise)


def full_cost(job: Job, rates: Rates, prices: Prices) -> Cost:
    """A copy in full: every byte crosses the link, reading and writing beside it."""
    size = job.size_bytes
    time_s = rates.rtt_s + size / min(rates.link, rates.source_read, rates.target_write)
    parts = _calls(size, job.full_part_bytes)
    requests = _requests(prices, gets=parts, puts=parts + 2)
    return Cost(time_s, size / GB * prices.link_per_gb + requests, size)


def delta_cost(job: Job, rates: Rates, prices: Prices) -> Cost:
    """A delta: sign near the target, scan near the source while literals cross, patch."""
    sent = job.literal_bytes + job.signature_bytes
    power = rates.scan * rates.cores
    signing_s = 0.0 if job.sidecar else job.basis_bytes / min(rates.target_read, power)
    signature_s = job.signature_bytes / rates.link
    scanning_s = max(
        job.size_bytes / rates.source_read,
        job.size_bytes / power,
        job.literal_bytes / rates.link,
    )
    near = max(0, job.mixed_bytes - job.literal_bytes)
    patching_s = (
        near / rates.target_read
        + job.mixed_bytes / rates.target_write
        + (job.size_bytes - job.mixed_bytes) / rates.target_copy
    )
    time_s = signing_s + signature_s + 2 * rates.rtt_s + scanning_s + patching_s
    read = job.size_bytes + near + (0 if job.sidecar else job.basis_bytes)
    parts = _calls(job.mixed_bytes, job.full_part_bytes) + 2 * job.ranges + 1
    requests = _requests(prices, gets=_calls(read, job.request_bytes), puts=parts + 2)
    cores_s = (job.size_bytes + (0 if job.sidecar else job.basis_bytes)) / rates.scan
    core = cores_s / 3600 * prices.core_per_hour
    return Cost(time_s, sent / GB * prices.link_per_gb + requests + core, sent)


def looking_cost(job: Job, rates: Rates, prices: Prices) -> Cost:
    """What finding out takes that nothing matches: all is signed, and the beginning scanned."""
    scanned = min(job.size_bytes, bail_out_bytes(job.size_bytes))
    power = rates.scan * rates.cores
    time_s = (
        job.basis_bytes / min(rates.target_read, power)
        + job.signature_bytes / rates.link
        + scanned / min(rates.source_read, power)
        + rates.rtt_s
    )
    hashed = job.basis_bytes + scanned
    requests = _requests(prices, gets=_calls(hashed, job.request_bytes))
    core = hashed / rates.scan / 3600 * prices.core_per_hour
    crossing = job.signature_bytes / GB * prices.link_per_gb
    return Cost(time_s, crossing + requests + core, job.signature_bytes)


def direct_cost(job: Job, rates: Rates, prices: Prices, *, proven: bool) -> Cost:
    """A difference from a base near the source: both versions are read there, no signature crosses.

    Unless it is ``proven``, the target's old version is read as well, for its digest.
    """
    power = rates.scan * rates.cores
    proving_s = 0.0 if proven else rates.rtt_s + job.basis_bytes / min(rates.target_read, power)
    indexing_s = job.basis_bytes / min(rates.source_read, power)
    comparing_s = max(
        job.size_bytes / min(rates.source_read, power), job.literal_bytes / rates.link
    )
    near = max(0, job.mixed_bytes - job.literal_bytes)
    patching_s = near / rates.target_read + job.mixed_bytes / rates.target_write
    hashed = job.size_bytes + job.basis_bytes * (1 if proven else 2)
    parts = _calls(job.mixed_bytes, job.full_part_bytes) + 2 * job.ranges + 1
    requests = _requests(prices, gets=_calls(hashed + near, job.request_bytes), puts=parts + 2)
    core = hashed / rates.scan / 3600 * prices.core_per_hour
    return Cost(
        proving_s + indexing_s + rates.rtt_s + comparing_s + patching_s,
        job.literal_bytes / GB * prices.link_per_gb + requests + core,
        job.literal_bytes,
    )


def choose(
    job: Job, rates: Rates, prices: Prices | None = None, *, optimise: Optimise = Optimise.TIME
) -> Way:
    """The way to take: the delta only where it saves more than ``SAVING_MIN`` of the copy in full.

    Without a basis, or for an object of nothing, that is the copy in full.
    """
    if not job.size_bytes or not job.basis_bytes:
        return Way.FULL
    prices = prices or Prices()
    full, delta = full_cost(job, rates, prices), delta_cost(job, rates, prices)
    return Way.DELTA if delta.saves(full, optimise) else Way.FULL


def bail_out_bytes(size_bytes: int) -> int:
    """How much of an object is scanned before it may be said that nothing of it matches."""
    return max(BAIL_OUT_BYTES, round(BAIL_OUT_SHARE * size_bytes))


def gives_up(*, scanned_bytes: int, matched_bytes: int, size_bytes: int) -> bool:
    """Whether a scan should stop and the rest be streamed: the object is encrypted, or another one.

    Asked now and then while scanning. It takes 64 MiB or a hundredth of the object, whichever comes
    last: to scan for nothing costs little beside the link, but an object whose head is new is often
    the old one behind it. Then less than half a percent must have matched.
    """
    enough = bail_out_bytes(size_bytes)
    return scanned_bytes >= enough and matched_bytes < BAIL_OUT_MATCHED * scanned_bytes


def join_gap_bytes(rates: Rates, prices: Prices, *, connections: int, optimise: Optimise) -> int:
    """How large a hole between two ranges to fetch is cheaper sent than asked for anew.

    In money the price of a request over that of a byte (any hole where bytes cost nothing), in time
    what a connection could carry meanwhile.
    """
    if optimise is Optimise.TIME:
        return round(rates.rtt_s * rates.link / max(1, connections))
    byte_price = prices.link_per_gb / GB
    return round(prices.get_per_1000 / 1000 / byte_price) if byte_price else _ANY_GAP


def _calls(size_bytes: int, each_bytes: int) -> int:
    return -(-size_bytes // each_bytes)


def _requests(prices: Prices, *, gets: int = 0, puts: int = 0) -> float:
    return gets / 1000 * prices.get_per_1000 + puts / 1000 * prices.put_per_1000
