"""Delta commands that are killed while they write to a store: the same command cleans up behind them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.support import MIB, environment_for
from tests.faults.script import Answer, Rule, Side, Stall
from tests.servers.ready import ReadyProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.stores import SeaweedServer
    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket

OLD = random.Random(7).randbytes(24 * MIB + 5)
NEW = OLD[: 9 * MIB] + b"inserted" + OLD[9 * MIB :]
OTHER = random.Random(8).randbytes(20 * MIB)


class Commands:
    """``mover delta`` in a directory of its own, with its own state."""

    def __init__(self, place: Path, server: SeaweedServer) -> None:
        self.place = place
        self.notes = place / "state/uploads"
        self.environment = environment_for(place / "state", server)

    def start(self, *arguments: str) -> ReadyProcess:
        return ReadyProcess(
            ("delta", *arguments),
            cwd=self.place,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def run(self, *arguments: str) -> None:
        with self.start(*arguments) as process:
            _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors.decode()

    def make(self, old: bytes, new: bytes) -> None:
        (self.place / "old").write_bytes(old)
        (self.place / "new").write_bytes(new)
        self.run("sign", "old", "sig")
        self.run("diff", "sig", "new", "delta", "--ladder")

    def noted_parts(self) -> int:
        """How many parts of the one upload are noted."""
        try:
            (note,) = self.notes.iterdir()
            return len(json.loads(note.read_text())["parts"])
        except (FileNotFoundError, ValueError):
            return 0


@pytest.fixture
def commands(tmp_path: Path, seaweed: SeaweedServer) -> Commands:
    return Commands(tmp_path, seaweed)


def wait_for(look: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.parametrize("other_delta", [False, True])
def test_a_patch_goes_on_with_what_it_has(
    commands: Commands, seaweed_bucket: Bucket, fault_proxy: ProxyFactory, other_delta: bool
) -> None:
    commands.make(OLD, NEW)
    seaweed_bucket.put("old", OLD)
    # Copied parts have no bytes to stall; the mixed one does not arrive.
    stalled = Rule(
        fault=Stall(for_s=99, at_byte=1, side=Side.REQUEST), method="PUT", path="partNumber="
    )
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url, stalled)
    at = [seaweed_bucket.location(name, endpoint_url=proxy.endpoint_url) for name in ("old", "out")]
    with commands.start("patch", at[0], "delta", at[1]) as process:
        wait_for(lambda: commands.noted_parts() == 2)
        process.kill()
    assert seaweed_bucket.upload_keys() == ["out"]
    if other_delta:
        commands.make(OLD, NEW + b"more")
        proxy.follow()
    else:
        proxy.follow(Rule(fault=Answer(status=400, code="No"), method="POST", path=r"\?uploads"))
    commands.run("patch", at[0], "delta", at[1])
    assert seaweed_bucket.get("out") == (NEW + b"more" if other_delta else NEW)
    assert seaweed_bucket.upload_keys() == []
    assert list(commands.notes.iterdir()) == []


def test_a_rewrite_drops_what_was_left(commands: Commands, seaweed_bucket: Bucket) -> None:
    commands.make(OLD[:MIB], OTHER)
    seaweed_bucket.put("old", OLD[:MIB])
    at = seaweed_bucket.location
    delta = (commands.place / "delta").read_bytes()
    with commands.start("patch", at("old"), "-", at("out")) as process:
        assert process.stdin is not None
        process.stdin.write(delta[:-100])
        process.stdin.flush()
        wait_for(lambda: seaweed_bucket.upload_keys() == ["out"])
        wait_for(lambda: any(note.stat().st_size for note in commands.notes.iterdir()))
        process.send_signal(signal.SIGKILL)
    commands.run("patch", at("old"), "delta", at("out"))
    assert seaweed_bucket.get("out") == OTHER
    assert seaweed_bucket.upload_keys() == []
    assert list(commands.notes.iterdir()) == []
