"""Manifests of any rows: written and read back, merged in any order, sorted as listings are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mover.manifest import (
    Deed,
    Header,
    Row,
    decode_segment,
    encode_segment,
    newest,
)
from mover.recalling import RowSpill
from transports.model import Checksum, Kind, Proof

names = st.text(
    st.characters() | st.characters(categories=["Cs"]) | st.sampled_from("\\\n\x00#\udcff\ud800"),
    min_size=1,
    max_size=12,
)
words = st.text(max_size=6)
times = st.none() | st.integers(-(2**63), 2**63 - 1)
checksums = st.none() | st.builds(Checksum, st.sampled_from(["md5", "xxh3"]), words)


def rows_of(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    return st.builds(
        Row,
        key=keys,
        size=st.integers(-1, 3),
        action=st.sampled_from(Deed),
        at_ms=st.integers(0, 50),
        source_etag=words,
        source_version=words,
        mtime_ns=times,
        target_etag=words,
        target_version=words,
        checksum=checksums,
        verified=st.none() | st.sampled_from(Proof),
        kind=st.sampled_from(Kind),
        source_key=st.just("") | names,
        error=words,
        detail=words,
    )


def header(count: int) -> Header:
    return Header(
        job="j", task=1, generation=1, worker="w", source="s", target="t", written_at_ms=0, rows=count
    )  # fmt: skip


@given(st.lists(rows_of(names), max_size=8))
def test_rows_come_back_exactly(rows: list[Row]) -> None:
    segment = decode_segment(encode_segment(header(len(rows)), rows))
    assert segment.rows == rows
    assert segment.header == header(len(rows))


@given(rows_of(st.just("k")), rows_of(st.just("k")))
def test_the_order_of_reading_does_not_matter(one: Row, other: Row) -> None:
    first, second = newest(one, other), newest(other, one)
    assert (first.action, first.at_ms) == (second.action, second.at_ms)
    assert first.at_ms == max(one.at_ms, other.at_ms)
    if one.at_ms != other.at_ms:
        assert first == second


@given(st.lists(st.lists(rows_of(names | st.sampled_from("abc")), max_size=6), max_size=6))
def test_a_spill_is_a_sorted_dictionary(segments: list[list[Row]]) -> None:
    merged: dict[str, Row] = {}
    with RowSpill() as spill:
        for segment in segments:
            spill.add(segment)
            for row in segment:
                merged[row.key] = newest(merged[row.key], row) if row.key in merged else row
        found = [row for page in spill.pages(2) for row in page]
        assert found == [merged[key] for key in sorted(merged)]
        assert all(spill.get(key) == row for key, row in merged.items())
        assert spill.get("none of them") is None
