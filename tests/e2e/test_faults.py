"""A faulty network in front of a real store: the copy ends right, or fails by name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.e2e.support import (
    MIB,
    assert_equal_trees,
    copy_here,
    environment_for,
    failures_of,
    fill_bucket,
    leftovers,
    make_objects,
    read_bucket,
    read_tree,
    write_tree,
)
from tests.faults.script import Answer, Drip, Flip, Latency, Reset, Rule, Side, Stall, Truncate

if TYPE_CHECKING:
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

LARGE = "large/whole.bin"
BODY = "GET|PUT"
PART = "partNumber|large"


class Storm(NamedTuple):
    """Faults, and how many of them must have struck for the test to have tested anything."""

    label: str
    rules: tuple[Rule, ...]
    least: int = 10


SLOW_DOWN = Answer(status=503, code="SlowDown", retry_after_s=1)
STORMS = (
    Storm("answers-lost", (Rule(fault=Reset(head=True), probability=0.05),)),
    Storm(
        "reset-in-bodies",
        (
            Rule(fault=Reset(at_byte=700), method="GET", probability=0.05),
            Rule(fault=Reset(at_byte=700, side=Side.REQUEST), method="PUT", probability=0.05),
            Rule(fault=Reset(at_byte=3 * MIB), path=PART, method="GET", nth=range(1, 4)),
            Rule(
                fault=Reset(at_byte=3 * MIB, side=Side.REQUEST),
                path=PART,
                method="PUT",
                nth=range(1, 4),
            ),
        ),
    ),
    Storm("cut-short", (Rule(fault=Truncate(at_byte=300), method="GET", probability=0.1),), 3),
    Storm("500", (Rule(fault=Answer(status=500, code="InternalError"), probability=0.1),)),
    Storm("503-all-at-once", (Rule(fault=SLOW_DOWN, nth=range(20, 60)),)),
    Storm("stalls", (Rule(fault=Stall(for_s=1.0, at_byte=100), nth={30, 31, 32, 33}),), 4),
    Storm("slow-drip", (Rule(fault=Drip(bytes_per_s=4 * MIB), method=BODY, path=PART),), 2),
    Storm("latency", (Rule(fault=Latency(delay_s=0.15), nth=range(1, 80)),)),
    Storm(
        "everything",
        (
            Rule(fault=Latency(delay_s=0.02), probability=0.1),
            Rule(fault=Reset(head=True), probability=0.03),
            Rule(fault=Answer(status=500, code="InternalError"), probability=0.05),
            Rule(fault=SLOW_DOWN, probability=0.02),
            Rule(fault=Truncate(at_byte=200), method="GET", probability=0.05),
        ),
    ),
)


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    return make_objects(160, seed=30, size_max=9000, large={LARGE: 17 * MIB + 5})


@pytest.mark.parametrize("storm", STORMS, ids=lambda storm: storm.label)
async def test_a_storm_ends_well(
    storm: Storm,
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
    objects: dict[str, bytes],
) -> None:
    environment = environment_for(tmp_path / "state", seaweed)
    write_tree(tmp_path / "source", objects)
    proxy = fault_proxy(seaweed.endpoint_url, *storm.rules, seed=3)
    away = seaweed_bucket.location("t/", endpoint_url=proxy.endpoint_url)

    up = await copy_here(f"{tmp_path}/source/", away, environment=environment)
    assert (up.exit_code, up.failures) == (0, [])
    found = await asyncio.to_thread(read_bucket, seaweed_bucket, "t/")
    assert_equal_trees(found, objects)
    assert seaweed_bucket.upload_keys() == []

    proxy.follow(*storm.rules)
    down = await copy_here(away, f"{tmp_path}/target/", environment=environment)
    assert (down.exit_code, down.failures) == (0, [])
    assert_equal_trees(read_tree(tmp_path / "target"), objects)
    assert leftovers(tmp_path / "target") == []
    assert down.tally.copied_objects == up.tally.copied_objects == len(objects)
    assert len(proxy.events) >= storm.least


SMALL = "d00/00000.bin"
FLIPPED = {SMALL: b"A" * 5000, "other": b"B" * 5000, LARGE: b"C" * (17 * MIB)}


@pytest.mark.parametrize("key", [SMALL, LARGE])
async def test_a_bit_flipped_on_the_way_down_is_read_again(
    key: str,
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    fill_bucket(seaweed_bucket, FLIPPED)
    once = Rule(fault=Flip(at_byte=1234, bit=3), method="GET", path=f"/{key}", nth={1})
    proxy = fault_proxy(seaweed.endpoint_url, once)
    report = await copy_here(
        seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state", seaweed),
    )
    assert proxy.count(Flip) == 1
    assert (report.exit_code, report.failures) == (0, [])
    assert_equal_trees(read_tree(tmp_path / "target"), FLIPPED)


@pytest.mark.parametrize("key", [SMALL, LARGE])
async def test_bits_that_flip_every_time_are_damage_by_name(
    key: str,
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    fill_bucket(seaweed_bucket, FLIPPED)
    always = Rule(fault=Flip(at_byte=1234, bit=3), method="GET", path=f"/{key}")
    proxy = fault_proxy(seaweed.endpoint_url, always)
    report = await copy_here(
        seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
        f"{tmp_path}/target/",
        environment=environment_for(tmp_path / "state", seaweed),
    )
    assert failures_of(report) == {key: "Corrupt"}
    assert (report.exit_code, report.tally.failed_objects) == (3, 1)
    others = {name: data for name, data in FLIPPED.items() if name != key}
    assert_equal_trees(read_tree(tmp_path / "target"), others)
    assert leftovers(tmp_path / "target") == []


@pytest.mark.parametrize("key", [SMALL, LARGE])
@pytest.mark.parametrize("times", [1, 10_000], ids=["once", "always"])
async def test_a_bit_flipped_on_the_way_up_is_caught_by_the_store(
    key: str,
    times: int,
    seaweed: SeaweedServer,
    seaweed_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    write_tree(tmp_path / "source", FLIPPED)
    flip = Flip(at_byte=1234, bit=3, side=Side.REQUEST)
    rule = Rule(fault=flip, method="PUT", path=f"/{key}", nth=range(1, times + 1))
    proxy = fault_proxy(seaweed.endpoint_url, rule)
    report = await copy_here(
        f"{tmp_path}/source/",
        seaweed_bucket.location(endpoint_url=proxy.endpoint_url),
        environment=environment_for(tmp_path / "state", seaweed),
    )
    found = await asyncio.to_thread(read_bucket, seaweed_bucket)
    if times == 1:
        assert (report.exit_code, report.failures) == (0, [])
        assert_equal_trees(found, FLIPPED)
    else:
        assert failures_of(report) == {key: "Corrupt"}
        assert report.exit_code == 3
        assert_equal_trees(found, {name: data for name, data in FLIPPED.items() if name != key})
    assert seaweed_bucket.upload_keys() == []
