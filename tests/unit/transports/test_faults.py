"""The script strikes where it says, and nowhere else."""

import pytest

from tests.unit.transports.scripted import Scripted, blob, entry
from transports.errors import Denied, NotFound, TransportError, Truncated, Unavailable
from transports.faults import Fault, Faults
from transports.model import Blob, ByteRange, PartSpec, Receipt

AWAY = Unavailable("s")


async def test_the_nth_call_and_as_many_times_as_asked() -> None:
    faults = Faults(Scripted(), [Fault(verb="head", nth=2, times=2, error=AWAY)])
    outcomes = []
    for _ in range(5):
        try:
            await faults.head("k")
            outcomes.append(True)
        except Unavailable:
            outcomes.append(False)
    assert outcomes == [True, False, False, True, True]
    assert len(faults.struck) == 2


async def test_of_one_key_only_and_before_or_after_the_effect() -> None:
    inner = Scripted()
    faults = Faults(
        inner,
        [
            Fault(verb="copy", key="a", error=AWAY, after=True),
            Fault(verb="copy", key="b", error=AWAY),
        ],
    )
    await faults.copy(entry("z"), inner, "t")
    for key in "ab":
        with pytest.raises(Unavailable):
            await faults.copy(entry(key), inner, "t")
    assert inner.count("copy") == 2  # "b" never reached the store


async def test_items_of_a_batch_are_struck_alone() -> None:
    inner = Scripted()
    faults = Faults(
        inner,
        [
            Fault(verb="read_small", nth=2, error=AWAY),
            Fault(verb="read_small", key="c", flip_at=0),
            Fault(verb="read_small", key="d", truncate_at=1),
            Fault(verb="write_small", key="b", error=AWAY, after=True),
            Fault(verb="delete", key="b", error=Denied("s")),
        ],
    )
    entries = [entry(key) for key in "abcd"]
    first, second, third, fourth = await faults.read_small(entries)
    assert isinstance(first, Blob)
    assert second is AWAY
    assert isinstance(third, Blob)
    assert bytes(third.data) == b"yxxx"
    assert isinstance(fourth, Truncated)
    assert inner.calls[0][1] == [entries[0], entries[2], entries[3]]
    written = await faults.write_small([blob(one) for one in entries[:2]])
    assert [type(result) for result in written] == [Receipt, Unavailable]
    assert len(inner.calls[1][1]) == 2  # type: ignore[arg-type]
    assert [type(r) for r in await faults.delete(["a", "b"])] == [type(None), Denied]


async def test_a_batch_that_fails_wholly_does_not_reach_the_store() -> None:
    inner = Scripted()
    faults = Faults(inner, [Fault(verb="delete", times=2, error=AWAY)])
    assert list(await faults.delete(["a", "b"])) == [AWAY, AWAY]
    assert inner.calls == []


async def test_ranges_break_off_and_flip() -> None:
    inner = Scripted()
    inner.bytes = b"abcdef"
    faults = Faults(
        inner, [Fault(verb="read_into", truncate_at=2), Fault(verb="read_into", nth=2, flip_at=1)]
    )
    buffer = bytearray(6)
    with pytest.raises(Truncated) as caught:
        await faults.read_into(entry("k"), ByteRange(0, 6), memoryview(buffer))
    assert caught.value.received_bytes == 2
    assert buffer == b"ab\0\0\0\0"
    await faults.read_into(entry("k"), ByteRange(0, 6), memoryview(buffer))
    assert buffer == b"accdef"
    await faults.read_into(entry("k"), ByteRange(0, 6), memoryview(buffer))
    assert buffer == b"abcdef"


async def test_streams_break_off_and_flip() -> None:
    inner = Scripted()
    inner.bytes = b"abcdef"
    faults = Faults(
        inner, [Fault(verb="stream", truncate_at=4), Fault(verb="stream", nth=2, flip_at=5)]
    )
    seen = b""
    with pytest.raises(Truncated):  # noqa: PT012 - the loop is what raises
        async for piece in faults.stream(entry("k", 6)):
            seen += piece
    assert seen == b"abcd"
    assert [bytes(piece) async for piece in faults.stream(entry("k"))] == [b"abcdeg"]


async def test_a_listing_fails_on_its_nth_page() -> None:
    inner = Scripted()
    inner.pages = [[entry("a")], [entry("b")]]
    faults = Faults(inner, [Fault(verb="list", nth=2, error=AWAY)])
    seen: list[str] = []
    with pytest.raises(Unavailable):  # noqa: PT012 - the loop is what raises
        async for page in faults.list():
            seen += [one.key for one in page]
    assert seen == ["a"]
    assert inner.closed_listings == 1


async def test_a_delay_waits_and_goes_on() -> None:
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    faults = Faults(
        Scripted(),
        [Fault(verb="head", delay_s=3.0), Fault(verb="read_small", delay_s=2.0)],
        sleep=sleep,
    )
    await faults.head("k")
    await faults.read_small([entry("a"), entry("b")])
    assert waits == [3.0, 2.0]


@pytest.mark.parametrize("after", [False, True])
async def test_every_upload_verb(after: bool) -> None:
    span = ByteRange(0, 1)
    part = PartSpec(number=1, range=span)
    for verb in (
        "begin_upload", "write_part", "copy_part", "finish_upload", "abort_upload", "list_parts",
        "list_uploads",
    ):  # fmt: skip
        inner = Scripted()
        gone: TransportError = NotFound("s")
        faults = Faults(inner, [Fault(verb=verb, error=gone, after=after)])
        calls = {
            "begin_upload": lambda f=faults: f.begin_upload("k", 1, token="t"),
            "write_part": lambda f=faults: f.write_part("k", "id", part, memoryview(b"x")),
            "copy_part": lambda f=faults: f.copy_part("k", "id", part, entry("o"), span, f),
            "finish_upload": lambda f=faults: f.finish_upload("k", "id", []),
            "abort_upload": lambda f=faults: f.abort_upload("k", "id"),
            "list_parts": lambda f=faults: f.list_parts("k", "id"),
            "list_uploads": lambda f=faults: f.list_uploads("k"),
        }
        with pytest.raises(NotFound):
            await calls[verb]()
        await calls[verb]()
        assert inner.count(verb) == 1 + after
