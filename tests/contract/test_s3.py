"""The contract on S3: SeaweedFS and moto by the lean lane, SeaweedFS by aiohttp alone as well."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.servers.buckets import Bucket
from transports.errors import Changed, TransportError
from transports.s3 import S3Transport, open_s3
from transports.testing import TransportContract, VersionsContract, put
from transports.testing.support import pinned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from bench.stores import SeaweedServer
    from tests.servers.moto import MotoServer
    from transports.base import Transport


@pytest.fixture(scope="module")
def seaweed_bucket(seaweed: SeaweedServer) -> Iterator[Bucket]:
    """One bucket for all of these tests: making one takes longer than most of them."""
    bucket = Bucket.create(seaweed)
    yield bucket
    bucket.destroy()


@pytest.fixture(scope="module")
def moto_bucket(moto_server: MotoServer) -> Iterator[Bucket]:
    bucket = Bucket.create(moto_server)
    yield bucket
    bucket.destroy()


@pytest.fixture(scope="module")
def seaweed_versions(seaweed: SeaweedServer) -> Iterator[Bucket]:
    bucket = Bucket.create(seaweed)
    bucket.keep_versions()
    yield bucket
    bucket.destroy()


@pytest.fixture(scope="module")
def moto_versions(moto_server: MotoServer) -> Iterator[Bucket]:
    bucket = Bucket.create(moto_server)
    bucket.keep_versions()
    yield bucket
    bucket.destroy()


@contextlib.asynccontextmanager
async def opened(bucket: Bucket, **options: str) -> AsyncIterator[S3Transport]:
    """A root of its own in the bucket, whose name sorts oddly among its siblings'."""
    transport = await open_s3(
        bucket=bucket.name,
        prefix=f"{uuid.uuid4().hex}/deep-er/root/",
        options={"endpoint_url": bucket.server.endpoint_url, **options},
        environment=bucket.server.environment(),
    )
    try:
        yield transport
    finally:
        await transport.close()


class TestSeaweed(TransportContract):
    @pytest.fixture
    async def transport(self, seaweed_bucket: Bucket) -> AsyncIterator[S3Transport]:
        async with opened(seaweed_bucket) as transport:
            yield transport


class TestSeaweedByRoad(TransportContract):
    @pytest.fixture
    async def transport(self, seaweed_bucket: Bucket) -> AsyncIterator[S3Transport]:
        async with opened(seaweed_bucket, lane="false") as transport:
            yield transport


class TestMoto(TransportContract):
    """moto is exact with names but for one, and has two gaps that are its own."""

    unfaithful_names = frozenset({"a\nb"})  # its URL patterns stop at a line break
    gone_errors = TransportError  # it fails where S3 answers NoSuchUpload

    @pytest.fixture
    async def transport(self, moto_bucket: Bucket) -> AsyncIterator[S3Transport]:
        async with opened(moto_bucket) as transport:
            yield transport

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


class TestSeaweedWithVersions(VersionsContract):
    @pytest.fixture
    async def transport(self, seaweed_versions: Bucket) -> AsyncIterator[S3Transport]:
        async with opened(seaweed_versions) as transport:
            yield transport


class TestMotoWithVersions(VersionsContract):
    @pytest.fixture
    async def transport(self, moto_versions: Bucket) -> AsyncIterator[S3Transport]:
        async with opened(moto_versions) as transport:
            yield transport
