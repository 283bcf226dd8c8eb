"""A real JuiceFS mount over an S3 server, for benchmarks, demonstrations and tests.

``JuiceMount`` formats a volume (its metadata in a SQLite file of its own, its objects in a bucket of
the given server) and mounts it with a cache directory of its own. ``juicefs warmup --check`` on it is
a judge that shares no code with what it judges. Blocking: from a coroutine, call it in an executor.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from bench.children import GuardedChild
from bench.stores import ServerFailed, fast_directory, find_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from bench.s3_raw import S3Raw

_READY_S = 15.0
_POLL_S = 0.02
_CHECKED = re.compile(
    r"check cache: (\d+) files? checked, ([\d.]+ \w+) of ([\d.]+ \w+) \(([\d.]+)%\) cached"
)
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class ObjectServer(Protocol):
    """The S3 server that holds a volume's objects."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def endpoint_url(self) -> str: ...
    @property
    def raw(self) -> S3Raw: ...


class Checked(NamedTuple):
    """What ``juicefs warmup --check`` prints; its sizes are rounded for people."""

    files: int
    resident_bytes: int
    bytes: int
    percent: float


def fuse_is_usable() -> bool:
    """Whether this process may mount a FUSE file system."""
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


class JuiceMount:
    """A JuiceFS volume mounted on ``path``, from ``start`` (or ``with``) to ``stop``.

    ``cache_size_mib`` is its ``--cache-size``, ``options`` are more options of ``juicefs mount``. A
    ``bucket_url`` puts a proxy before the store for the mount alone. ``directory`` keeps metadata, cache,
    log and mount point, and stays where it is given. The daemon dies with this program; where that is killed, its dead mount point
    stays (``umount -l``).
    Raises ServerMissing without the program, ServerFailed when the mount is not ready in time.
    """

    def __init__(
        self,
        server: ObjectServer,
        *,
        cache_size_mib: int = 4096,
        block_size_kib: int = 4096,
        options: Sequence[str] = (),
        endpoint_url: str = "",
        directory: Path | None = None,
    ) -> None:
        self._server = server
        self._endpoint_url = endpoint_url or server.endpoint_url
        self._private = directory is None
        self.directory = directory or fast_directory(need_bytes=1 << 30)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path = self.directory / "mnt"
        self.cache = self.directory / "cache"
        self.bucket = f"jfs-{uuid.uuid4().hex[:12]}"
        self._cache_size_mib = cache_size_mib
        self._block_size_kib = block_size_kib
        self._options = tuple(options)
        self._child: GuardedChild | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def program(self) -> Path:
        """The ``juicefs`` program."""
        return find_program("juicefs", extra="bench")

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        if self._child is None:
            raise RuntimeError("the volume is not mounted")
        return self._child.pid

    def start(self) -> None:
        """Make the volume and mount it."""
        self._server.raw.create_bucket(self.bucket)
        self._run(
            "format",
            "--storage=s3",
            f"--bucket={self._server.endpoint_url}/{self.bucket}",
            "--trash-days=0",
            f"--block-size={self._block_size_kib}",
            self._metadata_url,
            self.bucket,
        )
        self.mount()

    def mount(self) -> None:
        """Mount the volume, with whatever its cache directory has."""
        self.path.mkdir(exist_ok=True)
        self._child = GuardedChild(
            [
                str(self.program),
                "mount",
                "--no-usage-report",
                "--backup-meta=0",
                "--metrics=127.0.0.1:0",
                "--free-space-ratio=0.01",
                f"--bucket={self._endpoint_url}/{self.bucket}",
                f"--cache-dir={self.cache}",
                f"--cache-size={self._cache_size_mib}",
                *self._options,
                self._metadata_url,
                str(self.path),
            ],
            directory=self.directory,
            log=self.directory / "mount.log",
            environment=self._environment(),
            leftovers=[self.cache],
        )
        deadline_s = time.monotonic() + _READY_S
        while not (self.path / ".config").exists():
            if self._child.status is not None or time.monotonic() > deadline_s:
                raise ServerFailed(
                    program="juicefs",
                    reason=f"status {self._child.status}",
                    log_tail=(self.directory / "mount.log").read_text(errors="replace")[-2000:],
                )
            time.sleep(_POLL_S)

    def unmount(self) -> None:
        """Unmount in good order; the volume and its cache directory stay."""
        subprocess.run(["umount", str(self.path)], capture_output=True, check=False, timeout=10)
        self._end()

    def kill(self) -> None:
        """Kill the daemon: what is open answers ENOTCONN from then on, until ``remount``."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def remount(self) -> None:
        """Mount again after ``kill`` or ``unmount``."""
        self._detach()
        self.mount()

    def freeze(self) -> None:
        """Stop the daemon's clock: reads of the mount do not answer until ``thaw``."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the daemon go on."""
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def cold(self) -> None:
        """Empty the volume's cache; the page cache of its files goes with the mount."""
        self.unmount()
        shutil.rmtree(self.cache, ignore_errors=True)
        self.mount()

    def check(self, *paths: Path) -> Checked:
        """Ask JuiceFS how much of these paths, of all for none, is in its cache."""
        told = self._run("warmup", "--check", *map(str, paths or (self.path,)))
        found = _CHECKED.search(told)
        if found is None:
            raise RuntimeError(f"juicefs said: {told[-500:]}")
        files, resident, total, percent = found.groups()
        return Checked(int(files), _size_of(resident), _size_of(total), float(percent))

    def warmup(self, *paths: Path, threads: int = 50) -> float:
        """Let JuiceFS warm these paths by itself; gives its seconds."""
        began_s = time.monotonic()
        self._run("warmup", f"--threads={threads}", *map(str, paths or (self.path,)))
        return time.monotonic() - began_s

    def objects(self, path: Path) -> list[str]:
        """The keys of the objects in the bucket that hold a file."""
        return [word for word in self._run("info", str(path)).split() if "/chunks/" in word]

    def evict(self, *paths: Path) -> None:
        """Let JuiceFS free what its cache has of these paths."""
        self._run("warmup", "--evict", *map(str, paths or (self.path,)))

    def stop(self) -> None:
        """Unmount, and remove all that was made here but the objects. Repeatable."""
        self.kill()
        self._detach()
        if self._private:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _metadata_url(self) -> str:
        return f"sqlite3://{self.directory / 'meta.db'}"

    def _environment(self) -> dict[str, str]:
        # juicefs takes the keys of a store from here; an argument would show them to everybody.
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "ACCESS_KEY": self._server.access_key,
            "SECRET_KEY": self._server.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def _run(self, verb: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.program), verb, "--no-color", *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(
                program="juicefs", reason=f"{verb}: {done.returncode}", log_tail=done.stdout[-2000:]
            )
        return done.stdout

    def _pids(self) -> list[int]:
        # The mount forks a second process that serves; they share a session.
        told = subprocess.run(
            ["ps", "-o", "pid=", "-s", str(self.pid)], capture_output=True, text=True, check=True
        )
        return [int(each) for each in told.stdout.split()]

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
        self._detach()

    def _detach(self) -> None:
        # Lazily: a dead daemon's mount point is busy for whoever has it open.
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)


def _size_of(text: str) -> int:
    number, unit = text.split()
    return round(float(number) * _UNITS[unit])
