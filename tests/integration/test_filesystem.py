"""fsspec's filesystems beyond the contract: a real S3 server through s3fs, archives, leftovers."""

import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import fsspec
import pytest

from bench.stores import SeaweedServer
from tests.servers.buckets import Bucket, S3Server
from transports.base import Transport
from transports.errors import (
    Changed,
    Corrupt,
    Denied,
    Invalid,
    NotFound,
    TransportError,
    Unavailable,
)
from transports.filesystem import FilesystemTransport
from transports.location import parse_location
from transports.model import Blob, ByteRange, Checksum, Kind, PartSpec, Proof, Receipt
from transports.opening import from_filesystem, open_transport
from transports.testing.support import blob, contents, cut, listed, put, some_bytes


@asynccontextmanager
async def opened(
    text: str, environment: Mapping[str, str] | None = None, token: str = "job"
) -> AsyncIterator[Transport]:
    transport = await open_transport(
        parse_location(text), side="target", environment=environment or {}, token=token
    )
    try:
        yield transport
    finally:
        await transport.close()


async def test_s3fs_on_seaweedfs(
    seaweed: SeaweedServer, bucket_on: Callable[[S3Server], Bucket]
) -> None:
    bucket = bucket_on(seaweed)
    data = some_bytes(12 * 1024 * 1024 + 5)
    async with opened(bucket.location("d/") + "&engine=fsspec", seaweed.environment()) as store:
        objects = {f"n/{number:03}": some_bytes(1_000, number) for number in range(30)}
        results = await store.write_small([blob(key, value) for key, value in objects.items()])
        assert {r.proof for r in results if isinstance(r, Receipt)} == {Proof.STRONG}
        upload_id = await store.begin_upload("large", len(data), token="job")
        receipts = [
            await store.write_part("large", upload_id, part, view)
            for part, view in cut(data, 5 * 1024 * 1024)
        ]
        await store.finish_upload("large", upload_id, receipts)
        entries = await listed(store)
        assert [entry.key for entry in entries] == ["large", *sorted(objects)]
        blobs = await store.read_small(entries[1:])
        assert {b.proof for b in blobs if isinstance(b, Blob)} == {Proof.STRONG}
        buffer = bytearray(1_000_000)
        span = ByteRange(5_000_000, 6_000_000)
        await store.read_into(entries[0], span, memoryview(buffer))
        assert buffer == data[5_000_000:6_000_000]
        await store.clean("job")
    assert bucket.tree("d/") == {
        "d/large": data,
        **{f"d/{key}": value for key, value in objects.items()},
    }
    assert bucket.upload_keys() == []


@pytest.mark.parametrize(
    ("bucket", "secret", "error"),
    [("no-such-bucket", None, NotFound), ("", "wrong", Denied)],
)
async def test_s3fs_where_it_cannot_go(
    seaweed: SeaweedServer,
    bucket_on: Callable[[S3Server], Bucket],
    bucket: str,
    secret: str | None,
    error: type[TransportError],
) -> None:
    there = bucket_on(seaweed).name
    environment = seaweed.environment()
    if secret:
        environment["AWS_SECRET_ACCESS_KEY"] = secret
    text = f"s3://{bucket or there}/?engine=fsspec&endpoint_url={seaweed.endpoint_url}"
    async with opened(text, environment) as store:
        with pytest.raises(error):
            await listed(store)


async def test_a_double_slash_in_a_bucket_is_named_and_not_folded(
    moto_server: S3Server, bucket_on: Callable[[S3Server], Bucket]
) -> None:
    bucket = bucket_on(moto_server)
    bucket.put("a//b", b"1")
    async with opened(bucket.location() + "&engine=fsspec", moto_server.environment()) as store:
        with pytest.raises(Invalid, match="a/"):
            await listed(store)


async def test_an_archive_can_be_read(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name in ("b.txt", "a/1", "a/2"):
            made.writestr(name, name * 100)
    transport = from_filesystem(fsspec.filesystem("zip", fo=str(archive)), "")
    assert await contents(transport) == {
        name: (name * 100).encode() for name in ("a/1", "a/2", "b.txt")
    }
    await transport.close()


async def test_an_archive_that_is_read_only_says_so(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a", "1")
    transport = from_filesystem(fsspec.filesystem("zip", fo=str(archive)), "")
    (result,) = await transport.write_small([blob("b", b"1")])
    assert isinstance(result, TransportError)
    await transport.close()


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[FilesystemTransport]:
    async with opened(f"file://{tmp_path}/?engine=fsspec") as transport:
        assert isinstance(transport, FilesystemTransport)
        yield transport


async def test_nothing_of_an_upload_is_listed_and_cleaning_removes_it(
    local: FilesystemTransport, tmp_path: Path
) -> None:
    upload_id = await local.begin_upload("x", 3, token="job")
    part = PartSpec(number=1, range=ByteRange(0, 3))
    await local.write_part("x", upload_id, part, memoryview(b"abc"))
    assert await listed(local) == []
    assert [path.name for path in tmp_path.iterdir()] == [".mover-stage-job"]
    await local.clean("other")
    assert len(await local.list_uploads()) == 1
    await local.clean("job")
    assert list(tmp_path.iterdir()) == []
    assert list(await local.list_uploads()) == []
    await put(local, {"y": b"1"})  # the staging directory comes back when it is needed
    await local.clean("job")
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


async def test_parts_that_do_not_fit_are_refused(local: FilesystemTransport) -> None:
    parts = cut(b"abcdef", 3)
    upload_id = await local.begin_upload("x", 6, token="job")
    first, second = [await local.write_part("x", upload_id, *part) for part in parts]
    with pytest.raises(Invalid, match="part 2"):
        await local.finish_upload("x", upload_id, [first, second._replace(start=4)])
    with pytest.raises(NotFound):
        await local.finish_upload("x", upload_id, [first._replace(crc64nvme="0" * 16), second])
    wrong = Checksum("crc64nvme", "0" * 16)
    with pytest.raises(Corrupt):
        await local.finish_upload("x", upload_id, [first, second], checksum=wrong)
    assert await listed(local) == []
    await local.finish_upload("x", upload_id, [first, second])
    assert await contents(local) == {"x": b"abcdef"}


async def test_a_part_that_was_damaged_at_rest_is_caught(
    local: FilesystemTransport, tmp_path: Path
) -> None:
    upload_id = await local.begin_upload("x", 6, token="job")
    receipts = [await local.write_part("x", upload_id, *part) for part in cut(b"abcdef", 3)]
    (damaged,) = tmp_path.glob(".mover-stage-job/*/00001-*")
    damaged.write_bytes(b"abX")
    with pytest.raises(Corrupt):
        await local.finish_upload("x", upload_id, receipts)
    assert await listed(local) == []


async def test_a_finished_upload_whose_object_was_replaced(local: FilesystemTransport) -> None:
    upload_id = await local.begin_upload("x", 6, token="job")
    receipts = [await local.write_part("x", upload_id, *part) for part in cut(b"abcdef", 3)]
    await local.finish_upload("x", upload_id, receipts)
    await put(local, {"x": b"newer"})
    with pytest.raises(NotFound, match="replaced"):
        await local.finish_upload("x", upload_id, receipts)


@pytest.mark.parametrize("upload_id", ["", "x", "../../etc/0123456789abcdef", "a/b", "./0123"])
async def test_upload_ids_lead_nowhere_else(local: FilesystemTransport, upload_id: str) -> None:
    with pytest.raises(NotFound):
        await local.list_parts("x", upload_id)
    with pytest.raises(NotFound):
        await local.abort_upload("x", upload_id)


async def test_a_file_is_never_moved_into_a_directory_of_its_name(
    local: FilesystemTransport, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    (result,) = await local.write_small([blob("d", b"1")])
    assert isinstance(result, Invalid)
    assert list((tmp_path / "d").iterdir()) == []
    (entry,) = await listed(local)
    assert (entry.key, entry.kind) == ("d/", Kind.DIRECTORY)


async def test_a_root_that_is_missing_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    for name in ("missing", "file"):
        async with opened(f"file://{tmp_path}/{name}/?engine=fsspec") as transport:
            with pytest.raises(NotFound):
                await listed(transport)


async def test_a_changed_file_is_noticed_by_its_time(
    local: FilesystemTransport, tmp_path: Path
) -> None:
    await put(local, {"x": b"before"})
    (entry,) = await listed(local)
    (tmp_path / "x").write_bytes(b"aftere")
    (result,) = await local.read_small([entry])
    assert isinstance(result, Changed)


async def test_a_host_that_is_not_there() -> None:
    with pytest.raises((Unavailable, ValueError)):
        async with opened("ftp://127.0.0.1:9/x/"):
            pass
