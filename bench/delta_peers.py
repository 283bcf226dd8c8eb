"""Tools that make a new file of an old one and of little else, each in its own words."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bench.tools import MissingTool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The files of one run. ``out`` is what a tool makes; ``url`` serves ``root`` with ranges."""

    root: Path
    url: str

    @property
    def old(self) -> Path:
        return self.root / "old"

    @property
    def new(self) -> Path:
        return self.root / "new"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def signature(self) -> Path:
        return self.root / "signature"

    @property
    def delta(self) -> Path:
        return self.root / "delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command. ``part`` is the column it counts in: sign, diff or patch."""

    part: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """How a tool is called.

    ``wire_bytes`` tells from the files, and from what the last step printed, what would have crossed
    between the sides; ``begins`` makes ready, unmeasured.
    """

    name: str
    program: str
    steps: Callable[[Places], Iterable[Step]]
    wire_bytes: Callable[[Places, str], int]
    begins: Callable[[Places], None] = lambda _: None
    module: str = ""

    def require(self) -> None:
        """Raise ``MissingTool`` where the program or its module is not installed."""
        wanted = self.module or self.program
        found = find_spec(wanted) if self.module else shutil.which(wanted)
        if found is None:
            raise MissingTool(self.name, f"install {wanted}")


def _files(places: Places, _: str) -> int:
    return places.signature.stat().st_size + places.delta.stat().st_size


def _mover(places: Places) -> Iterable[Step]:
    run = (sys.executable, "-m", "mover", "delta")
    yield Step(part="sign", argv=(*run, "sign", str(places.old), str(places.signature)))
    yield Step(
        part="diff",
        argv=(*run, "diff", str(places.signature), str(places.new), str(places.delta)),
    )
    yield Step(
        part="patch", argv=(*run, "patch", str(places.old), str(places.delta), str(places.out))
    )


def _rdiff(places: Places) -> Iterable[Step]:
    yield Step(part="sign", argv=("rdiff", "signature", str(places.old), str(places.signature)))
    yield Step(
        part="diff",
        argv=("rdiff", "delta", str(places.signature), str(places.new), str(places.delta)),
    )
    yield Step(
        part="patch", argv=("rdiff", "patch", str(places.old), str(places.delta), str(places.out))
    )


def _copy_old(places: Places) -> None:
    shutil.copyfile(places.old, places.out)


def _rsync(places: Places) -> Iterable[Step]:
    argv = ("rsync", "--no-whole-file", "--ignore-times", "--stats", "--no-human-readable")
    yield Step(part="patch", argv=(*argv, str(places.new), str(places.out)))


def _rsync_bytes(_: Places, printed: str) -> int:
    found = re.findall(r"^Total bytes (?:sent|received): ([\d,.]+)$", printed, re.MULTILINE)
    return sum(int(re.sub(r"\D", "", each)) for each in found)


def _zsync(places: Places) -> Iterable[Step]:
    yield Step(
        part="sign",
        argv=("zsyncmake", "-u", f"{places.url}/new", "-o", str(places.signature), str(places.new)),
    )
    argv = ("zsync", "-q", "-i", str(places.old), "-o", str(places.out))
    yield Step(part="diff", argv=(*argv, f"{places.url}/signature"))


def _zsync_bytes(places: Places, _: str) -> int:
    return places.signature.stat().st_size  # what it fetched beside it, it does not tell


def _xdelta3(places: Places) -> Iterable[Step]:
    window = str(places.old.stat().st_size)
    yield Step(
        part="diff",
        argv=("xdelta3", "-e", "-f", "-1", "-B", window, "-s", str(places.old), str(places.new),
              str(places.delta)),
    )  # fmt: skip
    yield Step(
        part="patch",
        argv=("xdelta3", "-d", "-f", "-B", window, "-s", str(places.old), str(places.delta),
              str(places.out)),
    )  # fmt: skip


_PYZSYNC_SIGN = """
import pathlib, sys, pyzsync
new, signature = map(pathlib.Path, sys.argv[1:])
pyzsync.create_zsync_file(new, signature)
"""
_PYZSYNC_PATCH = """
import pathlib, sys, pyzsync
signature, old, new, out = map(pathlib.Path, sys.argv[1:])
wanted = pyzsync.get_patch_instructions(pyzsync.read_zsync_file(signature), [old])
pyzsync.patch_file(
    [old],
    wanted,
    lambda missing, target_file: pyzsync.FilePatcher(missing, target_file, new),
    output_file=out,
    delete_files=False,
    return_hash=None,
)
"""


def _pyzsync(places: Places) -> Iterable[Step]:
    run = (sys.executable, "-c")
    yield Step(part="sign", argv=(*run, _PYZSYNC_SIGN, str(places.new), str(places.signature)))
    files = (places.signature, places.old, places.new, places.out)
    yield Step(part="diff", argv=(*run, _PYZSYNC_PATCH, *map(str, files)))


TOOLS = (
    Tool(name="mover", program=sys.executable, steps=_mover, wire_bytes=_files),
    Tool(name="rdiff", program="rdiff", steps=_rdiff, wire_bytes=_files),
    Tool(
        name="rsync", program="rsync", steps=_rsync, wire_bytes=_rsync_bytes, begins=_copy_old
    ),
    Tool(name="zsync", program="zsync", steps=_zsync, wire_bytes=_zsync_bytes),
    Tool(
        name="pyzsync", program=sys.executable, module="pyzsync", steps=_pyzsync,
        wire_bytes=_zsync_bytes,
    ),
    Tool(
        name="xdelta3", program="xdelta3", steps=_xdelta3,
        wire_bytes=lambda places, _: places.delta.stat().st_size,
    ),
)  # fmt: skip
