"""Google's storage API, through gcsfs at fake-gcs-server, under the contract."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.servers.gcs import GcsServer
from transports.base import Transport
from transports.errors import Invalid
from transports.location import parse_location
from transports.opening import open_transport
from transports.testing import (
    ListingContract,
    ReadingContract,
    UploadContract,
    WritingContract,
    listed,
)
from transports.testing.support import blob

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly")


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        yield server


class TestGcs(ListingContract, ReadingContract, WritingContract, UploadContract):
    """Names are those of fsspec, which ``test_filesystem`` goes through."""

    folds = False

    async def test_an_empty_directory_is_a_marker(self, transport: Transport) -> None:
        """Through fsspec nothing can name ``d/``: what is refused cannot be a marker."""
        (result,) = await transport.write_small([blob("d/", b"")])
        assert isinstance(result, Invalid)
        assert await listed(transport) == []

    @pytest.fixture
    async def transport(
        self, server: GcsServer, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Transport]:
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        location = parse_location(server.location())
        anonymous = {"GOOGLE_APPLICATION_CREDENTIALS": "anon"}
        transport = await open_transport(
            location, side="target", environment=anonymous, token="contract"
        )
        yield transport
        await transport.close()
