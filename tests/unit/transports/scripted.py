"""A transport that answers from a script: the stand-in under each decorator's tests."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence

from transports.base import Pace, Sink, Transport
from transports.errors import TransportError
from transports.model import (
    NO_ATTRIBUTES,
    Attributes,
    Blob,
    ByteRange,
    Capabilities,
    Checksum,
    Entry,
    ObjectInfo,
    PartReceipt,
    PartSpec,
    Presence,
    Proof,
    Receipt,
    UploadInfo,
)

Answer = Callable[..., object]


class Scripted(Transport):
    """Plays the answers of each verb in turn, then behaves; ``calls`` is what was asked.

    An answer is an exception to raise, or a function of the verb's arguments whose result is
    returned (a function may be a coroutine function).
    """

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.location = "scripted://store/"
        self.capabilities = capabilities or Capabilities(scheme="scripted")
        self.answers: defaultdict[str, deque[TransportError | Answer]] = defaultdict(deque)
        self.calls: list[tuple[object, ...]] = []
        self.pages: list[Sequence[Entry]] = []
        self.closed_listings = 0
        self.bytes = b""

    def will(self, verb: str, *answers: TransportError | Answer) -> None:
        self.answers[verb].extend(answers)

    def count(self, verb: str) -> int:
        return sum(call[0] == verb for call in self.calls)

    async def _play(self, verb: str, behaves: Answer, *arguments: object) -> object:
        self.calls.append((verb, *arguments))
        answer = self.answers[verb].popleft() if self.answers[verb] else behaves
        if isinstance(answer, TransportError):
            raise answer
        result = answer(*arguments)
        return await result if hasattr(result, "__await__") else result

    async def list(
        self, prefix: str = "", *, start_after: str = "", stop_at: str | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        self.calls.append(("list", prefix, start_after, stop_at))
        try:
            for page in self.pages:
                if self.answers["page"]:
                    answer = self.answers["page"].popleft()
                    if isinstance(answer, TransportError):
                        raise answer
                    result = answer()
                    if hasattr(result, "__await__"):
                        await result
                if rest := [entry for entry in page if entry.key > start_after]:
                    yield rest
        finally:
            self.closed_listings += 1

    async def head(self, key: str) -> ObjectInfo:
        info = ObjectInfo(entry=Entry(key, len(self.bytes), 0), attributes=NO_ATTRIBUTES)
        result = await self._play("head", lambda _key: info, key)
        assert isinstance(result, ObjectInfo)
        return result

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        return await self._play("read_small", lambda some: [blob(e) for e in some], entries)  # type: ignore[return-value]

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        def fill(_entry: Entry, span: ByteRange, buffer: memoryview) -> None:
            buffer[:] = self.bytes[span.start : span.stop]

        await self._play("read_into", fill, entry, span, buffer)

    async def stream(self, entry: Entry) -> AsyncIterator[bytes | memoryview]:
        pieces = await self._play("stream", lambda _entry: [self.bytes], entry)
        for piece in pieces:  # type: ignore[attr-defined]
            if isinstance(piece, TransportError):
                raise piece
            yield piece

    async def read_to(self, entry: Entry, span: ByteRange, sink: Sink) -> None:
        def behave(entry: Entry, span: ByteRange, sink: Sink) -> None:
            sink.take(memoryview(self.bytes)[span.start + sink.taken_bytes : span.stop])

        await self._play("read_to", behave, entry, span, sink)

    async def write_small(
        self, blobs: Sequence[Blob], *, pace: Pace | None = None
    ) -> Sequence[Receipt | TransportError]:
        if pace is not None:
            for one in blobs:
                await pace(len(one.data))
        return await self._play("write_small", lambda some: [receipt(b) for b in some], blobs)  # type: ignore[return-value]

    async def begin_upload(
        self, key: str, size: int, attributes: Attributes = NO_ATTRIBUTES, *, token: str
    ) -> str:
        return str(await self._play("begin_upload", lambda *_: "upload-1", key, size, token))

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
        if pace is not None:
            await pace(len(data))
        done = PartReceipt(part.number, part.range.start, len(data), "etag")
        return await self._play("write_part", lambda *_: done, key, upload_id, part)  # type: ignore[return-value]

    async def copy_part(
        self,
        key: str,
        upload_id: str,
        part: PartSpec,
        entry: Entry,
        span: ByteRange,
        source: Transport,
    ) -> PartReceipt:
        done = PartReceipt(part.number, part.range.start, len(part.range), "etag")
        return await self._play("copy_part", lambda *_: done, key, upload_id, part, entry, source)  # type: ignore[return-value]

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
        done = Receipt(key, 0, "etag", Proof.STRONG)
        return await self._play("finish_upload", lambda *_: done, key, upload_id)  # type: ignore[return-value]

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self._play("abort_upload", lambda *_: None, key, upload_id)

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartReceipt]:
        return await self._play("list_parts", lambda *_: [], key, upload_id)  # type: ignore[return-value]

    async def list_uploads(self, prefix: str = "") -> Sequence[UploadInfo]:
        return await self._play("list_uploads", lambda *_: [], prefix)  # type: ignore[return-value]

    async def copy(self, entry: Entry, source: Transport, key: str) -> Receipt:
        done = Receipt(key, entry.size, "etag", Proof.STRONG)
        return await self._play("copy", lambda *_: done, entry, source, key)  # type: ignore[return-value]

    async def delete(self, keys: Sequence[str]) -> Sequence[TransportError | None]:
        return await self._play("delete", lambda some: [None] * len(some), keys)  # type: ignore[return-value]

    async def clean(self, token: str) -> None:
        await self._play("clean", lambda *_: None, token)

    async def close(self) -> None:
        await self._play("close", lambda: None)


def entry(key: str, size: int = 4) -> Entry:
    return Entry(key, size, 0, etag="e")


def blob(of: Entry) -> Blob:
    return Blob(of, b"x" * max(of.size, 0), NO_ATTRIBUTES, Proof.STRONG)


def receipt(of: Blob) -> Receipt:
    return Receipt(of.entry.key, len(of.data), "e", Proof.STRONG)
