"""The looks that cut a listing, through everything that a transport can wear."""

from __future__ import annotations

import pytest

from transports.errors import Unavailable
from transports.faults import Fault, Faults
from transports.limit import Limit
from transports.limit_policy import LimitPolicy
from transports.memory import MemoryTransport
from transports.record import Call, Record
from transports.retry import Retry
from transports.testing import put
from transports.throttle import Throttle

KEYS = ("a/x", "a/y", "b", "c/z")


async def filled() -> MemoryTransport:
    transport = MemoryTransport()
    await put(transport, dict.fromkeys(KEYS, b""))
    return transport


async def no_wait(seconds: float) -> None:
    pass


async def test_both_are_passed_through_and_noted() -> None:
    record = Record(Limit(await filled()))
    assert await record.first_after("a/x", "a/") == "a/y"
    assert list(await record.children("", start_after="a/", limit=1)) == ["b"]
    assert record.log.take() == [Call("first_after", ("a/x",)), Call("children", ("",))]


async def test_both_are_tried_again() -> None:
    away = Unavailable("memory://", "away")
    script = [Fault(verb=verb, error=away) for verb in ("first_after", "children")]
    faults = Faults(await filled(), script)
    retry = Retry(faults, sleep=no_wait)
    assert await retry.first_after("b") == "c/z"
    assert list(await retry.children("a/")) == ["a/x", "a/y"]
    assert len(faults.struck) == 2


@pytest.mark.parametrize("verb", ["first_after", "children"])
async def test_a_lost_answer_is_an_error(verb: str) -> None:
    fault = Fault(verb=verb, error=Unavailable("memory://", "lost"), after=True)
    faults = Faults(await filled(), [fault])
    with pytest.raises(Unavailable):
        await getattr(faults, verb)("")


async def test_each_takes_one_request_and_no_bytes() -> None:
    requests: list[int] = []

    async def take(count: int) -> None:
        requests.append(count)

    throttle = Throttle(await filled(), take_requests=take, take_bytes=no_wait)
    await throttle.first_after("")
    await throttle.children()
    assert requests == [1, 1]


async def test_neither_takes_a_slot() -> None:
    limit = Limit(await filled(), LimitPolicy.fixed(1))
    limit.in_use = 1
    assert await limit.first_after("") == "a/x"
    assert list(await limit.children()) == ["a/", "b", "c/"]
