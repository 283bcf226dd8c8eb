"""The limiter over HTTP: its answers, and the stock ``juicefs sync`` under it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bench.tools import executable
from mover.limiter import Limiter, serve_limiter
from mover.links import link_bucket, links_of
from scheduler.errors import StoreUnavailable
from scheduler.memory_store import MemoryTaskStore
from scheduler.quota import Quota

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.alone

RATE_PER_S = 20e6


class Store(MemoryTaskStore):
    """Can be away."""

    is_away = False

    async def reserve(
        self, bucket: str, amount: float, *, rate_per_s: float, burst: float, now_s: float
    ) -> float:
        if self.is_away:
            raise StoreUnavailable(location="memory", detail="away")
        return await super().reserve(
            bucket, amount, rate_per_s=rate_per_s, burst=burst, now_s=now_s
        )


@pytest.fixture
def store() -> Store:
    return Store()


@contextlib.asynccontextmanager
async def served(
    store: Store, rate: str = "20MB/s", *, patience_s: float = 5.0
) -> AsyncIterator[str]:
    limiter = Limiter(store, links_of({"wan": rate}), patience_s=patience_s)
    async with serve_limiter(limiter) as port:
        yield f"http://127.0.0.1:{port}/limit"


async def ask(url: str, body: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as reply:
        return reply.status, await reply.text()


async def test_an_answer_grants_and_says_for_how_long(store: Store) -> None:
    async with served(store) as url:
        assert await ask(f"{url}/wan", '{"bytes": 1000}') == (
            200,
            '{"granted": 1000, "expired": 1000}',
        )
        assert (await ask(f"{url}/wan", '{"bytes": -400}'))[1] == '{"granted": 0, "expired": 1000}'
        assert (await ask(f"{url}/wan", '{"bytes": 0}'))[0] == 200


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"bytes": 1.5}', '{"bytes": true}', '{"bytes": 1e400}', "[" * 3000]
)
async def test_a_malformed_request_is_refused_in_one_line(store: Store, body: str) -> None:
    async with served(store) as url:
        status, text = await ask(f"{url}/wan", body)
    assert status == 400
    assert text.count("\n") == 1


async def test_an_unknown_link_is_not_found_until_someone_sets_its_rate(store: Store) -> None:
    async with served(store) as url:
        assert (await ask(f"{url}/lan", '{"bytes": 1}'))[0] == 404
        assert (await ask(f"{url}/a%2Fb", '{"bytes": 1}'))[0] == 400
        await store.set_rate(link_bucket("lan"), b"1MB/s")
        assert (await ask(f"{url}/lan", '{"bytes": 1}'))[0] == 200


async def test_a_store_that_is_away_keeps_clients_waiting_and_then_refuses(store: Store) -> None:
    store.is_away = True
    async with served(store, patience_s=0.4) as url:
        started_s = time.monotonic()
        status, text = await ask(f"{url}/wan", '{"bytes": 1000}')
        assert status == 503
        assert text.count("\n") == 1
        assert time.monotonic() - started_s > 0.3


async def test_a_large_ask_is_granted_in_parts_that_keep_the_rate(store: Store) -> None:
    async with served(store) as url:
        started_s, granted = time.monotonic(), 0
        async with aiohttp.ClientSession() as session:
            while granted < RATE_PER_S:
                async with session.post(f"{url}/wan", json={"bytes": 10 << 20}) as reply:
                    part = (await reply.json())["granted"]
                    assert 0 < part <= RATE_PER_S * 0.1
                    granted += part
        assert granted / (time.monotonic() - started_s) == pytest.approx(RATE_PER_S, rel=0.1)


async def test_only_what_was_granted_can_be_returned(store: Store) -> None:
    async with served(store, "1MB/s") as url:
        await ask(f"{url}/wan", '{"bytes": 1000}')
        await store.reserve(
            "link:wan", 5e6, rate_per_s=1e6, burst=0, now_s=time.time()
        )  # 5 s booked by someone else
        await ask(f"{url}/wan", f'{{"bytes": {-(1 << 50)}}}')
        left_s = await store.reserve("link:wan", 0, rate_per_s=1e6, burst=0, now_s=time.time())
    assert left_s > 4.5


async def test_a_client_that_leaves_does_not_go_on_taking(store: Store) -> None:
    async with served(store, "100kB/s") as url:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await ask(f"{url}/wan", '{"bytes": 1000000}')
        await asyncio.sleep(0.2)
        booked_s = await store.reserve("link:wan", 0, rate_per_s=1e5, burst=0, now_s=time.time())
        await asyncio.sleep(0.3)
        still_s = await store.reserve("link:wan", 0, rate_per_s=1e5, burst=0, now_s=time.time())
    assert booked_s < 0.3
    assert still_s == 0


# --- the stock client ---


async def sync(source: Path, target: Path, url: str, home: Path) -> float:
    """Run ``juicefs sync`` and return its seconds, less what it takes to start and to end."""
    juicefs = executable("juicefs", "install the extra `test`")
    started_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(
            str(juicefs),
            "--quiet",
            "sync",
            "--metrics",
            "127.0.0.1:0",
            "--traffic-control-url",
            url,
        ),
        *(f"file://{source}/", f"file://{target}/"),
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return time.monotonic() - started_s


def fill(place: Path, *, files: int, size_bytes: int) -> Path:
    place.mkdir()
    for number in range(files):
        (place / f"{number}").write_bytes(bytes([number]) * size_bytes)
    return place


@pytest.mark.slow
async def test_juicefs_sync_keeps_the_rate(store: Store, tmp_path: Path) -> None:
    source = fill(tmp_path / "source", files=2, size_bytes=30_000_000)
    async with served(store) as url:
        nothing = fill(tmp_path / "empty", files=0, size_bytes=0)
        # The first start of a program takes longer: its pages have to be read.
        empty = min(
            [await sync(nothing, tmp_path / f"none-{n}", f"{url}/wan", tmp_path) for n in range(2)]
        )
        seconds = await sync(source, tmp_path / "target", f"{url}/wan", tmp_path)
    assert sum(entry.stat().st_size for entry in (tmp_path / "target").iterdir()) == 60_000_000
    assert seconds - empty == pytest.approx(60e6 / RATE_PER_S, rel=0.1)


@pytest.mark.slow
async def test_juicefs_sync_and_a_quota_share_the_rate(store: Store, tmp_path: Path) -> None:
    source = fill(tmp_path / "source", files=1, size_bytes=36_000_000)
    taken = 0.0

    async def compete() -> None:
        nonlocal taken
        quota = Quota(store, link_bucket("wan"), rate_per_s=lambda: RATE_PER_S, unit=16_384)
        while True:
            amount = max(65_536.0, quota.piece or 0.0)
            await quota.take(amount)
            taken += amount

    async with served(store) as url, asyncio.TaskGroup() as beside:
        competitor = beside.create_task(compete(), name="competitor")
        started_s = time.monotonic()
        await sync(source, tmp_path / "target", f"{url}/wan", tmp_path)
        seconds = time.monotonic() - started_s
        competitor.cancel()
    assert taken > 10e6
    assert (taken + 36e6) / seconds == pytest.approx(RATE_PER_S, rel=0.1)
