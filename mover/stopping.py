"""A wish to stop, passed from a signal to whatever is running."""

import asyncio


class Stop:
    """A wish to stop, made by a signal: ``drain`` first, ``at_once`` the second time.

    ``farewell`` is what a person is told then.
    """

    def __init__(
        self, farewell: str = "stopping: finishing what is under way; again to stop at once"
    ) -> None:
        self.farewell = farewell
        self.drain = asyncio.Event()
        self.at_once = asyncio.Event()
        self.signal_number = 0

    def request(self, signal_number: int = 0) -> None:
        """Ask to stop; asking again asks for at once."""
        self.signal_number = self.signal_number or signal_number
        (self.at_once if self.drain.is_set() else self.drain).set()
