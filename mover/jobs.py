"""Job directories: where a command line keeps its queue, so that the same one resumes it.

``<state directory>/jobs/<digest>/`` holds

- ``job.json``   the specification, as it was asked;
- ``queue.sqlite``  tasks, results, the planner's checkpoint;
- ``lock``       held exclusively by the process that leads the job;
- ``crew``       held shared by its worker processes, so that a new leader waits for the old crew;
- ``retry.txt``  names of the objects that failed, for ``--files-from``;
- ``differences.txt``  the same of a check;
- ``manifest``   the record of what was done, where ``CopySpec.manifest`` names no other place.

The digest is of the specification alone, so the directory of a command is always the same one.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from mover.errors import Rejected
from mover.payloads import Spec, decode_spec, encode_spec
from mover.state_directory import state_directory

CREW_WAIT_S = 15.0
"""How long a new leader waits for workers of a dead one; they notice its death within seconds."""


def job_id(spec: Spec) -> str:
    """The name of a job: 16 hex digits that depend on its specification only."""
    return hashlib.sha256(encode_spec(spec)).hexdigest()[:16]


class JobDirectory:
    """The directory of one job, held by one leader at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.queue_path = path / "queue.sqlite"
        self.retry_path = path / "retry.txt"
        self.check_path = path / "differences.txt"
        self.manifest_path = path / "manifest"
        self._locks: list[int] = []

    @property
    def job(self) -> str:
        return self.path.name

    @classmethod
    def of(
        cls, spec: Spec, environment: Mapping[str, str], jobs: Path | None = None
    ) -> "JobDirectory":
        """The directory of this specification among ``jobs``; nothing is made yet."""
        return cls((jobs or state_directory(environment) / "jobs") / job_id(spec))

    @classmethod
    def named(cls, job: str, environment: Mapping[str, str]) -> "JobDirectory":
        """The directory of a job that is known by its name; nothing is made yet."""
        return cls(state_directory(environment) / "jobs" / job)

    def lead(self, spec: Spec) -> None:
        """Make the directory and become its leader.

        Raises ``Rejected`` when another process leads it, naming that process; waits up to
        ``CREW_WAIT_S`` for workers that a dead leader left.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Rejected(
                f"cannot keep the job's state in {self.path}: {error.strerror};"
                " set MOVER_STATE to a writable directory"
            ) from error
        lock = self._open("lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Rejected(
                f"the same command is running already (process {holder}); wait for it or stop it"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._wait_for_crew()
        _write_durably(self.path / "job.json", encode_spec(spec))

    def join(self) -> Spec:
        """Join the crew as a worker process and return what the job is about."""
        fcntl.flock(self._open("crew"), fcntl.LOCK_SH)
        try:
            return decode_spec((self.path / "job.json").read_bytes())
        except FileNotFoundError as error:
            raise Rejected(f"{self.path} is not the directory of a job") from error

    def leave(self) -> None:
        """Give up the locks. Forgotten locks end with the process."""
        while self._locks:
            os.close(self._locks.pop())

    def _wait_for_crew(self) -> None:
        crew = self._open("crew")
        deadline = time.monotonic() + CREW_WAIT_S
        while True:
            try:
                fcntl.flock(crew, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Rejected(
                        f"workers of an earlier run still hold {self.path}; stop them first"
                    ) from None
                time.sleep(0.05)
            else:
                os.close(crew)  # free for the new crew
                self._locks.remove(crew)
                return

    def _open(self, name: str) -> int:
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._locks.append(descriptor)
        return descriptor


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
