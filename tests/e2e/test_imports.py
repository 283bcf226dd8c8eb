"""A short command is mostly its start: what a plain run through an S3 gateway must not import."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.support import MIB, REPOSITORY, fill_bucket

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.buckets import Bucket

HEAVY = {"aiohttp", "awscrt", "_awscrt", "botocore", "aiobotocore", "urllib.request", "rich"}


@pytest.mark.parametrize("name", ["", "d/a", "large"])
@pytest.mark.parametrize("server", ["seaweed_bucket", "moto_bucket"])
def test_a_prewarm_through_s3_imports_no_general_client(
    server: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket: Bucket = request.getfixturevalue(server)
    objects = {"d/a": b"a" * 10_000, "d/b": b"", "large": bytes(MIB)}
    fill_bucket(bucket, objects)
    command = [
        "-X",
        "importtime",
        "-m",
        "mover",
        "prewarm",
        bucket.location(name),
        "--workers",
        "1",
    ]
    environment = {
        **os.environ,
        **bucket.server.environment(),
        "PYTHONPATH": str(REPOSITORY),
        "XDG_STATE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert {"transports.s3", "transports.lean_pool"} <= imported
    assert not imported & HEAVY
