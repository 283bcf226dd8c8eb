"""Signing, comparing and patching in one process: streams, strides and windows give what files give."""

import errno
import os
import random
import struct
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mover import delta_diffing, delta_signing
from mover.delta import kernel
from mover.delta.model import Signature, SignatureHead, Strong
from mover.delta.signature_format import SignatureFile
from mover.delta_applying import patch
from mover.delta_diffing import diff, index_of
from mover.delta_drafts import file_draft
from mover.delta_inputs import FileInput, PipeInput, Take
from mover.delta_opening import Opener
from mover.delta_signing import Outcome, SignWish, read_signature, sign, write_signature_file
from mover.errors import Damaged, Rejected

BLOCK = 4096
OLD = random.Random(3).randbytes(18 * 1024 * 1024 + 99)
NEW = OLD[:7_000_000] + b"inserted" + OLD[7_000_000:12_345_678] + bytes(70_000) + OLD[13_000_000:]
WISH = SignWish(block_bytes=BLOCK)


def silent(done: int, size: int | None) -> None:
    """Nobody watches."""


class Stream(PipeInput):
    """Bytes that come in pieces, as a pipe or a store brings them."""

    def __init__(self, data: bytes, step: int, *, sized: bool = False) -> None:
        super().__init__(-1, "stream")
        self._data = data
        self._step = step
        if sized:
            self.size = len(data)  # type: ignore[assignment]

    async def pour(self, take: Take) -> None:
        for start in range(0, len(self._data), self._step):
            await take(memoryview(self._data)[start : start + self._step])


class Files:
    """Inputs of one test's directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def open(self, name: str, data: bytes) -> FileInput:
        (self.place / name).write_bytes(data)
        return FileInput(os.open(self.place / name, os.O_RDONLY), name)

    async def patched(self, old: bytes) -> bytes:
        async with AsyncExitStack() as stack:
            opener = Opener(stack=stack, environment={})
            basis = self.open("basis", old)
            delta = await opener.input(str(self.place / "delta"))
            await patch(basis, delta, opener, str(self.place / "out"), watch=silent)
        return (self.place / "out").read_bytes()

    async def compared(self, signature: Signature, new: FileInput | Stream) -> Outcome:
        async with file_draft(str(self.place / "delta")) as draft:
            return await diff(signature, new, draft, threads=2, watch=silent)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mover.delta_signing.random_seed", lambda: 7)


@pytest.mark.parametrize("size", [0, 1, BLOCK, 3 * BLOCK + 1, len(OLD)])
async def test_streams_are_signed_as_files_are(
    files: Files, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded(monkeypatch)
    monkeypatch.setattr(delta_signing, "FEED_BYTES", 10 * BLOCK)
    monkeypatch.setattr(delta_signing, "SEGMENT_BYTES", 100 * BLOCK)
    data = OLD[:size]
    head = WISH.head(size)
    expected = kernel.sign(data, head)
    assert await sign(files.open("old", data), WISH, threads=3, watch=silent) == expected
    for sized in (True, False):
        given = Stream(data, 7777, sized=sized)
        assert await sign(given, WISH, threads=1, watch=silent) == expected


@pytest.mark.parametrize("step", [5_000_000, 77_777])
async def test_a_stream_is_compared_as_a_file_is(
    files: Files, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_diffing, "FEED_BYTES", 1_000_003)
    signature = kernel.sign(OLD, WISH.head(len(OLD)))
    outcome = await files.compared(signature, Stream(NEW, step))
    assert outcome.literal_bytes < 5 * BLOCK
    assert await files.patched(OLD) == NEW


@pytest.mark.parametrize("inserted", [4096, 8192, 8, 0])
@pytest.mark.parametrize("shares", [True, False])
async def test_blocks_that_stay_are_shared(
    files: Files, inserted: int, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that shares blocks is played: it takes whole blocks only, or none."""
    asked: list[tuple[int, int, int]] = []

    def ioctl(fd: int, request: int, told: bytes) -> int:
        source, origin, length, place = struct.unpack("qQQQ", told)
        asked.append((origin, length, place))
        assert request == 0x4020940D
        assert origin % 4096 == length % 4096 == place % 4096 == 0
        if not shares:
            raise OSError(errno.EOPNOTSUPP, "no")
        os.pwrite(fd, os.pread(source, length, origin), place)
        return 0

    new = (
        OLD[:5_000] + bytes(range(256)) * (inserted // 256) + b"x" * (inserted % 256) + OLD[5_000:]
    )
    signature = kernel.sign(OLD, SignWish(block_bytes=1000).head(len(OLD)))
    await files.compared(signature, files.open("new", new))
    monkeypatch.setattr("fcntl.ioctl", ioctl)
    assert await files.patched(OLD) == new
    if inserted == 8:
        assert asked == []
    elif shares:
        assert sum(length for _, length, _ in asked) > len(OLD) - 3 * 4096
    else:
        assert len(asked) == 1


@pytest.mark.parametrize("stride", [1_000_000, 10 * BLOCK, BLOCK + 1])
async def test_strides_lose_nothing(
    files: Files, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = OLD[: 500 * BLOCK], b"shifted" + OLD[: 500 * BLOCK]
    signature = kernel.sign(old, WISH.head(len(old)))
    monkeypatch.setattr(delta_diffing, "STRIDE_BYTES", stride)
    outcome = await files.compared(signature, files.open("new", new))
    if stride > 2 * BLOCK:
        assert outcome.literal_bytes == 7
    assert await files.patched(old) == new


async def test_a_signature_comes_back_with_its_length(files: Files) -> None:
    file = SignatureFile(signature=kernel.sign(OLD, WISH.head(len(OLD))), whole=bytes(16))
    async with file_draft(str(files.place / "sig")) as draft:
        length = await write_signature_file(file, draft)
    data = (files.place / "sig").read_bytes()
    assert length == len(data)
    assert await read_signature(files.open("sig2", data)) == (file, length)


async def test_a_signature_that_says_what_cannot_be() -> None:
    head = SignatureHead(size=BLOCK, block_bytes=BLOCK, strong_bytes=1)
    beyond = (BLOCK).to_bytes(4, "little")
    with pytest.raises(Damaged, match="the signature cannot be used"):
        await index_of(Signature(head, beyond, bytes(8), bytes(1)))


async def test_a_digest_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ValueError("BLAKE3 needs a package that is not installed")

    monkeypatch.setattr(kernel, "sign", missing)
    with pytest.raises(Rejected, match="BLAKE3 needs a package"):
        await sign(Stream(b"x", 1), SignWish(strong=Strong.BLAKE3), threads=1, watch=silent)
