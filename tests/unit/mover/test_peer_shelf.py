"""What a worker keeps for others: bounded, private, and gone when it should be."""

from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING

import pytest

from mover.peer_protocol import Name, digest_of
from mover.peer_shelf import BLOCK_BYTES, KEPT_S, Full, Shelf, one_piece, open_shelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROOM_BYTES = 10 * BLOCK_BYTES
PIECE = Name("job", "object", "piece")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf(tmp_path: Path, clock: Clock) -> Shelf:
    return Shelf(tmp_path, ROOM_BYTES, clock=clock)


async def put(shelf: Shelf, name: Name, data: bytes) -> None:
    await shelf.put(name, len(data), one_piece(data), digest=digest_of(data))


async def test_what_is_put_is_read(shelf: Shelf, tmp_path: Path) -> None:
    await put(shelf, PIECE, b"0123456789")
    assert await shelf.read(PIECE) == b"0123456789"
    assert await shelf.read(PIECE, 2, 5) == b"234"
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_piece_takes_the_place_of_one_of_its_name(shelf: Shelf) -> None:
    for length in (BLOCK_BYTES * 3, BLOCK_BYTES, 1):
        await put(shelf, PIECE, bytes(length))
        assert len(await shelf.read(PIECE)) == length
    assert shelf.taken_bytes == BLOCK_BYTES


async def test_it_is_full_at_its_limit(shelf: Shelf) -> None:
    for number in range(10):
        await put(shelf, PIECE._replace(piece=f"{number}"), b"small pieces take a block")
    with pytest.raises(Full):
        await put(shelf, PIECE, b"")
    shelf.remove(PIECE)
    assert (len(shelf), shelf.taken_bytes) == (0, 0)
    await put(shelf, PIECE, bytes(ROOM_BYTES))


@pytest.mark.parametrize(
    ("size", "digest"), [(9, ""), (11, ""), (10, digest_of(b"something else"))]
)
async def test_another_body_than_announced(
    shelf: Shelf, tmp_path: Path, size: int, digest: str
) -> None:
    with pytest.raises(ValueError, match="announced"):
        await shelf.put(PIECE, size, one_piece(b"0123456789"), digest=digest)
    assert (list(tmp_path.iterdir()), shelf.taken_bytes) == ([], 0)


async def test_a_put_that_is_cancelled_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"half"
        arrived.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        putting = group.create_task(shelf.put(PIECE, 8, slowly()))
        await arrived.wait()
        putting.cancel()
    assert (list(tmp_path.iterdir()), shelf.taken_bytes) == ([], 0)


async def test_a_disk_that_is_full(shelf: Shelf, tmp_path: Path) -> None:
    tmp_path.rmdir()
    with pytest.raises(Full):
        await put(shelf, PIECE, b"data")
    assert shelf.taken_bytes == 0


async def test_what_is_removed(shelf: Shelf) -> None:
    names = [Name(job, owner, "p") for job in ("a", "b") for owner in ("1", "2")]
    for name in names:
        await put(shelf, name, b"data")
    shelf.remove(Name("a", "1"))
    shelf.remove_job("b")
    shelf.remove_job("b")
    with pytest.raises(FileNotFoundError):
        await shelf.read(names[0])
    assert await shelf.read(names[1]) == b"data"
    assert len(shelf) == 1


async def test_what_nobody_touches_for_an_hour_goes(shelf: Shelf, clock: Clock) -> None:
    old, read, held = (Name(job, "o", "p") for job in ("old", "read", "held"))
    for name in (old, read, held):
        await put(shelf, name, b"data")
    with shelf.holding("held"):
        clock.now_s = KEPT_S
        await shelf.read(read)
        clock.now_s += 1
        shelf.expire()
        assert len(shelf) == 2
        with pytest.raises(FileNotFoundError):
            await shelf.read(old)
    shelf.expire()
    assert len(shelf) == 2
    clock.now_s += KEPT_S + 1
    shelf.expire()
    assert len(shelf) == 0


async def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    with open_shelf(ROOM_BYTES, within=str(tmp_path)) as shelf:
        await put(shelf, PIECE, b"data")
        (own,) = tmp_path.iterdir()
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        orphan = tmp_path / "mover-parcels-of-nobody"
        orphan.mkdir()
        (orphan / "lock").touch()
        foreign = tmp_path / "mover-parcels-without-a-lock"
        foreign.mkdir()
        with open_shelf(ROOM_BYTES, within=str(tmp_path)):
            assert not orphan.exists()
            assert await shelf.read(PIECE) == b"data"
    assert list(tmp_path.iterdir()) == [foreign]
