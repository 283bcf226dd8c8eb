"""The contract of stores that keep older versions: they are told, and can be read."""

import pytest

from transports.base import Transport
from transports.errors import NotFound, TransportError
from transports.model import Blob, ByteRange, ObjectInfo
from transports.testing.support import Subject, some_bytes


class VersionsContract(Subject):
    """For a fresh ``transport`` on a store that keeps versions."""

    async def _written(self, transport: Transport) -> list[bytes]:
        """Four versions; the last is another one's size."""
        versions = [some_bytes(1000, seed) for seed in range(3)] + [b"now"]
        for data in versions:
            await self.seed(transport, {"d/x": data, "d/x.longer": data})
        return versions

    async def _read(self, transport: Transport, info: ObjectInfo) -> bytes:
        buffer = bytearray(info.entry.size)
        await transport.read_into(info.entry, ByteRange(0, len(buffer)), memoryview(buffer))
        return bytes(buffer)

    async def test_older_versions_come_newest_first(self, transport: Transport) -> None:
        versions = await self._written(transport)
        found = await transport.older_versions("d/x", 1000)
        assert [info.entry.key for info in found] == ["d/x"] * 3
        assert [await self._read(transport, info) for info in found] == versions[2::-1]

    async def test_the_current_version_is_none_of_them(self, transport: Transport) -> None:
        await self._written(transport)
        assert await transport.older_versions("d/x", 3) == []
        assert await transport.older_versions("d/x", 999) == []
        assert await transport.older_versions("d/", 1000) == []
        assert await transport.older_versions("nothing", 1000) == []

    async def test_a_range_of_an_older_version(self, transport: Transport) -> None:
        versions = await self._written(transport)
        found = await transport.older_versions("d/x", 1000)
        buffer = bytearray(50)
        await transport.read_into(found[1].entry, ByteRange(100, 150), memoryview(buffer))
        assert buffer == versions[1][100:150]

    async def test_an_older_version_is_read_whole(self, transport: Transport) -> None:
        versions = await self._written(transport)
        oldest = (await transport.older_versions("d/x", 1000))[-1]
        (blob,) = await transport.read_small([oldest.entry])
        assert isinstance(blob, Blob)
        assert bytes(blob.data) == versions[0]

    async def test_a_version_that_is_not_there(self, transport: Transport) -> None:
        await self._written(transport)
        entry = (await transport.older_versions("d/x", 1000))[0].entry
        other, buffer = entry._replace(version="no-such-version"), memoryview(bytearray(9))
        with pytest.raises(TransportError):
            await transport.read_into(other, ByteRange(0, 9), buffer)

    async def test_what_was_deleted_has_older_versions_only(self, transport: Transport) -> None:
        versions = await self._written(transport)
        await transport.delete(["d/x"])
        with pytest.raises(NotFound):
            await transport.head("d/x")
        found = await transport.older_versions("d/x", 1000)
        assert await self._read(transport, found[0]) == versions[2]
