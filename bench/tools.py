"""What a tool of the benchmark is: how it is found, tuned and called."""

import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.metering import Command
from bench.scenarios import Direction, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A whole bucket of the server under test."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A whole directory on this machine."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An S3 server; its credentials travel in ``environment`` only."""

    url: str
    ca_file: Path | None = None
    region: str = "us-east-1"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What every tool of one scenario is asked to do, each in its own words."""

    direction: Direction
    source: Bucket | Folder
    target: Bucket | Folder
    endpoint: Endpoint
    floor_port: int | None  # where the floor's own server listens, in scenarios that have one
    home: Path  # a fresh HOME: no configuration, no cache, no job of an earlier run


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One choice of concurrency: a label for the table, and the arguments it stands for."""

    label: str
    general: tuple[str, ...] = ()  # before the verb, for tools that tell the two places apart
    arguments: tuple[str, ...] = ()


class MissingTool(RuntimeError):
    """A tool that was asked for is not installed."""

    def __init__(self, name: str, remedy: str) -> None:
        super().__init__(f"{name} is not installed: {remedy}")
        self.name = name


def executable(name: str, remedy: str) -> Path:
    """Find a program beside this interpreter, then on PATH. Raises ``MissingTool``."""
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return beside
    found = shutil.which(name)
    if found is None:
        raise MissingTool(name, remedy)
    return Path(found)


def first_line(*argv: str) -> str:
    """Return the first line that a program says on stdout; empty if it says none or fails."""
    answer = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return answer.stdout.strip().partition("\n")[0]


def common_environment(errand: Errand) -> dict[str, str]:
    """Return what every tool gets: credentials, the CA under each of its names, a fresh HOME."""
    environment = {
        **errand.endpoint.environment,
        "AWS_REGION": errand.endpoint.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(errand.home),
        "XDG_STATE_HOME": str(errand.home / "state"),
        "TMPDIR": str(errand.home),
    }
    if errand.endpoint.ca_file is not None:
        environment["AWS_CA_BUNDLE"] = str(errand.endpoint.ca_file)
        environment["SSL_CERT_FILE"] = str(errand.endpoint.ca_file)  # Go programs
    return environment


class Tool(ABC):
    """One program under test. Commands are pure: nothing is started here."""

    name: str
    writes_to_store = True  # false for a floor, whose own server takes the bytes instead

    @abstractmethod
    def version(self) -> str:
        """Return the installed version. Raises ``MissingTool``."""

    @abstractmethod
    def settings(self, scenario: Scenario) -> tuple[Setting, ...]:
        """Return the settings to try, the safest bet first; there is at least one."""

    @abstractmethod
    def command(self, errand: Errand, setting: Setting) -> Command:
        """Return the command line of an errand that ``refusal`` lets through."""

    def refusal(self, scenario: Scenario) -> str | None:
        """Return why the tool cannot take part in a scenario, or ``None`` if it can."""
        return None

    def note(self, stdout: str) -> str:
        """Return what is worth keeping of the tool's own report; empty by default."""
        return ""
