"""First signal drains, second stops, and Python's own handlers come back."""

from __future__ import annotations

import asyncio
import os
import signal

from scheduler.signals import draining_on_signals


async def test_first_drains_second_stops() -> None:
    heard: list[str] = []
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    news = asyncio.Event()

    def hear(what: str) -> None:
        heard.append(what)
        news.set()

    with draining_on_signals(drain=lambda: hear("drain"), stop=lambda: hear("stop")) as log:
        assert log.exit_code is None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
            async with asyncio.timeout(5):
                await news.wait()
            news.clear()
        assert heard == ["drain", "stop", "stop"]
        assert log.exit_code == 130
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
