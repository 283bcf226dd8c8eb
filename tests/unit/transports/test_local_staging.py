"""Whose stage it is: the living keep theirs, the dead are cleaned up after; kill -9 included."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transports.errors import Denied, Invalid
from transports.local import open_local
from transports.model import Receipt
from transports.testing import blob, contents, listed, put


def stages(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root) if name.startswith(".mover-stage-"))


async def test_a_living_jobs_stage_is_left_and_a_dead_ones_removed(tmp_path: Path) -> None:
    one, two = open_local(tmp_path, token="one"), open_local(tmp_path, token="two")
    await put(one, {"x": b"1"})
    await one.begin_upload("large", 1_000, token="one")
    await put(two, {"y": b"2"})
    await two.clean("two")
    assert stages(tmp_path) == [".mover-stage-one"]
    await one.close()  # as a killed process does: its locks go, its files stay
    await two.clean("two")
    assert stages(tmp_path) == []
    assert await contents(two) == {"x": b"1", "y": b"2"}
    await two.close()


async def test_looking_for_uploads_does_not_keep_a_dead_job_alive(tmp_path: Path) -> None:
    dead, seeker = open_local(tmp_path, token="dead"), open_local(tmp_path, token="seeker")
    await dead.begin_upload("x", 10, token="dead")
    await dead.close()
    assert [upload.key for upload in await seeker.list_uploads()] == ["x"]
    await seeker.clean("seeker")
    assert stages(tmp_path) == []
    await seeker.close()


async def test_a_job_goes_on_after_its_stage_was_cleaned(tmp_path: Path) -> None:
    transport = open_local(tmp_path, token="job")
    for number in range(3):
        await put(transport, {"x": b"%d" % number})
        await transport.clean("job")
        assert stages(tmp_path) == []
    await transport.close()


async def test_reading_and_listing_make_no_stage(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    transport = open_local(tmp_path)
    assert await contents(transport) == {"x": b"1"}
    await transport.delete(["x"])
    await transport.clean("job")
    assert os.listdir(tmp_path) == []
    await transport.close()


async def test_a_root_that_was_never_made_has_nothing_to_clean(tmp_path: Path) -> None:
    transport = open_local(tmp_path / "new")
    await transport.clean("job")
    assert os.listdir(tmp_path) == []
    await transport.close()


async def test_stray_files_of_our_name_are_not_directories_to_clean(tmp_path: Path) -> None:
    (tmp_path / ".mover-stage-file").write_bytes(b"")
    (tmp_path / ".mover-stage-link").symlink_to("/")
    transport = open_local(tmp_path)
    await transport.clean("job")
    assert await listed(transport) == []
    assert len(stages(tmp_path)) == 2
    await transport.close()


@pytest.mark.parametrize("token", ["a/b", "..", "", " ", "x" * 65, "é"])
async def test_tokens_are_plain_words(tmp_path: Path, token: str) -> None:
    transport = open_local(tmp_path)
    with pytest.raises(Invalid):
        await transport.begin_upload("x", 1, token=token)
    await transport.close()


WRITER = """
import asyncio, sys
from transports.local import open_local
from transports.testing import blob

async def main() -> None:
    transport = open_local(sys.argv[1], token="killed")
    await transport.begin_upload("large", 1 << 20, token="killed")
    for round_number in range(10_000):
        data = b"%08d" % round_number * 5_000
        await transport.write_small([blob(f"d{n % 3}/{n}", data) for n in range(40)])

asyncio.run(main())
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_a_killed_writer_leaves_whole_files_and_a_stage(tmp_path: Path, delay_s: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=os.getcwd())
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "d2").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(delay_s)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    files = list(tmp_path.glob("d?/*"))
    assert files
    for path in files:
        data = path.read_bytes()
        assert len(data) == 40_000
        assert data == data[:8] * 5_000
    assert stages(tmp_path) == [".mover-stage-killed"]


async def test_the_next_job_cleans_up_after_a_killed_one(tmp_path: Path) -> None:
    test_a_killed_writer_leaves_whole_files_and_a_stage(tmp_path, 0.0)
    transport = open_local(tmp_path, token="next")
    (upload,) = await transport.list_uploads()
    assert (upload.key, upload.upload_id.split("/")[0]) == ("large", "killed")
    (result,) = await transport.write_small([blob("x", b"1")])
    assert isinstance(result, Receipt)
    await transport.clean("next")
    assert stages(tmp_path) == []
    await transport.close()


async def test_a_stage_that_may_not_be_made_is_denied(tmp_path: Path) -> None:
    (tmp_path / ".mover-stage-job").symlink_to(tmp_path)
    transport = open_local(tmp_path, token="job")
    with pytest.raises(Denied):
        await transport.begin_upload("x", 1, token="job")
    await transport.close()
