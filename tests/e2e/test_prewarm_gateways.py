"""``mover prewarm`` through a real caching proxy: full and proven, or exit 1 with the names."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.support import MIB, Mover
from tests.servers.nginx import NginxCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.buckets import Bucket
    from tests.servers.http import HttpServer

SIZES = {f"d{number % 3}/{number:02}": 10_000 + number for number in range(60)} | {"big": 3 * MIB}


@pytest.fixture
def mover(tmp_path: Path) -> Iterator[Mover]:
    mover = Mover(environment={"XDG_STATE_HOME": str(tmp_path / "state")}, timeout_s=60)
    yield mover
    mover.close()


@pytest.fixture
def origin(http_server: HttpServer) -> HttpServer:
    for key, size in SIZES.items():
        path = http_server.root / "data" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return http_server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "nginx"
    home.mkdir()
    return home


def prewarm(mover: Mover, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = mover.run("prewarm", *arguments, "--json")
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def fetched(origin: HttpServer) -> Counter[str]:
    """How often each object left the origin."""
    paths = (each.path.partition("/data/")[2] for each in origin.requests)
    return Counter(path for path in paths if path in SIZES)


def test_a_cold_cache_is_filled_and_a_second_run_reads_nothing(
    mover: Mover, origin: HttpServer, home: Path
) -> None:
    with NginxCache(home, origin.base_url) as cache:
        target = f"{cache.url}/nginx/data/"
        residency = prewarm(mover, target)["residency"]
        assert residency["percent_bytes"] == residency["percent_files"] == 100.0
        assert (residency["judge"], residency["certainty"]) == ("header", "proven")
        assert fetched(origin) == dict.fromkeys(SIZES, 1)
        origin.forget()
        again = prewarm(mover, target)
        assert (again["objects"]["copied"], again["objects"]["skipped"]) == (0, len(SIZES))
        status = prewarm(mover, "--status", target)
        assert status["residency"]["percent_bytes"] == 100.0
        assert fetched(origin) == {}
        assert "forget" in json.dumps(prewarm(mover, "--evict", target, code=1))


def test_a_cache_that_keeps_nothing_is_told_of_with_names(
    mover: Mover, origin: HttpServer, home: Path
) -> None:
    with NginxCache(home, origin.base_url, directives="proxy_no_cache 1;") as cache:
        report = prewarm(mover, f"{cache.url}/nginx/data/", "--attempts", "2", code=1)
    assert report["residency"]["percent_bytes"] == 0.0
    assert {failure["key"] for failure in report["failures"]} == SIZES.keys()


def test_a_cache_that_says_nothing_is_not_called_full(
    mover: Mover, origin: HttpServer, home: Path
) -> None:
    with NginxCache(home, origin.base_url, says="") as cache:
        report = prewarm(mover, f"{cache.url}/nginx/data/")
    assert report["residency"]["percent_bytes"] is None
    assert report["residency"]["certainty"] == "unknown"
    assert report["bytes"]["copied"] == sum(SIZES.values())


def test_a_limit_holds_for_what_a_gateway_sends(
    mover: Mover, public_bucket: Bucket, home: Path
) -> None:
    rate = 1_000_000
    size = 20 * 100_000
    for number in range(20):
        public_bucket.put(f"t/{number:02}", bytes(100_000))
    with NginxCache(home, public_bucket.server.endpoint_url) as cache:
        target = public_bucket.location("t/", endpoint_url=cache.url) + "&unsigned=true"
        began_s = time.monotonic()
        report = prewarm(mover, target, "--limit", "1MB/s")
        took_s = time.monotonic() - began_s
    assert report["residency"]["percent_bytes"] == 100.0
    assert report["bytes"]["wire"] >= 0.9 * size  # what was asked about first was fetched for that
    assert took_s >= 0.8 * size / rate  # the limit's burst is free
