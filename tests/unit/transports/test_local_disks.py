"""Permissions, full and failing disks, syncing, mounts: what the kernel may say, and its names."""

import errno
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from transports.base import Transport
from transports.errors import (
    AlreadyExists,
    Denied,
    Invalid,
    NoSpace,
    NotFound,
    Permanent,
    TransportError,
    Unavailable,
)
from transports.local import LocalTransport, open_local
from transports.local_files import failure
from transports.model import Attributes, Blob, Entry, Kind, Proof, Receipt
from transports.testing import blob, contents, listed, put
from transports.testing.support import cut, some_bytes


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


# -- permissions, space, failing disks -------------------------------------------------------------


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory that everybody may read and nobody may write, and no privileges to do so."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        path = Path(name) / "root"
        path.mkdir(mode=0o755)
        (path / "x").write_bytes(b"old")
        (path / "closed").mkdir(mode=0o755)
        (path / "closed" / "y").write_bytes(b"y")
        os.chmod(path / "closed", 0o000)
        os.chmod(path, 0o555)
        privileged = os.geteuid() == 0
        if privileged:
            os.seteuid(65_534)  # glibc changes all threads of the process
        try:
            yield path
        finally:
            if privileged:
                os.seteuid(0)
            os.chmod(path, 0o755)
            os.chmod(path / "closed", 0o755)


async def test_what_permissions_forbid_is_denied_by_name(as_nobody: Path) -> None:
    transport = open_local(as_nobody, token="denied")
    with pytest.raises(Denied, match="closed"):
        await listed(transport)
    written, deleted = await write(transport, blob("x", b"new")), await transport.delete(["x"])
    assert isinstance(written[0], Denied)
    assert isinstance(deleted[0], Denied)
    (read,) = await transport.read_small([Entry("closed/y", 1, 0)])
    assert isinstance(read, Denied)
    assert (as_nobody / "x").read_bytes() == b"old"
    pruned = open_local(as_nobody, wants_directory=lambda key: key != "closed/")
    assert [entry.key for entry in await listed(pruned)] == ["x"]
    await transport.close()
    await pruned.close()


async def test_a_full_disk_keeps_what_was_there(small_disk: Callable[[int], Path]) -> None:
    transport = open_local(small_disk(1 << 20), token="full")
    await put(transport, {"d/x": b"old", "y": b"old"})
    results = await write(
        transport, blob("d/x", bytes(700_000)), blob("y", bytes(700_000)), blob("z", b"small")
    )
    assert [type(result) for result in results] == [Receipt, NoSpace, Receipt]
    assert (await contents(transport))["y"] == b"old"
    await transport.delete(["d/x"])
    upload_id = await transport.begin_upload("d/x", 2_000_000, token="full")
    with pytest.raises(NoSpace, match="d/x"):
        await _fill(transport, upload_id)
    await transport.clean("full")
    await put(transport, {"d/x": bytes(700_000)})
    await transport.close()


async def _fill(transport: Transport, upload_id: str) -> None:
    for part, view in cut(some_bytes(2_000_000), 65_536):
        await transport.write_part("d/x", upload_id, part, view)


async def test_a_write_cut_short_is_no_space_and_leaves_nothing(
    local: LocalTransport, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on any machine: the kernel takes half of a write, then reports a full disk."""
    await put(local, {"x": b"old"})
    real, calls = os.write, 0

    def filling(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, memoryview(data)[: len(data) // 2])

    monkeypatch.setattr(os, "write", filling)
    (result,) = await write(local, blob("x", b"new and long"))
    monkeypatch.undo()
    assert isinstance(result, NoSpace)
    assert await contents(local) == {"x": b"old"}
    assert os.listdir(root / ".mover-stage-unit") == ["lock"]


async def test_a_disk_that_fails_to_sync_fails_the_write(
    local: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    (result,) = await write(local, blob("x", b"data"))
    assert isinstance(result, Unavailable)
    monkeypatch.undo()
    assert await contents(local) == {}


async def test_files_and_their_directories_are_synced(
    local: LocalTransport, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def recording(fd: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), root))
        real(fd)

    monkeypatch.setattr(os, "fsync", recording)
    await put(local, {"d/e/x": b"1"})
    assert synced[0].startswith(".mover-stage-unit/")  # the bytes, before they have their name
    synced.clear()
    await put(local, {"d/e/x": b"2"})
    assert len(synced) == 2
    assert synced[1] == "d/e"


# -- other file systems inside the root ------------------------------------------------------------


async def test_a_mount_inside_the_root_is_written_by_a_near_copy(
    local: LocalTransport, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "mnt").mkdir()
    real = os.rename

    def across(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if os.path.samefile(f"/proc/self/fd/{dst_dir_fd}", root / "mnt") and not os.path.samefile(
            f"/proc/self/fd/{src_dir_fd}", root / "mnt"
        ):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", across)
    kept = blob("mnt/x", some_bytes(100_000), Attributes(mtime_ns=10**18, mode=0o640))
    results = await write(local, kept, blob("y", b"1"), link("mnt/l", b"x"))
    assert all(isinstance(result, Receipt) for result in results)
    monkeypatch.undo()
    found = await contents(local)
    assert found == {"mnt/x": bytes(kept.data), "mnt/l": b"x", "y": b"1"}
    assert (os.stat(root / "mnt/x").st_mtime_ns, os.stat(root / "mnt/x").st_mode & 0o777) == (
        10**18,
        0o640,
    )
    # What a killed process would have left there is found by the note in the stage.
    (root / "mnt" / ".mover-stage-unit-left").write_bytes(b"half")
    (root / "mnt" / ".mover-stage-other-left").write_bytes(b"not ours")
    await local.clean("unit")
    assert sorted(os.listdir(root / "mnt")) == [".mover-stage-other-left", "l", "x"]
    assert not (root / ".mover-stage-unit").exists()


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOENT, NotFound),
        (errno.ENOTDIR, NotFound),
        (errno.EEXIST, AlreadyExists),
        (errno.EACCES, Denied),
        (errno.EPERM, Denied),
        (errno.EROFS, Denied),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.ENAMETOOLONG, Invalid),
        (errno.EILSEQ, Invalid),
        (errno.EFBIG, Invalid),
        (errno.EMFILE, Unavailable),
        (errno.EIO, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.EXDEV, Permanent),
    ],
)
def test_what_the_kernel_says_has_a_name(code: int, expected: type[TransportError]) -> None:
    error = failure(OSError(code, os.strerror(code)), "somewhere/x")
    assert type(error) is expected
    assert str(error).startswith("somewhere/x: ")
    assert isinstance(error.__cause__, OSError)
