"""``mover rsync`` to Google's storage: an object that grew is composed of its old version."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from tests.e2e.support import MIB, Mover, environment_for, write_tree
from tests.servers.gcs import GcsServer

if TYPE_CHECKING:
    from pathlib import Path

OLD = random.Random(4).randbytes(20 * MIB)
TAIL = random.Random(5).randbytes(MIB)


def test_an_object_that_grew(tmp_path: Path) -> None:
    with GcsServer() as server:
        environment = environment_for(tmp_path / "state") | {
            "GOOGLE_APPLICATION_CREDENTIALS": "anon",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        mover = Mover(environment=environment)
        source, target = f"{tmp_path}/in/", server.location()
        write_tree(tmp_path / "in", {"log": OLD}, settle=True)
        assert mover.copy(source, target).code == 0
        with (tmp_path / "in/log").open("ab") as file:
            file.write(TAIL)
        os.utime(tmp_path / "in/log", (time.time() + 5, time.time() + 5))
        ended = mover.rsync(source, target, "--delta", "always")
        assert ended.code == 0, ended
        assert ended.report["objects"]["patched"] == 1
        assert ended.report["delta"]["literals"] < 2 * MIB
        assert mover.run("check", source, target, "--compare", "checksum").returncode == 0
        mover.close()
