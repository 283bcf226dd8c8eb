"""An origin of which other nodes have files already: what they have is taken from them, the rest from the origin.

What a node says is believed as far as its proof goes, and its bytes as far as the digest that the proof covers. Whatever
else happens, the origin is read: a node is a help and no more.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from mover.peer_protocol import (
    ANSWER,
    DIGEST,
    EXPIRES,
    PROOF,
    VALID_S,
    Said,
    Unproven,
    digest_of,
)
from mover.prewarm.peer_talk import (
    ABSENT,
    PATH,
    WANTED_MAX,
    Had,
    Wanted,
    decode_head,
    encode_request,
    head_length,
    wanted,
)
from transports import digests
from transports.base import Transport
from transports.decorator import Decorator
from transports.errors import TransportError
from transports.model import (
    Attributes,
    Blob,
    ByteRange,
    Checksum,
    Entry,
    ObjectInfo,
    Proof,
)
from transports.proxies import proxy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECT_S: Final = 3.0
ANSWER_S: Final = 20.0
"""How long a node may say nothing."""

AWAY_S: Final = 30.0
"""How long a node that failed is let alone."""

ASKED_MAX: Final = 3
"""Nodes that are asked for one thing before the origin is."""

SMALL_COUNT: Final = 64
SMALL_BYTES: Final = 4 * 1024 * 1024


class _Failed(Exception):
    """A node did not do what it was asked to."""


class Peers:
    """The nodes that one place takes from; one per place. ``note`` is told once of each that is let alone."""

    def __init__(
        self, secret: bytes, environment: Mapping[str, str], note: Callable[[str], None]
    ) -> None:
        self._secret = secret
        self._environment = environment
        self._note = note
        self._session: aiohttp.ClientSession | None = None
        self._away_until_s: dict[str, float] = {}
        self._turn = itertools.count(int(time.monotonic() * 1000))

    def in_turn(self, holders: Sequence[str]) -> list[str]:
        """Whom to ask: all that are not let alone, another one first each time."""
        if not holders:
            return []
        first = next(self._turn) % len(holders)
        now_s = time.monotonic()
        return [
            each
            for each in [*holders[first:], *holders[:first]]
            if self._away_until_s.get(each, 0.0) <= now_s
        ]

    def leave_alone(self, holder: str, why: str) -> None:
        """Ask a node nothing for a while."""
        if holder not in self._away_until_s:
            self._note(f"the cache at {holder} is not asked for a while: {why}")
        self._away_until_s[holder] = time.monotonic() + AWAY_S

    @asynccontextmanager
    async def asking(self, holder: str, files: Sequence[Wanted]) -> "AsyncIterator[Answer]":
        """Ask a node for files. Raises ``_Failed``, also where the block finds that the answer breaks off."""
        body = encode_request(files)
        said = Said(
            verb="POST",
            path=PATH,
            expires_s=int(time.time()) + VALID_S,
            digest=digest_of(body),
        )
        headers = {
            EXPIRES: str(said.expires_s),
            PROOF: said.proof(self._secret),
            DIGEST: said.digest,
        }
        url = URL(holder + PATH, encoded=True)
        proxy = proxy_of(url.scheme, url.host or "", url.port, self._environment)
        try:
            async with self._opened().post(
                url, data=body, headers=headers, proxy=proxy, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise _Failed(_why(answer.status))
                had = await self._head(answer, said, files)
                yield Answer(had, answer.content)
        except TimeoutError as error:
            raise _Failed("it does not answer") from error
        except (aiohttp.ClientError, EOFError, OSError, ValueError) as error:
            raise _Failed(f"the connection failed ({type(error).__name__})") from error

    async def _head(
        self, answer: aiohttp.ClientResponse, said: Said, files: Sequence[Wanted]
    ) -> list[Had]:
        start = await answer.content.readexactly(4)
        head = await answer.content.readexactly(head_length(start))
        told = Said(
            verb=ANSWER, path=PATH, expires_s=said.expires_s, digest=digest_of(start + head)
        )
        try:
            told.check(self._secret, answer.headers.get(PROOF, ""), now_s=time.time())
        except Unproven as error:
            raise _Failed(f"what it says is not proven: {error}") from error
        return decode_head(head, files)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_S, sock_read=ANSWER_S
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
            )
        return self._session

    async def close(self) -> None:
        """Let go of all connections. May be repeated."""
        if self._session is not None:
            await self._session.close()


class Answer:
    """What a node has of what was asked for, and the bytes that follow."""

    def __init__(self, had: list[Had], content: aiohttp.StreamReader) -> None:
        self.had = had
        self._content = content

    async def fill(self, buffer: memoryview) -> None:
        """The next bytes, as many as the buffer takes. Raises EOFError where they end before."""
        done = 0
        while done < len(buffer):
            piece = await self._content.read(len(buffer) - done)
            if not piece:
                raise EOFError
            buffer[done : done + len(piece)] = piece
            done += len(piece)


class PeerFirst(Decorator):
    """An origin, of which ``holders`` are asked first.

    ``expected`` are the objects by key that are to be read, so that a look at one of them need not ask the origin.
    ``taken`` counts by key the bytes that came from nodes. The origin stays open when this is closed.
    """

    def __init__(
        self,
        origin: Transport,
        peers: Peers,
        holders: Sequence[str],
        expected: Mapping[str, Entry],
    ) -> None:
        super().__init__(origin)
        self.taken: dict[str, int] = {}
        self._peers = peers
        self._holders = holders
        self._expected = expected
        # Bytes from another node pass through our memory, and no range need come from the origin.
        self.capabilities = replace(
            origin.capabilities,
            pours=False,
            ranges=True,
            small_batch_count=max(SMALL_COUNT, origin.capabilities.small_batch_count),
            small_batch_bytes=max(SMALL_BYTES, origin.capabilities.small_batch_bytes),
        )

    async def head(self, key: str) -> ObjectInfo:
        """See the port. A node's word for it that it has the expected version, or the origin's."""
        entry = self._expected.get(key)
        if entry is not None:
            for holder in self._in_turn():
                try:
                    async with self._peers.asking(holder, [wanted(entry)]) as answer:
                        (had,) = answer.had
                except _Failed as failed:
                    self._peers.leave_alone(holder, str(failed))
                    continue
                if had.bytes != ABSENT:
                    checksums = (Checksum("crc64nvme", had.digest),)
                    return ObjectInfo(entry=entry, attributes=_attributes(had), checksums=checksums)
        return await self.inner.head(key)

    async def read_small(self, entries: Sequence[Entry]) -> Sequence[Blob | TransportError]:
        found: dict[int, Blob | TransportError] = {}
        for holder in self._in_turn():
            left = [place for place in range(len(entries)) if place not in found]
            for start in range(0, len(left), WANTED_MAX):
                some = left[start : start + WANTED_MAX]
                found.update(await self._take(holder, entries, some))
            if len(found) == len(entries):
                break
        left = [place for place in range(len(entries)) if place not in found]
        if left:
            rest = await self.inner.read_small([entries[place] for place in left])
            found.update(zip(left, rest, strict=True))
        return [found[place] for place in range(len(entries))]

    async def _take(
        self, holder: str, entries: Sequence[Entry], places: Sequence[int]
    ) -> dict[int, Blob]:
        """What a node has of these files, proven; {} of what it has not."""
        files = [wanted(entries[place], 0, entries[place].size) for place in places]
        found: dict[int, Blob] = {}
        try:
            async with self._peers.asking(holder, files) as answer:
                for place, had in zip(places, answer.had, strict=True):
                    if had.bytes == ABSENT:
                        continue
                    data = bytearray(had.bytes)
                    await answer.fill(memoryview(data))
                    if digests.crc64nvme_hex(data) != had.digest:
                        raise _Failed("it sent other bytes than it has")
                    checksum = Checksum("crc64nvme", had.digest)
                    entry = entries[place]
                    found[place] = Blob(entry, data, _attributes(had), Proof.STRONG, checksum)
                    self.taken[entry.key] = len(data)
        except _Failed as failed:
            self._peers.leave_alone(holder, str(failed))
        return found

    async def read_into(self, entry: Entry, span: ByteRange, buffer: memoryview) -> None:
        """See the port. Whether the bytes are the right ones tells the digest of the whole, which ``head`` told."""
        for holder in self._in_turn():
            try:
                files = [wanted(entry, span.start, span.stop)]
                async with self._peers.asking(holder, files) as answer:
                    if answer.had[0].bytes == ABSENT:
                        continue
                    await answer.fill(buffer)
            except _Failed as failed:
                self._peers.leave_alone(holder, str(failed))
                continue
            self.taken[entry.key] = self.taken.get(entry.key, 0) + len(span)
            return
        await self.inner.read_into(entry, span, buffer)

    def _in_turn(self) -> list[str]:
        return self._peers.in_turn(self._holders)[:ASKED_MAX]


def _attributes(had: Had) -> Attributes:
    return Attributes(mtime_ns=had.mtime_ns, mode=had.mode)


def _why(status: int) -> str:
    if status == 401:
        return "it has another secret, or its clock is apart from ours"
    return f"it answers {status}"
