"""Older versions as S3 tells them, as far as real servers do not show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.transports.s3_script import Request, answer, error, scripted, transport_to
from transports import s3_xml
from transports.errors import Denied, Invalid, TransportError, Unavailable
from transports.model import ByteRange, Entry
from transports.s3_looks import VERSIONS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

ETAG = "a" * 32


def page(
    rows: Sequence[tuple[str, str, int, bool]], following: tuple[str, str] | None = None
) -> bytes:
    """A page of versions: keys, names, sizes, and which are current."""
    told = "".join(
        f"<Version><Key>{key}</Key><VersionId>{name}</VersionId><Size>{size}</Size>"
        f"<IsLatest>{str(latest).lower()}</IsLatest></Version>"
        for key, name, size, latest in rows
    )
    more = "<IsTruncated>false</IsTruncated>"
    if following is not None:
        key, name = following
        more = (
            "<IsTruncated>true</IsTruncated>"
            f"<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>{name}</NextVersionIdMarker>"
        )
    return f"<ListVersionsResult><EncodingType>url</EncodingType>{more}{told}</ListVersionsResult>".encode()


class Bucket:
    """Answers pages by their marker, and a look at a version unless it is ``gone``."""

    def __init__(self, pages: dict[str, bytes], gone: Sequence[str] = ()) -> None:
        self.pages = pages
        self.gone = gone

    def __call__(self, request: Request) -> bytes:
        if "versions" in request.query:
            return answer(200, self.pages[request.query.get("version-id-marker", "")])
        if request.query["versionId"] in self.gone:
            return error(404, "NoSuchVersion")
        return answer(200, b"data!", etag=f'"{ETAG}"')


async def versions_of(bucket: Bucket, key: str = "x") -> list[str]:
    async with scripted(bucket) as script, transport_to(script) as transport:
        found = await transport.older_versions(key, 5)
    assert {info.entry.key for info in found} <= {key}
    return [info.entry.version for info in found]


async def test_pages_are_gone_through_as_long_as_they_are_of_the_key() -> None:
    first = page([("x", "v9", 5, True), ("x", "v8", 5, False)], ("x", "v8"))
    second = page(
        [("x", "v7", 6, False), ("x", "v6", 5, False), ("xy", "w", 5, False)], ("xy", "w")
    )
    assert await versions_of(Bucket({"": first, "v8": second})) == ["v8", "v6"]


async def test_names_come_encoded() -> None:
    assert await versions_of(Bucket({"": page([("a%2B+b", "v", 5, False)])}), "a+ b") == ["v"]


async def test_what_goes_meanwhile_is_left_out() -> None:
    rows = [("x", name, 5, False) for name in ("v3", "v2", "v1")]
    assert await versions_of(Bucket({"": page(rows)}, gone=["v2"])) == ["v3", "v1"]


async def test_so_many_are_looked_at_and_no_more() -> None:
    rows = [("x", f"v{number}", 5, False) for number in range(500)]
    endless = Bucket({"": page([], ("x", "m")), "m": page([], ("x", "m"))})
    assert len(await versions_of(Bucket({"": page(rows)}))) == VERSIONS_MAX
    assert await versions_of(endless) == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(403, "AccessDenied"), Denied),
        (answer(200, b"<ListVersionsResult><Version>"), Unavailable),
        (answer(200, b"<!DOCTYPE x []><ListVersionsResult/>"), Invalid),
        (answer(200, page([("x", "v", 5, False)]).replace(b"<Size>5", b"<Size>five")), Unavailable),
    ],
)
async def test_what_is_no_list_of_versions(reply: bytes, kind: type[TransportError]) -> None:
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        with pytest.raises(kind):
            await transport.older_versions("x", 5)


async def test_an_entry_that_names_its_version_is_read_as_that() -> None:
    def serve(request: Request) -> bytes:
        return answer(206, b"ata", content_range="bytes 1-3/5", etag=f'"{ETAG}"')

    entry = Entry("x", 5, 0, ETAG, "v7")
    buffer = bytearray(3)
    async with scripted(serve) as script, transport_to(script) as transport:
        await transport.read_into(entry, ByteRange(1, 4), memoryview(buffer))
        await transport.read_into(entry._replace(version=""), ByteRange(1, 4), memoryview(buffer))
    assert buffer == b"ata"
    assert [request.query for request in script.requests] == [{"versionId": "v7"}, {}]
    assert [request.headers["if-match"] for request in script.requests] == [f'"{ETAG}"'] * 2


def test_marks_of_deletions_are_no_versions() -> None:
    mark = b"<DeleteMarker><Key>x</Key><VersionId>d</VersionId></DeleteMarker>"
    body = page([("x", "v", 5, False)]).replace(b"</ListV", mark + b"</ListV")
    assert s3_xml.parse_versions(body) == ([s3_xml.ListedVersion("x", "v", 5, False)], None)
