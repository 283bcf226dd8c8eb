"""Pure: whether a deletion may go ahead, judged by what it would remove.

A deletion is the one thing that a mover cannot take back. What speaks against it is told in one
line that names the way out, before anything is copied where that can be known, and once more right
before the first object is removed.
"""

from dataclasses import dataclass
from typing import Final

from mover.model import CopySpec

EXAMPLES: Final = 3
"""Names that a question or a refusal shows."""

PAUSE_MIN_S: Final = 0.2
PAUSE_MAX_S: Final = 5.0
_PAUSE_PER_TASK_S: Final = 0.01


@dataclass(slots=True, kw_only=True)
class Survey:
    """What the filters take at both ends: objects of the source, of the target, and extras of these."""

    sources: int = 0
    targets: int = 0
    extras: int = 0
    examples: tuple[str, ...] = ()

    def add_extra(self, key: str) -> None:
        self.extras += 1
        if len(self.examples) < EXAMPLES:
            self.examples += (key,)

    def __str__(self) -> str:
        names = ", ".join(self.examples) + (", …" if self.extras > EXAMPLES else "")
        return f"{self.extras:,} of the target's {self.targets:,} objects ({names})"


def must_count(spec: CopySpec) -> bool:
    """Whether the extras must all be counted before the first is removed."""
    return spec.max_delete is not None


def objection(spec: CopySpec, survey: Survey) -> str:
    """Why a job must not delete what it would, with the remedy; "" where nothing speaks against it."""
    if not survey.extras:
        return ""
    if not survey.sources and not spec.allow_empty_source:
        return (
            f"the source {spec.source} has nothing to copy and the target has objects: nothing is"
            " deleted; --allow-empty-source empties the target all the same"
        )
    limit = spec.max_delete
    if limit is not None and survey.extras > limit:
        return (
            f"{survey} would be deleted, more than --max-delete {limit}: nothing is deleted;"
            " give a larger number if that is meant"
        )
    return ""


def doubt(survey: Survey) -> str:
    """Why a deletion needs somebody's word for it: it takes more than half of the target."""
    if survey.extras * 2 <= survey.targets:
        return ""
    return (
        f"{survey} would be deleted, more than half of the target, and nobody can be asked:"
        " nothing was changed; -y does it all the same"
    )


def failed_before(failed_tasks: int) -> str:
    """Why nothing is deleted behind a job that did not bring everything over."""
    what = "task" if failed_tasks == 1 else "tasks"
    return f"nothing was deleted, because {failed_tasks:,} {what} failed"


def pause_s(open_tasks: int) -> float:
    """How long the deletion waits before it asks again whether all else is done."""
    return min(max(open_tasks * _PAUSE_PER_TASK_S, PAUSE_MIN_S), PAUSE_MAX_S)
