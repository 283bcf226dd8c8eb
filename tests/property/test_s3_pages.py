"""The fast reader of listings against the strict one, on regular, odd and broken pages."""

import datetime
import re
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports import _pages, s3_pages
from transports.s3_xml import GarbledAnswer, parse_root

texts = st.text(alphabet="ab/%+&<>\"'é\U0001f600 \t\n-.", max_size=8)
moments = st.sampled_from(
    ["2025-03-04T05:06:07.000Z", "2025-03-04T05:06:59.123Z", "2025-03-04T05:06:07Z", "2025-03-04"]
)
numbers = st.integers(0, 99).map("{:02d}".format)
days = st.dates(datetime.date(1601, 1, 1)).map(str) | st.builds(
    "{}-{}-{}".format, st.sampled_from(["2023", "2024", "1900", "+024"]), numbers, numbers
)
fine_moments = st.builds(
    "{}T{}:{}:{}.{}Z".format, days, *[numbers] * 3, st.integers(0, 999).map("{:03d}".format)
)
quotes = st.sampled_from(["&quot;{}&quot;", "&#34;{}&#34;", '"{}"', "{}"])
spare = "<StorageClass>STANDARD</StorageClass>"
extras = st.sampled_from(
    ["", spare, "<StorageClass>GLACIER</StorageClass>", f"<ChecksumType>X</ChecksumType>{spare}",
     "<Owner><ID>x</ID></Owner>", "<Key>again</Key>", "<!-- x -->", "<Other/>", "<Other> &lt; </Other>"]
)  # fmt: skip


@st.composite
def rows(draw: st.DrawFn, quote: str, extra: str, space: str) -> str:
    key = escape(draw(texts)).replace('"', "&quot;") or "k"
    size = draw(st.sampled_from(["0", "1", "16384", "-1", "x", "&#49;"]) | st.just("7"))
    etag = quote.format(escape(draw(st.sampled_from(["e", "", "<e>", "0f-2"]))))
    inner = [
        f"<Key>{key}</Key>",
        f"<LastModified>{draw(moments)}</LastModified>",
        f"<ETag>{etag}</ETag>",
        f"<Size>{size}</Size>{extra}",
    ]
    return f"{space}<Contents>{space}{space.join(inner)}{space}</Contents>"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    regular = draw(st.booleans())
    quote, extra = draw(quotes), draw(extras)
    space = draw(st.sampled_from(["", "", "\n  ", "\r\n"]))
    found = []
    for _ in range(draw(st.integers(0, 4))):
        if not regular:
            quote, extra = draw(quotes), draw(extras)
        found.append(draw(rows(quote, extra, space)))
    run = "".join(found)
    if draw(st.integers(0, 9)) == 0:
        run = draw(st.sampled_from(["<Wrap>{}</Wrap>", "<!--{}-->", "<![CDATA[{}]]>"])).format(run)
    head = draw(
        st.sampled_from(['<?xml version="1.0" encoding="UTF-8"?>', "", "<?xml version='1.0'?>"])
    )
    url = draw(st.sampled_from(["<EncodingType>url</EncodingType>", ""]))
    body = (
        f"{head}<ListBucketResult><IsTruncated>false</IsTruncated>{url}{run}{space}"
        "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    if draw(st.integers(0, 9)) == 0:  # something is missing, or stands where it should not
        cut = draw(st.integers(0, len(body)))
        body = body[:cut] + draw(st.sampled_from(["", "<", ">", "</", "x"])) + body[cut + 1 :]
    return body.encode()


def strictly(body: bytes) -> s3_pages.Page:
    root = parse_root(body, s3_pages._ROOTS)
    return s3_pages._page_of(s3_pages._around(root), s3_pages._columns_of(root))


@given(bodies())
def test_both_readers_agree(body: bytes) -> None:
    try:
        expected = strictly(body)
    except GarbledAnswer:
        expected = None
    try:
        found = s3_pages.parse_page(body)
    except GarbledAnswer:
        found = None
    assert found == expected


@given(st.lists(fine_moments, min_size=1, max_size=3), st.integers(0, 10**20))
def test_both_readers_agree_on_moments_and_sizes(texts: list[str], size: int) -> None:
    rows = [
        f"<Contents><Key>k</Key><LastModified>{text}</LastModified><ETag>e</ETag>"
        f"<Size>{size}</Size></Contents>"
        for text in texts
    ]
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
    try:
        expected = strictly(body.encode())
    except GarbledAnswer:
        with pytest.raises(GarbledAnswer):
            s3_pages.parse_page(body.encode())
        return
    assert s3_pages.parse_page(body.encode()) == expected


@given(
    st.lists(st.binary(max_size=6).map(lambda text: b"x<" + text), min_size=1, max_size=4),
    st.lists(st.sampled_from([b"", b"t", b"\xff", b"x", b"<", b"long text"]), max_size=12),
    st.sampled_from([b"", b"\n"]),
    st.integers(0, 80),
)
def test_rows_are_cut_as_the_form_says_or_not_at_all(
    borders: list[bytes], texts: list[bytes], gap: bytes, stop: int
) -> None:
    """Judge: what comes back, put together again, is the data that was given."""
    form = _pages.Form((b"begin", *borders), gap)
    count = len(borders)
    rows = [texts[at : at + count] for at in range(0, len(texts) - count + 1, count)]
    data = gap.join(
        b"begin" + b"".join(text + border for text, border in zip(row, borders, strict=True))
        for row in rows
    )
    stop = min(stop, len(data))
    try:
        columns = form.columns(data, 0, stop, tuple(range(count)))
    except UnicodeDecodeError:
        return
    if columns is not None:
        again = [
            b"begin"
            + b"".join(text.encode() + border for text, border in zip(row, borders, strict=True))
            for row in zip(*columns, strict=True)
        ]
        whole = gap.join(again)
        assert data[:stop] in (whole, whole + gap)


def test_a_form_that_cannot_be_is_refused() -> None:
    for borders in ((b"<a>",), (b"<a>", b"no tag"), (b"<",) * 33):
        with pytest.raises(ValueError, match="border|tag"):
            _pages.Form(borders, b"")
    form = _pages.Form((b"<a>", b"</a>"), b"")
    with pytest.raises(ValueError, match="outside"):
        form.columns(b"<a></a>", 0, 8, (0,))
    with pytest.raises(ValueError, match="no such texts"):
        form.columns(b"<a></a>", 0, 7, (1,))


@given(st.integers(1, 30), st.data())
def test_a_regular_page_takes_the_fast_way(count: int, data: st.DataObject) -> None:
    quote = data.draw(quotes)
    rows = [
        f"<Contents><Key>k{number}</Key><LastModified>2025-03-04T05:06:07.000Z</LastModified>"
        f"<ETag>{quote.format(number)}</ETag><Size>{number}</Size>{data.draw(st.sampled_from(['', spare]))}"
        "</Contents>"
        for number in range(count)
    ]
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
    page = s3_pages._fast_page(body.encode())
    assert page == strictly(body.encode())
    assert re.findall("<Size>", body) == ["<Size>"] * len(page.entries)
