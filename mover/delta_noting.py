"""Uploads of delta commands, noted on this host for as long as they are open.

A command that is killed leaves its upload at the store, which does not say whose it is. The same command
finds its name here and goes on with it, or drops it. A note is a file that its process has locked; a lock goes
with its process, so a note that is not locked was left behind. Where nothing can be noted, the command
works without.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mover.delta_keeping import Keeper
from mover.delta_tasks import OpenUpload
from transports.errors import TransportError
from transports.model import PartReceipt

if TYPE_CHECKING:
    from transports.base import Transport


class HostKeeper(Keeper):
    """Keeps the upload of one object on this host. ``open`` makes it; ``close`` it.

    A command that fails or is cancelled drops its upload itself, so only a kill leaves a note.
    """

    every_s = 0.0

    def __init__(self, fd: int, path: Path, target: "Transport", key: str) -> None:
        self._fd = fd
        self._path = path
        self._target = target
        self._key = key
        self._plan = ""

    @classmethod
    def open(cls, notes: Path, target: "Transport", key: str) -> Self | None:
        """The keeper of an object; None where another process has it, or nothing can be written."""
        name = f"{target.capabilities.copy_domain}\n{target.location}\n{key}"
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        path = notes / digest[:32]
        try:
            notes.mkdir(parents=True, exist_ok=True, mode=0o700)
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                if _lock(fd, path):
                    return cls(fd, path, target, key)
                os.close(fd)
        except OSError:
            return None

    async def claim(self, plan: str) -> None:
        """Take over what was left of the same plan; drop what was left of another."""
        left_plan, left = self._read()
        self._plan = plan
        if left is None:
            return
        if plan and left_plan == plan:
            self.left = left
            return
        with contextlib.suppress(TransportError):
            await self._target.abort_upload(self._key, left.upload_id)
            await self.forget()

    async def keep(self, upload: OpenUpload) -> bool:
        parts = [list(part) for part in upload.parts]
        text = json.dumps({"plan": self._plan, "upload_id": upload.upload_id, "parts": parts})
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
        except OSError:
            return False
        return True

    async def forget(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Let go of the note; one with nothing in it is removed."""
        with contextlib.suppress(OSError):
            if not os.fstat(self._fd).st_size:
                self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _read(self) -> tuple[str, OpenUpload | None]:
        try:
            text = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
            return _parse(json.loads(text))
        except (OSError, ValueError, TypeError, KeyError):
            return "", None


def _lock(fd: int, path: Path) -> bool:
    """Whether the file at the path is this one, and locked by us now. Raises ``BlockingIOError``."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False  # whoever had it removed it between our two looks
    except OSError:
        os.close(fd)
        raise


def _parse(note: dict[str, str | Sequence[Sequence[object]]]) -> tuple[str, OpenUpload]:
    parts = []
    for number, start, size, etag, crc in note["parts"]:
        facts = (int(str(number)), int(str(start)), int(str(size)), str(etag), str(crc))
        parts.append(PartReceipt(*facts))
    return str(note["plan"]), OpenUpload(upload_id=str(note["upload_id"]), parts=parts)
