"""Notes of open uploads on this host: found by the next run, not while their process lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mover.delta_noting import HostKeeper
from mover.delta_tasks import OpenUpload
from transports.memory import MemoryTransport
from transports.model import PartReceipt

if TYPE_CHECKING:
    from pathlib import Path

PARTS = [PartReceipt(1, 0, 5, "etag", "0123456789abcdef"), PartReceipt(2, 5, 6, "", "")]


def opened(notes: Path, store: MemoryTransport, key: str = "k") -> HostKeeper:
    keeper = HostKeeper.open(notes, store, key)
    assert keeper is not None
    return keeper


async def left(notes: Path, store: MemoryTransport) -> OpenUpload:
    """What a killed run leaves: its lock goes with it, its note does not."""
    upload_id = await store.begin_upload("k", 11, token="t")
    upload = OpenUpload(upload_id=upload_id, parts=PARTS)
    keeper = opened(notes, store)
    await keeper.claim("plan")
    assert await keeper.keep(OpenUpload(upload_id=upload_id, parts=PARTS * 9))
    assert await keeper.keep(upload)
    keeper.close()
    return upload


async def test_the_same_plan_goes_on(tmp_path: Path) -> None:
    store = MemoryTransport()
    upload = await left(tmp_path, store)
    keeper = opened(tmp_path, store)
    await keeper.claim("plan")
    assert keeper.left == upload
    await keeper.forget()
    keeper.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("plan", ["another", ""])
async def test_what_another_plan_has_left_is_dropped(tmp_path: Path, plan: str) -> None:
    store = MemoryTransport()
    await left(tmp_path, store)
    keeper = opened(tmp_path, store)
    await keeper.claim(plan)
    assert keeper.left is None
    assert list(await store.list_uploads()) == []
    keeper.close()
    assert list(tmp_path.iterdir()) == []


async def test_while_a_process_lives_nobody_else_has_its_note(tmp_path: Path) -> None:
    store = MemoryTransport()
    first = opened(tmp_path, store)
    assert HostKeeper.open(tmp_path, store, "k") is None
    other = opened(tmp_path, store, "other")
    other.close()
    first.close()
    opened(tmp_path, store).close()


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"plan": "plan"}', b"\xff"])
async def test_a_note_that_was_cut_short_is_none(tmp_path: Path, note: bytes) -> None:
    store = MemoryTransport()
    await left(tmp_path, store)
    (path,) = tmp_path.iterdir()
    path.write_bytes(note)
    keeper = opened(tmp_path, store)
    await keeper.claim("plan")
    assert keeper.left is None
    keeper.close()


async def test_where_nothing_can_be_noted_it_goes_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert HostKeeper.open(tmp_path / "file", MemoryTransport(), "k") is None
