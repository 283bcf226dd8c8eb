"""How bytes are proved: by an echoed CRC, by an ETag once it is known to be an MD5, or not."""

import base64
from collections.abc import Iterator

import pytest

from tests.unit.transports.s3_script import Request, answer, error, scripted, transport_to
from transports.digests import crc64nvme_hex, md5_hex
from transports.errors import Corrupt, Invalid
from transports.model import NO_ATTRIBUTES, Blob, Checksum, Entry, Proof, Receipt

DATA = b"hello"
MD5 = md5_hex(DATA)
CRC_HEX = crc64nvme_hex(DATA)
CRC = base64.b64encode(bytes.fromhex(CRC_HEX)).decode()
OPAQUE = "0" * 32
KMS = {"x_amz_server_side_encryption": "aws:kms"}


def blob(**known: object) -> Blob:
    made = Blob(Entry("k", len(DATA), 0), DATA, NO_ATTRIBUTES, Proof.WEAK)
    return made._replace(**known)  # type: ignore[arg-type]


def read_answer(data: bytes = DATA, /, etag: str = MD5, **headers: str) -> bytes:
    return answer(200, data, etag=f'"{etag}"', **headers)


def entry(etag: str = MD5) -> Entry:
    return Entry("k", len(DATA), 0, etag)


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "checksum"),
    [
        (read_answer(), Checksum("md5", MD5)),
        (read_answer(x_amz_checksum_crc64nvme=CRC), Checksum("crc64nvme", CRC_HEX)),
        (read_answer(etag=OPAQUE, x_amz_checksum_crc64nvme=CRC), Checksum("crc64nvme", CRC_HEX)),
        (read_answer(x_amz_checksum_crc32c="mnG7TA=="), Checksum("crc32c", "9a71bb4c")),
        (read_answer(x_amz_checksum_crc32c="AAAAAA==-2"), Checksum("md5", MD5)),
    ],
)
async def test_strong_reads(reply: bytes, checksum: Checksum) -> None:
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        (result,) = await transport.read_small([entry()])
    assert isinstance(result, Blob)
    assert (result.proof, result.checksum) == (Proof.STRONG, checksum)
    assert result.md5 == (MD5 if checksum.algorithm == "md5" else "")
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        read_answer(etag="opaque"),
        read_answer(etag=f"{MD5}-3"),
        read_answer(etag=OPAQUE, **KMS),
        read_answer(etag=OPAQUE, x_amz_server_side_encryption_customer_algorithm="AES256"),
    ],
)
async def test_weak_reads(reply: bytes) -> None:
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        (result,) = await transport.read_small([entry()])
    assert isinstance(result, Blob)
    assert (result.proof, result.checksum) == (Proof.WEAK, None)
    assert len(script.requests) == 1


async def test_etags_that_only_look_like_md5s_are_learned_from_one_object_asked_for_often() -> None:
    reply = read_answer(etag=OPAQUE)
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        results = await transport.read_small([entry(OPAQUE)] * 4)
    assert [type(result) for result in results] == [Corrupt, Corrupt, Blob, Blob]
    assert [r.proof for r in results if isinstance(r, Blob)] == [Proof.WEAK] * 2
    assert len(script.requests) == 7


async def test_etags_that_only_look_like_md5s_are_learned_from_a_second_object() -> None:
    reply = read_answer(etag=OPAQUE)
    entries = [entry(OPAQUE)._replace(key=key) for key in ("a", "b", "c")]
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        results = await transport.read_small(entries)
    assert [type(result) for result in results] == [Corrupt, Blob, Blob]
    assert len(script.requests) == 5


async def test_a_bit_that_flips_every_time_is_caught_once_another_object_matches() -> None:
    def reply(request: Request) -> bytes:
        return read_answer(b"hellp") if "/bad" in request.target else read_answer()

    async with scripted(reply) as script, transport_to(script) as transport:
        bad = entry()._replace(key="bad")
        results = await transport.read_small([bad, entry(), bad, bad])
    assert [type(result) for result in results] == [Corrupt, Blob, Corrupt, Corrupt]


async def test_a_flipped_bit_is_caught_in_the_first_object() -> None:
    replies = iter([read_answer(b"hellp"), read_answer()])
    async with scripted(lambda _: next(replies)) as script, transport_to(script) as transport:
        (result,) = await transport.read_small([entry()])
    assert isinstance(result, Corrupt)
    assert (result.algorithm, result.expected) == ("md5", MD5)


async def test_a_flipped_bit_is_caught_for_good_once_etags_are_known() -> None:
    replies = iter([read_answer(), read_answer(b"hellp"), read_answer(b"hellp")])
    async with scripted(lambda _: next(replies)) as script, transport_to(script) as transport:
        results = await transport.read_small([entry()] * 3)
    assert [type(result) for result in results] == [Blob, Corrupt, Corrupt]
    assert len(script.requests) == 3


async def test_a_wrong_crc_is_corrupt_whatever_the_etag() -> None:
    reply = read_answer(b"hellp", etag=md5_hex(b"hellp"), x_amz_checksum_crc64nvme=CRC)
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        (result,) = await transport.read_small([entry()])
    assert isinstance(result, Corrupt)
    assert (result.algorithm, result.expected) == ("crc64nvme", CRC_HEX)


# -- writing ---------------------------------------------------------------------------------------


def proofs(results: object) -> list[Proof]:
    assert isinstance(results, list)
    return [result.proof for result in results if isinstance(result, Receipt)]


async def test_an_echoed_crc_is_proof_and_needs_no_md5() -> None:
    reply = answer(etag='"opaque"', x_amz_checksum_crc64nvme=CRC)
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        results = await transport.write_small([blob()] * 2)
    assert proofs(results) == [Proof.STRONG] * 2
    assert [r.headers["x-amz-checksum-crc64nvme"] for r in script.requests] == [CRC] * 2
    assert all("content-md5" not in request.headers for request in script.requests)
    assert all(r.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD" for r in script.requests)


async def test_the_sources_crc_goes_to_the_target() -> None:
    """Not the CRC of the bytes in hand: a bit that flipped in between must be caught."""
    wrong = Checksum("crc64nvme", "0" * 16)
    reply = error(400, "BadDigest")
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        (result,) = await transport.write_small([blob(checksum=wrong)])
    assert isinstance(result, Corrupt)
    assert script.requests[0].headers["x-amz-checksum-crc64nvme"] == "AAAAAAAAAAA="


async def test_another_echo_is_corrupt() -> None:
    reply = answer(etag='"e"', x_amz_checksum_crc64nvme="AAAAAAAAAAA=")
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        (result,) = await transport.write_small([blob()])
    assert isinstance(result, Corrupt)


async def test_without_an_echo_the_etag_proves_and_md5_goes_along() -> None:
    reply = answer(etag=f'"{MD5}"')
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        results = await transport.write_small([blob()] * 3)
    assert proofs(results) == [Proof.STRONG] * 3
    sent = base64.b64encode(bytes.fromhex(MD5)).decode()
    assert [r.headers.get("content-md5") for r in script.requests] == [None, sent, sent]


async def test_a_wrong_etag_is_corrupt_once_etags_are_known() -> None:
    replies = iter([answer(etag=f'"{MD5}"'), answer(etag=f'"{OPAQUE}"')])
    async with scripted(lambda _: next(replies)) as script, transport_to(script) as transport:
        first, second = await transport.write_small([blob()] * 2)
    assert isinstance(first, Receipt)
    assert isinstance(second, Corrupt)


async def test_a_wrong_etag_of_the_first_object_is_written_again() -> None:
    replies = iter([answer(etag=f'"{OPAQUE}"'), answer(etag=f'"{MD5}"')])
    async with scripted(lambda _: next(replies)) as script, transport_to(script) as transport:
        (result,) = await transport.write_small([blob()])
    assert isinstance(result, Receipt)
    assert result.proof is Proof.STRONG
    assert len(script.requests) == 2


def opaque_etags() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield answer(etag=f'"{number:032x}"')


async def test_opaque_etags_make_weak_proofs() -> None:
    replies = opaque_etags()
    async with scripted(lambda _: next(replies)) as script, transport_to(script) as transport:
        results = await transport.write_small([blob()] * 3)
    assert proofs(results) == [Proof.WEAK] * 3
    assert len(script.requests) == 4


async def test_encrypted_objects_are_not_judged_by_their_etag() -> None:
    reply = answer(etag=f'"{OPAQUE}"', **KMS)
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        results = await transport.write_small([blob()] * 2)
    assert proofs(results) == [Proof.WEAK] * 2
    assert len(script.requests) == 2


async def test_a_store_that_refuses_the_crc_gets_md5() -> None:
    def handler(request: Request) -> bytes:
        if "x-amz-checksum-crc64nvme" in request.headers:
            return error(400, "InvalidRequest")
        return answer(etag=f'"{MD5}"')

    async with scripted(handler) as script, transport_to(script) as transport:
        results = await transport.write_small([blob()] * 2)
    assert proofs(results) == [Proof.STRONG] * 2
    assert len(script.requests) == 3


async def test_a_store_that_refuses_everything_is_invalid() -> None:
    reply = error(400, "InvalidArgument")
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        results = await transport.write_small([blob()] * 2)
    assert all(isinstance(result, Invalid) for result in results)
    assert transport._prover.compares_crc is None
