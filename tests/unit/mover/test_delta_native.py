"""The native kernel's edges: memory beside the buffers, refusals, fixed values, the lock of Python."""

import ctypes
import mmap
import random
import sys
import threading
from collections.abc import Iterator

import pytest

from mover.delta import _native, anchors, kernel
from mover.delta.model import (
    CONSTANT,
    NO_ANCHOR,
    Op,
    OpKind,
    Signature,
    SignatureHead,
    Strong,
    pack_ops,
    unpack_ops,
)

LEVELS = _native.levels()
PAGE = mmap.PAGESIZE
PROT_NONE = 0


@pytest.fixture
def guarded() -> Iterator[tuple[mmap.mmap, int]]:
    """Pages between two that nobody may touch, and where they begin."""
    memory = mmap.mmap(-1, 10 * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, 9):
        assert libc.mprotect(ctypes.c_void_p(address + page * PAGE), PAGE, PROT_NONE) == 0
    yield memory, PAGE
    for page in (0, 9):
        libc.mprotect(
            ctypes.c_void_p(address + page * PAGE), PAGE, mmap.PROT_READ | mmap.PROT_WRITE
        )


@pytest.mark.parametrize("width", [2, 4])
def test_no_elements_beside_the_buffers_are_read(
    guarded: tuple[mmap.mmap, int], width: int
) -> None:
    memory, start = guarded
    stop = start + 8 * PAGE
    view = memoryview(memory)
    for size in [*range(0, 300, width), 8 * PAGE]:
        for piece in (view[stop - size : stop], view[start : start + size]):
            other = bytes(size)
            assert _native.differ(piece, other, width, True) == _native.differ(
                other, piece, width, True
            )
            piece.release()
    view.release()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("block_bytes", [64, 100, 2048])
def test_nothing_beside_the_buffers_is_read(
    guarded: tuple[mmap.mmap, int], level: str, block_bytes: int
) -> None:
    memory, start = guarded
    stop = start + 8 * PAGE
    memory[start:stop] = random.Random(1).randbytes(stop - start)
    view = memoryview(memory)
    sizes = [*range(300), *range(2000, 2200), 4096, 8 * PAGE]
    basis = bytes(view[start : start + 6000])
    head = SignatureHead(size=len(basis), block_bytes=block_bytes)
    index = kernel.Index(kernel.sign(basis, head), level=level)
    for size in sizes:
        for piece in (view[stop - size : stop], view[start : start + size]):
            _native.sign(piece, block_bytes, 16, 0, level=level)
            index.native.scan(piece, 0, 0, size)
            piece.release()
    view.release()


def test_the_levels_end_with_the_one_of_any_processor() -> None:
    assert LEVELS[-1] == "scalar"
    with pytest.raises(ValueError, match="no level 'sse9'"):
        _native.sign(b"", 64, 16, 0, level="sse9")


def golden() -> tuple[bytes, bytes]:
    """Bytes that any machine makes alike: with a constant block, moved blocks, a short last one."""
    made = bytearray()
    state = 1
    for _ in range(9_000):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        made.append(state >> 16 & 0xFF)
    made[3000:4500] = b"\7" * 1500
    old = bytes(made)
    return old, old[:100] + old[5000:] + b"\0" * 300 + old[:4096]


@pytest.mark.parametrize("level", LEVELS)
def test_signature_and_operations_are_the_same_on_every_processor(level: str) -> None:
    old, new = golden()
    columns = _native.sign(old, 512, 4, 99, level=level)
    signature = Signature(
        SignatureHead(size=len(old), block_bytes=512, strong_bytes=4, seed=99), *columns
    )
    offsets = memoryview(signature.anchors).cast("I").tolist()
    assert offsets == GOLDEN_ANCHORS
    assert columns[1][:16].hex() == GOLDEN_KEYS
    assert columns[2][:16].hex() == GOLDEN_DIGESTS
    packed = kernel.scan(kernel.Index(signature, level=level), new)
    assert list(unpack_ops(packed)) == GOLDEN_OPS


GOLDEN_ANCHORS = [
    46,
    116,
    98,
    163,
    105,
    8,
    4294967294,
    4294967294,
    4294967295,
    23,
    124,
    22,
    15,
    0,
    125,
    51,
    48,
    4294967295,
]
GOLDEN_KEYS = "bc13eb9138804519968f6a2ff36bc0fa"
GOLDEN_DIGESTS = "1deb626f48e0b7883a78cbc8d300391d"
GOLDEN_OPS = [
    Op(0, 0, 220, OpKind.LITERAL),
    Op(220, 5120, 3880, OpKind.COPY),
    Op(4100, 0, 300, OpKind.FILL),
    Op(4400, 0, 4096, OpKind.COPY),
]


@pytest.mark.parametrize("level", LEVELS)
def test_the_digest_is_xxh3_128(level: str) -> None:
    assert _native.digest(b"", level=level).hex() == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize("bits", [2, 7, 10])
def test_no_window_of_one_or_two_bytes_in_turn_is_an_anchor(bits: int) -> None:
    for byte in range(256):
        assert anchors.anchors(bytes([byte, byte * 7 & 0xFF]) * 100, bits) == []
        assert anchors.anchors(bytes([byte]) * 200, bits) == []


def test_a_constant_block_is_one_and_a_dull_one_has_no_anchor() -> None:
    columns = kernel.sign_blocks(
        SignatureHead(size=4096, block_bytes=2048), 0, b"\5" * 2048 + b"ab" * 1024
    )
    assert memoryview(columns.anchors).cast("I").tolist() == [CONSTANT, NO_ANCHOR]
    assert memoryview(columns.keys).cast("Q").tolist() == [5, 0]


def test_blocks_may_be_signed_apart() -> None:
    data = random.Random(5).randbytes(10_000)
    head = SignatureHead(size=len(data), block_bytes=1000, seed=3)
    parts = [kernel.sign_blocks(head, first, data[first * 1000 :][:3000]) for first in (0, 3, 6, 9)]
    assert b"".join(part.keys for part in parts) == kernel.sign(data, head).keys


@pytest.mark.parametrize(("first", "size"), [(0, 1500), (9, 2000), (11, 0)])
def test_what_are_no_blocks_of_the_object_is_refused(first: int, size: int) -> None:
    with pytest.raises(ValueError, match="not whole blocks"):
        kernel.sign_blocks(SignatureHead(size=10_000, block_bytes=1000), first, bytes(size))


def test_a_signer_refuses_too_much_and_too_little() -> None:
    signer = kernel.Signer(SignatureHead(size=1000, block_bytes=100))
    signer.feed(bytes(900))
    with pytest.raises(ValueError, match="more than the 1000 bytes"):
        signer.feed(bytes(101))
    with pytest.raises(ValueError, match="are not of 10 blocks"):
        signer.finish()


def test_an_anchor_behind_its_block_is_refused() -> None:
    head = SignatureHead(size=1000, block_bytes=500)
    offset = (437).to_bytes(4, "little")
    with pytest.raises(ValueError, match="1 anchors are not in their blocks"):
        kernel.Index(Signature(head, b"\0" * 4 + offset, bytes(16), bytes(32)))


def test_operations_are_joined_clipped_and_refused() -> None:
    left = [Op(0, 100, 50, OpKind.COPY), Op(50, 50, 10, OpKind.LITERAL)]
    right = [Op(40, 0, 20, OpKind.FILL), Op(60, 60, 5, OpKind.LITERAL)]
    merged = list(unpack_ops(kernel.merge([pack_ops(left), pack_ops(right)])))
    assert merged == [left[0], Op(50, 50, 15, OpKind.LITERAL)]
    with pytest.raises(ValueError, match="a gap"):
        kernel.merge([pack_ops(left), pack_ops([Op(61, 0, 1, OpKind.COPY)])])
    with pytest.raises(ValueError, match="in the middle"):
        kernel.merge([b"x"])
    assert kernel.merge([]) == b""


def test_a_digest_that_fails_ends_the_scan() -> None:
    def fail(block: int, data: bytes) -> bool:
        raise OSError("no digest")

    data = random.Random(2).randbytes(4096)
    anchors_, keys, _ = _native.sign(data, 512, 32, 0, digests=False)
    index = _native.Index(4096, 512, 32, 0, anchors_, keys, bytes(32 * 8), equal=fail)
    with pytest.raises(OSError, match="no digest"):
        index.scan(data, 0, 0, len(data))


def test_more_operations_than_one_call_returns() -> None:
    source = random.Random(4)
    old = source.randbytes(600_000)
    pieces = (old[at : at + 100] + source.randbytes(20) for at in range(0, len(old), 100))
    new = b"".join(pieces)
    index = kernel.Index(kernel.sign(old, SignatureHead(size=len(old), block_bytes=100)))
    packed = kernel.scan(index, new)
    assert len(packed) // 32 > 5000
    assert [op.start for op in unpack_ops(packed)][-1] < len(new)


def test_blake3_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    head = SignatureHead(size=5, block_bytes=64, strong=Strong.BLAKE3, strong_bytes=32)
    monkeypatch.setitem(sys.modules, "blake3", None)
    with pytest.raises(ValueError, match=r"fluid-mover\[blake3\]"):
        kernel.sign(b"hello", head)


def test_the_digests_are_those_of_everybody() -> None:
    """BLAKE3 of "hello" as the b3sum tool prints it; SHA-256 as FIPS 180-4 has it of "abc"."""
    known = {
        (
            Strong.BLAKE3,
            b"hello",
        ): "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f",
        (Strong.SHA256, b"abc"): "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
    for (strong, data), digest in known.items():
        head = SignatureHead(size=len(data), block_bytes=64, strong=strong, strong_bytes=32)
        assert kernel.sign(data, head).digests.hex() == digest


@pytest.mark.alone
def test_other_threads_run_while_the_kernel_scans() -> None:
    data = random.Random(6).randbytes(1 << 20) * 32
    index = kernel.Index(
        kernel.sign(data[: 1 << 20], SignatureHead(size=1 << 20, block_bytes=4096))
    )
    done = threading.Event()

    def work() -> None:
        for _ in range(5):
            index.native.scan(data, 0, 0, len(data))
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    ticks = 0
    while not done.is_set():
        ticks += 1
    worker.join()
    assert ticks > 1000
