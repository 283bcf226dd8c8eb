"""The contract on S3: SeaweedFS and moto, each by the lean lane and by aiohttp alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from transports.errors import Changed, TransportError
from transports.s3 import S3Transport, open_s3
from transports.testing import TransportContract, put
from transports.testing.support import pinned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket, S3Server
    from tests.servers.moto import MotoServer
    from transports.base import Transport


@contextlib.asynccontextmanager
async def opened(
    server: S3Server, bucket: str, prefix: str = "", **options: str
) -> AsyncIterator[S3Transport]:
    environment = server.environment()
    transport = await open_s3(
        bucket=bucket,
        prefix=prefix,
        options={"endpoint_url": server.endpoint_url, **options},
        environment=environment,
    )
    try:
        yield transport
    finally:
        await transport.close()


class TestSeaweed(TransportContract):
    """Under a prefix, whose name sorts among its siblings'."""

    @pytest.fixture
    async def transport(
        self, seaweed: SeaweedServer, bucket_on: Callable[[S3Server], Bucket]
    ) -> AsyncIterator[S3Transport]:
        async with opened(seaweed, bucket_on(seaweed).name, "deep-er/root/") as transport:
            yield transport


class TestSeaweedByRoad(TransportContract):
    @pytest.fixture
    async def transport(
        self, seaweed: SeaweedServer, bucket_on: Callable[[S3Server], Bucket]
    ) -> AsyncIterator[S3Transport]:
        async with opened(seaweed, bucket_on(seaweed).name, lane="false") as transport:
            yield transport


class OnMoto(TransportContract):
    """moto is exact with names but for one, and has two gaps that are its own."""

    unfaithful_names = frozenset({"a\nb"})  # its URL patterns stop at a line break

    async def test_a_copy_of_what_moved_is_changed(self, transport: Transport) -> None:
        """moto ignores the pin of a copy, so the copy is there; that it is wrong is still told."""
        await put(transport, {"x": b"before"})
        entry = await pinned(transport, "x")
        await put(transport, {"x": b"after, and longer"})
        with pytest.raises(Changed):
            await transport.copy(entry, transport, "y")

    async def test_aborting_may_be_repeated(self, transport: Transport) -> None:
        """moto fails on a part for an upload that is gone, where S3 answers NoSuchUpload."""
        upload_id = await transport.begin_upload("x", 1, token="job")
        for _ in range(2):
            await transport.abort_upload("x", upload_id)
        assert await transport.list_uploads() == []
        with pytest.raises(TransportError):
            await transport.list_parts("x", upload_id)


class TestMoto(OnMoto):
    @pytest.fixture
    async def transport(
        self, moto_server: MotoServer, bucket_on: Callable[[S3Server], Bucket]
    ) -> AsyncIterator[S3Transport]:
        async with opened(moto_server, bucket_on(moto_server).name) as transport:
            yield transport


class TestMotoByRoad(OnMoto):
    @pytest.fixture
    async def transport(
        self, moto_server: MotoServer, bucket_on: Callable[[S3Server], Bucket]
    ) -> AsyncIterator[S3Transport]:
        bucket = bucket_on(moto_server).name
        async with opened(moto_server, bucket, "p/", lane="false") as transport:
            yield transport
