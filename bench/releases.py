"""``python -m bench releases``: what brings a site from one release to the next, as sorted tars.

The bytes of ``mover rsync`` are those that its report counts as crossing: signatures, outlines, ladder and
delta. Those of rsync are its own total of both ways, packed with zstd.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import report
from bench.processes import CommandFailed
from bench.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COPIES = 4
"""Both releases, the base, and what is being made."""

_TOTAL = re.compile(r"Total bytes (?:sent|received): ([\d,]+)")
_HEADER = ("way", "bytes across", "to rsync")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may be asked for."""
    parser.add_argument("old", type=Path, help="a tar of the release that the target has")
    parser.add_argument("new", type=Path, help="a tar of the next one")
    parser.add_argument("--directory", type=Path, help="instead of the RAM disk")


def run(arguments: argparse.Namespace, tell: Callable[[str], None]) -> str:
    """Measure, and return the table. Raises ``OSError``, ``CommandFailed``."""
    size = arguments.old.stat().st_size + arguments.new.stat().st_size
    with open_workspace(arguments.directory, needed_bytes=COPIES * size) as workspace:
        site = _Site(workspace.root, arguments.old, arguments.new)
        found = {"rsync -z --compress-choice=zstd": site.rsync()}
        found["mover rsync"] = site.mover()
        found["mover rsync --base"] = site.mover("--base", f"{site.base}/")
    tell(f"  {arguments.old.name} to {arguments.new.name}")
    whole = next(iter(found.values()))
    rows = [[way, f"{count:,}", f"{count / whole:.2f}"] for way, count in found.items()]
    return f"a tar of {arguments.new.stat().st_size:,} bytes\n\n{report.table(_HEADER, rows)}\n"


class _Site:
    """A source with the new release, a target with the old one, and the old one beside the source."""

    def __init__(self, root: Path, old: Path, new: Path) -> None:
        self._root, self._old, self._new = root, old, new
        self.base = root / "base"
        for name in ("base", "source", "target"):
            (root / name).mkdir()
        shutil.copyfile(old, self.base / "release.tar")
        shutil.copyfile(new, root / "source/release.tar")

    def _renew(self) -> Path:
        """The old release at the target, and older than the new one."""
        target = self._root / "target/release.tar"
        shutil.copyfile(self._old, target)
        os.utime(target, (1, 1))
        return target

    def rsync(self) -> int:
        target = self._renew()
        argv = ["rsync", "-z", "--compress-choice=zstd", "--no-whole-file", "--stats"]
        said = _said([*argv, str(self._root / "source/release.tar"), str(target)])
        return sum(int(each.replace(",", "")) for each in _TOTAL.findall(said))

    def mover(self, *options: str) -> int:
        """Raises ``CommandFailed``, also where what was made is not the new release."""
        target = self._renew()
        argv = [
            sys.executable,
            "-m",
            "mover",
            "rsync",
            f"{self._root}/source/",
            f"{self._root}/target/",
        ]
        state = {**os.environ, "MOVER_STATE": str(self._root / "state")}
        told = json.loads(_said([*argv, "--delta", "always", "--json", *options], state))
        _said(["cmp", str(target), str(self._new)])
        return int(told["delta"]["wire"])


def _said(argv: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it said. Raises ``CommandFailed``."""
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(argv[0], done.returncode, done.stderr[-500:])
    return done.stdout
