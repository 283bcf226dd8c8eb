"""Uploads in parts, into one file of the full size that several processes write at once.

Three files in the job's stage make an upload: ``u-<digest of the key>-<nonce>`` holds the bytes,
``….key`` says what it will be, ``….parts`` has a line for each part that is on disk. Finishing
renames the first; the second stays until the job is cleaned up, so that finishing again can tell
its own work from another's.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from transports import digests
from transports.errors import AlreadyExists, Changed, Corrupt, Invalid, NotFound, Permanent
from transports.local_files import DIRECTORY_FLAGS, STAGE_PREFIX, Root, version_of
from transports.local_parts import PIECE_BYTES, PartFile
from transports.local_staging import CREATE_FLAGS, Stage, stages_in
from transports.local_writing import Writer, discard, dress_file
from transports.model import (
    Attributes,
    Checksum,
    Entry,
    PartReceipt,
    PartSpec,
    Presence,
    Proof,
    Receipt,
    UploadInfo,
)

_UPLOAD_ID: Final = re.compile(r"([A-Za-z0-9_-]{1,64})/(u-[0-9a-f]{16}-[A-Za-z0-9-]+)")
_KEY: Final = ".key"
_PARTS: Final = ".parts"
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
HASH_BYTES: Final = 64 * 1024 * 1024
"""What one turn of reading back hashes: a tenth of a second with MD5, after which a cancel counts."""

_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    """What an upload will be, as its ``.key`` file holds it."""

    key: str
    inode: int
    size: int
    mtime_ns: int | None
    mode: int | None

    def encode(self) -> bytes:
        numbers = (self.inode, self.size, self.mtime_ns, self.mode)
        head = " ".join("-" if number is None else str(number) for number in numbers)
        return head.encode() + b"\n" + os.fsencode(self.key)

    @classmethod
    def decode(cls, text: bytes) -> "_Intent":
        head, _, key = text.partition(b"\n")
        inode, size, mtime_ns, mode = (
            None if field == b"-" else int(field) for field in head.split(b" ")
        )
        return cls(
            key=os.fsdecode(key), inode=inode or 0, size=size or 0, mtime_ns=mtime_ns, mode=mode
        )


class Uploads:
    """The uploads below one root. All methods block; OSError flies to the transport."""

    def __init__(self, root: Root, writer: Writer, stage_of: Callable[[str], Stage]) -> None:
        self._root = root
        self._writer = writer
        self._stage_of = stage_of

    def begin(self, key: str, size: int, attributes: Attributes, token: str) -> str:
        """Make the file, all hole, and what describes it; return the upload's id."""
        self._root.file_path(key)
        self._root.split(key)
        stage = self._stage_of(token)
        digest = hashlib.blake2b(os.fsencode(key), digest_size=8).hexdigest()
        name = f"u-{digest}-{stage.next_name()}"
        fd = os.open(name, CREATE_FLAGS, 0o666, dir_fd=stage.fd())
        try:
            os.ftruncate(fd, size)
            intent = _Intent(
                key=key,
                inode=os.fstat(fd).st_ino,
                size=size,
                mtime_ns=attributes.mtime_ns,
                mode=attributes.mode,
            )
            _write_file(stage.fd(), name + _KEY, intent.encode())
        except BaseException:
            discard(stage.fd(), name)
            raise
        finally:
            os.close(fd)
        return f"{token}/{name}"

    def write_part(
        self, key: str, upload_id: str, part: PartSpec, data: memoryview, *, sparse: bool
    ) -> PartReceipt:
        """Write a part and bring it to disk, then note it. A repeated part is written again."""
        with contextlib.closing(self.open_part(key, upload_id, part, sparse=sparse)) as file:
            for start in range(0, len(data), PIECE_BYTES):
                file.take(data[start : start + PIECE_BYTES])
            return file.finish()

    def open_part(self, key: str, upload_id: str, part: PartSpec, *, sparse: bool) -> PartFile:
        """Open the file where a part belongs."""
        stage_fd, name = self._open_stage(key, upload_id)
        fd = os.open(name, _WRITE_FLAGS, dir_fd=stage_fd)
        note = partial(_note, stage_fd, name)
        return PartFile(fd, part, location=self._root.name(key), sparse=sparse, note=note)

    @contextlib.contextmanager
    def opened_data(self, key: str, upload_id: str) -> Iterator[int]:
        """Open the file that all parts share for the block."""
        stage_fd, name = self._open_stage(key, upload_id)
        fd = os.open(name, _WRITE_FLAGS, dir_fd=stage_fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def note_part(self, key: str, upload_id: str, receipt: PartReceipt) -> None:
        """Note a part that is on disk."""
        _note(*self._open_stage(key, upload_id), receipt)

    def finish(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartReceipt],
        attributes: Attributes,
        checksum: Checksum | None,
        *,
        compared: bool,
        replaces: Entry | Presence = Presence.ANY,
    ) -> Receipt:
        """Give the file its time, its permissions and its name, durably.

        ``compared`` says that the file's bytes have been read back and make ``checksum``. What the
        file ``replaces`` is looked at directly before it is renamed.
        """
        stage_fd, name = self._open_stage(key, upload_id)
        intent = self._intent(key, stage_fd, name)
        proof = self._check(key, intent, parts, checksum)
        if compared:
            proof = Proof.STRONG
        receipt = Receipt(key, intent.size, "", proof, checksum)
        try:
            fd = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=stage_fd)
        except FileNotFoundError:
            self._check_finished(intent)
            return receipt
        try:
            size = os.fstat(fd).st_size
            if size != intent.size:
                raise Permanent(
                    self._root.name(key), f"the upload has {size} bytes instead of {intent.size}"
                )
            mtime_ns = attributes.mtime_ns if attributes.mtime_ns is not None else intent.mtime_ns
            mode = attributes.mode if attributes.mode is not None else intent.mode
            dress_file(fd, mtime_ns, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._check_presence(key, replaces)
        self._place(key, upload_id, name, intent)
        discard(stage_fd, name + _PARTS)
        return receipt._replace(version=self._version_made(intent))

    def hash_some(self, key: str, upload_id: str, digest: digests.Digest, offset: int) -> int:
        """Feed a digest with up to ``HASH_BYTES`` from ``offset``; return how many, 0 at the end.

        An upload that was finished already has no bytes here: FileNotFoundError.
        """
        stage_fd, name = self._open_stage(key, upload_id)
        fd = os.open(name, _READ_FLAGS, dir_fd=stage_fd)
        try:
            done = 0
            while done < HASH_BYTES and (data := os.pread(fd, _READ_BYTES, offset + done)):
                digest.update(data)
                done += len(data)
            return done
        finally:
            os.close(fd)

    def _place(self, key: str, upload_id: str, name: str, intent: _Intent) -> None:
        try:
            self._writer.place_one(self._stage_of(upload_id.partition("/")[0]), name, key)
        except FileNotFoundError:
            self._check_finished(intent)  # another worker finished it just now

    def _check(
        self,
        key: str,
        intent: _Intent,
        parts: Sequence[PartReceipt],
        checksum: Checksum | None,
    ) -> Proof:
        """Check that the parts cover the object, and that their checksums make up the whole's."""
        location = self._root.name(key)
        if intent.key != key:
            raise NotFound(location, "the upload is of another object")
        offset = 0
        for part in parts:
            if part.start != offset:
                raise Invalid(location, f"no part begins at byte {offset}")
            offset += part.size
        if offset != intent.size:
            raise Invalid(location, f"the parts end at byte {offset} of {intent.size}")
        if checksum is None or checksum.algorithm != "crc64nvme":
            return Proof.WEAK
        if not all(part.crc64nvme for part in parts):
            return Proof.WEAK
        sums = [(int(part.crc64nvme, 16), part.size) for part in parts]
        actual = f"{digests.combine_crc64nvme_parts(sums):016x}"
        if actual != checksum.hex:
            raise Corrupt(location, algorithm="crc64nvme", expected=checksum.hex, actual=actual)
        return Proof.STRONG

    def _check_presence(self, key: str, wanted: Entry | Presence) -> None:
        if wanted is Presence.ANY:
            return
        directory, base = self._root.split(key)
        try:
            fd = self._root.directories().open(directory, key=key)
            found = os.stat(base, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            if wanted is Presence.NONE:
                return
            raise Changed(self._root.name(key), "the file is gone") from None
        if not isinstance(wanted, Entry):
            raise AlreadyExists(self._root.name(key))
        same = found.st_size == wanted.size and wanted.version in ("", version_of(found))
        if not same:
            raise Changed(self._root.name(key), "another file has taken its place")

    def _version_made(self, intent: _Intent) -> str:
        """The version of the file that an upload has just made; "" where another has taken its place."""
        directory, base = self._root.split(intent.key)
        with contextlib.suppress(OSError):
            fd = self._root.directories().open(directory)
            found = os.stat(base, dir_fd=fd, follow_symlinks=False)
            if found.st_ino == intent.inode:
                return version_of(found)
        return ""

    def _check_finished(self, intent: _Intent) -> None:
        """Raise ``NotFound`` unless the file at the key is the one that the upload made."""
        directory, base = self._root.split(intent.key)
        fd = self._root.directories().open(directory)
        found = os.stat(base, dir_fd=fd, follow_symlinks=False)
        if (found.st_ino, found.st_size) != (intent.inode, intent.size):
            raise NotFound(self._root.name(intent.key), "the upload is gone")

    def abort(self, key: str, upload_id: str) -> None:
        """Remove an upload; what is gone already is a success."""
        with contextlib.suppress(FileNotFoundError, NotFound):
            stage_fd, name = self._open_stage(key, upload_id)
            for suffix in ("", _PARTS, _KEY):
                discard(stage_fd, name + suffix)

    def list_parts(self, key: str, upload_id: str) -> list[PartReceipt]:
        """Return the parts that are on disk, ordered by number."""
        stage_fd, name = self._open_stage(key, upload_id)
        os.stat(name, dir_fd=stage_fd, follow_symlinks=False)
        try:
            lines = _read_file(stage_fd, name + _PARTS).split(b"\n")
        except FileNotFoundError:
            return []
        parts: dict[int, PartReceipt] = {}
        for line in lines[:-1]:
            number, start, size, crc = line.split(b" ")
            receipt = PartReceipt(int(number), int(start), int(size), "", crc.decode("ascii"))
            parts[receipt.number] = receipt
        return [parts[number] for number in sorted(parts)]

    def list_uploads(self, prefix: str) -> list[UploadInfo]:
        """Return the unfinished uploads of every job, dead or alive."""
        found: list[UploadInfo] = []
        root_fd = self._root.fd()
        for stage_name in stages_in(root_fd):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                # Not by ``Stage``: that would lock it, and a dead job's would look alive.
                stage_fd = os.open(stage_name, DIRECTORY_FLAGS, dir_fd=root_fd)
                try:
                    found.extend(_uploads_in(stage_fd, stage_name[len(STAGE_PREFIX) :]))
                finally:
                    os.close(stage_fd)
        return [upload for upload in found if upload.key.startswith(prefix)]

    def _open_stage(self, key: str, upload_id: str) -> tuple[int, str]:
        """Return the stage's descriptor and the upload's name in it."""
        match = _UPLOAD_ID.fullmatch(upload_id)
        if match is None:
            raise NotFound(self._root.name(key), f"no such upload: {upload_id!r}")
        return self._stage_of(match[1]).fd(create=False), match[2]

    def _intent(self, key: str, stage_fd: int, name: str) -> _Intent:
        try:
            return _Intent.decode(_read_file(stage_fd, name + _KEY))
        except FileNotFoundError:
            raise NotFound(self._root.name(key), "the upload is gone") from None


def _note(stage_fd: int, name: str, part: PartReceipt) -> None:
    line = f"{part.number} {part.start} {part.size} {part.crc64nvme}\n"
    # One small append is atomic between processes; a line cut short by a crash is left out.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    notes = os.open(name + _PARTS, flags, 0o600, dir_fd=stage_fd)
    try:
        os.write(notes, line.encode())
    finally:
        os.close(notes)


def _write_file(directory_fd: int, name: str, content: bytes) -> None:
    fd = os.open(name, CREATE_FLAGS, 0o600, dir_fd=directory_fd)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def _read_file(directory_fd: int, name: str) -> bytes:
    with open(os.open(name, _READ_FLAGS, dir_fd=directory_fd), "rb") as file:
        return file.read()


def _uploads_in(stage_fd: int, token: str) -> Iterator[UploadInfo]:
    names = set(os.listdir(stage_fd))
    for name in sorted(names):
        data_name = name.removesuffix(_KEY)
        if data_name == name or data_name not in names:
            continue
        with contextlib.suppress(FileNotFoundError):
            intent = _Intent.decode(_read_file(stage_fd, name))
            started = os.stat(name, dir_fd=stage_fd, follow_symlinks=False)
            yield UploadInfo(intent.key, f"{token}/{data_name}", started.st_mtime_ns)
