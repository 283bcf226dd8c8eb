"""Any keys, any bounds, from a store that sorts and from one that walks directories."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from itertools import pairwise
from typing import TYPE_CHECKING, cast
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transports import s3_listing
from transports.errors import Invalid, TransportError, Unavailable
from transports.s3_listing import Lister
from transports.s3_reply import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transports.s3_requests import S3Client


def walk_key(key: str) -> list[str]:
    return key.split("/")


class FakeBucket:
    """Answers ListObjectsV2 in pages, sorted as text or as a directory walk; counts requests."""

    def __init__(self, keys: Sequence[str], *, walks: bool, page_keys: int) -> None:
        self.server = "SeaweedFS" if walks else "other"
        self.rank = walk_key if walks else (lambda key: [key])
        self.keys = sorted(keys, key=self.rank)
        self.page_keys = page_keys
        self.requests = 0

    def location_of(self, key: str | None) -> str:
        return f"s3://fake/{key or ''}"

    async def send(self, method: str, key: None, query: Sequence[tuple[str, str]]) -> Reply:
        await asyncio.sleep(0)
        self.requests += 1
        asked = dict(query)
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("continuation-token") or asked.get("start-after", "")
        rows: list[str] = []
        last, more = "", False
        for name in self.keys:
            if not name.startswith(prefix) or (after and self.rank(name) <= self.rank(after)):
                continue
            cut = name.find("/", len(prefix)) + 1 if delimiter else 0
            if cut and delimiter:
                row = f"<CommonPrefixes><Prefix>{name[:cut]}</Prefix></CommonPrefixes>"
                if row in rows or after.startswith(name[:cut]):
                    last = name
                    continue
            else:
                row = (
                    f"<Contents><Key>{name}</Key><LastModified>2025-03-04T05:06:07Z</LastModified>"
                    "<ETag>e</ETag><Size>1</Size></Contents>"
                )
            if len(rows) == self.page_keys:
                more = True
                break
            rows.append(row)
            last = name
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        body = (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{''.join(rows)}</ListBucketResult>"
        )
        return Reply(200, {}, body.encode(), len(body))


def lister(bucket: FakeBucket, order: str = "auto") -> Lister:
    return Lister(cast("S3Client", bucket), order=order)


async def listed(
    bucket: FakeBucket, prefix: str = "", after: str = "", stop_at: str | None = None
) -> list[str]:
    keys: list[str] = []
    async with aclosing(lister(bucket).in_key_order(prefix, after, stop_at)) as pages:
        async for page in pages:
            assert page
            keys += [entry.key for entry in page]
    return keys


def expected(keys: Sequence[str], prefix: str, after: str, stop_at: str | None) -> list[str]:
    return [
        key
        for key in sorted(keys)
        if key.startswith(prefix) and key > after and (stop_at is None or key < stop_at)
    ]


# Few letters on both sides of "/", so that directories and their odd siblings meet often.
segments = st.text("ab-.0", min_size=1, max_size=3).filter(lambda s: s not in (".", ".."))
keys_of_trees = st.lists(
    st.lists(segments, min_size=1, max_size=4).map("/".join), max_size=40, unique=True
)
bounds = st.one_of(st.just(""), st.lists(segments, min_size=1, max_size=3).map("/".join))


@settings(max_examples=150, deadline=None)
@given(
    keys=keys_of_trees,
    prefix=st.one_of(st.just(""), segments, segments.map(lambda s: s + "/")),
    after=bounds,
    stop_at=st.one_of(st.none(), bounds.filter(bool)),
    walks=st.booleans(),
    page_keys=st.integers(1, 5),
    held=st.integers(1, 8),
)
async def test_any_listing_comes_in_the_order_of_keys(
    keys: list[str],
    prefix: str,
    after: str,
    stop_at: str | None,
    walks: bool,
    page_keys: int,
    held: int,
) -> None:
    bucket = FakeBucket(keys, walks=walks, page_keys=page_keys)
    with mock.patch.object(s3_listing, "HELD_KEYS_MAX", held):
        found = await listed(bucket, prefix, after, stop_at)
    assert found == expected(keys, prefix, after, stop_at)


async def test_a_walk_costs_no_more_requests_than_pages() -> None:
    """Small directories need none; one that is too large to hold needs one, and so does the end."""
    keys = [f"d{n // 10:04}/f{n % 10}" for n in range(10_000)]
    bucket = FakeBucket(keys, walks=True, page_keys=1000)
    assert await listed(bucket) == sorted(keys)
    assert bucket.requests <= 10 + 1
    keys = [f"data/f{n:05}" for n in range(10_000)]
    bucket = FakeBucket(keys, walks=True, page_keys=1000)
    assert await listed(bucket) == sorted(keys)
    assert bucket.requests <= 10 + 2


async def test_a_large_directory_is_given_out_while_it_is_walked() -> None:
    keys = [f"data/f{n:05}" for n in range(10_000)]
    bucket = FakeBucket(keys, walks=True, page_keys=1000)
    async with aclosing(lister(bucket).in_key_order("", "", None)) as pages:
        first = await anext(pages)
    assert len(first) <= s3_listing.HELD_KEYS_MAX + 1000
    assert bucket.requests <= 6  # the name, three pages, the question, one page ahead


async def test_the_next_page_is_under_way_but_not_more() -> None:
    bucket = FakeBucket([f"{n:04}" for n in range(50)], walks=False, page_keys=5)
    async with aclosing(lister(bucket, "key").in_key_order("", "", None)) as pages:
        await anext(pages)
        for _ in range(20):
            await asyncio.sleep(0)
        assert bucket.requests == 2
    assert len(asyncio.all_tasks()) == 1


async def test_a_walk_under_the_wrong_name_is_refused_by_name() -> None:
    bucket = FakeBucket(["a/x", "a-b"], walks=True, page_keys=10)
    bucket.server = "other"
    with pytest.raises(Invalid, match="list_order=tree"):
        await listed(bucket)


class Broken(FakeBucket):
    """Fails at the n-th request, or answers with a body of its own."""

    def __init__(self, *, at: int, error: TransportError | None = None, body: bytes = b"") -> None:
        super().__init__([f"{n:04}" for n in range(50)], walks=False, page_keys=5)
        self.at, self.error, self.body = at, error, body

    async def send(self, method: str, key: None, query: Sequence[tuple[str, str]]) -> Reply:
        reply = await super().send(method, key, query)
        if self.requests < self.at:
            return reply
        if self.error is not None:
            raise self.error
        return Reply(200, {}, self.body or reply.body, 0)


@pytest.mark.parametrize("at", [1, 2, 5])
async def test_an_error_ends_a_listing_by_raising(at: int) -> None:
    with pytest.raises(Unavailable, match="down"):
        await listed(Broken(at=at, error=Unavailable("s3://fake/", "down")))
    assert len(asyncio.all_tasks()) == 1


ONE = (
    "<Contents><Key>{}</Key><LastModified>2025-03-04T05:06:07Z</LastModified><ETag>e</ETag>"
    "<Size>1</Size></Contents>"
)


def page_of(*keys: str, token: str = "") -> bytes:
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        f"<ListBucketResult><IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}"
        f"{''.join(ONE.format(key) for key in keys)}</ListBucketResult>"
    ).encode()


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (page_of("0000", token="same"), Invalid, "order"),
        (page_of(token="same"), Unavailable, "repeats itself"),
        (b"<ListBucketResult><IsTruncated>fal", Unavailable, "cannot be read"),
        (b"<!DOCTYPE x><ListBucketResult/>", Invalid, "cannot be read"),
    ],
)
async def test_listings_that_go_wrong_on_the_way(
    body: bytes, kind: type[TransportError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await listed(Broken(at=2, body=body))


async def test_foreign_keys_are_refused() -> None:
    bucket = Broken(at=1, body=page_of("other/x"))
    with pytest.raises(Invalid, match="foreign"):
        await listed(bucket, "mine/")


class Hurried(FakeBucket):
    """Ends a listing at some requests although there is more, as busy stores do."""

    def __init__(self, keys: Sequence[str], *, walks: bool, early: set[int]) -> None:
        super().__init__(keys, walks=walks, page_keys=3)
        self.early = early

    async def send(self, method: str, key: None, query: Sequence[tuple[str, str]]) -> Reply:
        reply = await super().send(method, key, query)
        if self.requests not in self.early:
            return reply
        body = re.sub(b"<NextContinuationToken>.*</NextContinuationToken>", b"", reply.body)
        return Reply(200, {}, body.replace(b"true", b"false"), 0)


@settings(max_examples=100, deadline=None)
@given(keys=keys_of_trees, walks=st.booleans(), early=st.integers(1, 12))
async def test_a_listing_that_ends_too_early_goes_on(
    keys: list[str], walks: bool, early: int
) -> None:
    bucket = Hurried(keys, walks=walks, early={early})
    assert await listed(bucket) == sorted(keys)


async def test_a_store_that_is_known_to_end_where_it_says_is_not_asked_again() -> None:
    bucket = FakeBucket(["a", "b"], walks=False, page_keys=5)
    bucket.server = "AmazonS3"
    assert await listed(bucket) == ["a", "b"]
    assert bucket.requests == 1


class Deaf(FakeBucket):
    """Knows nothing of a key to start after."""

    async def send(self, method: str, key: None, query: Sequence[tuple[str, str]]) -> Reply:
        heard = [(name, value) for name, value in query if name != "start-after"]
        return await super().send(method, key, heard)


@pytest.mark.parametrize("walks", [False, True])
async def test_a_store_that_begins_from_the_start_is_not_listed_twice(walks: bool) -> None:
    keys = ["a", "b/c", "b/d", "e"]
    assert await listed(Deaf(keys, walks=walks, page_keys=3)) == keys


# -- looks, and ranges of a listing ----------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    keys=keys_of_trees,
    prefix=st.one_of(st.just(""), segments, segments.map(lambda s: s + "/")),
    after=bounds,
    walks=st.booleans(),
    page_keys=st.integers(1, 5),
)
async def test_the_first_key_after_any_text(
    keys: list[str], prefix: str, after: str, walks: bool, page_keys: int
) -> None:
    bucket = FakeBucket(keys, walks=walks, page_keys=page_keys)
    found = await lister(bucket).first_after(after, prefix)
    assert found == next(iter(expected(keys, prefix, after, None)), None)


@settings(max_examples=400, deadline=None)
@given(
    keys=st.lists(
        st.lists(st.sampled_from(["a", "a-", "a-b", "b"]), min_size=1, max_size=2).map("/".join),
        max_size=9,
        unique=True,
    ),
    cut_at=st.sets(st.integers(0, 8), min_size=1, max_size=3),
    page_keys=st.integers(1, 3),
)
async def test_ranges_of_an_unknown_walker_are_complete_or_refused(
    keys: list[str], cut_at: set[int], page_keys: int
) -> None:
    """Cut at any key, a store that does not list in the order of keys never loses one in silence."""
    points = ["", *sorted(key for place, key in enumerate(keys) if place in cut_at), None]
    found: list[str] = []
    try:
        for after, upto in pairwise(points):
            bucket = FakeBucket(keys, walks=True, page_keys=page_keys)
            bucket.server = "other"
            stop_at = None if upto is None else upto + "\0"
            found += await listed(bucket, "", after or "", stop_at)
    except Invalid:
        return
    assert found == sorted(keys)


async def test_a_directory_that_ranges_would_lose_is_refused_by_name() -> None:
    """Of two ranges neither sees ``a/x``: the first ends before it, the second begins behind it."""
    bucket = FakeBucket(["a/x", "a-b", "c"], walks=True, page_keys=1)
    bucket.server = "other"
    with pytest.raises(Invalid, match="s3://fake/.*order of keys"):
        await listed(bucket, "", "a-b")


async def test_a_store_that_ignores_the_beginning_of_a_range_is_refused() -> None:
    bucket = Broken(at=1, body=page_of("0001"))
    with pytest.raises(Invalid, match="s3://fake/.*order of keys"):
        await listed(bucket, "", "0005")
    with pytest.raises(Invalid, match="s3://fake/.*order of keys"):
        await lister(bucket).first_after("0005", "")


async def test_looks_cost_one_request() -> None:
    keys = [f"data/f{n:05}" for n in range(3_000)]
    bucket = FakeBucket(keys, walks=False, page_keys=1000)
    looking = lister(bucket, "key")
    assert await looking.first_after("data/f01000", "data/") == "data/f01001"
    assert await looking.children("data/", "", 1000) == keys[:1000]
    assert await looking.children("", "", 1000) == ["data/"]
    assert bucket.requests == 3
