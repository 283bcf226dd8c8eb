"""How many processes a job gets on this host."""

import os
from typing import Literal

from mover.ends import Ends
from mover.errors import Rejected
from mover.resolving import End

AUTO_MAX = 8
"""More processes than this on one host rarely add anything: the network or the store is full."""


def choose_workers(wish: int | Literal["auto"], ends: Ends, given: tuple[End, End]) -> int:
    """The number of processes, the leader included. Raises ``Rejected`` for a wish below one.

    ``auto`` is one process for every two cores: the kernel and, on the same machine, the store
    need theirs.
    """
    shareable = not any(isinstance(end, tuple) for end in given) and not _in_process(ends)
    if wish == "auto":
        cores = len(os.sched_getaffinity(0))
        return max(1, min(cores // 2, AUTO_MAX)) if shareable else 1
    if wish < 1:
        raise Rejected(f"--workers {wish}: a job needs at least one worker")
    if wish > 1 and not shareable:
        raise Rejected(
            "--workers: a store in this process's memory cannot be shared; use one worker"
        )
    return wish


def _in_process(ends: Ends) -> bool:
    return "memory" in (ends.source.capabilities.scheme, ends.target.capabilities.scheme)
