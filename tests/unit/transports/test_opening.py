"""What a location opens, in which environment, and in what order it is dressed."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.transports.scripted import Scripted, entry
from transports.decorator import Decorator, bare
from transports.errors import Throttled, Unavailable
from transports.http import HttpTransport
from transports.limit import Limit
from transports.limit_policy import LimitPolicy
from transports.local import LocalTransport
from transports.location import BadLocation, parse_location
from transports.memory import MemoryTransport
from transports.model import ByteRange
from transports.opening import (
    Side,
    TransportPolicy,
    decorate,
    environment_of,
    open_transport,
)
from transports.record import Log, Record
from transports.retry import Retry
from transports.throttle import Throttle


@pytest.mark.parametrize(
    ("side", "given", "seen"),
    [
        ("source", {"HOME": "/h", "MOVER_SOURCE_X": "s", "MOVER_TARGET_X": "t"}, {"HOME": "/h", "X": "s"}),
        ("target", {"X": "a", "MOVER_SOURCE_X": "s", "MOVER_TARGET_X": "t"}, {"X": "t"}),
        ("source", {"X": "a", "MOVER_TARGET_X": "t"}, {"X": "a"}),
        (
            "source",  # another key's session token must not go with this one's
            {
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_SESSION_TOKEN": "c",
                "AWS_REGION": "r",
                "MOVER_SOURCE_AWS_ACCESS_KEY_ID": "A",
                "MOVER_SOURCE_AWS_SECRET_ACCESS_KEY": "B",
            },
            {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_REGION": "r"},
        ),
        (
            "target",  # the ambient key would go before the profile
            {"AWS_ACCESS_KEY_ID": "a", "MOVER_TARGET_AWS_PROFILE": "lab"},
            {"AWS_PROFILE": "lab"},
        ),
    ],
)  # fmt: skip
def test_each_side_has_its_own_environment(
    side: Side, given: Mapping[str, str], seen: Mapping[str, str]
) -> None:
    assert environment_of(side, given) == seen


async def test_locations_open_their_adapters(tmp_path: Path) -> None:
    cases = [
        (str(tmp_path), LocalTransport, f"{tmp_path}/"),
        (f"file://{tmp_path}/", LocalTransport, f"{tmp_path}/"),
        ("memory://name/p", MemoryTransport, "memory://name/p/"),
        ("http://127.0.0.1:9/d/", HttpTransport, "http://127.0.0.1:9/d/"),
    ]
    for text, kind, location in cases:
        transport = await open_transport(parse_location(text), side="source", environment={})
        assert type(transport) is kind
        assert transport.location == location
        await transport.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch://x/y", "unknown scheme 'nosuch'; known are .*memory.*s3.*extras"),
        ("s3://b/k?engine=other", "engine='other' is not known"),
        ("file:///x?links=skip", "unknown option 'links'"),
        ("memory://x?a=b", "unknown option 'a'"),
        ("http://h/#a=b", "unknown HTTP option 'a' .*ca_file"),
        ("http://h/#ca_file=/none", "ca_file='/none'"),
        ("http://h/#verify=perhaps", "neither true nor false"),
        ("http://h/#read_timeout_s=-1", "not a number of seconds"),
        ("s3://b/k?colour=red", "unknown S3 option 'colour'"),
    ],
)
async def test_what_cannot_be_opened(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        await open_transport(parse_location(text), side="source", environment={})
    assert "\n" not in str(caught.value)


async def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(_scheme: str) -> object:
        raise ImportError("Please install gcsfs", name="gcsfs")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(BadLocation, match=r"pip install 'fluid-mover\[gcs\]'"):
        await open_transport(parse_location("gs://b/p"), side="source", environment={})


async def take(_amount: int) -> None:
    return None


def layers(transport: object) -> list[type]:
    found = []
    while isinstance(transport, Decorator):
        found.append(type(transport))
        transport = transport.inner
    return found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (TransportPolicy(), [Retry, Limit]),
        (TransportPolicy(retry=None), [Limit]),
        (TransportPolicy(log=Log()), [Retry, Record, Limit]),
        (TransportPolicy(log=Log(), take_bytes=take), [Retry, Record, Limit, Throttle]),
        (TransportPolicy(take_requests=take), [Retry, Limit, Throttle]),
    ],
)
def test_the_order_of_decorators(policy: TransportPolicy, expected: list[type]) -> None:
    inner = Scripted()
    dressed = decorate(inner, policy)
    assert layers(dressed) == expected
    assert bare(dressed) is inner
    assert (dressed.location, dressed.capabilities) == (inner.location, inner.capabilities)


async def test_a_call_that_backs_off_holds_no_slot_and_asks_the_rate_again() -> None:
    inner = Scripted()
    inner.bytes = b"1234"
    inner.will("read_into", Unavailable("s"), Throttled("s"))
    log = Log()
    granted: list[int] = []
    in_use: list[int] = []

    async def grant(size: int) -> None:
        granted.append(size)

    async def sleep(_wait_s: float) -> None:
        assert isinstance(limit, Limit)
        in_use.append(limit.in_use)

    dressed = decorate(
        inner,
        TransportPolicy(
            log=log,
            take_bytes=grant,
            limit=LimitPolicy.fixed(1),
            rng=random.Random(1),
            sleep=sleep,
        ),
    )
    assert isinstance(dressed, Retry)
    assert isinstance(dressed.inner, Record)
    limit = dressed.inner.inner
    assert isinstance(limit, Limit)
    await dressed.read_into(entry("k"), ByteRange(0, 4), memoryview(bytearray(4)))
    assert in_use == [0, 0]
    assert log.counts["read_into"] == 3
    assert granted == [4, 4, 4]
