"""The life of a task: tables, and the drawing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scheduler import states
from scheduler.model import Discard, Disposition, Done, Release, Retry, TaskState
from scheduler.states import EDGES, Edge, Standing

DRAWING = Path(__file__).parents[3] / "docs" / "state-machine.md"

LEASED = Standing(
    state=TaskState.LEASED, generation=4, attempts=1, expires_at_s=130.0, worker_id="w"
)


def test_the_drawing_shows_exactly_the_edges_of_the_code() -> None:
    drawn = set()
    for source, target, verb in re.findall(
        r"^ +(\S+) --> (\S+): (\w+)$", DRAWING.read_text(encoding="utf-8"), re.MULTILINE
    ):
        start = None if source == "[*]" else TaskState(source)
        end = None if target == "[*]" else TaskState(target)
        drawn.add(Edge(start, verb, end))
    assert drawn == EDGES


@pytest.mark.parametrize(
    ("state", "not_before_s", "is_claimed"),
    [
        (TaskState.PENDING, 0, True),
        (TaskState.PENDING, 900, True),
        (TaskState.DELAYED, 99.9, True),
        (TaskState.DELAYED, 100, True),
        (TaskState.DELAYED, 100.1, False),
        (TaskState.LEASED, 0, False),
        (TaskState.WAITING, 0, False),
        (TaskState.DONE, 0, False),
        (TaskState.DISCARDED, 0, False),
    ],
)
def test_claim(state: TaskState, not_before_s: float, is_claimed: bool) -> None:
    before = Standing(state=state, generation=4, attempts=1, not_before_s=not_before_s)
    after = states.claim(before, worker_id="w", lease_s=30, now_s=100)
    assert (after is not None) == is_claimed
    if after is not None:
        assert (after.state, after.generation, after.attempts) == (TaskState.LEASED, 5, 1)
        assert (after.worker_id, after.expires_at_s) == ("w", 130)


@pytest.mark.parametrize(
    ("disposition", "attempts", "state", "attempts_after", "not_before_s", "reason"),
    [
        (Done(), 2, TaskState.DONE, 2, 0, ""),
        (Release(), 2, TaskState.PENDING, 2, 0, ""),
        (Discard(reason="r"), 0, TaskState.DISCARDED, 1, 0, "r"),
        (Retry(after_s=5, reason="r"), 0, TaskState.DELAYED, 1, 105, "r"),
        (Retry(after_s=0), 1, TaskState.DELAYED, 2, 100, ""),
        (Retry(reason="r"), 2, TaskState.DISCARDED, 3, 0, "Gave up after 3 attempts: r"),
        (Retry(), 2, TaskState.DISCARDED, 3, 0, "Gave up after 3 attempts: no reason given"),
    ],
)
def test_finish(
    disposition: Disposition,
    attempts: int,
    state: TaskState,
    attempts_after: int,
    not_before_s: float,
    reason: str,
) -> None:
    before = Standing(
        state=TaskState.LEASED, generation=4, attempts=attempts, expires_at_s=130, worker_id="w"
    )
    after = states.finish(before, generation=4, disposition=disposition, attempts_max=3, now_s=100)
    assert after == Standing(
        state=state,
        generation=4,
        attempts=attempts_after,
        not_before_s=not_before_s,
        reason=reason,
    )


@pytest.mark.parametrize("state", list(TaskState))
def test_finish_of_another_generation_is_lost(state: TaskState) -> None:
    before = Standing(state=state, generation=5)
    for generation in (4, 6):
        assert (
            states.finish(
                before, generation=generation, disposition=Done(), attempts_max=3, now_s=0
            )
            is None
        )


@pytest.mark.parametrize("state", [s for s in TaskState if s is not TaskState.LEASED])
def test_finish_of_a_settled_task_returns_it_untouched(state: TaskState) -> None:
    before = Standing(state=state, generation=5)
    after = states.finish(before, generation=5, disposition=Retry(), attempts_max=3, now_s=0)
    assert after is before


@pytest.mark.parametrize(
    ("now_s", "dead", "is_reaped"),
    [(129.9, (), False), (130, (), True), (500, (), True), (1, ("w",), True), (1, ("v",), False)],
)
def test_reap(now_s: float, dead: tuple[str, ...], is_reaped: bool) -> None:
    after = states.reap(LEASED, attempts_max=3, now_s=now_s, dead=dead)
    assert (after is not None) == is_reaped
    if after is not None:
        assert (after.state, after.attempts, after.generation) == (TaskState.PENDING, 2, 5)
        assert (after.worker_id, after.expires_at_s) == ("", 0)
        assert "w" in after.reason


def test_reap_discards_after_the_last_attempt() -> None:
    after = states.reap(LEASED, attempts_max=2, now_s=130)
    assert after is not None
    assert (after.state, after.attempts) == (TaskState.DISCARDED, 2)
    assert "Lease of worker w ran out" in after.reason


@pytest.mark.parametrize("state", list(TaskState))
def test_only_a_leased_task_is_extended_or_reaped(state: TaskState) -> None:
    before = Standing(state=state, generation=4)
    is_leased = state is TaskState.LEASED
    extended = states.extend(before, generation=4, lease_s=30, now_s=100)
    assert (extended is not None) == is_leased
    assert (states.reap(before, attempts_max=3, now_s=1) is not None) == is_leased
    assert states.extend(before, generation=3, lease_s=30, now_s=100) is None


@pytest.mark.parametrize("state", list(TaskState))
def test_only_a_waiting_task_is_settled(state: TaskState) -> None:
    after = states.settle(Standing(state=state))
    assert (after is not None) == (state is TaskState.WAITING)
    assert after is None or after.state is TaskState.PENDING
