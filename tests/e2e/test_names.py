"""Hostile names through the whole engine: moved exactly or refused by name, nothing outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.support import (
    MIB,
    copy_here,
    environment_for,
    failures_of,
    fill_bucket,
    leftovers,
    read_bucket,
    read_tree,
    write_tree,
)
from transports.testing.names import CASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.stores import SeaweedServer
    from mover.model import Report
    from tests.servers.buckets import Bucket
    from tests.servers.moto import MotoServer

# What a disk cannot hold, and why. Everything else must arrive exactly.
NOT_ON_DISK = {
    "..", ".", "../escaped", "a/../b", "a/../../escaped", "a/..", "/abs",
    "/tmp/fluid-mover-escaped", "a//b", "/", "./a", "a/./b", "a\0b", "s" * 256, "k" * 1024,
}  # fmt: skip


def _fits_moto(name: str) -> bool:
    """No URL can say a lone surrogate, and moto's own patterns end at a line break."""
    return "\n" not in name and name.encode("utf-8", "replace").decode() == name


def _names() -> list[str]:
    """Every name of the contract's cases that can stand beside the others, each once."""
    every = {key for case in CASES for key in case.objects}
    return sorted(filter(_fits_moto, every - {"a", "a/", "d/"}))


def _bytes_of(names: list[str]) -> dict[str, bytes]:
    return {name: b"%d" % number for number, name in enumerate(names)}


def _raw_tree(root: Path) -> dict[bytes, bytes]:
    return {os.fsencode(name): data for name, data in read_tree(root).items()}


@contextlib.contextmanager
def _nothing_else_changes(root: Path, *, but: str) -> Iterator[None]:
    """Whatever stands beside the target stays as it is."""
    (root / "escaped").write_bytes(b"beside")
    before = {name for name in os.listdir(root) if name not in (but, "state")}
    yield
    assert {name for name in os.listdir(root) if name not in (but, "state")} == before
    assert (root / "escaped").read_bytes() == b"beside"
    assert not os.path.exists("/tmp/fluid-mover-escaped")
    assert not os.path.exists("/abs")


async def _down(
    bucket: Bucket, tmp_path: Path, server: MotoServer | SeaweedServer, prefix: str = ""
) -> Report:
    return await copy_here(
        bucket.location(prefix),
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state", server),
    )


async def test_every_name_of_a_store_arrives_on_a_disk_or_is_refused(
    moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    objects = _bytes_of(_names())
    fill_bucket(moto_bucket, objects)
    with _nothing_else_changes(tmp_path, but="target"):
        report = await _down(moto_bucket, tmp_path, moto_server)
    fit = objects.keys() - NOT_ON_DISK
    failed = failures_of(report)
    assert set(failed) == objects.keys() - fit
    assert set(failed.values()) <= {"Refused", "Invalid"}
    assert all(len(failure.detail) > 10 for failure in report.failures)
    assert report.exit_code == 1
    found = _raw_tree(tmp_path / "target")
    assert found == {name.encode(): objects[name] for name in fit}
    assert leftovers(tmp_path / "target") == []


async def test_every_file_name_arrives_in_a_store(
    moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    objects = _bytes_of([name for name in _names() if name not in NOT_ON_DISK])
    write_tree(tmp_path / "source", objects)
    report = await copy_here(
        f"{tmp_path}/source/",
        moto_bucket.location(),
        environment=environment_for(tmp_path / "state", moto_server),
    )
    assert (report.exit_code, report.failures) == (0, [])
    assert await asyncio.to_thread(read_bucket, moto_bucket) == objects


async def test_store_to_store_keeps_every_name(
    moto_server: MotoServer,
    moto_bucket: Bucket,
    bucket_on: Callable[[MotoServer], Bucket],
    tmp_path: Path,
) -> None:
    objects = _bytes_of(_names()) | {"d/": b"", "a/": b""}
    fill_bucket(moto_bucket, objects)
    for server_copy in (True, False):
        other = bucket_on(moto_server)
        report = await copy_here(
            moto_bucket.location(),
            other.location(),
            environment=environment_for(tmp_path / "state", moto_server),
            server_copy=server_copy,
        )
        assert (report.exit_code, report.failures) == (0, [])
        assert await asyncio.to_thread(read_bucket, other) == objects


async def test_a_store_that_folds_names_gets_only_those_that_it_keeps(
    seaweed: SeaweedServer, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    plain = [
        "a/b/c",
        "caf\u00e9",
        "cafe\u0301",
        "a%2Fb",
        "a+b",
        "a b",
        "Name",
        "name",
        "a?b#c",
        "x\ny",
    ]
    objects = _bytes_of(plain)
    write_tree(tmp_path / "source", objects)
    report = await copy_here(
        f"{tmp_path}/source/",
        seaweed_bucket.location("t/"),
        environment=environment_for(tmp_path / "state", seaweed),
    )
    found = await asyncio.to_thread(read_bucket, seaweed_bucket, "t/")
    failed = failures_of(report)
    assert found == {name: data for name, data in objects.items() if name not in failed}
    assert len(failed) <= 1
    report = await _down(seaweed_bucket, tmp_path, seaweed, "t/")
    assert (report.exit_code, report.failures) == (0, [])
    assert read_tree(tmp_path / "target") == found


@pytest.mark.parametrize("keys", [("a", "a/b"), ("a", "a/b/c", "a/"), ("x/y", "x/y/z", "x")])
async def test_a_key_that_is_also_a_prefix_is_named(
    keys: tuple[str, ...], moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    """A disk holds a file or a directory of one name: whichever came first stays whole."""
    objects = {key: b"" if key.endswith("/") else key.encode() for key in keys}
    fill_bucket(moto_bucket, objects)
    report = await _down(moto_bucket, tmp_path, moto_server)
    failed = failures_of(report)
    assert set(failed) < objects.keys()
    assert failed
    assert set(failed.values()) <= {"Invalid", "Obstructed"}
    assert report.exit_code == 1
    arrived = {name for name in objects.keys() - failed.keys() if not name.endswith("/")}
    assert read_tree(tmp_path / "target") == {name: objects[name] for name in arrived}
    assert leftovers(tmp_path / "target") == []


async def test_folder_markers_become_directories_and_come_back(
    moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    objects = {"d/": b"", "d/x": b"child", "empty/": b"", "deep/er/": b""}
    fill_bucket(moto_bucket, objects, "t/")
    report = await _down(moto_bucket, tmp_path, moto_server, "t/")
    assert (report.exit_code, report.failures) == (0, [])
    assert (tmp_path / "target" / "empty").is_dir()
    assert (tmp_path / "target" / "deep" / "er").is_dir()
    report = await copy_here(
        f"{tmp_path}/target/",
        moto_bucket.location("back/"),
        environment=environment_for(tmp_path / "state", moto_server),
    )
    assert (report.exit_code, report.failures) == (0, [])
    # A directory that has content is implied by it.
    found = await asyncio.to_thread(read_bucket, moto_bucket, "back/")
    assert found == {name: data for name, data in objects.items() if name != "d/"}


@pytest.mark.parametrize("trap", ["link-to-directory", "dangling", "link-to-file"])
async def test_links_inside_the_target_lead_nowhere(
    trap: str, moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    fill_bucket(moto_bucket, {"in/x": b"new", "in": b"new", "y": b"fine"}, "t/")
    fill_bucket(moto_bucket, {"in/large": b"L" * (17 * MIB)}, "t/")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"old")
    goals = {
        "link-to-directory": "../outside",
        "dangling": "../outside/made",
        "link-to-file": "../outside/x",
    }
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "in").symlink_to(goals[trap])
    report = await _down(moto_bucket, tmp_path, moto_server, "t/")
    assert read_tree(tmp_path / "outside") == {"x": b"old"}
    assert (tmp_path / "target" / "y").read_bytes() == b"fine"
    assert set(failures_of(report)) <= {"in", "in/x", "in/large"}
    assert report.exit_code == 1
    assert leftovers(tmp_path / "target") == []


async def test_names_that_are_not_utf8_stay_exact_between_disks(tmp_path: Path) -> None:
    odd = {b"bad\xff": b"1", b"d\x80/x": b"2", b"good": b"3", b"bad\xff-large": b"L" * (17 * MIB)}
    root = os.fsencode(tmp_path / "source")
    for name, data in odd.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:  # noqa: ASYNC230
            file.write(data)
    environment = environment_for(tmp_path / "state")
    report = await copy_here(f"{tmp_path}/source/", f"{tmp_path}/target/", environment=environment)
    assert (report.exit_code, report.failures) == (0, [])
    assert _raw_tree(tmp_path / "target") == odd
    again = await copy_here(f"{tmp_path}/source/", f"{tmp_path}/target/", environment=environment)
    assert (again.tally.copied_objects, again.tally.skipped_objects) == (0, 4)


async def test_names_that_are_not_utf8_are_refused_by_a_store(
    moto_server: MotoServer, moto_bucket: Bucket, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    for name in (b"bad\xff", b"good"):
        with open(os.path.join(os.fsencode(tmp_path / "source"), name), "wb") as file:  # noqa: ASYNC230
            file.write(b"data")
    report = await copy_here(
        f"{tmp_path}/source/",
        moto_bucket.location("t/"),
        environment=environment_for(tmp_path / "state", moto_server),
    )
    assert failures_of(report) == {"bad\udcff": "Refused"}
    assert report.exit_code == 1
    assert moto_bucket.list_keys() == ["t/good"]
