"""HTTP sources through the whole engine: with ranges, without, and of a length that nobody tells."""

import os
import random
from pathlib import Path

import pytest

from mover import api
from tests.servers.http import HttpServer

MIB = 1024 * 1024


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MOVER_STATE": str(tmp_path / "state")}


@pytest.mark.parametrize("manner", ["ranges", "plain", "chunked", "redirect"])
@pytest.mark.parametrize("size", [0, 5000, 21 * MIB])
async def test_one_object(
    http_server: HttpServer, environment: dict[str, str], tmp_path: Path, manner: str, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    name = f"e2e-{manner}-{size}.bin"
    (http_server.root / name).write_bytes(data)
    target = tmp_path / "out"
    target.mkdir()
    report = await api.copy(http_server.url(manner, name), f"{target}/", environment=environment)
    assert report.failures == []
    assert report.exit_code == 0
    assert (target / name).read_bytes() == data
    assert [path.name for path in target.iterdir()] == [name]


async def test_a_tree_by_its_directory_pages(
    http_server: HttpServer, environment: dict[str, str], tmp_path: Path
) -> None:
    tree = {"top.txt": b"1", "deep/er/x y.bin": os.urandom(3000), "deep/z.bin": b""}
    for name, data in tree.items():
        path = http_server.root / "e2e-tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = http_server.url("nginx", "e2e-tree/")
    report = await api.copy(source, f"{tmp_path}/out/", environment=environment)
    assert report.exit_code == 0
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == tree
    again = await api.copy(source, f"{tmp_path}/out/", environment=environment)
    assert (again.tally.copied_objects, again.tally.skipped_objects) == (0, 3)
