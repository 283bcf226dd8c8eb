"""Objects in parts on filesystems that have no such thing; and the safe way to write a whole one.

fsspec has one way to write something large: from its start to its end, through one open file. A
job's parts come in any order, from several processes, and again after a crash. So each part is an
object of its own in a staging directory of the root, ``.mover-stage-<token>/<upload>/``, whose name
says what it is: number, offset, size and CRC. Finishing joins them: by the store itself where it
can (S3 copies parts, GCS composes), else by reading them once and writing the object once. That
costs a second pass over the bytes, and buys resuming, any order, and an object that appears whole.
"""

import contextlib
import functools
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from transports import digests
from transports.errors import (
    Corrupt,
    Invalid,
    NotFound,
    TransportError,
    Truncated,
    translating,
)
from transports.filesystem_answers import entry_of, translate
from transports.filesystem_calls import Calls, FileSystem
from transports.filesystem_composing import Composing, Piece, reference, referred
from transports.model import (
    Checksum,
    Entry,
    PartReceipt,
    PartSpec,
    Presence,
    Proof,
    Receipt,
    UploadInfo,
)

STAGE_PREFIX: Final = ".mover-stage-"
JOIN_PIECE_BYTES: Final = 1024 * 1024
JOIN_WHOLE_MAX_BYTES: Final = 64 * 1024 * 1024
MADE_MAX: Final = 4096

REFERENCE: Final = "reference"
"""In the place of a CRC: the part is another object, which is named in this one."""

_PART: Final = re.compile(rf"(\d{{5}})-(\d+)-(\d+)-([0-9a-f]{{16}}|{REFERENCE})")
_UPLOAD_ID: Final = re.compile(r"([A-Za-z0-9._-]+)/([0-9a-f]{16})")


class _Stage(NamedTuple):
    """The directory of one upload."""

    path: str
    token: str


class Uploads:
    """Uploads and atomic writes below one root. Paths are the filesystem's, keys are the port's."""

    def __init__(self, calls: Calls, root: str, token: str, location: str) -> None:
        self._calls = calls
        self._root = root
        self._token = token
        self._location = location
        self._composing = Composing(calls)
        self._made: dict[str, None] = {}  # directories that were there; MADE_MAX at most

    # -- whole objects -------------------------------------------------------------------------

    async def put(self, path: str, data: bytes) -> object:
        """Write a whole object; errors are the filesystem's own."""
        if self._calls.is_flat:
            return await self._calls.call("pipe_file", path, data)
        parent = path.rpartition("/")[0]
        await self._make_directory(parent)
        if not self._calls.renames:
            await self._refuse_directory(path)
            return await self._calls.call("pipe_file", path, data)
        stage = f"{self._root}/{STAGE_PREFIX}{self._token}"
        await self._make_directory(stage)
        temporary = f"{stage}/{secrets.token_hex(8)}"
        try:
            await self._calls.call("pipe_file", temporary, data)
            await self._rename(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                await self._calls.call("rm_file", temporary)
            raise
        return None

    async def _rename(self, temporary: str, path: str) -> None:
        await self._refuse_directory(path)
        try:
            await self._calls.call("mv", temporary, path)
        except FileExistsError:
            # SMB renames onto nothing that is there. Between the two calls there is no object.
            await self._calls.call("rm_file", path)
            await self._calls.call("mv", temporary, path)

    async def _refuse_directory(self, path: str) -> None:
        """Some filesystems would move a file *into* a directory of its name."""
        try:
            found = await self._calls.info(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        if found.get("type") == "directory":
            raise IsADirectoryError(path)

    async def _make_directory(self, path: str) -> None:
        if path in self._made:
            return
        if path:
            await self._calls.call("makedirs", path, exist_ok=True)
        self._made[path] = None
        if len(self._made) > MADE_MAX:
            del self._made[next(iter(self._made))]

    # -- parts ---------------------------------------------------------------------------------

    async def begin(self, key: str, token: str) -> str:
        """Open an upload. Its key stands in the file ``key``, its id is ``<token>/<number>``."""
        upload_id = f"{token}/{secrets.token_hex(8)}"
        stage = self._stage(key, upload_id)
        with translating(translate, self._location + key):
            await self._put_plain(f"{stage.path}/key", key.encode("utf-8", "surrogateescape"))
        return upload_id

    async def write_part(
        self, key: str, upload_id: str, part: PartSpec, data: memoryview
    ) -> PartReceipt:
        stage = await self._open_stage(key, upload_id)
        crc = digests.crc64nvme_hex(data)
        size = len(data)
        name = f"{part.number:05}-{part.range.start}-{size}-{crc}"
        with translating(translate, self._location + key):
            await self._put_plain(f"{stage.path}/{name}", bytes(data))
            if self._calls.composes:
                await self._check_part(f"{stage.path}/{name}", data, self._location + key)
        return PartReceipt(part.number, part.range.start, size, crc, crc)

    async def _check_part(self, path: str, data: memoryview, location: str) -> None:
        """Compare the CRC-32C that the store has of a part; what is composed is told by these."""
        expected = digests.checksum("crc32c", data).hex
        actual = (await self._composing.piece(path)).crc32c
        if actual != expected:
            raise Corrupt(location, algorithm="crc32c", expected=expected, actual=actual)

    async def refer(self, key: str, upload_id: str, part: PartSpec, piece: Piece) -> PartReceipt:
        """Make a whole object that lies elsewhere a part. Its bytes stay where they are."""
        stage = await self._open_stage(key, upload_id)
        start, size = part.range.start, len(part.range)
        with translating(translate, self._location + key):
            path = f"{stage.path}/{part.number:05}-{start}-{size}-{REFERENCE}"
            await self._put_plain(path, reference(piece))
        return PartReceipt(part.number, start, size, piece.generation)

    async def parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        stage = await self._open_stage(key, upload_id)
        names = await self._names(stage.path)
        found = [match for name in names if (match := _PART.fullmatch(name))]
        return sorted(
            [
                PartReceipt(int(m[1]), int(m[2]), int(m[3]), m[4], m[4])
                if m[4] != REFERENCE
                else await self._referred_part(f"{stage.path}/{m[0]}", m)
                for m in found
            ]
        )

    async def _referred_part(self, path: str, match: re.Match[str]) -> PartReceipt:
        piece = referred(await self._cat(path, self._location))
        return PartReceipt(int(match[1]), int(match[2]), int(match[3]), piece.generation)

    async def finish(
        self,
        key: str,
        path: str,
        upload_id: str,
        parts: Sequence[PartReceipt],
        checksum: Checksum | None,
        replaces: Entry | Presence = Presence.ANY,
    ) -> Receipt:
        """Join the parts under ``path``. A repeated call finds the note that the first one left."""
        location = self._location + key
        size = sum(part.size for part in parts)
        mark = hashlib.sha256(repr(list(parts)).encode()).hexdigest()
        done = f"{self._stage(key, upload_id).path}/done"
        note = b""
        with contextlib.suppress(NotFound):
            note = await self._cat(done, location)
        if note:
            return await self._receipt(key, path, size, note == mark.encode(), checksum)
        stage = await self._open_stage(key, upload_id)
        sources = [f"{stage.path}/{p.number:05}-{p.start}-{p.size}-{p.crc64nvme}" for p in parts]
        self._check_parts(location, parts, checksum)
        with translating(translate, location):
            if self._calls.composes and parts:
                pieces = await self._pieces(stage, parts)
                hidden = f"{stage.path}/joined"
                await self._composing.join(pieces, hidden, path, location, replaces)
            else:
                await self._join(stage, sources, path, size)
            await self._put_plain(done, mark.encode())
            for name in await self._names(stage.path):
                if name != "done":
                    await self._calls.call("rm_file", f"{stage.path}/{name}")
        return await self._receipt(key, path, size, True, checksum)

    async def _pieces(self, stage: _Stage, parts: Sequence[PartReceipt]) -> list[Piece]:
        """The objects that the parts are, in their order."""
        names = set(await self._names(stage.path))
        pieces = []
        for part in parts:
            name = f"{part.number:05}-{part.start}-{part.size}-"
            if f"{name}{REFERENCE}" in names:
                path = f"{stage.path}/{name}{REFERENCE}"
                pieces.append(referred(await self._cat(path, self._location)))
            else:
                pieces.append(await self._composing.piece(f"{stage.path}/{name}{part.crc64nvme}"))
        return pieces

    def _check_parts(
        self, location: str, parts: Sequence[PartReceipt], checksum: Checksum | None
    ) -> None:
        """The parts must lie end to end, and come to the full object's CRC where it is known."""
        offset = 0
        for part in parts:
            if part.start != offset:
                raise Invalid(location, f"part {part.number} does not begin at byte {offset}")
            offset += part.size
        if checksum is not None and checksum.algorithm == "crc64nvme":
            crc = digests.combine_crc64nvme_parts([(int(p.crc64nvme, 16), p.size) for p in parts])
            if f"{crc:016x}" != checksum.hex:
                raise Corrupt(
                    location, algorithm="crc64nvme", expected=checksum.hex, actual=f"{crc:016x}"
                )

    async def _receipt(
        self, key: str, path: str, size: int, same: bool, checksum: Checksum | None
    ) -> Receipt:
        location = self._location + key
        with translating(translate, location):
            made = entry_of(key, await self._calls.info(path))
        if not same or made.size != size:
            raise NotFound(location, "the upload was finished, its object replaced")
        return Receipt(key, size, made.etag, Proof.WEAK, checksum, made.version)

    async def abort(self, key: str, upload_id: str) -> None:
        with translating(translate, self._location + key):
            await self._remove(self._stage(key, upload_id).path)

    async def open_uploads(self, prefix: str) -> Sequence[UploadInfo]:
        found: list[UploadInfo] = []
        for stage in [n for n in await self._names(self._root) if n.startswith(STAGE_PREFIX)]:
            for number in await self._names(f"{self._root}/{stage}"):
                upload_id = f"{stage.removeprefix(STAGE_PREFIX)}/{number}"
                if not _UPLOAD_ID.fullmatch(upload_id):
                    continue
                try:
                    name = await self._cat(f"{self._root}/{stage}/{number}/key", self._location)
                except TransportError:
                    continue  # finished, aborted or no upload: there is no key any more
                key = name.decode("utf-8", "surrogateescape")
                if key.startswith(prefix):
                    found.append(UploadInfo(key, upload_id, 0))
        return sorted(found)

    async def clean(self, token: str) -> None:
        with translating(translate, self._location):
            await self._remove(f"{self._root}/{STAGE_PREFIX}{token}")

    # -- joining -------------------------------------------------------------------------------

    async def _join(self, stage: _Stage, sources: Sequence[str], path: str, size: int) -> None:
        """Make one object of the parts; errors are the filesystem's own.

        1. One part, or none: it is written as a whole object is.
        2. The store joins: no byte passes through here.
        3. A blocking filesystem with files: from one open file to another, in a thread; under a
           temporary name where it renames.
        4. It cannot rename: small enough objects go whole, so that no half is seen.
        """
        if len(sources) <= 1:
            whole = await self._cat(sources[0], path) if sources else b""
            await self.put(path, whole)
            return
        if self._calls.merges:
            await self._calls.call("merge", path, list(sources))
            return
        await self._make_directory(path.rpartition("/")[0])
        if self._calls.renames:
            temporary = f"{stage.path}/joined"
            await self._calls.run(lambda: self._join_files(sources, temporary, path))
            await self._rename(temporary, path)
        elif size <= JOIN_WHOLE_MAX_BYTES or self._calls.protocol == "memory":
            await self.put(path, b"".join([await self._cat(source, path) for source in sources]))
        else:
            await self._refuse_directory(path)
            await self._calls.run(lambda: self._join_files(sources, path, path))

    def _join_files(self, sources: Sequence[str], target: str, location: str) -> None:
        with self._calls.open(target, "wb") as joined:
            for source in sources:
                match = _PART.fullmatch(source.rpartition("/")[2])
                left, crc = (int(match[3]), 0) if match else (0, 0)
                size = left
                with self._calls.open(source, "rb") as part:
                    while piece := part.read(JOIN_PIECE_BYTES):
                        joined.write(piece)
                        crc = digests.crc64nvme(piece, crc)
                        left -= len(piece)
                if left or match is None:
                    raise Truncated(location, received_bytes=size - left, expected_bytes=size)
                if f"{crc:016x}" != match[4]:
                    raise Corrupt(
                        location, algorithm="crc64nvme", expected=match[4], actual=f"{crc:016x}"
                    )

    # -- below ---------------------------------------------------------------------------------

    def _stage(self, key: str, upload_id: str) -> _Stage:
        match = _UPLOAD_ID.fullmatch(upload_id)
        if match is None or match[1].startswith("."):
            raise NotFound(self._location + key, "no such upload")
        return _Stage(f"{self._root}/{STAGE_PREFIX}{match[1]}/{match[2]}", match[1])

    async def _open_stage(self, key: str, upload_id: str) -> _Stage:
        """The stage of an upload that is open. Raises ``NotFound`` when it is gone."""
        stage = self._stage(key, upload_id)
        name = await self._cat(f"{stage.path}/key", self._location + key)
        if name.decode("utf-8", "surrogateescape") != key:
            raise NotFound(self._location + key, "the upload is of another key")
        return stage

    async def _put_plain(self, path: str, data: bytes) -> None:
        """Write where nobody looks before the name is known to them; errors are not translated."""
        if not self._calls.is_flat:
            await self._make_directory(path.rpartition("/")[0])
        await self._calls.call("pipe_file", path, data)

    async def _cat(self, path: str, location: str) -> bytes:
        with translating(translate, location):
            data = await self._calls.call("cat_file", path)
        return bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b""

    async def _names(self, path: str) -> Sequence[str]:
        try:
            with translating(translate, self._location):
                infos = await self._calls.ls(path or "/")
        except NotFound:
            return []
        return [str(info["name"]).rstrip("/").rpartition("/")[2] for info in infos]

    async def _remove(self, path: str) -> None:
        """Remove a directory and what is in it; what is gone is gone. Stages are two levels deep."""
        try:
            infos = await self._calls.ls(path)
        except FileNotFoundError:
            return
        for info in infos:
            name = str(info["name"])
            if info.get("type") == "directory":
                await self._remove(name)
            else:
                await _unless_gone(functools.partial(self._calls.call, "rm_file", name))
        self._made.pop(path, None)
        if not self._calls.is_flat:
            await _unless_gone(functools.partial(self._calls.call, "rmdir", path))

    async def close_filesystem(self, filesystem: FileSystem) -> None:
        """Close the connections of a filesystem that is ours, in the ways that are known."""
        session = getattr(filesystem, "_s3", None) or getattr(filesystem, "_session", None)
        close = getattr(session, "close", None)
        if close is not None and getattr(filesystem, "asynchronous", False):
            with contextlib.suppress(Exception):
                await close()
        ftp = getattr(filesystem, "ftp", None)
        if ftp is not None and hasattr(ftp, "close"):
            ftp.close()


async def _unless_gone(call: Callable[[], Awaitable[object]]) -> None:
    with contextlib.suppress(FileNotFoundError):
        await call()
