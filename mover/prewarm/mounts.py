"""Pure: which file system a path is on, as the kernel tells it, and who can judge what is in its cache."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from mover.prewarm.model import Judge

JUICEFS: Final = "fuse.juicefs"


class Mount(NamedTuple):
    """One mounted file system: where it is, of what kind, and what is mounted there."""

    point: str
    kind: str
    source: str

    @property
    def is_juicefs(self) -> bool:
        return self.kind == JUICEFS

    @property
    def is_fuse(self) -> bool:
        """Whether another process answers, whose cache the page cache says nothing of."""
        return self.kind == "fuse" or self.kind.startswith("fuse.")


def mounts_of(mountinfo: str) -> list[Mount]:
    """Read ``/proc/self/mountinfo`` (proc(5)); a line that has another form is left out."""
    found = []
    for line in mountinfo.splitlines():
        head, dash, tail = line.partition(" - ")
        left, right = head.split(" "), tail.split(" ")
        if dash and len(left) >= 5 and len(right) >= 2:
            found.append(Mount(_plain(left[4]), right[0], _plain(right[1])))
    return found


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that holds an absolute path without links: the deepest, and of equals the last."""
    best: Mount | None = None
    for mount in mounts:
        inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def natural_judge(mount: Mount | None) -> Judge:
    """Who judges where nobody was named."""
    if mount is None or not mount.is_fuse:
        return Judge.PAGES
    return Judge.JUICEFS if mount.is_juicefs else Judge.TIMED


def _plain(text: str) -> str:
    # The kernel escapes bytes, and names may hold any.
    if "\\" not in text:
        return text
    data = text.encode("utf-8", "surrogateescape")
    plain = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), data)
    return plain.decode("utf-8", "surrogateescape")
