"""The versions of the benchmark of two regions are what their names say."""

from __future__ import annotations

import struct

from bench.region_cases import CASES, weights

SIZE = 4 * 1024 * 1024


def test_trained_weights_differ_in_every_hundredth() -> None:
    (case,) = [case for case in CASES if case.has_base]
    old, new = (b"".join(version(SIZE)) for version in (case.old, case.new))
    assert len(old) == len(new) == SIZE
    changed = sum(old[at : at + 2] != new[at : at + 2] for at in range(0, SIZE, 2))
    assert 0.0099 < changed / (SIZE / 2) <= 0.01


def test_weights_are_those_of_a_model() -> None:
    data = next(weights(SIZE))
    floats = [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, 100_000, 2)]
    spread = (sum(value * value for value in floats) / len(floats)) ** 0.5
    assert 0.015 < spread < 0.03
    assert abs(sum(floats) / len(floats)) < 0.001
