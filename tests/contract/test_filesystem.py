"""fsspec's filesystems under the contract: memory, local, S3 through s3fs, and FTP."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from tests.servers.buckets import Bucket, S3Server
from tests.servers.moto import MotoServer
from transports.base import Transport
from transports.errors import Invalid
from transports.filesystem import FilesystemTransport
from transports.filesystem_calls import FileSystem
from transports.location import parse_location
from transports.model import Proof, Receipt
from transports.opening import from_filesystem, open_transport
from transports.testing import (
    ListingContract,
    NamesContract,
    ReadingContract,
    UploadContract,
    WritingContract,
    listed,
)
from transports.testing.support import blob


class FilesystemContract(
    ListingContract, ReadingContract, WritingContract, NamesContract, UploadContract
):
    """Everything but copies within the store, which fsspec does not promise."""

    folds = False


class TestMemory(FilesystemContract):
    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        filesystem = fsspec.filesystem("memory", global_store=False, skip_instance_cache=True)
        filesystem.makedirs("/around/root")
        transport = from_filesystem(filesystem, "/around/root", token="contract")
        yield transport
        await transport.close()


class TestLocal(FilesystemContract):
    @pytest.fixture
    async def transport(self, tmp_path: Path) -> AsyncIterator[Transport]:
        root = tmp_path / "around" / "root"
        root.mkdir(parents=True)
        location = parse_location(f"file://{root}/?engine=fsspec")
        transport = await open_transport(location, side="target", environment={}, token="contract")
        assert isinstance(transport, FilesystemTransport)
        yield transport
        await transport.close()

    def outside(self, transport: Transport) -> object:
        assert isinstance(transport, FilesystemTransport)
        around = os.path.dirname(transport.path)
        return (
            sorted(os.listdir(around)),
            sorted(os.listdir(os.path.dirname(around))),
            os.path.lexists("/tmp/fluid-mover-escaped"),
            os.path.lexists("/abs"),
        )


class _NoMarkers:
    """Object stores through fsspec cannot name ``d/``: what is refused cannot be a marker."""

    async def test_an_empty_directory_is_a_marker(self, transport: Transport) -> None:
        (result,) = await transport.write_small([blob("d/", b"")])
        assert isinstance(result, Invalid)
        assert await listed(transport) == []


@pytest.fixture(scope="module")
def s3fs_of_moto(moto_server: MotoServer) -> FileSystem:
    """One instance for all tests, in fsspec's own loop: opening its session takes a second."""
    made: FileSystem = fsspec.filesystem(
        "s3",
        key=moto_server.access_key,
        secret=moto_server.secret_key,
        endpoint_url=moto_server.endpoint_url,
        skip_instance_cache=True,
    )
    return made


@pytest.fixture(scope="module")
def bucket_of_moto(moto_server: MotoServer) -> Iterator[Bucket]:
    """One bucket for all tests: making, emptying and removing one takes longer than most of them."""
    bucket = Bucket.create(moto_server)
    yield bucket
    bucket.destroy()


class TestS3fs(_NoMarkers, FilesystemContract):
    unfaithful_names = frozenset({"a\nb"})  # moto answers 404: its routes end at a line break

    @pytest.fixture
    async def transport(
        self, s3fs_of_moto: FileSystem, bucket_of_moto: Bucket
    ) -> AsyncIterator[Transport]:
        root = f"{bucket_of_moto.name}/{uuid.uuid4().hex}/root"
        transport = from_filesystem(s3fs_of_moto, root, token="contract")
        yield transport
        await transport.close()


@pytest.fixture(scope="module")
def ftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """pyftpdlib in a process of its own: it stands on asyncore, which warns wherever it is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = tmp_path_factory.mktemp("ftp")
    command = [sys.executable, "-W", "ignore", "-m", "pyftpdlib", "-i", "127.0.0.1"]
    command += ["-p", str(port), "-w", "-d", str(root), "-u", "u", "-P", "p"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(10)


class TestFtp(FilesystemContract):
    """A real server. It tells times to the second only; sizes differ where the suite compares."""

    @pytest.fixture
    async def transport(self, ftp: str) -> AsyncIterator[Transport]:
        name = uuid.uuid4().hex
        location = parse_location(f"ftp://u@{ftp}/{name}/")
        environment = {"MOVER_TARGET_FSSPEC_FTP_PASSWORD": "p"}
        transport = await open_transport(
            location, side="target", environment=environment, token="contract"
        )
        assert isinstance(transport, FilesystemTransport)
        await transport.write_small([blob("first", b"")])
        await transport.delete(["first"])
        yield transport
        await transport.close()


async def test_s3fs_by_location(
    moto_server: MotoServer, bucket_on: Callable[[S3Server], Bucket]
) -> None:
    bucket = bucket_on(moto_server)
    location = parse_location(bucket.location("root/") + "&engine=fsspec")
    transport = await open_transport(location, side="target", environment=moto_server.environment())
    (receipt,) = await transport.write_small([blob("a", b"1")])
    assert isinstance(receipt, Receipt)
    assert receipt.proof is Proof.STRONG
    assert [entry.key for entry in await listed(transport)] == ["a"]
    assert bucket.get("root/a") == b"1"
    await transport.close()
