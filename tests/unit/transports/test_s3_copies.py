"""Parts made of ranges, and finishing under a condition: what is asked of a store, and how often."""

import pytest

from tests.unit.transports.s3_script import Request, answer, error, scripted, transport_to
from transports.digests import base64_of, crc64nvme_hex, md5_hex
from transports.errors import AlreadyExists, Changed, Invalid, Unsupported
from transports.model import ByteRange, Checksum, Entry, PartReceipt, PartSpec, Presence, Proof
from transports.s3 import S3Transport
from transports.s3_headers import composite_etag

OLD = Entry("old/é", 20_000_000, 0, etag="a" * 32, version="v 1")
SPAN = ByteRange(7, 1_007)
PART = PartSpec(number=2, range=ByteRange(5_000, 6_000))
CRC_HEX = crc64nvme_hex(b"part")
DATA_ETAG = md5_hex(b"data")


def copied(crc_hex: str = "") -> bytes:
    crc = f"<ChecksumCRC64NVME>{base64_of(crc_hex)}</ChecksumCRC64NVME>" if crc_hex else ""
    return answer(200, f"<CopyPartResult><ETag>&quot;e&quot;</ETag>{crc}</CopyPartResult>".encode())


def parts(size: int) -> bytes:
    listed = f"<Part><PartNumber>2</PartNumber><Size>{size}</Size><ETag>e</ETag></Part>"
    return answer(200, f"<ListPartsResult>{listed}</ListPartsResult>".encode())


class Store:
    """A store with the manners that it is given."""

    def __init__(
        self, *, pins: bool = True, ranges: bool = True, refusal: bytes = b"", etag: str = OLD.etag
    ) -> None:
        self.pins = pins
        self.ranges = ranges
        self.refusal = refusal
        self.etag = etag

    def __call__(self, request: Request) -> bytes:
        if request.method == "HEAD":
            return answer(200, ETag=f'"{self.etag}"')
        if request.method == "GET":
            return parts(len(SPAN) if self.ranges else OLD.size)
        if self.refusal:
            return self.refusal
        pin = request.headers["x-amz-copy-source-if-match"]
        if self.pins and pin != f'"{self.etag}"':
            return error(412, "PreconditionFailed")
        return copied(CRC_HEX)


async def copy_part(transport: S3Transport) -> PartReceipt:
    return await transport.copy_part("new", "u1", PART, OLD, SPAN, transport)


async def test_a_range_is_named_and_pinned() -> None:
    async with scripted(Store()) as script, transport_to(script) as transport:
        receipt = await copy_part(transport)
        assert receipt == PartReceipt(2, 5_000, 1_000, "e", CRC_HEX)
        assert [request.method for request in script.requests] == ["PUT", "PUT", "GET"]
        real = script.requests[1]
        await copy_part(transport)
        assert len(script.requests) == 4  # what was learned is kept
    assert real.query == {"partNumber": "2", "uploadId": "u1"}
    assert real.headers["x-amz-copy-source"].endswith("/old/%C3%A9?versionId=v%201")
    assert real.headers["x-amz-copy-source-range"] == "bytes=7-1006"
    assert real.headers["x-amz-copy-source-if-match"] == f'"{OLD.etag}"'


async def test_an_object_that_moved_is_changed() -> None:
    async with scripted(Store(etag="b" * 32)) as script, transport_to(script) as transport:
        with pytest.raises(Changed):
            await copy_part(transport)


async def test_a_store_that_ignores_pins_is_looked_at_after_each_part() -> None:
    store = Store(pins=False)
    async with scripted(store) as script, transport_to(script) as transport:
        await copy_part(transport)
        await copy_part(transport)
        assert [r.method for r in script.requests] == ["PUT", "PUT", "GET", "HEAD", "PUT", "HEAD"]
        store.etag = "b" * 32
        with pytest.raises(Changed):
            await copy_part(transport)


@pytest.mark.parametrize(
    ("store", "first"),
    [
        (Store(refusal=error(501, "NotImplemented")), ["PUT"]),
        (Store(refusal=answer(501)), ["PUT"]),
        (Store(refusal=error(405, "MethodNotAllowed")), ["PUT"]),
        (Store(ranges=False), ["PUT", "PUT", "GET"]),
    ],
)
async def test_a_store_that_cannot_is_asked_once(store: Store, first: list[str]) -> None:
    async with scripted(store) as script, transport_to(script) as transport:
        for _ in range(3):
            with pytest.raises(Unsupported):
                await copy_part(transport)
        assert [request.method for request in script.requests] == first


async def test_a_refusal_of_one_range_is_not_one_of_the_verb() -> None:
    store = Store(refusal=error(400, "InvalidArgument"))
    async with scripted(store) as script, transport_to(script) as transport:
        for _ in range(2):
            with pytest.raises(Invalid) as caught:
                await copy_part(transport)
            assert not isinstance(caught.value, Unsupported)
        assert len(script.requests) == 2


async def test_a_part_of_another_length_than_its_range_is_refused() -> None:
    async with scripted(Store()) as script, transport_to(script) as transport:
        with pytest.raises(Invalid):
            await transport.copy_part("new", "u1", PART, OLD, ByteRange(0, 7), transport)
        assert script.requests == []


WRITTEN = [PartReceipt(1, 0, 4, DATA_ETAG, crc64nvme_hex(b"data"))]
MADE_ETAG = composite_etag([DATA_ETAG])


class Finishing:
    """A store with an object at the key, or none, and a condition that holds or not."""

    def __init__(self, there: str, *, holds: bool = True) -> None:
        self.there = there
        self.holds = holds

    def __call__(self, request: Request) -> bytes:
        if request.method == "HEAD":
            return answer(200, ETag=f'"{self.there}"') if self.there else answer(404)
        if not self.holds:
            return error(412, "PreconditionFailed")
        done = f"<ETag>{MADE_ETAG}</ETag>"
        body = f"<CompleteMultipartUploadResult>{done}</CompleteMultipartUploadResult>"
        return answer(200, body.encode())


@pytest.mark.parametrize(
    ("there", "replaces", "header"),
    [
        (OLD.etag, OLD, ("if-match", f'"{OLD.etag}"')),
        ("", Presence.NONE, ("if-none-match", "*")),
    ],
)
async def test_the_condition_goes_along(
    there: str, replaces: Entry | Presence, header: tuple[str, str]
) -> None:
    async with scripted(Finishing(there)) as script, transport_to(script) as transport:
        receipt = await transport.finish_upload("k", "u1", WRITTEN, replaces=replaces)
    assert receipt.proof is Proof.STRONG
    assert header in script.requests[-1].headers.items()


@pytest.mark.parametrize(
    ("store", "replaces", "kind"),
    [
        (Finishing("b" * 32), OLD, Changed),
        (Finishing(""), OLD, Changed),
        (Finishing(OLD.etag, holds=False), OLD, Changed),
        (Finishing("b" * 32), Presence.NONE, AlreadyExists),
        (Finishing("", holds=False), Presence.NONE, AlreadyExists),
    ],
)
async def test_what_may_not_be_replaced_stays(
    store: Finishing, replaces: Entry | Presence, kind: type[Exception]
) -> None:
    async with scripted(store) as script, transport_to(script) as transport:
        with pytest.raises(kind):
            await transport.finish_upload("k", "u1", WRITTEN, replaces=replaces)


async def test_digests_of_copied_parts_prove_no_checksum() -> None:
    """The ETag of such a part is the store's own; only a checksum of the whole would prove it."""
    plain = [WRITTEN[0]._replace(crc64nvme="")]
    whole = Checksum("crc64nvme", crc64nvme_hex(b"data"))
    async with scripted(Finishing("")) as script, transport_to(script) as transport:
        receipt = await transport.finish_upload("k", "u1", plain, checksum=whole)
    assert receipt.proof is Proof.WEAK
