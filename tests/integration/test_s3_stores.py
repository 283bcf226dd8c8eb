"""The S3 transport on real servers, beyond the contract: TLS, faults, judges, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from bench.stores import find_program
from tests.faults.script import Flip, Reset, Rule, Side, Truncate
from transports.digests import crc64nvme_hex
from transports.errors import Corrupt, Denied, NotFound, Transient, TransportError, Truncated
from transports.model import (
    Attributes,
    Blob,
    ByteRange,
    Checksum,
    Entry,
    PartSpec,
    Proof,
    Receipt,
)
from transports.s3 import S3Transport, open_s3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

LANES = pytest.mark.parametrize("lane", ["true", "false"])
MIB = 1024 * 1024
MTIME_NS = 1_234_567_890_123_456_789


@contextlib.asynccontextmanager
async def opened(
    bucket: Bucket,
    prefix: str = "",
    *,
    environment: Mapping[str, str] | None = None,
    name: str = "",
    **options: str,
) -> AsyncIterator[S3Transport]:
    transport = await open_s3(
        bucket=name or bucket.name,
        prefix=prefix,
        options={"endpoint_url": bucket.server.endpoint_url, **options},
        environment=bucket.server.environment() if environment is None else environment,
    )
    try:
        yield transport
    finally:
        await transport.close()


def blob(key: str, data: bytes, attributes: Attributes | None = None) -> Blob:
    return Blob(Entry(key, len(data), 0), data, attributes or Attributes(), Proof.WEAK)


async def listed(transport: S3Transport, **bounds: str) -> list[Entry]:
    entries: list[Entry] = []
    async with contextlib.aclosing(transport.list(**bounds)) as pages:  # type: ignore[type-var]
        async for page in pages:
            entries += page
    return entries


async def uploaded(transport: S3Transport, key: str, data: bytes, part_bytes: int) -> Receipt:
    view = memoryview(data)
    upload_id = await transport.begin_upload(
        key, len(data), Attributes(mtime_ns=MTIME_NS), token="t"
    )
    spans = [
        PartSpec(number=n, range=ByteRange(start, min(start + part_bytes, len(data))))
        for n, start in enumerate(range(0, len(data), part_bytes), start=1)
    ]
    async with asyncio.TaskGroup() as crew:
        writes = [
            crew.create_task(
                transport.write_part(key, upload_id, part, view[part.range.start : part.range.stop])
            )
            for part in spans
        ]
    checksum = Checksum("crc64nvme", crc64nvme_hex(data))
    parts = [write.result() for write in writes]
    return await transport.finish_upload(key, upload_id, parts, checksum=checksum)


@LANES
async def test_over_tls(seaweed_tls_bucket: Bucket, lane: str) -> None:
    """With the server's own authority from the environment; without it, by name."""
    data = random.Random(1).randbytes(3 * MIB)
    async with opened(seaweed_tls_bucket, lane=lane) as transport:
        small = [blob(f"d/{n}", data[: n * 1000]) for n in range(20)]
        assert all(isinstance(r, Receipt) for r in await transport.write_small(small))
        entries = await listed(transport)
        blobs = await transport.read_small(entries)
        assert {b.entry.key: bytes(b.data) for b in blobs if isinstance(b, Blob)} == {
            b.entry.key: b.data for b in small
        }
        await transport.write_small([blob("large", data)])
        buffer = bytearray(2 * MIB)
        entry = (await transport.head("large")).entry
        await transport.read_into(entry, ByteRange(1000, 1000 + 2 * MIB), memoryview(buffer))
        assert buffer == data[1000 : 1000 + 2 * MIB]
    bare = {
        name: value
        for name, value in seaweed_tls_bucket.server.environment().items()
        if name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    async with opened(seaweed_tls_bucket, environment=bare, lane=lane) as transport:
        (result,) = await transport.read_small([entries[0]])
        assert isinstance(result, Denied)
        assert "certificate" in str(result)


@LANES
async def test_a_large_object_is_proved_by_its_parts(seaweed_bucket: Bucket, lane: str) -> None:
    data = random.Random(2).randbytes(12 * MIB + 3)
    async with opened(seaweed_bucket, lane=lane) as transport:
        receipt = await uploaded(transport, "big", data, 5 * MIB)
        assert receipt.proof is Proof.STRONG
        assert receipt.checksum == Checksum("crc64nvme", crc64nvme_hex(data))
        info = await transport.head("big")
        assert receipt.checksum in info.checksums
        assert (info.parts, info.attributes.mtime_ns) == (3, MTIME_NS)
        (read,) = await transport.read_small([info.entry])
        assert isinstance(read, Blob)
        assert (bytes(read.data), read.proof) == (data, Proof.STRONG)


async def test_a_long_listing_of_a_directory_walk(seaweed_bucket: Bucket) -> None:
    """More than is held back, with siblings that the walk brings after a large directory."""
    keys = [f"data/{n:05}" for n in range(3_300)] + ["data-1", "data.x/y", "data+", "data0", "a"]
    async with opened(seaweed_bucket, "root/") as transport:
        waiting = iter([keys[n : n + 50] for n in range(0, len(keys), 50)])

        async def write() -> None:
            for some in waiting:
                results = await transport.write_small([blob(key, b"x") for key in some])
                assert all(isinstance(result, Receipt) for result in results), results

        async with asyncio.TaskGroup() as crew:
            for _ in range(8):
                crew.create_task(write())
        assert [entry.key for entry in await listed(transport)] == sorted(keys)
        after = await listed(transport, start_after="data.x/a", stop_at="data/03000")
        assert [entry.key for entry in after] == [
            key for key in sorted(keys) if "data.x/a" < key < "data/03000"
        ]


async def test_rclone_agrees_on_times_and_contents(seaweed_bucket: Bucket) -> None:
    """An independent judge of the time's format, which is rclone's."""
    server = seaweed_bucket.server
    async with opened(seaweed_bucket) as transport:
        await transport.write_small(
            [blob("d/small", b"hello", Attributes(mtime_ns=MTIME_NS, content_type="text/x-y"))]
        )
        await uploaded(transport, "d/large", bytes(6 * MIB), 5 * MIB)
    remote = f":s3,provider=SeaweedFS,env_auth=true,endpoint='{server.endpoint_url}':"
    command = [str(find_program("rclone", extra="bench")), "lsjson", "-R", "--files-only", "--hash"]
    ran = await asyncio.to_thread(
        subprocess.run,
        [*command, remote + seaweed_bucket.name],
        env={**os.environ, **server.environment(), "RCLONE_CONFIG": "/notfound"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    seen = {entry["Path"]: entry for entry in json.loads(ran.stdout)}
    for path in ("d/small", "d/large"):
        assert seen[path]["ModTime"].startswith("2009-02-13T23:31:30.123456789"), seen[path]
    assert seen["d/small"]["MimeType"] == "text/x-y"
    assert seen["d/small"]["Hashes"]["md5"] == "5d41402abc4b2a76b9719d911017c592"


async def test_copies_between_buckets_keep_everything(
    seaweed_bucket: Bucket, moto_bucket: Bucket
) -> None:
    attributes = Attributes(mtime_ns=MTIME_NS, content_type="a/b", metadata={"owner": "ü"})
    async with (
        opened(seaweed_bucket, "from/") as source,
        opened(seaweed_bucket, "to/") as target,
        opened(moto_bucket) as elsewhere,
    ):
        await source.write_small([blob("x y+z", b"hello", attributes)])
        (entry,) = await listed(source)
        receipt = await target.copy(entry, source, "k")
        assert (receipt.key, receipt.proof) == ("k", Proof.STRONG)
        assert (await target.head("k")).attributes == attributes
        assert source.capabilities.copy_domain == target.capabilities.copy_domain
        assert source.capabilities.copy_domain != elsewhere.capabilities.copy_domain


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
async def test_wrong_credentials_are_denied_with_the_remedy(
    seaweed_bucket: Bucket, wrong: str
) -> None:
    environment = seaweed_bucket.server.environment() | {wrong: "N0TTHEKEY"}
    async with opened(seaweed_bucket, environment=environment) as transport:
        with pytest.raises(Denied, match="AWS_ACCESS_KEY_ID") as caught:
            await listed(transport)
        for secret in ("N0TTHEKEY", seaweed_bucket.server.environment()["AWS_SECRET_ACCESS_KEY"]):
            assert secret not in str(caught.value)


async def test_a_missing_bucket_is_not_found(seaweed_bucket: Bucket, moto_bucket: Bucket) -> None:
    for bucket in (seaweed_bucket, moto_bucket):
        async with opened(bucket, name="no-such-bucket-here") as transport:
            with pytest.raises(NotFound, match="no-such-bucket-here"):
                await listed(transport)


# -- a faulty network ------------------------------------------------------------------------------


@LANES
@pytest.mark.parametrize("at_byte", [0, 100_000])
async def test_a_bit_that_flips_is_always_caught(
    seaweed_bucket: Bucket, fault_proxy: ProxyFactory, lane: str, at_byte: int
) -> None:
    data = random.Random(3).randbytes(200_000)
    rules = (
        Rule(fault=Flip(at_byte=at_byte), method="GET", path="/down"),
        Rule(fault=Flip(at_byte=at_byte, side=Side.REQUEST), method="PUT", path="/up"),
    )
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, *rules)
    async with opened(seaweed_bucket) as clean:
        await clean.write_small([blob("down", data)])
        seaweed_bucket.put("downplain", data)  # without a stored checksum: the ETag has to do
        entries = await listed(clean)
    async with opened(seaweed_bucket, endpoint_url=proxy.endpoint_url, lane=lane) as transport:
        for result in await transport.read_small(entries):
            assert isinstance(result, Corrupt)
        (written,) = await transport.write_small([blob("up", data)])
        assert isinstance(written, Corrupt)
        part = PartSpec(number=1, range=ByteRange(0, len(data)))
        upload_id = await transport.begin_upload("upload", len(data), token="t")
        with pytest.raises(Corrupt):
            await transport.write_part("upload", upload_id, part, memoryview(data))
        await transport.abort_upload("upload", upload_id)
    assert sorted(seaweed_bucket.list_keys()) == ["down", "downplain"]


@LANES
@pytest.mark.parametrize("fault", [Reset(at_byte=70_000), Truncate(at_byte=70_000)])
async def test_a_broken_body_leaves_good_bytes(
    seaweed_bucket: Bucket, fault_proxy: ProxyFactory, lane: str, fault: Reset | Truncate
) -> None:
    data = random.Random(4).randbytes(200_000)
    seaweed_bucket.put("k", data)
    proxy = fault_proxy(
        seaweed_bucket.server.endpoint_url, Rule(fault=fault, method="GET", path="/k", nth=(1, 2))
    )
    async with opened(seaweed_bucket, endpoint_url=proxy.endpoint_url, lane=lane) as transport:
        (entry,) = await listed(transport)
        (result,) = await transport.read_small([entry])
        assert isinstance(result, Transient)
        buffer = bytearray(len(data))
        with pytest.raises(Truncated) as caught:
            await transport.read_into(entry, ByteRange(0, len(data)), memoryview(buffer))
        good = caught.value.received_bytes
        assert 0 < good <= 70_000
        assert buffer[:good] == data[:good]
        rest = memoryview(buffer)[good:]
        await transport.read_into(entry, ByteRange(good, len(data)), rest)
        assert buffer == data


@LANES
async def test_a_completion_whose_answer_is_lost_may_be_repeated(
    seaweed_bucket: Bucket, fault_proxy: ProxyFactory, lane: str
) -> None:
    proxy = fault_proxy(
        seaweed_bucket.server.endpoint_url,
        Rule(fault=Reset(head=True), method="POST", path="uploadId=", nth=(1,)),
    )
    data = bytes(1000)
    part = PartSpec(number=1, range=ByteRange(0, 1000))
    async with opened(seaweed_bucket, endpoint_url=proxy.endpoint_url, lane=lane) as transport:
        upload_id = await transport.begin_upload("k", 1000, token="t")
        parts = [await transport.write_part("k", upload_id, part, memoryview(data))]
        with pytest.raises(TransportError):
            await transport.finish_upload("k", upload_id, parts)
        receipt = await transport.finish_upload("k", upload_id, parts)
        assert (receipt.size, receipt.proof) == (1000, Proof.STRONG)
    assert seaweed_bucket.get("k") == data
