"""Every combination of rate, direction, shape and workers, twenty seconds each, one at a time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.e2e.throttling import Case, assert_held

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket

# The proxy passes some thousand requests a second: small objects at 40 MB/s would measure it.
CASES = [
    Case(rate_mb, up, huge, workers, seconds=20.0)
    for rate_mb, up, huge, workers in itertools.product(
        (1, 8, 40), (False, True), (True, False), (1, 2)
    )
    if huge or rate_mb < 40
]


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_bytes_per_second(
    case: Case,
    seaweed: SeaweedServer,
    bucket_on: Callable[[SeaweedServer], Bucket],
    tmp_path: Path,
) -> None:
    await assert_held(case, lambda: bucket_on(seaweed), tmp_path)
