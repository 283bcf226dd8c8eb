"""What programs and libraries that are not ours say of a copy: rclone and botocore."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bench.stores import find_program
from tests.e2e.support import (
    MIB,
    copy_here,
    environment_for,
    fill_bucket,
    make_objects,
    write_tree,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket, S3Server
    from tests.servers.moto import MotoServer

MTIME_NS = 1_234_567_890_123_456_789


class Rclone:
    """rclone with nothing of this machine's configuration; its remote ``s3:`` is a server."""

    def __init__(self, server: S3Server, home: Path) -> None:
        self._program = str(find_program("rclone", extra="test"))
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_S3_TYPE": "s3",
            "RCLONE_CONFIG_S3_PROVIDER": "Other",
            "RCLONE_CONFIG_S3_ENDPOINT": server.endpoint_url,
            "RCLONE_CONFIG_S3_ACCESS_KEY_ID": server.access_key,
            "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": server.secret_key,
            "RCLONE_CONFIG_S3_REGION": server.region,
        }

    async def __call__(self, *arguments: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [self._program, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _objects() -> dict[str, bytes]:
    names = {"caf\u00e9/\u00fc.txt": b"wide", "a b+c": b"odd", "empty": b""}
    return make_objects(400, seed=8, size_max=9000, large={"large.bin": 21 * MIB + 3}) | names


async def test_rclone_finds_nothing_to_say_after_a_download(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, _objects(), "t/")
    report = await copy_here(
        seaweed_bucket.location("t/"),
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state", seaweed),
    )
    assert report.exit_code == 0
    rclone = Rclone(seaweed, tmp_path)
    await rclone("check", "--download", f"s3:{seaweed_bucket.name}/t", f"{tmp_path}/target")


async def test_rclone_finds_nothing_to_say_after_an_upload_and_reads_the_times(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    write_tree(tmp_path / "source", _objects())
    for name in ("large.bin", "empty"):
        os.utime(tmp_path / "source" / name, ns=(MTIME_NS, MTIME_NS))
    environment = environment_for(tmp_path / "state", seaweed)
    report = await copy_here(
        f"{tmp_path}/source/", seaweed_bucket.location("t/"), environment=environment
    )
    assert report.exit_code == 0
    rclone = Rclone(seaweed, tmp_path)
    remote = f"s3:{seaweed_bucket.name}/t"
    await rclone("check", "--download", f"{tmp_path}/source", remote)
    assert _times(await rclone("lsjson", "-R", "--files-only", remote)) == _times(
        await rclone("lsjson", "-R", "--files-only", f"{tmp_path}/source")
    )

    # And back: the files get their times again.
    back = await copy_here(
        seaweed_bucket.location("t/"), f"{tmp_path}/back/", environment=environment
    )
    assert back.exit_code == 0
    assert os.stat(tmp_path / "back" / "large.bin").st_mtime_ns == MTIME_NS
    assert os.stat(tmp_path / "back" / "empty").st_mtime_ns == MTIME_NS


def _times(listing: str) -> dict[str, str]:
    return {entry["Path"]: entry["ModTime"] for entry in json.loads(listing)}


async def test_times_that_rclone_wrote_are_read(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    write_tree(tmp_path / "source", {"f": b"data"})
    os.utime(tmp_path / "source" / "f", ns=(MTIME_NS, MTIME_NS))
    await Rclone(seaweed, tmp_path)("copy", f"{tmp_path}/source", f"s3:{seaweed_bucket.name}/t")
    report = await copy_here(
        seaweed_bucket.location("t/"),
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state", seaweed),
    )
    assert report.exit_code == 0
    assert os.stat(tmp_path / "target" / "f").st_mtime_ns == MTIME_NS


KEPT = {
    "content-type": "text/x-special; charset=utf-8",
    "cache-control": "max-age=60",
    "content-encoding": "identity",
    "content-disposition": 'attachment; filename="x"',
    "content-language": "de",
    "x-amz-meta-colour": "blue",
    "x-amz-meta-mtime": "1234567890.123456789",
}


@pytest.mark.parametrize("server_copy", [True, False])
@pytest.mark.parametrize("size", [100, 17 * MIB], ids=["small", "large"])
async def test_attributes_are_kept_between_buckets(
    server_copy: bool, size: int, moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    moto_bucket.put("from/x", b"x" * size, headers=KEPT)
    report = await copy_here(
        moto_bucket.location("from/"),
        moto_bucket.location("to/"),
        environment=environment_for(tmp_path / "state", moto_server),
        server_copy=server_copy,
    )
    assert (report.exit_code, report.failures) == (0, [])
    found = moto_bucket.head("to/x").headers
    assert {name: found.get(name) for name in KEPT} == KEPT
    assert moto_bucket.get("to/x") == b"x" * size


async def test_files_get_a_content_type_by_their_extension(
    moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    write_tree(
        tmp_path / "source", {"a.json": b"{}", "b.PNG": b"png", "large.csv": b"1" * 17 * MIB}
    )
    report = await copy_here(
        f"{tmp_path}/source/",
        moto_bucket.location(),
        environment=environment_for(tmp_path / "state", moto_server),
    )
    assert report.exit_code == 0
    types = {key: moto_bucket.head(key).headers["content-type"] for key in moto_bucket.list_keys()}
    assert types == {"a.json": "application/json", "b.PNG": "image/png", "large.csv": "text/csv"}
