"""What end-to-end tests of several modules stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.redis_process import RedisProcess
from tests.e2e.fleet import Fleet
from tests.e2e.support import Mover, environment_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stores import SeaweedServer


@pytest.fixture
def mover(seaweed: SeaweedServer, tmp_path: Path) -> Iterator[Mover]:
    """The command line, with a state of its own, and the store's keys."""
    mover = Mover(environment=environment_for(tmp_path / "state", seaweed))
    yield mover
    mover.close()


@pytest.fixture(scope="session")
def fleet(seaweed: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker in each of two pools, ``us`` and ``eu``, for all jobs of this process."""
    state = tmp_path_factory.mktemp("fleet")
    with RedisProcess() as redis:
        fleet = Fleet(redis=redis, environment=environment_for(state, seaweed))
        for pool in ("us", "eu"):
            fleet.start_worker("--pool", pool)
        yield fleet
        fleet.close()
