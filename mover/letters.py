"""Pure: what becomes of objects that failed: another attempt, or a dead letter.

A task that moved most of its objects is done. What failed in it leaves it. An object whose store
failed only for now comes again as part of a new task, which has attempts and pauses as any task
has. What failed for good, or has used up its attempts, becomes a *dead letter*: a task that is given
up from the start, with the failures as its result. The report counts it, ``mover retry`` makes it
claimable again, and it then moves exactly these objects.
"""

from collections.abc import Mapping, Sequence

from mover.model import Failure, LargeObject, Removal, SmallShard, Tally, TaskResult
from mover.payloads import Payload, decode_result, encode_payload, encode_result
from mover.settings import OBJECT_ATTEMPTS_MAX, STORE_WISH_MAX_S
from scheduler.model import Done, NewTask, Outcome, Retry
from transports.errors import Obstructed, Transient, TransportError
from transports.model import Entry

CANCELLED = "the job was cancelled"
"""The reason of what was given up because somebody said so; the report does not call it failed."""


def comes_again(error: TransportError, attempt: int) -> bool:
    """Whether a task that failed with this, at this attempt (counted from 1), is tried once more."""
    return isinstance(error, Transient) and attempt < OBJECT_ATTEMPTS_MAX


def another_attempt(errors: Sequence[TransportError]) -> Outcome:
    """The outcome of a task of which nothing came for now; it waits as long as the stores asked."""
    wish_s = max(error.retry_after_s or 0.0 for error in errors)
    reason = _reason([(type(error).__name__, str(error)) for error in errors])
    return Outcome(disposition=Retry(after_s=min(wish_s, STORE_WISH_MAX_S), reason=reason))


def shard_outcome(
    shard: SmallShard | Removal,
    result: TaskResult,
    transient: Mapping[str, Transient],
    *,
    attempt: int,
) -> Outcome:
    """What a shard came to, whose objects may have failed for now (``transient``, by key) or for good.

    A removal is a shard too. The first transient failure leaves the shard, so that what it moved is done. From then on a shard
    of which nothing came is itself tried again, up to ``OBJECT_ATTEMPTS_MAX`` times in a row.
    """
    if shard.failed and attempt >= OBJECT_ATTEMPTS_MAX:
        transient = {}
    passing = [each for each in result.failures if each.key in transient]
    final = [each for each in result.failures if each.key not in transient]
    if shard.failed and passing and not final and _is_all(result, passing):
        return another_attempt(list(transient.values()))
    result.failures[:] = final
    result.tally.failed_objects -= len(passing)
    follow_ups = []
    if passing:
        # It weighs nothing: its bytes are in the weight of the shard that it comes from.
        follow_ups.append(NewTask(payload=encode_payload(_rest(shard, passing))))
    if final:
        rest = _rest(shard, final, refuses=True)
        letter = _letter(encode_payload(rest), result, weight=_bytes_of(rest), attempt=attempt)
        follow_ups.append(letter)
    return Outcome(disposition=Done(), result=encode_result(result), follow_ups=follow_ups)


def object_outcome(entry: Entry, result: TaskResult, *, attempt: int) -> Outcome:
    """The same for a task of one large object that failed for good: a letter that opens it anew."""
    payload = encode_payload(LargeObject(entry=entry))
    letter = _letter(payload, result, weight=0, attempt=attempt)
    return Outcome(disposition=Done(), result=encode_result(result), follow_ups=[letter])


def handed_on(task: Payload, pool: str, *, weight: int = 0, tally: Tally | None = None) -> Outcome:
    """The outcome of a task that another one goes on with."""
    return Outcome(
        disposition=Done(),
        result=encode_result(TaskResult(tally=tally or Tally())),
        follow_ups=[NewTask(payload=encode_payload(task), weight=weight, pool=pool)],
    )


def done(result: TaskResult) -> Outcome:
    """The outcome of a task that has come to this, and to nothing more."""
    return Outcome(disposition=Done(), result=encode_result(result))


def failures_in(follow_ups: Sequence[NewTask]) -> list[Failure]:
    """The failures that the dead letters among a task's follow-ups tell."""
    return [
        failure
        for task in follow_ups
        if task.discarded
        for failure in decode_result(task.result).failures
    ]


def is_obstructed(result: bytes) -> bool:
    """Whether a dead letter's result tells of nothing but objects that others stand in the way of."""
    failures = decode_result(result).failures if result else []
    return bool(failures) and all(each.error == Obstructed.__name__ for each in failures)


def _is_all(result: TaskResult, failures: Sequence[Failure]) -> bool:
    return result.tally == Tally(failed_objects=len(failures))


def _rest(
    shard: SmallShard | Removal, failures: Sequence[Failure], *, refuses: bool = False
) -> SmallShard | Removal:
    keys = {failure.key for failure in failures}
    if isinstance(shard, Removal):
        return Removal(entries=[each for each in shard.entries if each.key in keys], failed=True)
    return SmallShard(
        copies=[entry for entry in shard.copies if entry.key in keys],
        probes=[pair for pair in shard.probes if pair[0].key in keys],
        refused=list(shard.refused) if refuses else [],
        failed=True,
    )


def _letter(payload: bytes, result: TaskResult, *, weight: int, attempt: int) -> NewTask:
    """A dead letter of the failures in ``result``, which are taken out of it."""
    failures, tally = list(result.failures), result.tally
    counts = Tally(failed_objects=tally.failed_objects, corrupt_objects=tally.corrupt_objects)
    result.failures.clear()
    tally.failed_objects = tally.corrupt_objects = 0
    reason = _reason([(failure.error, failure.detail) for failure in failures])
    return NewTask(
        payload=payload,
        weight=weight,
        discarded=reason
        if attempt < OBJECT_ATTEMPTS_MAX
        else f"{reason} (after {attempt} attempts)",
        result=encode_result(TaskResult(tally=counts, failures=failures)),
    )


def _reason(failures: Sequence[tuple[str, str]]) -> str:
    error, detail = failures[0]
    others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    # Names may hold stray bytes; a reason is for people.
    return f"{error}: {detail}{others}".encode("utf-8", "backslashreplace").decode()


def _bytes_of(shard: SmallShard | Removal) -> int:
    if isinstance(shard, Removal):
        return 0
    copies = sum(max(entry.size, 0) for entry in shard.copies)
    return copies + sum(max(source.size, 0) for source, _ in shard.probes)
