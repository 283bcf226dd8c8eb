"""What end-to-end tests share: trees with known bytes, the mover as a process, looks at what is left.

Nothing here uses the code under test to judge it: stores are read with ``bench.s3_raw``, disks with
``os``.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mover import api
from mover.manifest import Row, decode_segment
from tests.servers import ready

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mover.model import Report
    from tests.servers.buckets import Bucket, S3Server

REPOSITORY = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
_READERS = 8


def make_objects(
    count: int, *, seed: int, size_max: int = 4096, large: Mapping[str, int] | None = None
) -> dict[str, bytes]:
    """``count`` small objects in some directories, and ``large`` ones of the given sizes."""
    rng = random.Random(seed)
    objects = {
        f"d{number % 17:02d}/{number:05d}.bin": rng.randbytes(rng.randrange(size_max))
        for number in range(count)
    }
    objects |= {name: rng.randbytes(size) for name, size in (large or {}).items()}
    return objects


def write_tree(root: Path, objects: Mapping[str, bytes], *, settle: bool = False) -> None:
    """Write files; with ``settle``, wait until they are older than a store's clock can blur.

    A store tells its times in whole seconds: a file that is uploaded within a second of its last
    change cannot be told from one that changed right after, and costs a HEAD to compare.
    """
    for name, data in objects.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if settle:
        time.sleep(1.1)


def read_tree(root: Path | str) -> dict[str, bytes]:
    """Every file under ``root`` by its relative name; symlinks and empty directories are left out."""
    found: dict[str, bytes] = {}
    for directory, _, files in os.walk(root):
        for name in files:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                found[os.path.relpath(path, root)] = Path(path).read_bytes()
    return found


def fill_bucket(bucket: Bucket, objects: Mapping[str, bytes], prefix: str = "") -> None:
    with ThreadPoolExecutor(_READERS) as crew:
        for answer in crew.map(
            lambda item: bucket.put(prefix + item[0], item[1]), list(objects.items())
        ):
            assert answer.status == 200


def read_bucket(bucket: Bucket, prefix: str = "") -> dict[str, bytes]:
    """Every object under ``prefix``, by the rest of its key."""
    keys = bucket.list_keys(prefix)
    with ThreadPoolExecutor(_READERS) as crew:
        return dict(zip((k[len(prefix) :] for k in keys), crew.map(bucket.get, keys), strict=True))


def assert_equal_trees(found: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> None:
    """Name the differences; megabytes of a failed comparison help nobody."""
    missing = sorted(wanted.keys() - found.keys())
    extra = sorted(found.keys() - wanted.keys())
    different = sorted(key for key in wanted.keys() & found.keys() if wanted[key] != found[key])
    assert (missing[:5], extra[:5], different[:5]) == ([], [], [])


def leftovers(root: Path | str) -> list[str]:
    """Staging directories and whatever else only an unfinished copy leaves under ``root``."""
    return sorted(
        os.path.join(directory, name)
        for directory, directories, files in os.walk(root)
        for name in (*directories, *files)
        if name.startswith(".mover-stage-") or name.endswith(".tmp")
    )


def recorded_rows(root: Path) -> list[Row]:
    """The rows of all segments of records below a directory.

    Directories that go meanwhile are passed over: workers clear away their own behind a job.
    """
    segments = (
        Path(place) / name
        for place, _, names in os.walk(root)
        for name in names
        if name.endswith(".zst") and ".mover-stage-" not in place
    )
    return [row for path in segments for row in decode_segment(path.read_bytes()).rows]


def environment_for(state: Path, *servers: S3Server) -> dict[str, str]:
    """The environment of a mover process: nothing of this machine's but PATH."""
    variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(state)}
    for server in servers:
        variables |= server.environment()
    return variables | {"MOVER_STATE": str(state), "PYTHONPATH": str(REPOSITORY)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended; ``report`` is its JSON object, empty when it printed none."""

    code: int
    report: dict[str, Any]
    errors: str

    @property
    def copied(self) -> int:
        return int(self.report["objects"]["copied"])

    @property
    def failed(self) -> int:
        return int(self.report["objects"]["failed"])


@dataclass(kw_only=True)
class Mover:
    """The command line, in processes of its own, with one state directory.

    ``program`` is the module that is run: mover's own, or one that changes something first. An
    interpreter starts for it only ``anew``.
    """

    environment: dict[str, str]
    timeout_s: float = 60.0
    program: str = "mover"
    anew: bool = False
    running: list[ready.Process] = field(default_factory=list)

    def start(
        self,
        source: str,
        target: str,
        *arguments: str,
        prefix: Sequence[str] = (),
        verb: str = "copy",
    ) -> ready.Process:
        """Start ``mover copy``, or another verb; the caller waits for it, or kills it."""
        return self.begin(verb, source, target, "--json", *arguments, prefix=prefix)

    def begin(self, *arguments: str, prefix: Sequence[str] = ()) -> ready.Process:
        """Start any command; the caller waits for it, or kills it."""
        process = ready.start(
            arguments,
            environment=self.environment,
            program=self.program,
            prefix=prefix,
            anew=self.anew,
        )
        self.running.append(process)
        return process

    def finish(self, process: ready.Process) -> Ended:
        out, errors = process.communicate(timeout=self.timeout_s)
        report = json.loads(out) if out.strip() else {}
        return Ended(code=process.wait(), report=report, errors=errors.decode())

    def copy(self, source: str, target: str, *arguments: str, prefix: Sequence[str] = ()) -> Ended:
        return self.finish(self.start(source, target, *arguments, prefix=prefix))

    def rsync(self, source: str, target: str, *arguments: str) -> Ended:
        return self.finish(self.start(source, target, *arguments, verb="rsync"))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run any command of the mover to its end."""
        process = self.begin(*arguments)
        out, errors = process.communicate(timeout=self.timeout_s)
        return subprocess.CompletedProcess(arguments, process.wait(), out.decode(), errors.decode())

    def close(self) -> None:
        """Kill what a failed test left running."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


async def copy_here(
    source: Any, target: Any, *, environment: Mapping[str, str], **wishes: Any
) -> Report:
    """``mover.api.copy`` in this process, with one worker unless told otherwise."""
    wishes.setdefault("workers", 1)
    return await api.copy(source, target, environment=environment, **wishes)


def failures_of(report: Report) -> dict[str, str]:
    """The class of the error of each failure, by key."""
    return {failure.key: failure.error for failure in report.failures}
