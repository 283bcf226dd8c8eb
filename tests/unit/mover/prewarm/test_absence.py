"""A node has left when somebody who kept looking heard nothing new of it."""

from __future__ import annotations

import pytest

from mover.prewarm.absence import AWAY_S, Absences

NODES = ("a", "b")

EACH_S = tuple(float(second) for second in range(100, 131))


@pytest.mark.parametrize(
    ("looks", "lost"),
    [
        pytest.param([(100.0, {"a": 1.0, "b": 1.0})], set(), id="nobody at the first look"),
        pytest.param(
            [(at_s, {"a": at_s, "b": 1.0}) for at_s in EACH_S], {"b"}, id="who says nothing new"
        ),
        pytest.param([(at_s, {"a": at_s}) for at_s in EACH_S], {"b"}, id="who never said anything"),
        pytest.param(
            [(at_s, {"a": at_s - 5000, "b": at_s + 5000}) for at_s in EACH_S],
            set(),
            id="whatever the clocks of others show",
        ),
        pytest.param(
            [(at_s, {"a": 1.0, "b": 1.0}) for at_s in (100.0, 500.0)],
            set(),
            id="not after the observer was away",
        ),
        pytest.param(
            [*((at_s, {"a": at_s}) for at_s in EACH_S[:-1]), (130.0, {"a": 130.0, "b": 1.0})],
            set(),
            id="who comes at the last moment",
        ),
    ],
)
def test_who_has_left(looks: list[tuple[float, dict[str, float]]], lost: set[str]) -> None:
    absences = Absences()
    for now_s, signs in looks:
        found = absences.lost(NODES, signs, now_s=now_s, after_s=30.0)
    assert found == lost


def test_an_observer_that_was_away_begins_anew() -> None:
    absences = Absences()
    signs = {"a": 1.0, "b": 1.0}
    back_s = EACH_S[-2] + AWAY_S + 0.1
    for now_s in (*EACH_S[:-1], back_s, back_s + 5.0):
        assert absences.lost(NODES, signs, now_s=now_s, after_s=30.0) == set()
