"""Pages of S3's listings, by the fast reader and the strict one, and hostile ones."""

import pytest

from transports import s3_pages
from transports.model import Entry, Kind
from transports.s3_xml import GarbledAnswer

NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
AT_NS = 1_741_064_767_000_000_000  # 2025-03-04T05:06:07Z


def contents(key: str, *, size: str = "3", etag: str = "&quot;e1&quot;", more: str = "") -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2025-03-04T05:06:07.000Z</LastModified>"
        f"<ETag>{etag}</ETag><Size>{size}</Size>{more}</Contents>"
    )


def page(*rows: str, truncated: str = "false", token: str = "", encoding: str = "url") -> bytes:
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    coded = f"<EncodingType>{encoding}</EncodingType>" if encoding else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult {NS}><Name>b</Name><Prefix/>'
        f"<IsTruncated>{truncated}</IsTruncated>{coded}{''.join(rows)}{more}</ListBucketResult>"
    ).encode()


def entry(key: str, size: int = 3, etag: str = "e1") -> Entry:
    kind = Kind.DIRECTORY if key.endswith("/") and not size else Kind.OBJECT
    return Entry(key, size, AT_NS, etag, "", kind, AT_NS)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (contents("a/b"), entry("a/b")),
        (contents("a%2Bb+c%0A%25"), entry("a+b c\n%")),
        (contents("a%C3%A9"), entry("aé")),
        (contents("bad%FF"), entry("bad\udcff")),
        (contents("a&amp;b&lt;&gt;&#34;&#x41;&apos;"), entry("a&b<>\"A'")),
        (contents("k", etag="&#34;e1&#34;"), entry("k")),
        (contents("k", etag='"e1"'), entry("k")),
        (contents("k", etag="e1"), entry("k")),
        (contents("d/", size="0"), entry("d/", 0)),
        (contents("d/", size="2"), entry("d/", 2)),
        (contents("k", more="<StorageClass>STANDARD</StorageClass><Owner/>"), entry("k")),
        (contents("k", more="<Owner><ID>x</ID><Key>fake</Key></Owner>"), entry("k")),
        (contents("k", more="<!-- <Key>fake</Key> -->"), entry("k")),
        (contents("<![CDATA[a<b]]>"), entry("a<b")),
    ],
)
def test_an_entry_is_read_alike_whatever_surrounds_it(row: str, expected: Entry) -> None:
    """Beside regular rows and odd ones, so that both readers see each of them."""
    odd = contents("zz", more="<!-- odd -->")
    assert s3_pages.parse_page(page(row)).entries == [expected]
    assert s3_pages.parse_page(page(row, row)).entries == [expected, expected]
    assert s3_pages.parse_page(page(row, odd)).entries == [expected, entry("zz")]


def test_elements_in_any_order_and_with_white_space() -> None:
    row = (
        "<Contents>\n <Size>7</Size> <ETag>&quot;x&quot;</ETag>\n"
        "<LastModified>2025-03-04T05:06:07Z</LastModified><Key>k</Key>\n</Contents>\n"
    )
    (found,) = s3_pages.parse_page(page(row)).entries
    assert (found.key, found.size, found.etag, found.mtime_ns) == ("k", 7, "x", AT_NS)


@pytest.mark.parametrize("count", [0, 27, 28, 60])
def test_rows_of_any_number_of_elements_are_read(count: int) -> None:
    """The reader in C has room for 31; four of them are ours."""
    row = contents("k").replace("</Contents>", f"{'<Other>x</Other>' * count}</Contents>")
    assert [found.key for found in s3_pages.parse_page(page(row, row)).entries] == ["k", "k"]


def test_without_url_encoding_percent_signs_stay() -> None:
    (found,) = s3_pages.parse_page(page(contents("a%2Bb+c"), encoding="")).entries
    assert found.key == "a%2Bb+c"


def test_an_empty_page_and_its_token() -> None:
    assert s3_pages.parse_page(page()) == s3_pages.Page([], [], "")
    assert s3_pages.parse_page(page(truncated="true", token="t1")).token == "t1"


def test_prefixes_are_decoded() -> None:
    row = "<CommonPrefixes><Prefix>a+b/</Prefix></CommonPrefixes>"
    assert s3_pages.parse_page(page(row)).prefixes == ["a b/"]


ENTITY_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    b"<ListBucketResult><IsTruncated>false</IsTruncated><Name>&b;</Name></ListBucketResult>"
)
EXTERNAL = (
    b'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<ListBucketResult><IsTruncated>false</IsTruncated><Name>&x;</Name></ListBucketResult>"
)


@pytest.mark.parametrize(
    ("body", "hostile"),
    [
        (b"", False),
        (b"<html>not found</html>", False),
        (b"<Error><Code>SlowDown</Code></Error>", False),
        (page(contents("a"))[:-9], False),
        (page(contents("a"))[:200], False),
        (page(contents("a"), "<Contents><Key>b</Key>"), False),
        (page(contents("a"), truncated="true"), False),
        (page(contents("a"), truncated=""), False),
        (page(contents("a"), truncated="maybe"), False),
        (page(contents("a", size="many")), False),
        (page(contents("a", size="-1")), False),
        (page(contents("")), False),
        (page(contents("a&bogus;")), False),
        (page(contents("a&amp")), False),
        (page(contents("a")).replace(b"2025-03", b"2025-33"), False),
        (page(contents("a")) + b"<more/>", False),
        (page(contents("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"))).replace(
            "ÿ".encode(), b"\xff"), False),
        (ENTITY_BOMB, True),
        (EXTERNAL, True),
        (ENTITY_BOMB.replace(b"<Name>", contents("a").encode() + b"<Name>"), True),
    ],
)  # fmt: skip
def test_broken_and_hostile_pages_are_errors(body: bytes, hostile: bool) -> None:
    with pytest.raises(GarbledAnswer) as caught:
        s3_pages.parse_page(body)
    assert caught.value.hostile is hostile


@pytest.mark.parametrize(("told", "is_whole"), [("1", True), ("2", True), ("3", False), ("", True)])
def test_a_page_that_promises_more_names_than_it_has_is_an_error(told: str, is_whole: bool) -> None:
    """A smaller count is the habit of stores that leave the prefixes out of it."""
    body = page(
        contents("a/b"),
        "<CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>",
        f"<KeyCount>{told}</KeyCount>",
    )
    if is_whole:
        assert len(s3_pages.parse_page(body).entries) == 1
        return
    with pytest.raises(GarbledAnswer, match="2 names where 3 were promised"):
        s3_pages.parse_page(body)


def test_every_truncation_of_a_page_is_an_error() -> None:
    whole = page(contents("a"), contents("b/c"), truncated="true", token="t")
    for length in range(len(whole)):
        with pytest.raises(GarbledAnswer):
            s3_pages.parse_page(whole[:length])


def test_a_page_is_read_alike_column_by_column_and_row_by_row() -> None:
    plain = [contents(f"k{number:03d}", size=str(number + 1)) for number in range(50)]
    fast = s3_pages.parse_page(page(*plain)).entries
    # One key that is encoded, an empty object, or another entity: all rows go the general way.
    for odd in (contents("%20"), contents("z", size="0"), contents("z", etag="&#34;e1&#34;")):
        assert s3_pages.parse_page(page(*plain, odd)).entries[:-1] == fast
    assert fast == [entry(f"k{number:03d}", number + 1) for number in range(50)]


def test_keys_below_a_root() -> None:
    entries = [entry("a/b"), entry("a/", 0), entry("a/c/", 0, etag="x")]
    assert s3_pages.below(entries, 2) == [found._replace(key=found.key[2:]) for found in entries]
