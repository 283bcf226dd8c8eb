"""Properties of the delta kernel: what it finds is right, whatever the bytes, pieces and threads."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mover.delta import kernel
from mover.delta.model import SignatureHead, joined, pack_ops, unpack_ops
from tests.property.delta_cases import Case, cases, patched


def head_of(case: Case, seed: int = 0) -> SignatureHead:
    return SignatureHead(size=len(case.old), block_bytes=case.block_bytes, seed=seed)


@given(cases(), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_the_operations_make_the_new_bytes(case: Case, seed: int) -> None:
    index = kernel.Index(kernel.sign(case.old, head_of(case, seed)))
    packed = kernel.scan(index, case.new)
    assert patched(case.old, case.new, packed) == case.new
    assert pack_ops(joined(unpack_ops(packed))) == packed, "not canonical"


@given(cases(), st.lists(st.integers(0, 3000), max_size=8))
@settings(deadline=None)
def test_a_stream_is_signed_as_the_whole(case: Case, cuts: list[int]) -> None:
    signer, at = kernel.Signer(head_of(case)), 0
    for cut in [*cuts, len(case.old)]:
        signer.feed(case.old[at : at + cut])
        at += cut
    assert signer.finish() == kernel.sign(case.old, head_of(case))
