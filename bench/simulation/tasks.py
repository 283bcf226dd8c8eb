"""The tasks of a simulated job: what they stand for, and how the product stands them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mover.pools import LISTING
from scheduler import states
from scheduler.model import ANY_POOL, NewTask, TaskState
from scheduler.states import Standing


class Kind(StrEnum):
    """What a task is to do."""

    LISTING = "listing"
    SHARD = "shard"
    OPENING = "opening"
    CHUNK = "chunk"
    ASSEMBLY = "assembly"


@dataclass(slots=True)
class Gate:
    """A group: the task that waits until all members have ended."""

    size: int
    waiting: Task
    ended: int = 0


@dataclass(slots=True, eq=False)
class Task:
    """One task. ``left`` is the part of its work that no earlier attempt has brought over.

    ``after`` and ``upto`` are a listing's place and end, as numbers of keys; of a chunk, the first
    and last of its parts.
    """

    kind: Kind
    standing: Standing
    objects: int = 0
    size: int = 0
    payload_bytes: int = 300
    after: int = -1
    upto: int | None = None
    ranges: int = 1
    part_bytes: int = 0
    gate: Gate | None = None
    left: float = 1.0

    @property
    def pool(self) -> str:
        return LISTING if self.kind is Kind.LISTING else ANY_POOL


@dataclass(frozen=True, slots=True)
class Held:
    """A lease: the task, and the generation under which it was claimed."""

    task: Task
    generation: int


_NEW = NewTask(payload=b"")


def listing(after: int, upto: int | None, *, ranges: int = 1) -> Task:
    """A listing of the keys after one, up to and with another."""
    standing = states.admit(_NEW)
    return Task(kind=Kind.LISTING, standing=standing, after=after, upto=upto, ranges=ranges)


def shard(objects: int, size: int, payload_bytes: int) -> Task:
    """So many small objects of so many bytes together."""
    return Task(
        kind=Kind.SHARD,
        standing=states.admit(_NEW),
        objects=objects,
        size=size,
        payload_bytes=payload_bytes,
    )


def opening(size: int) -> Task:
    """The first task of a large object."""
    return Task(kind=Kind.OPENING, standing=states.admit(_NEW), size=size)


def parts_of(size: int, part_bytes: int, runs: list[tuple[int, int]]) -> list[Task]:
    """The chunk tasks of a large object, members of one group, and the assembly behind its gate."""
    waiting = Task(
        kind=Kind.ASSEMBLY, standing=Standing(state=TaskState.WAITING), objects=1, size=0
    )
    gate = Gate(len(runs), waiting)
    return [
        Task(
            kind=Kind.CHUNK,
            standing=states.admit(_NEW),
            size=min(last * part_bytes, size) - (first - 1) * part_bytes,
            after=first,
            upto=last,
            part_bytes=part_bytes,
            gate=gate,
        )
        for first, last in runs
    ]
