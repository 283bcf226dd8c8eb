"""Uploads into one file: several processes, repeated and late calls, holes, checks."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from transports import digests
from transports.errors import Corrupt, Invalid, NoSpace, NotFound
from transports.local import LocalTransport, open_local
from transports.local_parts import HOLE_BYTES, PartFile, solid_runs
from transports.model import Attributes, ByteRange, Checksum, PartReceipt, PartSpec, Proof
from transports.testing import contents, listed, put
from transports.testing.support import cut, some_bytes

PART = 128 * 1024
TOKEN = "job"
DATA = some_bytes(3 * PART + 77)
WHOLE = digests.checksum("crc64nvme", DATA)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[LocalTransport, LocalTransport]]:
    """Two workers of one job, as two processes would have them."""
    one = open_local(tmp_path / "root", token=TOKEN, create=True)
    two = open_local(tmp_path / "root", token=TOKEN, create=True)
    yield one, two
    await one.close()
    await two.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


async def uploaded(*workers: LocalTransport, data: bytes = DATA) -> tuple[str, list[PartReceipt]]:
    upload_id = await workers[0].begin_upload(
        "d/x", len(data), Attributes(mtime_ns=10**18, mode=0o640), token=TOKEN
    )
    receipts = [
        await workers[number % len(workers)].write_part("d/x", upload_id, *part)
        for number, part in enumerate(cut(data, PART))
    ]
    return upload_id, receipts


async def test_workers_share_an_upload(pair: tuple[LocalTransport, LocalTransport]) -> None:
    one, two = pair
    upload_id, receipts = await uploaded(one, two)
    assert list(await one.list_parts("d/x", upload_id)) == receipts
    receipt = await two.finish_upload("d/x", upload_id, receipts, checksum=WHOLE)
    assert receipt.proof is Proof.STRONG
    assert await contents(one) == {"d/x": DATA}


async def test_what_the_beginning_gave_holds_at_the_end(
    pair: tuple[LocalTransport, LocalTransport], root: Path
) -> None:
    upload_id, receipts = await uploaded(*pair)
    await pair[1].finish_upload("d/x", upload_id, receipts)
    found = os.stat(root / "d/x")
    assert (found.st_mtime_ns, found.st_mode & 0o777) == (10**18, 0o640)


async def test_a_late_worker_finds_the_upload_gone(
    pair: tuple[LocalTransport, LocalTransport],
) -> None:
    one, two = pair
    upload_id, receipts = await uploaded(one, two)
    await one.finish_upload("d/x", upload_id, receipts)
    with pytest.raises(NotFound):
        await two.write_part("d/x", upload_id, *cut(bytes(len(DATA)), PART)[0])
    again = await two.finish_upload("d/x", upload_id, receipts)
    assert again.size == len(DATA)
    assert await contents(one) == {"d/x": DATA}


async def test_finishing_again_knows_its_own_work(
    pair: tuple[LocalTransport, LocalTransport], root: Path
) -> None:
    upload_id, receipts = await uploaded(*pair)
    await pair[0].finish_upload("d/x", upload_id, receipts)
    await put(pair[1], {"d/x": DATA})  # the same bytes, another's work
    with pytest.raises(NotFound):
        await pair[0].finish_upload("d/x", upload_id, receipts)
    (root / "d/x").unlink()
    with pytest.raises(NotFound):
        await pair[0].finish_upload("d/x", upload_id, receipts)


async def test_a_finish_that_was_cut_short_is_completed(
    pair: tuple[LocalTransport, LocalTransport], root: Path
) -> None:
    """Killed after the rename: the parts' notes are still there, and no harm."""
    upload_id, receipts = await uploaded(*pair)
    name = upload_id.partition("/")[2]
    (root / "d").mkdir()
    os.rename(root / f".mover-stage-{TOKEN}" / name, root / "d/x")
    assert list(await pair[1].list_uploads()) == []
    assert (await pair[1].finish_upload("d/x", upload_id, receipts)).size == len(DATA)
    await pair[1].clean(TOKEN)
    assert os.listdir(root) == ["d"]


@pytest.mark.parametrize("damage", ["gap", "short", "order", "none"])
async def test_parts_must_cover_the_object(
    pair: tuple[LocalTransport, LocalTransport], damage: str
) -> None:
    upload_id, receipts = await uploaded(*pair)
    broken = {
        "gap": [receipts[0], *receipts[2:]],
        "short": receipts[:-1],
        "order": receipts[::-1],
        "none": [],
    }[damage]
    with pytest.raises(Invalid, match="d/x"):
        await pair[0].finish_upload("d/x", upload_id, broken)
    assert await listed(pair[0]) == []
    await pair[0].finish_upload("d/x", upload_id, receipts)


async def test_a_wrong_checksum_is_corrupt_and_shows_nothing(
    pair: tuple[LocalTransport, LocalTransport],
) -> None:
    upload_id, receipts = await uploaded(*pair)
    with pytest.raises(Corrupt):
        await pair[0].finish_upload(
            "d/x", upload_id, receipts, checksum=Checksum("crc64nvme", "0" * 16)
        )
    assert await listed(pair[0]) == []


async def test_a_file_of_another_size_is_never_shown(
    pair: tuple[LocalTransport, LocalTransport], root: Path
) -> None:
    upload_id, receipts = await uploaded(*pair)
    os.truncate(root / f".mover-stage-{upload_id}", len(DATA) - 1)
    with pytest.raises(Exception, match="bytes instead of"):
        await pair[0].finish_upload("d/x", upload_id, receipts)
    assert await listed(pair[0]) == []


async def test_a_part_of_the_wrong_length_is_refused(
    pair: tuple[LocalTransport, LocalTransport],
) -> None:
    upload_id = await pair[0].begin_upload("x", 10, token=TOKEN)
    with pytest.raises(Invalid):
        await pair[0].write_part(
            "x", upload_id, PartSpec(number=1, range=ByteRange(0, 10)), memoryview(b"short")
        )


async def test_a_piece_whose_writing_failed_may_be_given_again(
    pair: tuple[LocalTransport, LocalTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair[0]
    upload_id = await one.begin_upload("x", len(DATA), token=TOKEN)
    whole = PartSpec(number=1, range=ByteRange(0, len(DATA)))
    sink = await one.open_part("x", upload_id, whole)
    sink.take(memoryview(DATA)[:1_000])
    pwrite = os.pwrite
    with monkeypatch.context() as full:

        def write_half(fd: int, data: memoryview, offset: int) -> int:
            if len(data) < 1_000:
                raise OSError(errno.ENOSPC, "full")
            return pwrite(fd, data[: len(data) - 500], offset)

        full.setattr(os, "pwrite", write_half)
        with pytest.raises(NoSpace):
            sink.take(memoryview(DATA)[1_000:5_000])
    assert sink.taken_bytes == 1_000
    sink.take(memoryview(DATA)[1_000:])
    receipt = await sink.finish()
    await sink.close()
    await one.finish_upload("x", upload_id, [receipt], checksum=WHOLE)
    assert await contents(one) == {"x": DATA}


async def test_a_cancelled_opening_leaves_no_file_open(
    pair: tuple[LocalTransport, LocalTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pair[0]
    upload_id = await one.begin_upload("x", len(DATA), token=TOKEN)
    part = PartSpec(number=1, range=ByteRange(0, len(DATA)))
    await (await one.open_part("x", upload_id, part)).close()  # what stays open is open now
    before = len(os.listdir("/proc/self/fd"))
    entered, leave = threading.Event(), threading.Event()
    plain = PartFile.__init__

    def slow(self: PartFile, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)  # type: ignore[arg-type]
        entered.set()
        leave.wait(5)

    monkeypatch.setattr(PartFile, "__init__", slow)
    async with asyncio.TaskGroup() as crew:
        task = crew.create_task(one.open_part("x", upload_id, part))
        await asyncio.to_thread(entered.wait, 5)
        assert len(os.listdir("/proc/self/fd")) > before
        task.cancel()
        leave.set()
    assert task.cancelled()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "upload_id",
    ["", "x", "../u-0123456789abcdef-0", f"{TOKEN}/../../etc/passwd", f"{TOKEN}/lock", "a/b/c"],
)
async def test_ids_that_are_not_ours_are_not_found(
    pair: tuple[LocalTransport, LocalTransport], upload_id: str
) -> None:
    await put(pair[0], {"x": b"1"})
    with pytest.raises(NotFound):
        await pair[0].write_part("x", upload_id, *cut(b"1", 1)[0])
    await pair[0].abort_upload("x", upload_id)
    assert await contents(pair[0]) == {"x": b"1"}


async def test_two_beginnings_do_not_share_a_file(
    pair: tuple[LocalTransport, LocalTransport],
) -> None:
    """A worker that lost its lease may write into the old one; the new one must not see it."""
    old, _ = await uploaded(pair[0])
    new, receipts = await uploaded(pair[1])
    await pair[0].write_part("d/x", old, *cut(bytes(len(DATA)), PART)[0])
    assert {upload.upload_id for upload in await pair[0].list_uploads()} == {old, new}
    await pair[1].finish_upload("d/x", new, receipts)
    assert await contents(pair[0]) == {"d/x": DATA}


async def test_a_note_cut_short_by_a_crash_is_left_out(
    pair: tuple[LocalTransport, LocalTransport], root: Path
) -> None:
    upload_id, receipts = await uploaded(*pair)
    with open(root / f".mover-stage-{upload_id}.parts", "a") as notes:  # noqa: ASYNC230
        notes.write("5 4096")
    assert list(await pair[0].list_parts("d/x", upload_id)) == receipts


async def test_zeros_become_holes(pair: tuple[LocalTransport, LocalTransport], root: Path) -> None:
    size = 64 * HOLE_BYTES
    data = bytearray(size)
    data[5 * HOLE_BYTES] = 1
    upload_id = await pair[0].begin_upload("x", size, token=TOKEN)
    receipts = [
        await pair[0].write_part("x", upload_id, part, view, sparse=True)
        for part, view in cut(bytes(data), 10 * HOLE_BYTES)
    ]
    await pair[0].finish_upload("x", upload_id, receipts)
    assert (root / "x").read_bytes() == data
    assert os.stat(root / "x").st_blocks * 512 <= 4 * HOLE_BYTES


def _zeros_with(size: int, *solid: int) -> memoryview:
    data = bytearray(size)
    for position in solid:
        data[position] = 1
    return memoryview(data)


K = HOLE_BYTES
SOLID_CASES = [
    ("nothing", _zeros_with(0), 0, []),
    ("all zero", _zeros_with(3 * K), 0, []),
    ("first byte", _zeros_with(3 * K, 0), 0, [(0, K)]),
    ("last byte", _zeros_with(3 * K, 3 * K - 1), 0, [(2 * K, 3 * K)]),
    ("inside a block", _zeros_with(3 * K, K + 5), 0, [(K, 2 * K)]),
    ("neighbours join", _zeros_with(4 * K, 0, K), 0, [(0, 2 * K)]),
    ("a hole between", _zeros_with(3 * K, 0, 2 * K), 0, [(0, K), (2 * K, 3 * K)]),
    ("blocks of the object", _zeros_with(2 * K, K), 100, [(K - 100, 2 * K - 100)]),
    ("short tail of zeros", _zeros_with(K + 7, 0), 0, [(0, K)]),
    ("short tail of data", _zeros_with(K + 7, K + 6), 0, [(K, K + 7)]),
]


@pytest.mark.parametrize(("data", "offset", "expected"), [case[1:] for case in SOLID_CASES])
def test_solid_runs(data: memoryview, offset: int, expected: list[tuple[int, int]]) -> None:
    assert [(run.start, run.stop) for run in solid_runs(data, offset)] == expected
