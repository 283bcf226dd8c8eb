"""Mounts as places: a plain directory whose cache is the page cache, and a real JuiceFS mount."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from mover.prewarm.model import Judge
from mover.prewarm_mounts import open_mount
from tests.contract.place_contract import PlaceContract
from tests.servers.bare_grounds import plain_ground
from tests.servers.juicefs import JuiceMount, cool, fuse_is_usable, put_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from bench.stores import SeaweedServer
    from mover.prewarm_places import Place


@pytest.fixture(scope="module")
def mount(seaweed: SeaweedServer) -> Iterator[JuiceMount]:
    with JuiceMount(seaweed) as mount:
        yield mount


class TestPlainDirectory(PlaceContract):
    @pytest.fixture(autouse=True)
    def root(self, tmp_path: Path) -> Path:
        self.directory = tmp_path
        return tmp_path

    @pytest.fixture
    async def place(self, root: Path) -> AsyncIterator[Place]:
        place = await open_mount(str(root), plain_ground(str(root)))
        yield place
        await place.close()

    def seed(self, files: Mapping[str, int]) -> None:
        put_files(self.directory, files)
        for key in files:
            fd = os.open(self.directory / key, os.O_RDWR)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def vanish(self, key: str) -> None:
        (self.directory / key).unlink()


class TestTimedDirectory(TestPlainDirectory):
    certain = False
    evicts = False

    @pytest.fixture
    async def place(self, root: Path) -> AsyncIterator[Place]:
        place = await open_mount(str(root), plain_ground(str(root), judge=Judge.TIMED))
        yield place
        await place.close()


@pytest.mark.skipif(not fuse_is_usable(), reason="no /dev/fuse for this user")
class TestJuiceFS(PlaceContract):
    @pytest.fixture(autouse=True)
    def root(self, mount: JuiceMount) -> Path:
        self.mount = mount
        self.directory = mount.path / uuid.uuid4().hex[:8]
        self.directory.mkdir()
        return self.directory

    @pytest.fixture
    async def place(self, root: Path) -> AsyncIterator[Place]:
        place = await open_mount(str(root), plain_ground(str(root)))
        assert place.nature.judge is Judge.JUICEFS
        yield place
        await place.close()

    def seed(self, files: Mapping[str, int]) -> None:
        put_files(self.directory, files)
        cool(self.mount, self.directory)

    def vanish(self, key: str) -> None:
        (self.directory / key).unlink()
