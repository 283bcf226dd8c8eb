"""Progress is a port: a job tells a ``Monitor`` how it stands, and never prints.

A terminal, plain lines, a log, a test and nothing at all are implementations.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mover.model import Report
from mover.prewarm.model import Residence


class WorkerProgress(NamedTuple):
    """What one worker process has moved since it started; ``node`` is its host's name where that matters."""

    worker: str
    objects: int
    bytes: int
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How a job stands. Totals grow until ``planned_all``; bytes are payload bytes.

    ``seconds`` counts from the start of this run; ``before_bytes`` were copied by earlier runs of
    the job, and must not count towards this run's rate. ``skipped_bytes`` are those of the planned ones that
    need not be read. Of a prewarm ``residency`` has by node what the ``round`` that has begun last has seen so far.
    """

    job: str
    seconds: float
    planned_objects: int
    planned_bytes: int
    planned_all: bool
    copied_objects: int
    copied_bytes: int
    skipped_objects: int
    failed_objects: int
    before_bytes: int = 0
    skipped_bytes: int = 0
    residency: tuple[Residence, ...] = ()
    round: int = 0
    workers: tuple[WorkerProgress, ...] = ()


class Monitor(Protocol):
    """Receives what a job has to say. Calls are cheap, come from the job's loop and must not raise."""

    def begin(self, job: str, *, resumed: bool) -> None:
        """A run of the job starts; ``resumed`` when an earlier run left work."""

    def update(self, progress: Progress) -> None:
        """How it stands now; about twice a second."""

    def note(self, message: str) -> None:
        """One line that a person should see: a retry storm, a worker that was replaced."""

    def end(self, report: Report) -> None:
        """The run has ended."""


class Silent:
    """A monitor that hears everything and says nothing."""

    def begin(self, job: str, *, resumed: bool) -> None: ...

    def update(self, progress: Progress) -> None: ...

    def note(self, message: str) -> None: ...

    def end(self, report: Report) -> None: ...
