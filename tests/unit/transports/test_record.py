"""The log of calls."""

from tests.unit.transports.scripted import Scripted, blob, entry
from transports.model import ByteRange, PartSpec
from transports.record import CALLS_MAX, Call, Log, Record


async def test_every_verb_is_noted_with_its_keys_and_bytes() -> None:
    inner = Scripted()
    inner.bytes = bytes(8)
    inner.pages = [[entry("a")], [entry("b")]]
    record = Record(inner)
    assert len([page async for page in record.list("p")]) == 2
    await record.head("a")
    await record.read_small([entry("a", 4), entry("b", -1)])
    await record.read_into(entry("a"), ByteRange(0, 8), memoryview(bytearray(8)))
    assert [piece async for piece in record.stream(entry("a"))] == [bytes(8)]
    await record.write_small([blob(entry("c", 3))])
    upload_id = await record.begin_upload("d", 9, token="t")
    await record.write_part(
        "d", upload_id, PartSpec(number=1, range=ByteRange(0, 9)), memoryview(bytes(9))
    )
    part = PartSpec(number=2, range=ByteRange(9, 14))
    await record.copy_part("d", upload_id, part, entry("a"), ByteRange(1, 6), inner)
    await record.list_parts("d", upload_id)
    await record.list_uploads("d")
    await record.finish_upload("d", upload_id, [])
    await record.abort_upload("d", upload_id)
    await record.copy(entry("a"), inner, "e")
    await record.delete(["a", "b"])
    await record.clean("t")
    await record.close()
    assert record.log.counts["list"] == 2
    assert record.log.size_bytes["write_part"] == 9
    assert record.log.take() == [
        Call("list", ("p",)),
        Call("list", ("p",)),
        Call("head", ("a",)),
        Call("read_small", ("a", "b"), 4),
        Call("read_into", ("a",), 8),
        Call("stream", ("a",), 4),
        Call("write_small", ("c",), 3),
        Call("begin_upload", ("d",)),
        Call("write_part", ("d",), 9),
        Call("copy_part", ("a", "d"), 5),
        Call("list_parts", ("d",)),
        Call("list_uploads", ("d",)),
        Call("finish_upload", ("d",)),
        Call("abort_upload", ("d",)),
        Call("copy", ("a", "e")),
        Call("delete", ("a", "b")),
        Call("clean", ()),
        Call("close", ()),
    ]
    assert not record.log.counts
    assert {call[0] for call in inner.calls} == {
        "list", "head", "read_small", "read_into", "stream", "write_small", "begin_upload",
        "write_part", "list_parts", "list_uploads", "finish_upload", "abort_upload", "copy",
        "copy_part", "delete", "clean", "close",
    }  # fmt: skip


async def test_one_log_may_serve_two_sides() -> None:
    log = Log()
    await Record(Scripted(), log).head("a")
    await Record(Scripted(), log).head("b")
    assert log.take() == [Call("head", ("a",)), Call("head", ("b",))]


def test_the_log_is_bounded_and_its_counts_go_on() -> None:
    log = Log()
    for _ in range(CALLS_MAX + 5):
        log.add("head", "k")
    assert len(log.calls) == CALLS_MAX
    assert log.counts["head"] == CALLS_MAX + 5
