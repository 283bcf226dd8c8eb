"""What crosses the queue comes back equal, stray bytes included."""

import random

import msgspec
import pytest
import zstandard

from mover.delta_tasks import (
    Diff,
    Direct,
    Outline,
    Parcel,
    Patch,
    Prove,
    Sample,
    Seek,
    Sign,
    Spent,
)
from mover.errors import Rejected
from mover.filtering import Rule, Selection
from mover.model import (
    Assembly,
    Chunk,
    CopySpec,
    Failure,
    LargeObject,
    Removal,
    SmallShard,
    Sweep,
    Tally,
    TaskResult,
)
from mover.packing import pack
from mover.payloads import (
    PACKED_BYTES_MAX,
    PACKED_BYTES_MIN,
    Payload,
    decode_payload,
    decode_result,
    decode_spec,
    encode_payload,
    encode_result,
    encode_spec,
)
from transports.model import Checksum, Entry, Kind, PartReceipt

NAMES = ["a/b", "é\U0001f600", "new\nline", "stray\udcff\udc80byte", ""]
ENTRIES = [Entry(name, 3, 10**18, "e" * 32, "v1", Kind.OBJECT, 7) for name in NAMES]
PARCEL = Parcel(name=".mover-delta/j/o/1-1.delta", size=9, piece_bytes=8)

PAYLOADS: list[Payload] = [
    SmallShard(copies=ENTRIES, probes=[(ENTRIES[0], ENTRIES[1])], refused=[Failure("k", "E", "d")]),
    SmallShard(copies=ENTRIES[:1], probes=[]),
    *(LargeObject(entry=entry, again=True) for entry in ENTRIES),
    LargeObject(entry=ENTRIES[3], basis=ENTRIES[0]),
    Sweep(now_s=7.5, after="é", begun=True, tally=Tally(planned_deletes=3)),
    Removal(entries=ENTRIES, failed=True),
    Chunk(entry=ENTRIES[3], upload_id="u", part_bytes=8, first=1, last=9),
    Assembly(entry=ENTRIES[0], upload_id="u", part_bytes=8, group="g"),
    LargeObject(entry=ENTRIES[3], seeks=True),
    Sample(entry=ENTRIES[3]),
    Seek(entry=ENTRIES[3], told=(Checksum("md5", "0f"),), samples=b"\x00\xffsignature"),
    Direct(entry=ENTRIES[3], basis=ENTRIES[1], digest="0f", spent=Spent(gets=1)),
    Prove(entry=ENTRIES[3], basis=ENTRIES[1], again=True),
    Sign(
        entry=ENTRIES[3],
        basis=ENTRIES[1],
        block_bytes=2048,
        level=1,
        outline=Outline(ops=PARCEL, ladder=PARCEL, whole=Checksum("crc64nvme", "0f"), digest="00"),
    ),
    Diff(entry=ENTRIES[3], basis=ENTRIES[1], signature=PARCEL, spent=Spent(gets=3)),
    Patch(
        entry=ENTRIES[3],
        basis=ENTRIES[1],
        delta=PARCEL,
        ladder=PARCEL,
        whole=Checksum("crc64nvme", "0f"),
        literal_bytes=1,
        matched_bytes=2,
        spent=Spent(wire_bytes=7),
        base="é, version 1",
        direct=True,
        changed_bytes=3,
    ),
    Patch(
        entry=ENTRIES[0],
        basis=ENTRIES[3],
        delta=None,
        ladder=None,
        whole=Checksum("md5", "0f"),
        literal_bytes=0,
        matched_bytes=3,
        spent=Spent(),
    ),
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_payloads(payload: Payload) -> None:
    assert decode_payload(encode_payload(payload)) == payload


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_small_payloads_are_not_packed(payload: Payload) -> None:
    assert encode_payload(payload, packed=True) == encode_payload(payload)


@pytest.mark.parametrize("name", NAMES)
def test_packed_payloads(name: str) -> None:
    entries = [Entry(f"{name}{number}", number, 7, f"{number:032x}") for number in range(1000)]
    shard = SmallShard(copies=entries, probes=[])
    packed, plain = encode_payload(shard, packed=True), encode_payload(shard)
    assert len(packed) < len(plain) / 2
    assert decode_payload(packed) == decode_payload(plain) == shard


def test_what_packing_makes_no_smaller_stays_as_it_is() -> None:
    noise = random.Random(1).randbytes(PACKED_BYTES_MIN).decode("latin-1")
    shard = SmallShard(copies=[Entry(noise, 1, 0)], probes=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mover.payloads.pack", lambda data, level: data + b"!")
        assert encode_payload(shard, packed=True) == encode_payload(shard)


def framed(plain: bytes) -> bytes:
    return msgspec.msgpack.encode(("packed-1", pack(plain, level=1)))


PLAIN = encode_payload(PAYLOADS[0])
BOMB = pack(bytes(PACKED_BYTES_MAX + 1), level=1)
SILENT_BOMB = zstandard.ZstdCompressor(write_content_size=False).compress(
    bytes(PACKED_BYTES_MAX + 1)
)


@pytest.mark.parametrize(
    "data",
    [
        framed(framed(PLAIN)),
        framed(b""),
        framed(b"no payload"),
        framed(PLAIN)[:-1],
        msgspec.msgpack.encode(("packed-1", b"no frame")),
        msgspec.msgpack.encode(("packed-1", "text")),
        msgspec.msgpack.encode(("packed-1", pack(PLAIN, level=1)[:-1])),
        msgspec.msgpack.encode(("packed-1", pack(PLAIN, level=1) + b"more")),
        msgspec.msgpack.encode(("packed-1", BOMB)),
        msgspec.msgpack.encode(("packed-1", SILENT_BOMB)),
        msgspec.msgpack.encode(("packed-2", pack(PLAIN, level=1))),
    ],
)
def test_what_cannot_be_unpacked_is_named(data: bytes) -> None:
    assert decode_payload(framed(PLAIN)) == PAYLOADS[0]
    with pytest.raises(Rejected, match="another version"):
        decode_payload(data)


@pytest.mark.parametrize("name", NAMES)
def test_results(name: str) -> None:
    result = TaskResult(
        tally=Tally(copied_objects=3),
        failures=[Failure(name, "NotFound", f"{name}: gone")],
        parts=[PartReceipt(1, 0, 8, "etag", "00ff")],
    )
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x92\xa3new\x80", b"\x92\xa5small\x80"])
def test_foreign_payloads_are_named(data: bytes) -> None:
    with pytest.raises(Rejected, match="another version"):
        decode_payload(data)


def test_specifications_name_jobs() -> None:
    selection = Selection(rules=(Rule(verdict="exclude", pattern="*.tmp"),), names=("a", "b\udcff"))
    spec = CopySpec(source="s3://b/", target="/t\udcff/", selection=selection)
    assert decode_spec(encode_spec(spec)) == spec
    assert encode_spec(spec) == encode_spec(decode_spec(encode_spec(spec)))
    assert encode_spec(spec) != encode_spec(CopySpec(source="s3://b/", target="/t/"))


def test_an_opening_task_of_an_older_version_has_no_basis() -> None:
    older = msgspec.msgpack.encode(("large", {"entry": ENTRIES[0], "again": True}))
    assert decode_payload(older) == LargeObject(entry=ENTRIES[0], again=True, basis=None)


def test_a_result_of_an_older_version_withheld_nothing() -> None:
    older = msgspec.msgpack.encode({"tally": {"copied_objects": 1}})
    assert decode_result(older) == TaskResult(tally=Tally(copied_objects=1))
