"""First signal drains, second stops, and Python's own handlers come back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from scheduler.signals import draining_on_signals, hear_interrupts


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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (signal.SIG_DFL, signal.default_int_handler),
        (signal.SIG_IGN, signal.SIG_IGN),
        (signal.default_int_handler, signal.default_int_handler),
    ],
)
def test_interrupts_are_heard_again_unless_they_are_to_be_ignored(
    before: signal._HANDLER, after: signal._HANDLER
) -> None:
    own = signal.signal(signal.SIGINT, before)
    try:
        hear_interrupts()
        assert signal.getsignal(signal.SIGINT) is after
    finally:
        signal.signal(signal.SIGINT, own)


def test_an_interrupt_among_imports_ends_the_process() -> None:
    """Python would raise it in whatever runs just then, and drop it where that is a callback."""
    program = (
        "import signal, sys\n"
        # Who runs the tests in the background may have had SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mover import __main__, cli\n"
        "cli.run = lambda arguments: signal.raise_signal(signal.SIGINT)\n"
        "try:\n    __main__.main()\nexcept KeyboardInterrupt:\n    sys.exit(5)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGINT
