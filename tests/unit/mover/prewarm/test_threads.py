from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from mover.prewarm_threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(3)
    yield threads
    threads.close()


async def test_results_and_errors_come_back(threads: Threads) -> None:
    assert await threads.run(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    assert await threads.run(len, "abc") == 3


async def test_at_most_so_many_run_and_all_are_run(threads: Threads) -> None:
    lock, running, peak = threading.Lock(), 0, 0
    barrier = threading.Barrier(3)

    def work() -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        barrier.wait(10)
        with lock:
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(threads.run(work))
    assert peak == 3


async def test_a_cancel_tells_the_thread_and_waits_for_it(threads: Threads) -> None:
    began, ended = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        began.set()
        assert stop.wait(10)
        ended.set()

    async with asyncio.TaskGroup() as group:
        call = group.create_task(threads.run_long(work))
        await asyncio.to_thread(began.wait, 10)
        call.cancel()
    assert call.cancelled()
    assert ended.is_set()


async def test_a_thread_that_hangs_is_left_behind(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mover.prewarm_threads.GRACE_S", 0.01)
    go_on = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await threads.run(go_on.wait)
    # It has its place until it comes back, and the others work on.
    assert await threads.run(len, "ab") == 2
    go_on.set()
    assert await threads.run(len, "a") == 1


async def test_closing_ends_idle_threads(threads: Threads) -> None:
    await threads.run(len, "")
    before = [t for t in threading.enumerate() if t.name == "prewarm"]
    threads.close()
    for thread in before:
        thread.join(5)
    assert not any(thread.is_alive() for thread in before)
    threads.close()
