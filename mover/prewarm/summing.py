"""How full the caches are: sums of residences over tasks, by node, and what a person hears of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from mover.prewarm.model import Certainty, Look, Residence

_ORDER = (Certainty.PROVEN, Certainty.INFERRED, Certainty.UNKNOWN)
_COUNTS = (
    "files", "bytes", "resident_files", "resident_bytes", "unknown_bytes",
    "read_bytes", "origin_bytes", "peer_bytes", "before_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullness:
    """The residence on each node, sorted by name; a file on two nodes counts twice."""

    nodes: tuple[Residence, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Residence]) -> Self:
        """Sum rows by node. What is least certain of a node is said of all of it."""
        by_node: dict[str, Residence] = {}
        for row in rows:
            add_row(by_node, row)
        return cls(nodes=tuple(by_node[name] for name in sorted(by_node)))

    @property
    def total(self) -> Residence:
        """All nodes as one, under no name."""
        total = Residence(node="", certainty=Certainty.PROVEN)
        for row in self.nodes:
            total = _added(total, row)
        return total

    @property
    def is_known(self) -> bool:
        """Whether anybody can tell what is resident of what was looked at."""
        return self.total.unknown_bytes == 0

    @property
    def is_full(self) -> bool:
        """Whether nothing is missing that a judge could name."""
        total = self.total
        return total.resident_bytes + total.unknown_bytes >= total.bytes

    def percent(self, *, of_files: bool = False) -> float | None:
        """What is resident, never rounded up to 100; None where it is not known. An empty dataset is full."""
        total = self.total
        if not self.is_known:
            return None
        have, all_ = (
            (total.resident_files, total.files) if of_files else (total.resident_bytes, total.bytes)
        )
        return percent_of(have, all_)

    def reaches(self, min_percent: float) -> bool:
        """Whether so much is known to be resident. Where nobody can tell, nothing is."""
        total = self.total
        known = total.bytes - total.unknown_bytes
        if total.unknown_bytes and not known:
            return False
        return total.resident_bytes * 100 >= min_percent * total.bytes


def sum_of_looks(looks: Sequence[Look]) -> Look:
    """One look at what several have looked at; what one of them cannot tell, nobody can."""
    seen = [look.resident_bytes for look in looks if look.resident_bytes is not None]
    return Look(
        sum(look.bytes for look in looks),
        sum(seen) if len(seen) == len(looks) else None,
        [piece for look in looks for piece in look.missing],
    )


def add_row(by_node: dict[str, Residence], row: Residence) -> None:
    """Add a row to the sums of its node."""
    known = by_node.get(row.node)
    by_node[row.node] = replace(row) if known is None else _added(known, row)


def without_looks(row: Residence) -> Residence:
    """What was read, without what was seen: of a round that a later one has looked at again."""
    return replace(row, files=0, bytes=0, resident_files=0, resident_bytes=0, unknown_bytes=0)


def percent_of(have: int, all_: int) -> float:
    """A percentage of two decimals that is 100 only where nothing is missing."""
    if have >= all_:
        return 100.0
    return min(int(have * 10_000 / all_) / 100, 99.99)


def fullness_json(fullness: Fullness) -> dict[str, object]:
    """It as reports and ``mover show`` have it; a percentage that is not known is None."""
    total = fullness.total
    return {
        "percent_bytes": fullness.percent(),
        "percent_files": fullness.percent(of_files=True),
        "judge": total.judge,
        "certainty": total.certainty.value,
        "nodes": [_node(row) for row in fullness.nodes],
    }


def _node(row: Residence) -> dict[str, object]:
    is_known = row.unknown_bytes == 0
    return {
        "node": row.node,
        "percent_bytes": percent_of(row.resident_bytes, row.bytes) if is_known else None,
        **{name: getattr(row, name) for name in _COUNTS},
        "judge": row.judge,
        "certainty": row.certainty.value,
        "where": row.where,
    }


def _added(one: Residence, other: Residence) -> Residence:
    sums = {name: getattr(one, name) + getattr(other, name) for name in _COUNTS}
    certainty = max(one.certainty, other.certainty, key=_ORDER.index)
    return replace(
        one,
        **sums,
        certainty=certainty,
        judge=_joined(one.judge, other.judge),
        where=_joined(one.where, other.where),
    )


def _joined(one: str, other: str) -> str:
    """Both, where they differ: two targets of one job may have two judges."""
    names = dict.fromkeys(filter(None, (*one.split(", "), *other.split(", "))))
    return ", ".join(names)
