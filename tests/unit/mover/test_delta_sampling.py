"""The fingerprint of a large object: what it tells of others, and what it costs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.delta.garbled import Garbled
from mover.delta_inputs import Input
from mover.delta_sampling import (
    SAMPLE_BYTES,
    WINDOW_BYTES,
    WINDOWS,
    Fingerprint,
    sampled,
    windows,
    windows_in,
)

MIB = 1024 * 1024
DRAW = random.Random(5)
DATA = DRAW.randbytes(8 * MIB)
OTHER = DRAW.randbytes(8 * MIB)
THIRD = len(DATA) // 3


class Bytes(Input):
    """Bytes in memory; counts what is read of them."""

    seekable = True
    name = "bytes"

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.read_bytes = 0
        self._data = data

    async def pour(self, take: object) -> None:
        raise NotImplementedError

    async def read(self, start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(self._data)
        self.read_bytes += stop - start
        return self._data[start:stop]


async def share(data: bytes, other: bytes) -> float | None:
    ours, theirs = Bytes(data), Bytes(other)
    samples = await sampled(ours, len(data))
    assert len(samples) < 8192
    fingerprint = await Fingerprint.read(samples, len(data))
    found = await fingerprint.share_in(theirs, len(other))
    assert max(ours.read_bytes, theirs.read_bytes) <= SAMPLE_BYTES
    return found


@pytest.mark.parametrize(
    ("other", "least", "most"),
    [
        (DATA, 1.0, 1.0),
        (OTHER, 0.0, 0.0),
        (DATA[:THIRD] + b"inserted" + DATA[THIRD:], 0.95, 1.0),
        (DATA[:THIRD] + OTHER[:MIB] + DATA[THIRD:], 0.8, 1.0),
        (b"header!!" + DATA, 0.95, 1.0),
        (DATA[40_000:], 0.8, 1.0),
        (DATA + OTHER[: 2 * MIB], 0.95, 1.0),
        (DATA[: 5 * MIB], 0.5, 0.7),
        (DATA[:THIRD] + OTHER[THIRD:], 0.3, 0.5),
        (OTHER[: 4 * MIB] + DATA[4 * MIB :], 0.4, 0.6),
    ],
    ids=[
        *("equal", "other", "inserted", "much-inserted", "prefixed", "cut", "appended"),
        *("shorter", "a-third", "half"),
    ],
)
async def test_what_share_of_it_another_has(other: bytes, least: float, most: float) -> None:
    found, turned = await share(DATA, other), await share(other, DATA)
    assert found is not None
    assert turned is not None
    assert least <= found <= most
    assert least / 2 <= turned


async def test_what_is_one_byte_over_and_over_tells_nothing() -> None:
    sparse = bytes(4 * MIB)
    assert await share(sparse, sparse) is None
    assert await share(sparse + DATA, sparse + OTHER) == 0.0
    assert await share(sparse + DATA, sparse + DATA) == 1.0


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
async def test_what_is_no_fingerprint(damage: bytes | None) -> None:
    samples = await sampled(Bytes(DATA), len(DATA)) if damage is None else damage
    with pytest.raises(Garbled):
        await Fingerprint.read(samples[:-1], len(DATA))


@given(st.integers(1, 1 << 45), st.integers(1, 1 << 45))
def test_windows_are_inside_and_bounded(size: int, other_size: int) -> None:
    own = windows(size)
    assert len(own) <= WINDOWS
    assert (own[0][0], own[-1][1]) == (0, size)
    there = windows_in(size, other_size)
    assert len(there) <= 2 * WINDOWS
    for start, stop in own:
        assert 0 <= start < stop <= size
    for start, stop in there:
        assert 0 <= start < stop <= other_size
    assert sum(stop - start for start, stop in there) <= SAMPLE_BYTES
    if size > WINDOWS * WINDOW_BYTES:
        assert {stop - start for start, stop in own} == {WINDOW_BYTES}
