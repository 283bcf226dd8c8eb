"""Pure: which objects go as differences, and what one that did so has saved."""

from dataclasses import replace
from typing import Final

from mover.delta.block_sizes import (
    LEVELS_MAX,
    MENDED_ROW_BYTES,
    ROUND_BYTES,
    next_block_bytes,
    single_block_bytes,
)
from mover.delta.costing import (
    BAIL_OUT_MATCHED,
    GB,
    MISSED,
    Job,
    Prices,
    Rates,
    Way,
    choose,
    delta_cost,
    direct_cost,
    full_cost,
    looking_cost,
)
from mover.delta.optimising import Optimise
from mover.delta_tasks import Spent
from mover.measuring import LINK_PRIOR, Measured
from mover.model import CopySpec, Delta
from transports.model import Capabilities, Entry, Kind

CHANGED: Final = 0.05
"""The share of an object that is expected to differ before anybody has looked."""

CHANGED_DIRECT: Final = CHANGED / 2
"""The same beside a base, which is compared in small blocks and element by element: a guess."""

EDITS: Final = 100
FEW_EDITS: Final = 100
"""What is expected of an object while a finer signature may still follow: being wrong costs one more
of those, a first one with small blocks costs its bytes whatever has changed."""

ROUND_S: Final = 0.5
"""What a finer signature takes beside its work: two tasks through the queue, and the link both ways."""

PART_MIN: Final = 5 * 1024 * 1024
"""The least that a part of an upload has where stores ask for it."""

BLOCK_MIN: Final = 4 * 1024
"""Smaller blocks would make the signature more than 0.3 % of the object, also where nothing matches."""


def may_be_sent(entry: Entry, basis: Entry, source: Capabilities, target: Capabilities) -> bool:
    """Whether both are objects with bytes in them, in stores that can do what a difference takes."""
    if min(entry.size, basis.size) <= 0:
        return False
    objects = entry.kind is Kind.OBJECT and basis.kind is Kind.OBJECT
    return objects and source.ranges and target.ranges and target.multipart


def may_go_as_difference(spec: CopySpec) -> bool:
    """Whether a job sends any object as a difference."""
    return spec.delta is Delta.ALWAYS or (spec.delta is Delta.AUTO and spec.has_sides)


def sends_difference(spec: CopySpec, entry: Entry, basis: Entry, known: Measured) -> bool:
    """Whether an object that may be sent as a difference shall be, before anybody has looked at it.

    Where one worker is at both ends each of them would cross its network anyway: ``auto`` copies whole
    there.
    """
    if spec.delta is Delta.ALWAYS:
        return True
    if not may_go_as_difference(spec):
        return False
    job = _job(entry, basis, changed=CHANGED, edits=EDITS)
    return choose(job, rates_of(known), optimise=spec.optimise) is Way.DELTA


def asks_samples(spec: CopySpec, entry: Entry, basis: Entry, known: Measured) -> bool:
    """Whether to look at samples before the basis is signed: if none matches, the object goes whole.

    It is asked where finding out by a signature costs more than a difference that would be missed so.
    """
    if spec.delta is Delta.ALWAYS:
        return False
    job, rates, prices = _job(entry, basis, changed=CHANGED, edits=EDITS), rates_of(known), Prices()
    full, delta, looking = (
        cost(job, rates, prices).measure(spec.optimise)
        for cost in (full_cost, delta_cost, looking_cost)
    )
    return MISSED * (full - delta) < looking


def way_of(
    spec: CopySpec, entry: Entry, basis: Entry, known: Measured, *, proven: bool | None
) -> Way:
    """How an object that may be sent as a difference shall go, where a base may be near the source.

    ``proven`` says whether it is known to be the target's old version, None that there is none. Who
    says ``always`` has given the base to be used.
    """
    if proven is not None and spec.delta is Delta.ALWAYS:
        return Way.DIRECT
    sends = sends_difference(spec, entry, basis, known)
    other = Way.DELTA if sends else Way.FULL
    if proven is None or spec.delta is Delta.NEVER or not spec.has_sides:
        return other
    job, rates, prices = _job(entry, basis, changed=CHANGED, edits=EDITS), rates_of(known), Prices()
    from_base = _job(entry, basis, changed=CHANGED_DIRECT, edits=EDITS)
    direct = direct_cost(from_base, rates, prices, proven=proven)
    if not direct.saves(full_cost(job, rates, prices), spec.optimise):
        return other
    by_signature = delta_cost(job, rates, prices)
    if sends and by_signature.measure(spec.optimise) < direct.measure(spec.optimise):
        return other
    return Way.DIRECT


def still_pays(
    spec: CopySpec,
    entry: Entry,
    basis: Entry,
    *,
    literal_bytes: int,
    edits: int,
    known: Measured,
) -> bool:
    """The same once it is known what is different; what is signed and scanned costs no more."""
    if is_another(literal_bytes=literal_bytes, size_bytes=entry.size):
        return False
    if spec.delta is Delta.ALWAYS:
        return True
    changed = literal_bytes / entry.size
    job = _job(entry, basis, changed=changed, edits=edits, signed=True)
    return choose(job, rates_of(known), optimise=spec.optimise) is Way.DELTA


def is_another(*, literal_bytes: int, size_bytes: int) -> bool:
    """Whether next to nothing of an object is in its basis: it is encrypted, or another one."""
    return size_bytes - literal_bytes < BAIL_OUT_MATCHED * size_bytes


def single_bytes(size_bytes: int) -> int:
    """The blocks of a signature that nothing finer follows."""
    return max(single_block_bytes(size_bytes, row_bytes=MENDED_ROW_BYTES), BLOCK_MIN)


def first_bytes(spec: CopySpec, size_bytes: int, link: float | None) -> int:
    """The blocks of the first signature of an object."""
    found = next_block_bytes(size_bytes, FEW_EDITS, round_bytes=_round_bytes(spec, link))
    return max(found or 0, single_bytes(size_bytes))


def finer_bytes(
    spec: CopySpec,
    *,
    open_bytes: int,
    edits: int,
    level: int,
    link: float | None,
    packed: float = 1.0,
) -> int | None:
    """The blocks of the next signature, of ``open_bytes`` that nothing has matched; None for none.

    ``edits`` are expected in them; ``level`` signatures came before this one. ``packed`` is how much a
    byte of them takes that is sent as it is, once it is packed.
    """
    levels = LEVELS_MAX - level
    if levels <= 0:
        return None
    round_bytes = _round_bytes(spec, link)
    return next_block_bytes(
        open_bytes, edits, round_bytes=round_bytes, levels=levels, packed=packed
    )


def _round_bytes(spec: CopySpec, link: float | None) -> int:
    """What one more signature is worth: what the link carries meanwhile, where time is to be saved.

    Where nobody has said how quick the link is, bytes count.
    """
    if link is None or spec.optimise is Optimise.COST:
        return ROUND_BYTES
    return round(link * ROUND_S)


def saved_usd(entry: Entry, spent: Spent, prices: Prices | None = None) -> float:
    """What a difference has saved beside the copy in full, in US dollars; it may have cost more."""
    prices = prices or Prices()
    job = Job(size_bytes=entry.size, basis_bytes=0, changed=1.0)
    rates = rates_of(Measured())
    full = full_cost(job, rates, prices).money
    requests = spent.gets * prices.get_per_1000 / 1000 + spent.puts * prices.put_per_1000 / 1000
    cores_s = spent.hashed_bytes / rates.scan
    return full - (
        spent.wire_bytes / GB * prices.link_per_gb
        + requests
        + cores_s / 3600 * prices.core_per_hour
    )


def rates_of(known: Measured) -> Rates:
    """The rates to reckon with: the measured ones, and guesses in the place of the others."""
    guess = Rates(link=known.link or LINK_PRIOR)
    return replace(
        guess,
        source_read=known.source_read or guess.source_read,
        target_read=known.target_read or guess.target_read,
        target_write=known.target_write or guess.target_write,
        target_copy=known.target_copy or guess.target_copy,
    )


def _job(entry: Entry, basis: Entry, *, changed: float, edits: int, signed: bool = False) -> Job:
    # No more parts lie between copies than fit into the object.
    ranges = min(edits, entry.size // PART_MIN + 1)
    return Job(
        size_bytes=entry.size,
        basis_bytes=basis.size,
        changed=changed,
        sidecar=signed,
        block_bytes=single_bytes(basis.size),
        ranges=ranges,
    )
