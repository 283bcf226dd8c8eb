"""Uploads in parts, copies and deletes, as far as real servers do not show them."""

import asyncio
import re
from collections.abc import Callable, Sequence

import pytest

from tests.unit.transports.s3_script import Handler, Request, answer, error, scripted, transport_to
from transports.digests import base64_of, crc64nvme_hex, md5_hex
from transports.errors import (
    Changed,
    Corrupt,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    TransportError,
    Unavailable,
)
from transports.model import Attributes, ByteRange, Checksum, Entry, PartReceipt, PartSpec, Proof
from transports.s3_headers import composite_etag

GIB = 1024**3
DATA = b"hello"
ETAG = md5_hex(DATA)
CRC_HEX = crc64nvme_hex(DATA)
PARTS = [PartReceipt(1, 0, 5, ETAG, CRC_HEX)]
WHOLE_ETAG = composite_etag([ETAG])
DONE = (
    "<CompleteMultipartUploadResult><ETag>&quot;{}&quot;</ETag>{}</CompleteMultipartUploadResult>"
)
OPENED = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"


def completed(etag: str = WHOLE_ETAG, crc: str = "") -> bytes:
    told = f"<ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME>" if crc else ""
    return answer(200, DONE.format(etag, told).encode())


@pytest.mark.parametrize(
    ("reply", "proof"),
    [
        (completed(crc=base64_of(CRC_HEX)), Proof.STRONG),
        (completed(etag="opaque", crc=base64_of(CRC_HEX)), Proof.STRONG),
        (completed(), Proof.STRONG),
        (completed(etag="opaque"), Proof.WEAK),
        (completed(etag=f"{'0' * 32}-1"), Proof.WEAK),
    ],
)
async def test_what_completing_proves(reply: bytes, proof: Proof) -> None:
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        receipt = await transport.finish_upload("k", "u1", PARTS)
    assert (receipt.key, receipt.size, receipt.proof) == ("k", 5, proof)
    (request,) = script.requests
    assert request.headers["x-amz-checksum-crc64nvme"] == base64_of(CRC_HEX)
    assert request.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert request.headers["x-amz-mp-object-size"] == "5"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (completed(crc="AAAAAAAAAAA="), Corrupt),
        (answer(200, b"<Error><Code>InternalError</Code></Error>"), Unavailable),
        (answer(200, b"<Error><Code>AccessDenied</Code></Error>"), Denied),
        (answer(200, b"   "), Unavailable),
        (answer(200, completed().partition(b"\r\n\r\n")[2][:-5]), Unavailable),
        (error(400, "EntityTooSmall"), Invalid),
        (error(400, "BadDigest"), Corrupt),
    ],
)
async def test_a_success_that_is_none(reply: bytes, kind: type[TransportError]) -> None:
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        with pytest.raises(kind):
            await transport.finish_upload("k", "u1", PARTS)


async def test_parts_that_do_not_make_the_object_are_caught_before() -> None:
    wrong = Checksum("crc64nvme", "0" * 16)
    async with scripted(lambda _: completed()) as script, transport_to(script) as transport:
        with pytest.raises(Corrupt):
            await transport.finish_upload("k", "u1", PARTS, checksum=wrong)
    assert script.requests == []


def lost(head: bytes) -> Handler:
    """An upload whose completion was carried out, but whose answer never came."""
    return lambda request: head if request.method == "HEAD" else error(404, "NoSuchUpload")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (answer(content_length="5", etag=f'"{WHOLE_ETAG}"'), True),
        (answer(content_length="5", etag='"x"', x_amz_checksum_crc64nvme=base64_of(CRC_HEX)), True),
        (answer(content_length="6", etag=f'"{WHOLE_ETAG}"'), False),
        (answer(content_length="5", etag='"other"'), False),
        (answer(404), False),
    ],
)
async def test_a_lost_answer_is_found_again(head: bytes, found: bool) -> None:
    async with scripted(lost(head)) as script, transport_to(script) as transport:
        if found:
            receipt = await transport.finish_upload("k", "u1", PARTS)
            assert (receipt.size, receipt.proof) == (5, Proof.STRONG)
            return
        with pytest.raises(NotFound):
            await transport.finish_upload("k", "u1", PARTS)


async def test_a_store_without_full_object_checksums() -> None:
    def handler(request: Request) -> bytes:
        if any(name.startswith("x-amz-checksum") for name in request.headers):
            return error(400, "InvalidRequest")
        return answer(200, OPENED) if "uploads" in request.query else completed()

    async with scripted(handler) as script, transport_to(script) as transport:
        attributes = Attributes(content_type="a/b", mtime_ns=1_500_000_000)
        for _ in range(2):
            assert await transport.begin_upload("k", 5, attributes, token="t") == "u1"
        assert (await transport.finish_upload("k", "u1", PARTS)).proof is Proof.STRONG
    methods = [len(request.headers) for request in script.requests]
    assert len(methods) == 4  # two to begin with, one after that, one to finish
    assert script.requests[1].headers["content-type"] == "a/b"
    assert script.requests[1].headers["x-amz-meta-mtime"] == "1.5"


async def test_parts_carry_their_number_and_their_checksum() -> None:
    reply = answer(etag=f'"{ETAG}"', x_amz_checksum_crc64nvme=base64_of(CRC_HEX))
    part = PartSpec(number=7, range=ByteRange(60, 65))
    async with scripted(lambda _: reply) as script, transport_to(script, "p/") as transport:
        receipt = await transport.write_part("k", "u/1+", part, memoryview(DATA))
    assert receipt == PartReceipt(7, 60, 5, ETAG, CRC_HEX)
    (request,) = script.requests
    assert request.path == "/bucket/p/k"
    assert request.query == {"partNumber": "7", "uploadId": "u/1+"}


async def test_long_lists_of_parts_and_uploads_are_read_to_the_end() -> None:
    def handler(request: Request) -> bytes:
        query = request.query
        if "uploadId" in query:
            number = int(query.get("part-number-marker", "0")) + 1
            last = "false" if number == 3 else "true"
            return answer(200, (
                f"<ListPartsResult><IsTruncated>{last}</IsTruncated><NextPartNumberMarker>{number}"
                f"</NextPartNumberMarker><Part><PartNumber>{number}</PartNumber><Size>5</Size>"
                f"<ETag>{ETAG}</ETag></Part></ListPartsResult>").encode())  # fmt: skip
        number = int(query.get("upload-id-marker", "0")) + 1
        last = "false" if number == 3 else "true"
        return answer(200, (
            f"<ListMultipartUploadsResult><IsTruncated>{last}</IsTruncated>"
            f"<NextUploadIdMarker>{number}</NextUploadIdMarker>"
            f"<Upload><Key>p/k{number}</Key><UploadId>{number}</UploadId></Upload>"
            "<Upload><Key>elsewhere</Key><UploadId>x</UploadId></Upload>"
            "</ListMultipartUploadsResult>").encode())  # fmt: skip

    async with scripted(handler) as script, transport_to(script, "p/") as transport:
        assert [part.number for part in await transport.list_parts("k", "u")] == [1, 2, 3]
        uploads = await transport.list_uploads()
        assert [upload.key for upload in uploads] == ["k1", "k2", "k3"]


REPEATING = {
    "parts": "<ListPartsResult><IsTruncated>true</IsTruncated>"
    "<NextPartNumberMarker>1</NextPartNumberMarker></ListPartsResult>",
    "uploads": "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>"
    "<NextKeyMarker>k</NextKeyMarker></ListMultipartUploadsResult>",
}


@pytest.mark.parametrize("what", REPEATING)
async def test_lists_that_repeat_themselves_end(what: str) -> None:
    reply = answer(200, REPEATING[what].encode())
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        call = transport.list_parts("k", "u") if what == "parts" else transport.list_uploads()
        with pytest.raises(Unavailable, match="repeats"):
            await call


# -- copies ----------------------------------------------------------------------------------------

COPIED = b"<CopyObjectResult><ETag>tag</ETag></CopyObjectResult>"


async def test_a_copy_names_and_pins_its_source() -> None:
    async with (
        scripted(lambda _: answer(200, COPIED)) as script,
        transport_to(script, "from/") as source,
        transport_to(script, "to/", storage_class="COLD") as target,
    ):
        receipt = await target.copy(Entry("a b", 5, 0, "tag"), source, "c")
    assert (receipt.key, receipt.etag, receipt.proof) == ("c", "tag", Proof.STRONG)
    (request,) = script.requests
    assert request.path == "/bucket/to/c"
    assert request.headers["x-amz-copy-source"] == "/bucket/from/a%20b"
    assert request.headers["x-amz-copy-source-if-match"] == '"tag"'
    assert request.headers["x-amz-storage-class"] == "COLD"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(200, b"<Error><Code>SlowDown</Code></Error>"), Throttled),
        (answer(200, b"<Error><Code>InternalError</Code></Error>"), Unavailable),
        (error(412, "PreconditionFailed"), Changed),
        (error(404, "NoSuchKey"), NotFound),
    ],
)
async def test_copies_that_fail(reply: bytes, kind: type[TransportError]) -> None:
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        with pytest.raises(kind):
            await transport.copy(Entry("a", 5, 0, "tag"), transport, "c")


async def test_copies_stay_within_an_account() -> None:
    async with (
        scripted(lambda _: answer(200, COPIED)) as script,
        transport_to(script) as ours,
        transport_to(script, "", {"AWS_ACCESS_KEY_ID": "OTHER", "AWS_SECRET_ACCESS_KEY": "x",
                                  "AWS_CONFIG_FILE": "/nowhere"}) as theirs,
    ):  # fmt: skip
        assert ours.capabilities.copy_domain != theirs.capabilities.copy_domain
        assert "AKIDEXAMPLE" not in ours.capabilities.copy_domain
        with pytest.raises(Invalid):
            await ours.copy(Entry("a", 5, 0), theirs, "c")
    assert script.requests == []


class LargeCopy:
    """Serves a copy in parts; a part can fail, or hang until it is cancelled. ``opening`` is called first."""

    def __init__(
        self,
        *,
        failing: bool = False,
        hanging: bool = False,
        opening: Callable[[], None] = lambda: None,
    ) -> None:
        self.failing, self.hanging, self.opening = failing, hanging, opening
        self.ranges: list[str] = []
        self.aborted = False
        self.opened: dict[str, str] = {}

    def __call__(self, request: Request) -> bytes | None:
        if request.method == "HEAD":
            return answer(content_type="a/b", x_amz_meta_mtime="1.5")
        if "uploads" in request.query:
            self.opening()
            self.opened = request.headers
            return answer(200, OPENED)
        if request.method == "DELETE":
            self.aborted = True
            return answer(204)
        if request.method == "POST":
            return completed("opaque")
        self.ranges.append(request.headers["x-amz-copy-source-range"])
        assert request.headers["x-amz-copy-source-if-match"] == '"tag"'
        if len(self.ranges) == 3:
            if self.failing:
                return error(412, "PreconditionFailed")
            if self.hanging:
                return None
        return answer(200, b"<CopyPartResult><ETag>e</ETag></CopyPartResult>")


def void(_: object) -> None:
    """For a callback whose result nobody wants."""


def in_order(ranges: Sequence[str]) -> list[tuple[int, int]]:
    return sorted((int(a), int(b)) for a, b in (re.findall(r"\d+", text) for text in ranges))


async def test_a_copy_beyond_five_gib_goes_in_parts_with_its_attributes() -> None:
    copy = LargeCopy()
    size = 5 * GIB + 1
    async with scripted(copy) as script, transport_to(script) as transport:
        receipt = await transport.copy(Entry("a", size, 0, "tag"), transport, "c")
    assert (receipt.key, receipt.size) == ("c", size)
    spans = in_order(copy.ranges)
    assert spans[0][0] == 0
    assert spans[-1][1] == size - 1
    assert all(a[1] + 1 == b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert copy.opened["content-type"] == "a/b"
    assert copy.opened["x-amz-meta-mtime"] == "1.5"
    assert not copy.aborted


async def test_a_copy_in_parts_that_fails_is_aborted() -> None:
    copy = LargeCopy(failing=True)
    async with scripted(copy) as script, transport_to(script) as transport:
        with pytest.raises(Changed):
            await transport.copy(Entry("a", 6 * GIB, 0, "tag"), transport, "c")
    assert copy.aborted


async def test_a_copy_in_parts_that_is_cancelled_is_aborted() -> None:
    copy = LargeCopy(hanging=True)
    large = Entry("a", 6 * GIB, 0, "tag")
    async with (
        scripted(copy) as script,
        transport_to(script) as transport,
        asyncio.timeout(5),
        asyncio.TaskGroup() as crew,
    ):
        copying = crew.create_task(transport.copy(large, transport, "c"))
        while len(copy.ranges) < 3:
            script.arrived.clear()
            await script.arrived.wait()
        copying.cancel()
    assert copying.cancelled()
    assert copy.aborted


async def test_a_copy_that_is_cancelled_while_its_upload_opens_is_aborted() -> None:
    large = Entry("a", 6 * GIB, 0, "tag")
    copying: list[asyncio.Task[object]] = []
    copy = LargeCopy(opening=lambda: void(copying[0].cancel()))
    async with (
        scripted(copy) as script,
        transport_to(script) as transport,
        asyncio.timeout(5),
        asyncio.TaskGroup() as crew,
    ):
        copying.append(crew.create_task(transport.copy(large, transport, "c")))
    assert copying[0].cancelled()
    assert (copy.aborted, copy.ranges) == (True, [])


# -- deletes ---------------------------------------------------------------------------------------


async def test_a_bulk_delete_reports_each_failure() -> None:
    reply = answer(200, (
        b"<DeleteResult><Error><Key>p/b</Key><Code>AccessDenied</Code></Error>"
        b"<Error><Key>p/c</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
    ))  # fmt: skip
    async with scripted(lambda _: reply) as script, transport_to(script, "p/") as transport:
        results = await transport.delete(["a", "b", "c"])
    assert [type(result) for result in results] == [type(None), Denied, type(None)]
    (request,) = script.requests
    assert request.headers["content-md5"]
    assert b"<Key>p/a</Key>" in request.body


async def test_bulk_deletes_go_by_the_thousand() -> None:
    reply = answer(200, b"<DeleteResult/>")
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        assert await transport.delete([f"k{n}" for n in range(2_500)]) == [None] * 2_500
    assert [request.body.count(b"<Key>") for request in script.requests] == [1000, 1000, 500]


@pytest.mark.parametrize("reply", [error(501, "NotImplemented"), answer(200, b"<html>")])
async def test_a_store_without_bulk_deletes_deletes_one_by_one(reply: bytes) -> None:
    def handler(request: Request) -> bytes:
        if request.method == "POST":
            return reply
        return error(403, "AccessDenied") if request.path.endswith("b") else answer(204)

    async with scripted(handler) as script, transport_to(script) as transport:
        for _ in range(2):
            results = await transport.delete(["a", "b", "c"])
            assert [type(result) for result in results] == [type(None), Denied, type(None)]
    assert [request.method for request in script.requests].count("POST") == 1


async def test_names_that_xml_cannot_hold_are_deleted_one_by_one() -> None:
    reply = answer(200, b"<DeleteResult/>")
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        assert await transport.delete(["a", "b\x01", "c//d", "e"]) == [None] * 4
    singles = [request.target for request in script.requests if request.method == "DELETE"]
    assert sorted(singles) == ["/bucket/b%01", "/bucket/c//d"]


async def test_an_unreachable_store_fails_every_key() -> None:
    reply = error(503, "SlowDown")
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        results = await transport.delete(["a", "b"])
    assert all(isinstance(result, TransportError) for result in results)


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a//b", "/a", "a/../b", "./a", "a\\b", ".uploads/x", ".."])
async def test_a_store_that_keeps_paths_is_spared_names_that_it_folds(key: str) -> None:
    empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    reply = answer(200, empty, server="SeaweedFS 4.48")
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        (result,) = await transport.delete([key])
        assert isinstance(result, Invalid)
        with pytest.raises(Invalid):
            await transport.begin_upload(key, 5, token="t")
    assert [request.method for request in script.requests] == ["GET"]
