"""A wish to stop, passed from a signal to whatever is running."""

import asyncio


class Stop:
    """A wish to stop, made by a signal: ``drain`` first, ``at_once`` the second time."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.at_once = asyncio.Event()
        self.signal_number = 0

    def request(self, signal_number: int = 0) -> None:
        """Ask to stop; asking again asks for at once."""
        self.signal_number = self.signal_number or signal_number
        (self.at_once if self.drain.is_set() else self.drain).set()
