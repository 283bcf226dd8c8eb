"""Copies of files, and of ranges of files into parts, pinned to what their listing showed.

Everything here blocks and goes in steps of at most 64 MiB, so that a cancel is heard.
"""

import os
from collections.abc import Callable, Generator

from transports.errors import Invalid
from transports.local_copying import copy_range_steps, copy_steps
from transports.local_files import Root
from transports.local_reading import Reader
from transports.local_staging import CREATE_FLAGS, Stage
from transports.local_uploads import Uploads
from transports.local_writing import Writer, discard, dress_file
from transports.model import ByteRange, Entry, PartReceipt, PartSpec


class Copies:
    """Copies into one root; a reader is the source's."""

    def __init__(
        self, root: Root, writer: Writer, uploads: Uploads, stage_of: Callable[[], Stage]
    ) -> None:
        self._root = root
        self._writer = writer
        self._uploads = uploads
        self._stage_of = stage_of

    def whole(self, entry: Entry, reader: Reader, key: str) -> Generator[int, None, None]:
        """Copy a file; yields the bytes of each step. Closing it early leaves nothing."""
        self._root.split(key)
        with reader.opened(entry) as source_fd:
            found = os.fstat(source_fd)
            stage = self._stage_of()
            name = stage.next_name()
            target_fd = os.open(name, CREATE_FLAGS, 0o666, dir_fd=stage.fd())
            try:
                yield from copy_steps(source_fd, target_fd, found.st_size)
                reader.check_unmoved(entry, source_fd, found)
                dress_file(target_fd, found.st_mtime_ns, found.st_mode)
                os.fsync(target_fd)
                self._writer.place_one(stage, name, key)
            except BaseException:
                discard(stage.fd(), name)
                raise
            finally:
                os.close(target_fd)

    def part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        reader: Reader,
        made: list[PartReceipt],
    ) -> Generator[int, None, None]:
        """Copy a range into a part and bring it to disk; its receipt is appended to ``made``."""
        if len(part.range) != len(span):
            detail = f"{len(span)} bytes for a part of {len(part.range)} bytes"
            raise Invalid(self._root.name(key), detail)
        with (
            reader.opened(entry) as source_fd,
            self._uploads.opened_data(key, upload_id) as target_fd,
        ):
            found = os.fstat(source_fd)
            if span.stop > found.st_size:
                raise Invalid(self._root.name(key), f"the object ends before byte {span.stop}")
            yield from copy_range_steps(source_fd, target_fd, span, part.range.start)
            reader.check_unmoved(entry, source_fd, found)
            os.fdatasync(target_fd)
        receipt = PartReceipt(part.number, part.range.start, len(span), "")
        self._uploads.note_part(key, upload_id, receipt)
        made.append(receipt)
