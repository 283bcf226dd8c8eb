"""The long storm: six workers, one killed every second for a minute, Redis and the store too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.redis_process import installed_servers
from tests.e2e.support import MIB
from tests.e2e.test_storm import weather

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.soak
@pytest.mark.parametrize(("seed", "queue"), [(1, "bundled"), (2, "bundled"), (3, "bundled-valkey")])
def test_a_fleet_weathers_a_minute_of_storm(tmp_path: Path, seed: int, queue: str) -> None:
    weather(
        tmp_path,
        seconds=60,
        size=6,
        objects=6000,
        limit="3MiB/s",
        within_s=400,
        seed=seed,
        large={"l/a.bin": 60 * MIB, "z.bin": 45 * MIB},
        program=installed_servers()[queue],
    )
