"""Small objects that are let go in runs: pinned, judged one by one, and none hidden by another."""

from collections.abc import Sequence

import pytest

from tests.unit.transports.s3_script import Request, answer, scripted, transport_to
from transports.base import Told
from transports.errors import TransportError
from transports.model import Entry

LANES = pytest.mark.parametrize("lane", ["true", "false"])


def small(*keys: str) -> list[Entry]:
    return [Entry(key, 5, 0, "tag") for key in keys]


def said(results: Sequence[Told | TransportError]) -> list[str]:
    return [
        type(each).__name__ if isinstance(each, TransportError) else each[b":status"].decode()
        for each in results
    ]


@LANES
async def test_small_objects_are_pinned_and_let_go(lane: str) -> None:
    async with (
        scripted(lambda _: answer(200, b"hello", age="7")) as script,
        transport_to(script, lane=lane) as transport,
    ):
        results = await transport.drop_small(small("a", "ü b", "c"))
    assert said(results) == ["200"] * 3
    assert all(not isinstance(each, TransportError) and each[b"age"] == b"7" for each in results)
    assert [request.target for request in script.requests] == [
        "/bucket/a",
        "/bucket/%C3%BC%20b",
        "/bucket/c",
    ]
    assert {request.headers["if-match"] for request in script.requests} == {'"tag"'}


@LANES
async def test_what_is_no_plain_success_is_named_and_hides_no_other(lane: str) -> None:
    def handler(request: Request) -> bytes:
        match request.target.rpartition("/")[2]:
            case "gone":
                return answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            case "moved":
                return answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            case "longer":
                return answer(200, b"hello world")
            case "short":
                return answer(200, b"hel", content_length="5", connection="close")
            case "busy":
                return answer(503, b"<Error><Code>SlowDown</Code></Error>")
        return answer(200, b"hello")

    keys = ["v", "gone", "w", "moved", "longer", "x", "short", "y", "busy", "z"]
    async with scripted(handler) as script, transport_to(script, lane=lane) as transport:
        results = await transport.drop_small(small(*keys))
    assert said(results) == [
        "200", "NotFound", "200", "Changed", "WrongLength", "200", "Truncated", "200", "Throttled", "200",
    ]  # fmt: skip
    named = [str(each) for each in results if isinstance(each, TransportError)]
    assert [key for key in keys if any(f"s3://bucket/{key}" in text for text in named)] == [
        "gone",
        "moved",
        "longer",
        "short",
        "busy",
    ]


async def test_where_the_way_is_broken_nobody_waits_for_each() -> None:
    async with scripted(lambda _: answer(200, b"hello")) as script:
        transport = transport_to(script)
    async with transport as opened:
        results = await opened.drop_small(small("a", "b"))
    assert said(results) == ["Unavailable"] * 2
    assert ["s3://bucket/a" in str(results[0]), "s3://bucket/b" in str(results[1])] == [True] * 2


async def test_a_name_that_cannot_be_asked_for_is_refused_by_itself() -> None:
    async with (
        scripted(lambda _: answer(200, b"hello")) as script,
        transport_to(script) as transport,
    ):
        assert said(await transport.drop_small(small("a", "\udc80", "b"))) == [
            "200",
            "Invalid",
            "200",
        ]
