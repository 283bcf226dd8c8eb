"""What every task store must do, as a suite to inherit; and time that tests control.

A store's own test file is short::

    class TestMyStore(TaskStoreContract):
        @contextlib.asynccontextmanager
        async def opened(self, *, attempts_max):
            async with MyStore(..., attempts_max=attempts_max) as store:
                yield store

Needs pytest, and pytest-asyncio in its automatic mode. Nothing outside of tests imports this.
"""

import pytest

# Before the first import, or a failing assertion would not show its values.
pytest.register_assert_rewrite(
    "scheduler.testing.advancing", "scheduler.testing.leasing", "scheduler.testing.sharing"
)

from scheduler.testing.advancing import AdvancingContract  # noqa: E402
from scheduler.testing.clocks import ManualClock, VirtualTimeLoop, run_virtually  # noqa: E402
from scheduler.testing.leasing import LeasingContract  # noqa: E402
from scheduler.testing.sharing import SharingContract  # noqa: E402


class TaskStoreContract(LeasingContract, SharingContract, AdvancingContract):
    """The behaviour that every store shares; what is not in here is not promised."""


__all__ = ["ManualClock", "TaskStoreContract", "VirtualTimeLoop", "run_virtually"]
