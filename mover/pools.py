"""Pure: which pool a job's tasks are in.

A pool is a label that workers join: ``any``, a region, a node. Listing tasks have a pool of their own
beside each, because a worker runs them on a lane of their own: a job whose listing is far ahead still
copies, and one whose copying is slow still lists.
"""

from collections.abc import Sequence
from dataclasses import replace

from scheduler.model import ANY_POOL, NewTask, Outcome

LISTING = "listing"

NODE = "node"


def node_pool(node: str) -> str:
    """The pool of what only workers on this node can do."""
    return f"{NODE}:{node}"


def listing_pool(pool: str) -> str:
    """The pool of the listing tasks of jobs in this pool."""
    return LISTING if pool == ANY_POOL else f"{LISTING}:{pool}"


def put_in(tasks: Sequence[NewTask], pool: str) -> list[NewTask]:
    """The tasks in this pool, but for listing tasks, which have theirs."""
    return [task if _is_placed(task, pool) else replace(task, pool=pool) for task in tasks]


def _is_placed(task: NewTask, pool: str) -> bool:
    return task.pool == pool or task.pool != ANY_POOL


def outcome_in(outcome: Outcome, pool: str) -> Outcome:
    """An outcome whose follow-ups stay in the pool of the job."""
    if pool == ANY_POOL or not (outcome.follow_ups or outcome.groups):
        return outcome
    groups = [replace(group, then=replace(group.then, pool=pool)) for group in outcome.groups]
    return replace(outcome, follow_ups=put_in(outcome.follow_ups, pool), groups=groups)
