"""What an answer's headers say of a byte: a table of what caches really send."""

import pytest

from mover.prewarm.hits import Hit, came_sooner, hit_header, hit_of


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("X-Cache-Status: HIT", Hit.YES),  # nginx
        ("X-Cache-Status: MISS", Hit.NO),
        ("X-Cache-Status: EXPIRED", Hit.NO),
        ("X-Cache-Status: BYPASS", Hit.NO),
        ("X-Cache-Status: STALE", Hit.YES),
        ("X-Cache-Status: REVALIDATED", Hit.YES),
        ("X-Cache-Status: -", Hit.UNKNOWN),
        ("X-Proxy-Cache: HIT", Hit.YES),
        ("CF-Cache-Status: HIT", Hit.YES),
        ("CF-Cache-Status: DYNAMIC", Hit.NO),
        ("X-Cache: Hit from cloudfront", Hit.YES),
        ("X-Cache: RefreshHit from cloudfront", Hit.YES),
        ("X-Cache: Miss from cloudfront", Hit.NO),
        ("X-Cache: Error from cloudfront", Hit.UNKNOWN),
        ("X-Cache: TCP_MEM_HIT from a23-1-2-3.deploy", Hit.YES),
        ("X-Cache: TCP_MISS from a23-1-2-3.deploy", Hit.NO),
        ("X-Cache: HIT from proxy.lan", Hit.YES),
        ("X-Cache: MISS from proxy.lan\nX-Cache-Lookup: HIT from proxy.lan:3128", Hit.NO),
        ("X-Cache-Lookup: MISS from proxy.lan:3128", Hit.NO),
        ("X-Cache: MISS, HIT", Hit.YES),  # the nearest cache is the last
        ("X-Cache: HIT, MISS", Hit.NO),
        ("Cache-Status: edge; hit", Hit.YES),
        ("Cache-Status: edge; hit; ttl=30", Hit.YES),
        ("Cache-Status: edge; fwd=uri-miss; stored", Hit.NO),
        ("Cache-Status: shield; hit, edge; fwd=uri-miss", Hit.NO),
        ("Cache-Status: shield; fwd=miss, edge; hit", Hit.YES),
        ("Cache-Status: edge; detail=hit-and-run", Hit.UNKNOWN),
        ("Cache-Status: edge; fwd=stale\nX-Cache: HIT", Hit.NO),
        ("Age: 17", Hit.YES),
        ("Age: 0", Hit.UNKNOWN),
        ("Age: old", Hit.UNKNOWN),
        ("X-Cache: MISS\nAge: 3", Hit.NO),
        ("Server: SeaweedFS S3", Hit.UNKNOWN),
        ("X-Cache: WHITE", Hit.UNKNOWN),  # no word within a word
        (":status: 504\nX-Cache: HIT", Hit.NO),
        ("", Hit.UNKNOWN),
    ],
)
def test_what_caches_say(lines: str, says: Hit) -> None:
    assert hit_of(_headers(lines)) is says


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("X-My: stored", Hit.YES),
        ("X-My: fetched\nX-Cache: HIT", Hit.NO),
        ("X-Cache: HIT", Hit.UNKNOWN),
        (":status: 504\nX-My: stored", Hit.NO),
    ],
)
def test_a_named_header_decides_alone(lines: str, says: Hit) -> None:
    assert hit_of(_headers(lines), hit_header("X-My=^stor(ed)?$")) is says


@pytest.mark.parametrize("text", ["X-Cache", "X-Cache=", "=HIT", "X Cache=HIT", "X-Cache=("])
def test_a_header_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="X-Cache=|regular"):
        hit_header(text)


def test_no_header_is_named_by_nothing() -> None:
    assert hit_header("") is None


@pytest.mark.parametrize(
    ("first_s", "now_s", "sooner"),
    [
        ([0.020] * 4, [0.002] * 4, True),
        ([0.020] * 4, [0.010] * 4, True),
        ([0.020] * 4, [0.011] * 4, False),
        ([0.020] * 4, [0.002, 0.002, 0.002, 9.0], True),  # one stall
        ([0.020] * 3, [0.002] * 3, False),  # too few
        ([], [], False),
    ],
)
def test_times_of_first_bytes(first_s: list[float], now_s: list[float], sooner: bool) -> None:
    assert came_sooner(first_s, now_s) is sooner


def _headers(lines: str) -> dict[bytes, bytes]:
    pairs = (line.rpartition(": ") for line in lines.splitlines())
    return {name.lower().encode(): value.encode() for name, _, value in pairs}
