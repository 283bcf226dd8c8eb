"""Digests against published check values, and the CRCs' arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports import digests

CHECK = b"123456789"  # the check input of the CRC catalogue


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("crc64nvme", "ae8b14860a799888"),
        ("crc32c", "e3069283"),
        ("crc32", "cbf43926"),
        ("md5", "25f9e794323b453885f5181f1b624d0b"),
        ("sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        ("sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ],
)
def test_check_values(algorithm: str, expected: str) -> None:
    assert digests.checksum(algorithm, CHECK).hex == expected
    running = digests.new_digest(algorithm)
    running.update(CHECK[:4])
    running.update(memoryview(CHECK)[4:])
    assert running.hexdigest() == expected


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_streaming_equals_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    for algorithm in digests.ALGORITHMS:
        running = digests.new_digest(algorithm)
        for piece in pieces:
            running.update(piece)
        assert running.hexdigest() == digests.checksum(algorithm, whole).hex


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_crc64nvme_of_parts_combines_to_that_of_the_whole(pieces: list[bytes]) -> None:
    parts = [(digests.crc64nvme(piece), len(piece)) for piece in pieces]
    assert digests.combine_crc64nvme_parts(parts) == digests.crc64nvme(b"".join(pieces))


@given(st.binary(max_size=40))
def test_hex_and_base64_are_two_spellings(digest: bytes) -> None:
    assert digests.hex_of(digests.base64_of(digest.hex())) == digest.hex()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="crc99"):
        digests.new_digest("crc99")
    with pytest.raises(ValueError, match="crc99"):
        digests.checksum("crc99", b"")
    with pytest.raises(ValueError, match=r"."):
        digests.hex_of("not base64!")
