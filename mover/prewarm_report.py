"""The report of a prewarm: how full the caches are, who says so, and whether that is enough."""

from dataclasses import dataclass, field

from mover.gathering import LISTING, Gathered
from mover.model import FAILURES_SHOWN, Failure, Report, State, Tally
from mover.prewarm.model import Certainty, Metadata, Oversize, WarmSpec, Wish
from mover.prewarm.summing import Fullness, fullness_json


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmReport(Report):
    """A report with what was seen in the caches, in the ``rounds`` after the first reading."""

    spec: WarmSpec
    fullness: Fullness = field(default_factory=Fullness)
    rounds: int = 0

    @property
    def verified(self) -> dict[str, int]:
        """Files by how it is known that they are resident."""
        if self.spec.wish is Wish.EVICT or self.spec.metadata is Metadata.ONLY:
            return super(WarmReport, self).verified
        total = self.fullness.total
        return {
            "strong": total.resident_files if total.certainty is Certainty.PROVEN else 0,
            "weak": total.resident_files if total.certainty is Certainty.INFERRED else 0,
            "none": total.files - total.resident_files,
        }

    def to_json(self) -> dict[str, object]:
        """The keys of every report, and ``residency``."""
        told = super(WarmReport, self).to_json()
        if self.spec.wish is Wish.EVICT or self.spec.metadata is Metadata.ONLY:
            return told
        told["residency"] = fullness_json(self.fullness) | {"rounds": self.rounds}
        return told


def conclude_warm(
    spec: WarmSpec, gathered: Gathered, job: str, seconds: float, state: State | None
) -> WarmReport:
    """The report of a prewarm, an eviction or a look; ``state`` where it was ended before its end."""
    fullness = Fullness.of(gathered.residency.values())
    if state is None and gathered.pieces > 0:
        _add_unseen(gathered)
    return WarmReport(
        job=job,
        state=state or _state(spec, gathered, fullness),
        tally=gathered.tally,
        seconds=seconds,
        failures=gathered.failures,
        retry_file=gathered.retry_file,
        withheld=gathered.withheld,
        spec=spec,
        fullness=fullness,
        rounds=gathered.rounds,
    )


def _add_unseen(gathered: Gathered) -> None:
    """Say that pieces were planned which no shard has dealt with: a job that ends so has lost them."""
    why = f"{gathered.pieces:,} of what was listed was never looked at; run the command again"
    gathered.tally.add(Tally(failed_objects=1))
    gathered.failures[:] = [Failure("all targets", LISTING, why), *gathered.failures][
        :FAILURES_SHOWN
    ]
    gathered.retry_file = ""  # nobody knows the names


def _state(spec: WarmSpec, gathered: Gathered, fullness: Fullness) -> State:
    is_whole = not gathered.tally.failed_objects
    is_listed = all(failure.error != LISTING for failure in gathered.failures)
    if spec.wish is Wish.EVICT or spec.metadata is Metadata.ONLY:
        return State.DONE if is_whole else State.INCOMPLETE
    if not is_listed or (gathered.withheld and spec.oversize is Oversize.REFUSE):
        return State.INCOMPLETE
    if spec.wish is Wish.WARM and not fullness.is_known:
        # What nobody can tell of counts as read, if reading it did not fail.
        return State.DONE if is_whole and fullness.is_full else State.INCOMPLETE
    return State.DONE if fullness.reaches(spec.min_percent) else State.INCOMPLETE
