"""What every task store must do, as a suite to inherit; and time that tests control.

A store's own test file is short::

    pytest.register_assert_rewrite("scheduler.testing.leasing", "scheduler.testing.sharing")

    class TestMyStore(TaskStoreContract):
        @contextlib.asynccontextmanager
        async def opened(self, *, attempts_max):
            async with MyStore(..., attempts_max=attempts_max) as store:
                yield store

Needs pytest, and pytest-asyncio in its automatic mode. Nothing outside of tests imports this.
"""

from scheduler.testing.clocks import ManualClock, VirtualTimeLoop, run_virtually
from scheduler.testing.leasing import LeasingContract
from scheduler.testing.sharing import SharingContract


class TaskStoreContract(LeasingContract, SharingContract):
    """The behaviour that every store shares; what is not in here is not promised."""


__all__ = ["ManualClock", "TaskStoreContract", "VirtualTimeLoop", "run_virtually"]
