"""What workers say to each other about parcels: names, ranges, proofs, addresses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mover.delta_tasks import Keeper, choose_keeper
from mover.peer_protocol import (
    VALID_S,
    Misnamed,
    Name,
    Said,
    Unproven,
    checked_address,
    name_at_target,
    name_in,
    span_in,
    span_text,
)

SECRET = b"of the tests only"
NOW_S = 1_800_000_000.0
SAID = Said(
    verb="PUT", path="/parcels/j/o/p", expires_s=int(NOW_S) + VALID_S, span="bytes=0-9", digest="0f"
)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (".mover-delta/0123/ab/7-1.delta-000000", "/parcels/0123/ab/7-1.delta-000000"),
        (".mover-delta/0123/ab/", "/parcels/0123/ab"),
    ],
)
def test_names(key: str, path: str) -> None:
    name = name_at_target(key)
    assert name.path == path
    assert name_in(path, is_piece=bool(name.piece)) == name


@pytest.mark.parametrize(
    "path",
    [
        "/parcels/j/o",
        "/parcels/j/o/p/q",
        "/parcels/j/o/",
        "/parcels//o/p",
        "/parcels/../o/p",
        "/parcels/j/o/..",
        "/parcels/j/o/.p",
        "/parcels/j/o/p%2f",
        "/parcels/j/o/p\n",
        "/parcels/j/o/" + "p" * 81,
        "/elsewhere/j/o/p",
        "",
    ],
)
def test_no_names_of_pieces(path: str) -> None:
    with pytest.raises(Misnamed):
        name_in(path, is_piece=True)


@given(st.text(max_size=40))
def test_no_name_leaves_its_directory(text: str) -> None:
    try:
        name = name_in("/parcels/" + text, is_piece=True)
    except Misnamed:
        return
    assert all(part and "/" not in part and not part.startswith(".") for part in name)
    assert name == Name(*text.split("/"))


@given(st.integers(0, 10**8), st.integers(1, 10**8))
def test_ranges(start: int, length: int) -> None:
    assert span_in(span_text(start, start + length)) == (start, start + length)


@pytest.mark.parametrize("text", ["", "bytes=5-4", "bytes=-4", "bytes=4-", "bytes=1-2,4-5", "1-2"])
def test_no_ranges(text: str) -> None:
    with pytest.raises(Misnamed):
        span_in(text)


@pytest.mark.parametrize(
    "other",
    [
        replace(SAID, verb="GET"),
        replace(SAID, path="/parcels/j/o/q"),
        replace(SAID, span="bytes=0-8"),
        replace(SAID, digest=""),
        replace(SAID, expires_s=SAID.expires_s + 1),
    ],
)
def test_a_proof_is_of_all_that_is_said(other: Said) -> None:
    proof = SAID.proof(SECRET)
    SAID.check(SECRET, proof, now_s=NOW_S)
    with pytest.raises(Unproven, match="other secrets"):
        other.check(SECRET, proof, now_s=NOW_S)
    with pytest.raises(Unproven, match="other secrets"):
        SAID.check(b"another secret", proof, now_s=NOW_S)
    with pytest.raises(Unproven):
        SAID.check(SECRET, "\u00e9", now_s=NOW_S)


@pytest.mark.parametrize(
    ("early_s", "is_good"),
    [(0, True), (VALID_S, True), (-VALID_S, True), (VALID_S + 1, False), (-VALID_S - 1, False)],
)
def test_a_request_is_good_for_a_while(early_s: float, is_good: bool) -> None:
    try:
        SAID.check(SECRET, SAID.proof(SECRET), now_s=NOW_S + early_s)
    except Unproven:
        assert not is_good
    else:
        assert is_good


@pytest.mark.parametrize("text", ["http://h:1/", "https://h", "http://[::1]:80"])
def test_addresses(text: str) -> None:
    assert checked_address(text) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    ["", "h:1", "ftp://h", "http://", "http://h/p", "http://u:p@h", "http://h?q", "http://h:0"],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="http"):
        checked_address(text)


NEAR, NEXT, FAR = Keeper("http://near"), Keeper("http://next"), Keeper("http://far", True)


@pytest.mark.parametrize(
    ("given_", "own", "known", "chosen"),
    [
        (None, None, [], None),
        (None, None, [FAR], FAR),
        (None, None, [FAR, NEAR], NEAR),
        (None, FAR, [NEAR], NEAR),
        (None, FAR, [], FAR),
        (None, NEAR, [NEXT, FAR], NEAR),
        (FAR, NEAR, [NEXT], FAR),
        (None, None, [NEXT, NEAR], NEXT),  # in order they are NEAR, NEXT
    ],
)
def test_who_keeps_a_parcel(
    given_: Keeper | None, own: Keeper | None, known: list[Keeper], chosen: Keeper | None
) -> None:
    assert choose_keeper(7, given=given_, own=own, known=known) == chosen
