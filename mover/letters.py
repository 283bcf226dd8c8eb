"""Pure: failed objects become dead letters, tasks that are given up from the start.

A task that moved most of its objects is done. What failed in it is kept as a task of its own with
the failures as its result: the report counts it, ``mover retry`` makes it claimable again, and it
then moves exactly these objects.
"""

from collections.abc import Sequence

from mover.model import Failure, LargeObject, SmallShard, Tally, TaskResult
from mover.payloads import decode_result, encode_payload, encode_result
from scheduler.model import NewTask
from transports.model import Entry

CANCELLED = "the job was cancelled"
"""The reason of what was given up because somebody said so; the report does not call it failed."""


def shard_letters(shard: SmallShard, result: TaskResult) -> list[NewTask]:
    """The dead letter of a shard's failures, which are taken out of ``result``; empty without any."""
    if not result.failures:
        return []
    failed = {failure.key for failure in result.failures}
    rest = SmallShard(
        copies=[entry for entry in shard.copies if entry.key in failed],
        probes=[pair for pair in shard.probes if pair[0].key in failed],
        refused=shard.refused,
        failed=True,
    )
    letter = _letter(encode_payload(rest), result, weight=_bytes_of(rest))
    _take_failures_out(result)
    return [letter]


def object_letters(entry: Entry, result: TaskResult) -> list[NewTask]:
    """The same for a task of one large object: a letter that opens it anew."""
    if not result.failures:
        return []
    letter = _letter(encode_payload(LargeObject(entry=entry)), result, weight=0)
    _take_failures_out(result)
    return [letter]


def failures_in(follow_ups: Sequence[NewTask]) -> list[Failure]:
    """The failures that the dead letters among a task's follow-ups tell."""
    return [
        failure
        for task in follow_ups
        if task.discarded
        for failure in decode_result(task.result).failures
    ]


def _letter(payload: bytes, result: TaskResult, *, weight: int) -> NewTask:
    tally = Tally(
        failed_objects=result.tally.failed_objects, corrupt_objects=result.tally.corrupt_objects
    )
    return NewTask(
        payload=payload,
        weight=weight,
        discarded=_reason(result.failures),
        result=encode_result(TaskResult(tally=tally, failures=list(result.failures))),
    )


def _take_failures_out(result: TaskResult) -> None:
    result.failures.clear()
    result.tally.failed_objects = 0
    result.tally.corrupt_objects = 0


def _reason(failures: list[Failure]) -> str:
    first = failures[0]
    others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    text = f"{first.error}: {first.detail}{others}"
    # Names may hold stray bytes; a reason is for people.
    return text.encode("utf-8", "backslashreplace").decode()


def _bytes_of(shard: SmallShard) -> int:
    copies = sum(max(entry.size, 0) for entry in shard.copies)
    return copies + sum(max(source.size, 0) for source, _ in shard.probes)
