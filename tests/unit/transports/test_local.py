"""What a file system adds to the contract: links, obstacles, modes, times, copies, cancels."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from transports.base import Transport
from transports.errors import (
    Changed,
    Denied,
    Invalid,
    NotFound,
    Obstructed,
    Permanent,
    TransportError,
)
from transports.local import LocalTransport, open_local
from transports.local_files import DESCRIPTORS_MAX
from transports.memory import MemoryTransport
from transports.model import Attributes, Blob, ByteRange, Entry, Kind, Proof, Receipt
from transports.testing import blob, contents, listed, put
from transports.testing.support import cut, pinned


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalTransport]:
    (tmp_path / "root").mkdir()
    transport = open_local(tmp_path / "root", token="unit", links="preserve")
    yield transport
    await transport.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


async def write(transport: Transport, *blobs: Blob) -> list[Receipt | TransportError]:
    return list(await transport.write_small(blobs))


def link(key: str, text: bytes) -> Blob:
    return Blob(
        Entry(key, len(text), 0, kind=Kind.SYMLINK), text, Attributes(mtime_ns=10**18), Proof.WEAK
    )


# -- symlinks in the way ---------------------------------------------------------------------------


async def test_a_symlink_to_a_directory_is_never_gone_through(
    local: LocalTransport, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"precious")
    (root / "trap").symlink_to(outside)
    (root / "d").mkdir()
    (root / "d" / "trap").symlink_to("../../outside")
    for key in ("trap/x", "trap/new", "d/trap/x", "trap/deep/er", "trap/marker/"):
        (result,) = await write(local, blob(key, b"" if key.endswith("/") else b"evil"))
        assert isinstance(result, Denied)
        assert key in str(result)
        assert "symlink" in str(result)
        (deleted,) = await local.delete([key])
        assert isinstance(deleted, Denied)
    assert os.listdir(outside) == ["x"]
    assert (outside / "x").read_bytes() == b"precious"
    upload_id = await local.begin_upload("trap/x", 4, token="unit")
    (part,) = cut(b"evil", 4)
    receipt = await local.write_part("trap/x", upload_id, *part)
    with pytest.raises(Denied, match="trap/x"):
        await local.finish_upload("trap/x", upload_id, [receipt])
    assert os.listdir(outside) == ["x"]


async def test_a_symlink_at_the_key_is_replaced_and_its_target_left(
    local: LocalTransport, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (root / "x").symlink_to(tmp_path / "victim")
    await put(local, {"x": b"new"})
    assert not (root / "x").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"precious"


async def test_deleting_a_symlink_leaves_its_target(
    local: LocalTransport, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").mkdir()
    (root / "x").symlink_to(tmp_path / "victim")
    assert list(await local.delete(["x/", "x"])) == [None, None]
    assert (tmp_path / "victim").is_dir()
    assert os.listdir(root) == []


async def test_a_planted_stage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".mover-stage-mine").symlink_to(tmp_path / "outside")
    transport = open_local(tmp_path / "root", token="mine")
    (result,) = await write(transport, blob("x", b"data"))
    assert isinstance(result, Permanent)
    assert os.listdir(tmp_path / "outside") == []
    await transport.close()


async def test_links_are_kept_as_links(local: LocalTransport, root: Path) -> None:
    texts = {"a": b"../anywhere", "d/b": b"/abs/olute", "d/c": b"caf\xc3\xa9\xff"}
    for key, text in texts.items():
        assert isinstance((await write(local, link(key, text)))[0], Receipt)
    entries = await listed(local)
    assert [(e.key, e.kind, e.size) for e in entries] == [
        (key, Kind.SYMLINK, len(text)) for key, text in texts.items()
    ]
    assert await contents(local) == texts
    assert (await local.head("a")).links_to == "../anywhere"
    assert os.lstat(root / "a").st_mtime_ns == 10**18
    receipt = await local.copy(entries[0], local, "e/copy")
    assert receipt.key == "e/copy"
    assert os.readlink(root / "e" / "copy") == "../anywhere"
    assert isinstance((await write(local, link("none", b"")))[0], Invalid)


async def test_a_file_that_became_a_link_is_not_read(
    local: LocalTransport, root: Path, tmp_path: Path
) -> None:
    await put(local, {"x": b"data"})
    entry = await pinned(local, "x")
    (tmp_path / "secret").write_bytes(b"SECR")
    (root / "x").unlink()
    (root / "x").symlink_to(tmp_path / "secret")
    (result,) = await local.read_small([entry])
    assert isinstance(result, Changed)
    with pytest.raises(Changed):
        await local.read_into(entry, ByteRange(0, 4), memoryview(bytearray(4)))


# -- what stands in the way ------------------------------------------------------------------------


async def test_files_and_directories_do_not_replace_each_other(
    local: LocalTransport, root: Path
) -> None:
    await put(local, {"file": b"f", "d/x": b"x", "empty/": b""})
    cases = {"d": b"1", "empty": b"2", "file/below": b"3", "file/": b"", "file/a/b/c": b"4"}
    results = await write(local, *(blob(key, data) for key, data in cases.items()))
    for key, result in zip(cases, results, strict=True):
        assert isinstance(result, Obstructed), (key, result)
        assert key in str(result)
    assert await contents(local) == {"file": b"f", "d/x": b"x", "empty/": b""}


@pytest.mark.parametrize(
    "key", [".mover-stage-x", "d/.mover-stage-x", ".mover-stage-x/y", ".mover-stage-unit/u-1"]
)
async def test_our_own_names_are_reserved(local: LocalTransport, root: Path, key: str) -> None:
    await put(local, {"d/x": b"x"})
    assert isinstance((await write(local, blob(key, b"evil")))[0], Invalid)
    with pytest.raises(Invalid):
        await local.head(key)
    assert isinstance((await local.delete([key]))[0], Invalid)
    assert [entry.key for entry in await listed(local)] == ["d/x"]


async def test_a_refused_name_leaves_no_directories(local: LocalTransport, root: Path) -> None:
    keys = ["new/../x", "new/" + "n" * 256, "new/" + "n" * 256 + "/x", "new/\0", "new/\ud800/x"]
    results = await write(local, *(blob(key, b"x") for key in keys))
    assert all(isinstance(result, Invalid) for result in results)
    assert [name for name in os.listdir(root) if not name.startswith(".mover")] == []


async def test_deep_paths_and_many_directories(local: LocalTransport) -> None:
    deep = "/".join(["d"] * (DESCRIPTORS_MAX + 200))
    objects = {f"{deep}/x": b"deep"}
    objects |= {f"dir{number:03}/x": b"%d" % number for number in range(DESCRIPTORS_MAX + 50)}
    for _ in range(2):
        await put(local, objects)
    assert await contents(local) == objects


async def test_a_directory_that_others_removed_is_made_again(
    local: LocalTransport, root: Path
) -> None:
    await put(local, {"d/e/x": b"1"})
    (root / "d" / "e" / "x").unlink()
    (root / "d" / "e").rmdir()
    (root / "d").rmdir()
    await put(local, {"d/e/y": b"2"})
    assert await contents(local) == {"d/e/y": b"2"}


async def test_directories_are_removed_only_when_empty(local: LocalTransport, root: Path) -> None:
    await put(local, {"d/x": b"1"})
    assert list(await local.delete(["d/", "d/x", "d/", "d/"])) == [None] * 4
    assert not (root / "d").exists()
    await put(local, {"d/y": b"2"})
    assert await contents(local) == {"d/y": b"2"}


async def test_the_root_is_made_only_when_allowed(tmp_path: Path) -> None:
    never, made = open_local(tmp_path / "a/b"), open_local(tmp_path / "a/b", create=True)
    assert isinstance((await write(never, blob("x")))[0], NotFound)
    for transport in (never, made):
        with pytest.raises(NotFound):
            await listed(transport)
    await put(made, {"x": b"1"})
    assert await contents(never) == {"x": b"1"}
    await never.close()
    await made.close()


# -- modes and times -------------------------------------------------------------------------------


async def test_modes_are_given_but_never_setuid(local: LocalTransport, root: Path) -> None:
    for given, expected in ((0o6755, 0o755), (0o400, 0o400), (0o1644, 0o1644)):
        await write(local, blob("x", b"1", Attributes(mode=given)))
        assert stat.S_IMODE(os.stat(root / "x").st_mode) == expected
    umask = os.umask(0)
    os.umask(umask)
    await write(local, blob("y", b"1"))
    assert stat.S_IMODE(os.stat(root / "y").st_mode) == 0o666 & ~umask


async def test_a_time_beyond_the_kernel_is_refused(local: LocalTransport, root: Path) -> None:
    (result,) = await write(local, blob("x", b"1", Attributes(mtime_ns=10**40)))
    assert isinstance(result, Invalid)
    assert [name for name in os.listdir(root) if not name.startswith(".mover")] == []


async def test_reads_carry_mode_and_time(local: LocalTransport, root: Path) -> None:
    (root / "x").write_bytes(b"1")
    os.chmod(root / "x", 0o750)
    os.utime(root / "x", ns=(5, 1_700_000_000_123_456_789))
    (result,) = await local.read_small(await listed(local))
    assert isinstance(result, Blob)
    assert result.attributes.mode == 0o750
    assert result.attributes.mtime_ns == 1_700_000_000_123_456_789


async def test_a_rewrite_of_equal_size_and_time_is_seen(local: LocalTransport, root: Path) -> None:
    (root / "x").write_bytes(b"one")
    os.utime(root / "x", ns=(10**18, 10**18))
    entry = await pinned(local, "x")
    await asyncio.sleep(0.02)  # the clock of the file system ticks every few milliseconds
    (root / "x").write_bytes(b"two")
    os.utime(root / "x", ns=(10**18, 10**18))
    assert await pinned(local, "x") != entry
    (result,) = await local.read_small([entry])
    assert isinstance(result, Changed)


async def test_an_entry_without_a_pin_is_read_by_its_size(
    local: LocalTransport, root: Path
) -> None:
    (root / "x").write_bytes(b"data")
    for size, expected in ((4, Blob), (-1, Blob), (3, Changed), (5, Changed)):
        (result,) = await local.read_small([Entry("x", size, 0)])
        assert isinstance(result, expected), size


# -- special files ---------------------------------------------------------------------------------


async def test_a_pipe_is_named_and_never_waited_for(local: LocalTransport, root: Path) -> None:
    os.mkfifo(root / "pipe")
    (entry,) = await listed(local)
    assert (entry.key, entry.kind) == ("pipe", Kind.SPECIAL)
    (result,) = await local.read_small([entry])
    assert isinstance(result, Invalid)
    (changed,) = await local.read_small([Entry("pipe", 0, 0)])
    assert isinstance(changed, Changed)


# -- copies and cancels ----------------------------------------------------------------------------


def _make_sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.seek(8 * 1024 * 1024)
        file.write(b"data in the middle")
        file.truncate(16 * 1024 * 1024)


async def test_copies_keep_holes_modes_and_times(
    local: LocalTransport, root: Path, tmp_path: Path
) -> None:
    _make_sparse(root / "sparse")
    os.chmod(root / "sparse", 0o640)
    other = open_local(tmp_path / "other", create=True)
    await other.copy(await pinned(local, "sparse"), local, "d/copy")
    made = os.stat(tmp_path / "other/d/copy")
    source = os.stat(root / "sparse")
    assert (tmp_path / "other/d/copy").read_bytes() == (root / "sparse").read_bytes()
    assert made.st_blocks <= source.st_blocks + 64
    assert (made.st_mtime_ns, made.st_mode) == (source.st_mtime_ns, source.st_mode)
    await other.close()


async def test_only_local_sources_are_copied(local: LocalTransport) -> None:
    memory = MemoryTransport()
    await put(memory, {"x": b"1"})
    with pytest.raises(Invalid):
        await local.copy(await pinned(memory, "x"), memory, "x")


async def test_a_cancel_waits_until_the_buffer_is_free(
    local: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, release = threading.Event(), threading.Event()
    real = os.preadv

    def slow(fd: int, buffers: list[memoryview], offset: int) -> int:
        started.set()
        assert release.wait(10)
        return real(fd, buffers, offset)

    await put(local, {"x": b"data"})
    entry = await pinned(local, "x")
    monkeypatch.setattr(os, "preadv", slow)
    buffer = bytearray(4)
    async with asyncio.TaskGroup() as crew:
        reading = crew.create_task(
            local.read_into(entry, ByteRange(0, 4), memoryview(buffer)), name="reading"
        )
        await asyncio.to_thread(started.wait, 10)
        for _ in range(3):
            reading.cancel()
            await asyncio.sleep(0.01)
            assert not reading.done()
        release.set()
    assert reading.cancelled()
    assert bytes(buffer) == b"data"
