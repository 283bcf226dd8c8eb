"""How the bytes of one S3 store are proved: what it compares, learned from its answers.

Cheapest first. A store that echoes a CRC-64/NVME has compared it, and nothing else is needed. Else
there is the ETag, which on most stores is the MD5 of the bytes, but looks just like it on the few
where it is not. The first objects tell: one that matches makes every mismatch corruption. Until
then an object that keeps answering the same other bytes is in doubt, and is believed only when a
second one does so too, or when it has been asked for often enough that nothing else can decide.
"""

from binascii import b2a_base64
from typing import Final, NamedTuple

from transports import digests
from transports.base import Pace
from transports.digests import BytesLike
from transports.errors import Corrupt, Invalid
from transports.model import Checksum, Proof
from transports.s3_headers import checksums_of, etag_kind, hides_md5
from transports.s3_reply import Reply
from transports.s3_requests import Pairs, S3Client

_CRC: Final = "x-amz-checksum-crc64nvme"
_CRC_HEADER: Final = _CRC.encode()


class Seal(NamedTuple):
    """How well bytes are proved, by which checksum, and their MD5 where it was computed."""

    proof: Proof
    checksum: Checksum | None = None
    md5: str = ""


WEAK: Final = Seal(Proof.WEAK)

_DOUBTS_MAX: Final = 3
"""Repeated answers without a match until ETags are held for something else than MD5s."""


class Prover:
    """What is known of one store's checksums; None means: not seen yet."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self.compares_crc: bool | None = None
        self.etag_is_md5: bool | None = None
        self._doubts = 0
        self._doubted = ""

    # -- reading ---------------------------------------------------------------------------------

    def known_of(self, reply: Reply) -> tuple[Checksum, ...]:
        """The full-object checksums that an answer tells, an ETag that stands for an MD5 last."""
        found = checksums_of(reply.headers)
        md5 = etag_kind(reply.etag).md5
        if not md5 or self.etag_is_md5 is False or hides_md5(reply.headers):
            return found
        return (*found, Checksum("md5", md5))

    async def judge_read(
        self, key: str, query: Pairs, headers: Pairs, reply: Reply
    ) -> tuple[Reply, Seal]:
        """Compare a whole object's body with what came along; may read it once more.

        Raises ``Corrupt`` on a mismatch.
        """
        # The common case by itself: one CRC, compared as it is spelled in the header.
        echoed = reply.headers.get(_CRC_HEADER)
        if echoed is not None and reply.headers.get(b"x-amz-checksum-type") != b"COMPOSITE":
            crc = digests.crc64nvme(reply.body)
            if echoed == b2a_base64(crc.to_bytes(8, "big"), newline=False):
                return reply, Seal(Proof.STRONG, Checksum("crc64nvme", f"{crc:016x}"))
        for expected in checksums_of(reply.headers)[:1]:
            actual = digests.checksum(expected.algorithm, reply.body)
            if actual != expected:
                raise self._corrupt(key, expected.algorithm, expected.hex, actual.hex)
            return reply, Seal(Proof.STRONG, expected)
        md5 = etag_kind(reply.etag).md5
        if not md5 or self.etag_is_md5 is False or hides_md5(reply.headers):
            return reply, WEAK
        actual_md5 = digests.md5_hex(reply.body)
        if actual_md5 == md5:
            self.etag_is_md5 = True
            return reply, Seal(Proof.STRONG, Checksum("md5", md5), md5)
        if self.etag_is_md5 is None:
            # A broken body, or a store whose ETags only look like MD5s: a second body tells.
            again = await self._client.send("GET", key, query, headers)
            if digests.md5_hex(again.body) == actual_md5 and self._believes(key):
                return again, WEAK._replace(md5=actual_md5)
        raise self._corrupt(key, "md5", md5, actual_md5)

    def _believes(self, key: str) -> bool:
        """Whether bytes that came twice the same, and do not match, mean that ETags are no MD5s."""
        if self.etag_is_md5 is None:
            self._doubts += 1
            if self._doubts >= _DOUBTS_MAX or self._doubted not in ("", key):
                self.etag_is_md5 = False
            self._doubted = key
        return self.etag_is_md5 is False

    # -- writing ---------------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        query: Pairs,
        headers: Pairs,
        body: BytesLike,
        *,
        crc_hex: str = "",
        md5: str = "",
        pace: Pace | None = None,
    ) -> tuple[Reply, Seal]:
        """PUT bytes with a checksum that the store compares.

        ``crc_hex`` and ``md5`` are those of the bytes, where they are known already. Raises
        ``Corrupt`` when the store has received other bytes than these.
        """
        crc_sent = ""
        if self.compares_crc is not False:
            crc_hex = crc_hex or digests.crc64nvme_hex(body)
            crc_sent = digests.base64_of(crc_hex)
            try:
                reply = await self._put(key, query, headers, (_CRC, crc_sent), body, pace)
            except Invalid:
                if self.compares_crc:
                    raise
                # Not known here whether it is the checksum that the store does not like.
                reply = await self._put_with_md5(key, query, headers, body, md5, pace)
                self.compares_crc = False
        else:
            md5 = md5 or digests.md5_hex(body)
            reply = await self._put_with_md5(key, query, headers, body, md5, pace)
        echoed = reply.text(_CRC_HEADER)
        if echoed and crc_sent:
            if echoed != crc_sent:
                raise self._corrupt(key, "crc64nvme", crc_sent, echoed)
            self.compares_crc = True
            return reply, Seal(Proof.STRONG, Checksum("crc64nvme", crc_hex), md5)
        if self.compares_crc is None:
            self.compares_crc = False
        return await self._judge_etag(key, query, headers, body, md5, pace, reply)

    async def _judge_etag(
        self,
        key: str,
        query: Pairs,
        headers: Pairs,
        body: BytesLike,
        md5: str,
        pace: Pace | None,
        reply: Reply,
    ) -> tuple[Reply, Seal]:
        md5 = md5 or digests.md5_hex(body)
        for attempt in range(2):
            stored = etag_kind(reply.etag).md5
            if not stored or self.etag_is_md5 is False or hides_md5(reply.headers):
                return reply, WEAK._replace(md5=md5)
            if stored == md5:
                self.etag_is_md5 = True
                return reply, Seal(Proof.STRONG, Checksum("md5", md5), md5)
            if self.etag_is_md5:
                raise self._corrupt(key, "md5", md5, stored)
            if attempt == 0:  # as in judge_read: only a second answer tells
                reply = await self._put_with_md5(key, query, headers, body, md5, pace)
        self.etag_is_md5 = False
        return reply, WEAK._replace(md5=md5)

    async def _put_with_md5(
        self, key: str, query: Pairs, headers: Pairs, body: BytesLike, md5: str, pace: Pace | None
    ) -> Reply:
        md5 = md5 or digests.md5_hex(body)
        sealed = ("content-md5", digests.base64_of(md5))
        return await self._put(key, query, headers, sealed, body, pace)

    async def _put(
        self,
        key: str,
        query: Pairs,
        headers: Pairs,
        sealed: tuple[str, str],
        body: BytesLike,
        pace: Pace | None,
    ) -> Reply:
        together = sorted((*headers, sealed)) if headers else (sealed,)
        return await self._client.send("PUT", key, query, together, body=body, pace=pace)

    def _corrupt(self, key: str, algorithm: str, expected: str, actual: str) -> Corrupt:
        return Corrupt(
            self._client.location_of(key), algorithm=algorithm, expected=expected, actual=actual
        )
