"""Properties of the delta kernel: what it finds is right, whatever the bytes, pieces and threads."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mover.delta import _native, anchors, kernel, reference, rolling
from mover.delta.model import NO_ANCHOR, SignatureHead, Strong, joined, pack_ops, unpack_ops
from tests.property.delta_cases import BLOCKS, Case, base, cases, literal_bytes, patched

LEVELS = _native.levels()
SEEDS = st.sampled_from((0, 1, 2**64 - 1))


def head_of(case: Case, seed: int = 0, strong_bytes: int = 16, key_bytes: int = 8) -> SignatureHead:
    return SignatureHead(
        size=len(case.old),
        block_bytes=case.block_bytes,
        seed=seed,
        strong_bytes=strong_bytes,
        key_bytes=key_bytes,
    )


def index_of(case: Case, segment: int = 0) -> kernel.Index:
    return kernel.Index(kernel.sign(case.old, head_of(case)), segment=segment)


@given(cases(), SEEDS)
@example(Case(b"", b"", 64), 0)
@example(Case(b"\0" * 4096, b"\0" * 5000, 1024), 0)
def test_the_operations_make_the_new_bytes(case: Case, seed: int) -> None:
    index = kernel.Index(kernel.sign(case.old, head_of(case, seed)))
    packed = kernel.scan(index, case.new)
    assert patched(case.old, case.new, packed) == case.new
    assert pack_ops(joined(unpack_ops(packed))) == packed, "not canonical"


@given(
    cases(),
    SEEDS,
    st.sampled_from((1, 2, 16)),
    st.sampled_from((2, 3, 8)),
    st.sampled_from((4096, 5000, 1 << 20)),
    st.sampled_from((0, 7, 4096, 12_345)),
)
def test_every_level_does_what_the_reference_does(
    case: Case, seed: int, strong_bytes: int, key_bytes: int, segment: int, start: int
) -> None:
    head = head_of(case, seed, strong_bytes, key_bytes)
    signature = reference.sign(case.old, head)
    expected = pack_ops(
        reference.scan(reference.Index(signature), case.new, start=start, step=segment)
    )
    for level in LEVELS:
        columns = _native.sign(
            case.old, head.block_bytes, strong_bytes, seed, key_bytes=key_bytes, level=level
        )
        assert columns == (signature.anchors, signature.keys, signature.digests)
        index = kernel.Index(signature, level=level, segment=segment)
        assert kernel.scan(index, case.new, start=start) == expected


@given(cases(), st.integers(0, 99), st.integers(1, 3000))
@example(Case(b"", b"", 64), 1, 1)
def test_what_was_appended_is_all_that_is_sent(case: Case, seed: int, length: int) -> None:
    """Also behind a short last block: the digests of blocks are the checksum of a prefix."""
    tail = random.Random(seed).randbytes(length)
    packed = kernel.scan(index_of(case), case.old + tail)
    assert literal_bytes(packed) <= length
    assert patched(case.old, case.old + tail, packed) == case.old + tail


@given(cases(), st.lists(st.integers(0, 3000), max_size=8))
def test_a_stream_is_signed_as_the_whole(case: Case, cuts: list[int]) -> None:
    signer, at = kernel.Signer(head_of(case)), 0
    for cut in [*cuts, len(case.old)]:
        signer.feed(case.old[at : at + cut])
        at += cut
    assert signer.finish() == kernel.sign(case.old, head_of(case))


@given(cases(), st.lists(st.integers(0, 3000), max_size=8), st.sampled_from((4096, 5000)))
def test_a_stream_is_scanned_as_the_whole(case: Case, cuts: list[int], segment: int) -> None:
    index = index_of(case, max(segment, 4 * case.block_bytes))
    scanner, at, parts = kernel.Scanner(index), 0, []
    for cut in cuts:
        parts.append(scanner.feed(case.new[at : at + cut]))
        at += cut
    parts.append(scanner.feed(case.new[at:], final=True))
    assert kernel.merge(parts) == kernel.scan(index, case.new)
    assert scanner.stats.scanned == len(case.new)


@given(cases(size_max=40_000))
def test_threads_do_not_show_in_the_operations(case: Case) -> None:
    index = index_of(case, 4 * case.block_bytes)
    alone = kernel.scan_counted(index, case.new)
    assert kernel.scan_counted(index, case.new, threads=3) == alone
    assert patched(case.old, case.new, alone[0]) == case.new


@given(cases())
def test_literals_are_few_more_than_the_classic_engine_finds(case: Case) -> None:
    signature = kernel.sign(case.old, head_of(case))
    classic = pack_ops(rolling.scan(signature, case.old, case.new))
    assert patched(case.old, case.new, classic) == case.new
    offsets = list(memoryview(signature.anchors).cast("I"))
    unanchored = sum(offset >= NO_ANCHOR - 1 for offset in offsets)
    found = kernel.scan(kernel.Index(signature), case.new)
    runs = sum(1 for _ in unpack_ops(classic))
    # A block without an anchor may be missed wherever the classic engine copied it, and a copy that
    # was taken elsewhere may hide the beginning of the next: bounded by the blocks at its ends.
    if unanchored == 0 and len(set(case.old)) > 4:
        assert literal_bytes(found) <= literal_bytes(classic) + case.block_bytes * runs


@given(st.integers(0, 99), st.sampled_from((64, 500, 2048)), st.integers(0, 6000))
def test_rolling_gives_what_hashing_anew_gives(seed: int, wide: int, size: int) -> None:
    data = base(seed, min(size, wide + 200), 256)
    direct = [rolling.polynomial(data[at : at + wide]) for at in range(len(data) - wide + 1)]
    assert list(rolling.rolled(data, wide)) == direct


@given(cases(), st.sampled_from((1, 2)))
def test_what_false_matches_make_differs_from_the_new_bytes_or_is_right(
    case: Case, strong_bytes: int
) -> None:
    index = kernel.Index(kernel.sign(case.old, head_of(case, strong_bytes=strong_bytes)))
    made = patched(case.old, case.new, kernel.scan(index, case.new))
    assert len(made) == len(case.new), "a digest of the whole tells"


@given(
    cases(blocks=(128, 500)),
    st.sampled_from((Strong.SHA256, Strong.BLAKE3)),
    st.sampled_from((4, 32)),
)
def test_slow_digests_give_the_same_operations(
    case: Case, strong: Strong, strong_bytes: int
) -> None:
    head = SignatureHead(
        size=len(case.old),
        block_bytes=case.block_bytes,
        strong=strong,
        strong_bytes=strong_bytes,
    )
    signature = kernel.sign(case.old, head)
    assert signature == reference.sign(case.old, head)
    assert kernel.scan(kernel.Index(signature), case.new) == kernel.scan(index_of(case), case.new)


def broken(prefix: bytes, block_bytes: int, size: int, source: random.Random) -> bytes:
    rest = block_bytes - len(prefix)
    return b"".join(prefix + source.randbytes(rest) for _ in range(size // block_bytes))


def worst(kind: str, block_bytes: int, size: int) -> tuple[bytes, bytes]:
    """Old and new bytes that make much work: what a block promises, the rest of it breaks."""
    source = random.Random(7)
    match kind:
        case "zeros but one":
            return bytes(size), b"".join(
                bytes(block_bytes - 1) + b"\1" for _ in range(size // block_bytes)
            )
        case "equal keys":
            half = source.randbytes(block_bytes // 2)
            return broken(half, block_bytes, size, source), half * (size // len(half))
        case "anchors everywhere":
            bits = anchors.anchor_bits(block_bytes)
            pattern = next(
                pattern
                for pattern in (source.randbytes(5) for _ in range(100_000))
                if len(anchors.anchors(pattern * 40, bits)) > 50
            )
            prefix = pattern * (block_bytes // 5 - 1)
            return broken(prefix, block_bytes, size, source), pattern * (size // 5)
        case _:
            return base(1, size, 2), base(2, size, 2)


@pytest.mark.parametrize(
    "kind", ["zeros but one", "equal keys", "anchors everywhere", "two letters"]
)
@pytest.mark.parametrize("block_bytes", [64, 500, 2048])
def test_work_is_bounded_whatever_the_bytes(kind: str, block_bytes: int) -> None:
    old, new = worst(kind, block_bytes, 400_000)
    index = kernel.Index(kernel.sign(old, SignatureHead(size=len(old), block_bytes=block_bytes)))
    packed, stats = kernel.scan_counted(index, new)
    assert patched(old, new, packed) == new
    assert stats.failed <= anchors.EARNED * (len(new) + block_bytes)
    assert stats.hashed <= 5 * len(new) + block_bytes * (stats.runs + anchors.EARNED)


def test_no_byte_of_random_data_is_hashed() -> None:
    source = random.Random(3)
    old, new = source.randbytes(1 << 20), source.randbytes(1 << 20)
    for block_bytes in BLOCKS[2:]:
        case = Case(old, new, block_bytes)
        packed, stats = kernel.scan_counted(index_of(case), new)
        assert literal_bytes(packed) == len(new)
        assert len(packed) == 32
        assert stats.hashed <= len(new) // 40, "only blocks without an anchor are tried in place"
