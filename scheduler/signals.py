"""Turn the signals of an operator, or of a platform that moves pods, into drain and stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class SignalLog:
    """The signals that came, oldest first."""

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []

    @property
    def exit_code(self) -> int | None:
        """128 plus the first signal (130 for SIGINT, 143 for SIGTERM); None without one."""
        return 128 + self.received[0] if self.received else None


def hear_interrupts() -> None:
    """Let SIGINT raise ``KeyboardInterrupt`` again where it would end the process at once.

    To be called before anything begins that must be cleared away. A process that was told to ignore
    SIGINT, as ``nohup`` and shells do in the background, goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def draining_on_signals(
    *, drain: Callable[[], None], stop: Callable[[], None]
) -> Iterator[SignalLog]:
    """On SIGTERM or SIGINT call ``drain``; on any one after that, ``stop``.

    For the main thread of a running loop. The block's end restores Python's own handlers.
    """
    log = SignalLog()

    def receive(number: signal.Signals) -> None:
        log.received.append(number)
        if len(log.received) == 1:
            drain()
        else:
            stop()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, receive, number)
    try:
        yield log
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, previous[number])
