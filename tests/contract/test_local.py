import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from transports.base import Transport
from transports.local import LocalTransport
from transports.testing import TransportContract


class TestLocal(TransportContract):
    many = 2_500

    @pytest.fixture
    async def transport(self, tmp_path: Path) -> AsyncIterator[Transport]:
        (tmp_path / "around").mkdir()
        (tmp_path / "around" / "root").mkdir()
        transport = LocalTransport(tmp_path / "around" / "root", token="contract")
        yield transport
        await transport.close()

    def outside(self, transport: Transport) -> object:
        """Everything beside the root, and what the absolute name of the suite would have made."""
        around = os.path.dirname(transport.location.rstrip("/"))
        return (
            sorted(os.listdir(around)),
            sorted(os.listdir(os.path.dirname(around))),
            os.path.lexists("/tmp/fluid-mover-escaped"),
            os.path.lexists("/abs"),
        )
