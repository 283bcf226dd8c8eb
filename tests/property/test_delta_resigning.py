"""A signature that is put together after a patch is the signature of the new bytes."""

from hypothesis import given
from hypothesis import strategies as st

from mover.delta import kernel
from mover.delta.model import SignatureHead, unpack_ops
from mover.delta.resigning import Rows
from tests.property.delta_cases import Case, cases


def head_of(case: Case, size: int) -> SignatureHead:
    return SignatureHead(size=size, block_bytes=case.block_bytes, strong_bytes=11, seed=3)


@given(cases(), st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 5_000)), max_size=6))
def test_the_signature_after_a_patch_is_that_of_the_new_bytes(
    case: Case, passed: list[tuple[int, int]]
) -> None:
    old = kernel.sign(case.old, head_of(case, len(case.old)))
    ops = list(unpack_ops(kernel.scan(kernel.Index(old), case.new)))
    expected = kernel.sign(case.new, head_of(case, len(case.new)))
    rows = Rows(expected.head)
    for start, size in passed:
        piece = case.new[start : start + size]
        if piece:
            rows.put(start, len(piece), rows.sign(start, piece))
    rows.inherit(ops, old)
    for start, stop in rows.missing():
        rows.put(start, stop - start, rows.sign(start, case.new[start:stop]))
    assert rows.signature() == expected
