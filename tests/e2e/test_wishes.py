"""Wishes that change what is copied: links, holes, verification, how objects are compared."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.support import (
    MIB,
    copy_here,
    environment_for,
    failures_of,
    fill_bucket,
    read_tree,
    write_tree,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.servers.buckets import Bucket
    from tests.servers.moto import MotoServer


def _with_links(root: Path) -> None:
    write_tree(root, {"plain": b"plain", "d/inner": b"inner"})
    (root / "to-file").symlink_to("plain")
    (root / "to-directory").symlink_to("d")
    (root / "dangling").symlink_to("nowhere")


def _links(root: Path) -> dict[str, str]:
    return {path.name: os.readlink(path) for path in root.iterdir() if path.is_symlink()}


LINKS = {"to-file": "plain", "to-directory": "d", "dangling": "nowhere"}
FILES = {"plain": b"plain", "d/inner": b"inner"}


async def test_links_kept_as_objects_come_back_as_links(
    moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    _with_links(tmp_path / "source")
    environment = environment_for(tmp_path / "state", moto_server)
    wishes = {"links": "preserve-as-object"}
    up = await copy_here(
        f"{tmp_path}/source/", moto_bucket.location(), environment=environment, **wishes
    )
    assert (up.exit_code, up.failures) == (0, [])
    assert moto_bucket.get("to-file") == b"plain"
    assert moto_bucket.head("to-file").headers["content-type"] == "inode/symlink"
    down = await copy_here(
        moto_bucket.location(), f"{tmp_path}/target/", environment=environment, **wishes
    )
    assert (down.exit_code, down.failures) == (0, [])
    assert _links(tmp_path / "target") == LINKS
    assert read_tree(tmp_path / "target") == FILES
    again = await copy_here(
        f"{tmp_path}/source/", f"{tmp_path}/target/", environment=environment, **wishes
    )
    assert (again.exit_code, again.failures) == (0, [])
    assert _links(tmp_path / "target") == LINKS


async def test_links_are_skipped_unless_asked_for(tmp_path: Path) -> None:
    _with_links(tmp_path / "source")
    report = await copy_here(
        f"{tmp_path}/source/",
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state"),
    )
    assert (report.exit_code, report.tally.copied_objects) == (0, 2)
    assert read_tree(tmp_path / "target") == FILES
    assert _links(tmp_path / "target") == {}


async def test_links_that_are_followed_are_what_they_lead_to(tmp_path: Path) -> None:
    _with_links(tmp_path / "source")
    report = await copy_here(
        f"{tmp_path}/source/",
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state"),
        links="follow",
    )
    followed = FILES | {"to-file": b"plain", "to-directory/inner": b"inner"}
    assert read_tree(tmp_path / "target") == followed
    assert set(failures_of(report)) <= {"dangling"}
    assert _links(tmp_path / "target") == {}


@pytest.mark.parametrize("size", [4 * MIB, 40 * MIB], ids=["small", "large"])
async def test_holes_stay_holes_between_disks(size: int, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "sparse").open("wb") as file:
        file.write(b"head")
        file.seek(size - 4)
        file.write(b"tail")
    report = await copy_here(
        f"{tmp_path}/source/",
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state"),
    )
    assert (report.exit_code, report.failures) == (0, [])
    target = tmp_path / "target" / "sparse"
    assert target.read_bytes() == (tmp_path / "source" / "sparse").read_bytes()
    assert os.stat(target).st_blocks * 512 < size // 4


async def test_special_files_are_refused_by_name(tmp_path: Path) -> None:
    write_tree(tmp_path / "source", FILES)
    os.mkfifo(tmp_path / "source" / "pipe")
    report = await copy_here(
        f"{tmp_path}/source/",
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state"),
    )
    assert failures_of(report) == {"pipe": "Refused"}
    assert read_tree(tmp_path / "target") == FILES


async def test_full_verification_proves_every_object(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    objects = {"small": b"s" * 1000, "empty": b"", "large": b"L" * (20 * MIB)}
    write_tree(tmp_path / "source", objects)
    environment = environment_for(tmp_path / "state", seaweed)
    for source, target in (
        (f"{tmp_path}/source/", seaweed_bucket.location()),
        (seaweed_bucket.location(), f"{tmp_path}/target/"),
        (f"{tmp_path}/source/", f"{tmp_path}/beside/"),
    ):
        report = await copy_here(source, target, environment=environment, verify="full")
        assert (report.exit_code, report.failures) == (0, [])
        assert report.tally.verified_strong == report.tally.copied_objects == 3
    assert read_tree(tmp_path / "target") == objects


HOUR_NS = 3_600_000_000_000
NOON_NS = 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("compare", "data", "mtime_ns", "copied"),
    [
        ("size", b"new!", NOON_NS, 0),
        ("size", b"longer", NOON_NS, 1),
        ("mtime", b"old.", NOON_NS, 0),
        ("mtime", b"new!", NOON_NS, 0),
        ("mtime", b"old.", NOON_NS + HOUR_NS, 1),
        ("mtime", b"longer", NOON_NS, 1),
        ("checksum", b"old.", NOON_NS + HOUR_NS, 0),
        ("checksum", b"new!", NOON_NS, 1),
        ("etag", b"new!", NOON_NS, 1),
        ("etag", b"old.", NOON_NS, 0),
    ],
)
async def test_what_makes_two_files_equal(
    compare: str, data: bytes, mtime_ns: int, copied: int, tmp_path: Path
) -> None:
    for name, content, time_ns in (("target", b"old.", NOON_NS), ("source", data, mtime_ns)):
        write_tree(tmp_path / name, {"f": content})
        os.utime(tmp_path / name / "f", ns=(time_ns, time_ns))
    report = await copy_here(
        f"{tmp_path}/source/",
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state"),
        compare=compare,
    )
    assert (report.exit_code, report.tally.copied_objects) == (0, copied)
    assert report.tally.skipped_objects == 1 - copied
    assert (tmp_path / "target" / "f").read_bytes() == (data if copied else b"old.")


@pytest.mark.parametrize("compare", ["mtime", "etag", "checksum"])
async def test_content_that_changed_in_a_store_is_seen(
    compare: str, seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(seaweed_bucket, {"same": b"same", "f": b"old."})
    environment = environment_for(tmp_path / "state", seaweed)

    async def copied() -> int:
        report = await copy_here(
            seaweed_bucket.location(),
            f"{tmp_path}/target/",
            environment=environment,
            compare=compare,
        )
        assert (report.exit_code, report.failures) == (0, [])
        return report.tally.copied_objects

    assert await copied() == 2
    assert await copied() == 0
    await asyncio.sleep(2.1)
    seaweed_bucket.put("f", b"new!")
    assert await copied() == 1
    assert read_tree(tmp_path / "target") == {"same": b"same", "f": b"new!"}
