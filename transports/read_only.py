"""The half of an adapter for stores that can only be read: every writing verb refuses."""

from collections.abc import Sequence
from typing import NoReturn

from transports.base import Pace, Transport
from transports.errors import Invalid, TransportError
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    Checksum,
    Entry,
    PartReceipt,
    PartSpec,
    Presence,
    Receipt,
    UploadInfo,
)


class ReadOnlyTransport(Transport):
    """An adapter derives from this and adds list, head, the reads and close."""

    def _refuse(self, key: str = "") -> NoReturn:
        raise Invalid(f"{self.location}{key}", f"{self.capabilities.scheme} can only be read")

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        self._refuse()

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        self._refuse(key)

    async def write_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        data: memoryview,
        *,
        sparse: bool = False,
        pace: Pace | None = None,
    ) -> PartReceipt:
        self._refuse(key)

    async def finish_upload(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartReceipt],
        attributes: Attributes = NO_ATTRIBUTES,
        *,
        checksum: Checksum | None = None,
        replaces: Entry | Presence = Presence.ANY,
    ) -> Receipt:
        self._refuse(key)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        self._refuse(key)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        self._refuse(key)

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        return []

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        self._refuse(key)

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        self._refuse()

    async def clean(self, token: str) -> None:
        """Nothing is ever left behind."""
