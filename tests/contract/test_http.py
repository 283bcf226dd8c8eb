"""The HTTP source under the reading half of the contract, with each server's directory pages."""

import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.servers.http import HttpServer
from transports.base import Transport
from transports.location import parse_location
from transports.opening import open_transport
from transports.testing import ListingContract, ReadingContract


class HttpContract(ListingContract, ReadingContract):
    manner = "nginx"
    folds = False

    @pytest.fixture
    def root(self, http_server: HttpServer) -> Path:
        root = http_server.root / uuid.uuid4().hex
        root.mkdir()
        return root

    @pytest.fixture
    async def transport(self, http_server: HttpServer, root: Path) -> AsyncIterator[Transport]:
        self.root_of = root
        location = parse_location(http_server.url(self.manner, f"{root.name}/"))
        transport = await open_transport(location, side="source", environment={})
        yield transport
        await transport.close()
        shutil.rmtree(root)

    async def seed(self, transport: Transport, objects: Mapping[str, bytes]) -> None:
        for key, data in objects.items():
            path = self.root_of / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class TestNginx(HttpContract):
    manner = "nginx"


class TestApache(HttpContract):
    manner = "apache"


class TestPython(HttpContract):
    manner = "python"
