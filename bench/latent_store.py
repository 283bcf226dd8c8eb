"""An S3 server whose only cost is time: every answer is held back, and nothing is stored.

It exists to ask how a fleet behaves where a store's latency is the limit, on a machine that has two
cores for the fleet and the store together. So it spends next to nothing: no signature is checked, no
digest is computed, bodies are discarded by the kernel (``MSG_TRUNC``), and large ranges are sent
from memory that the kernel already has (``sendfile``). Run as a script:

    latent_store.py KEYS KEY_BYTES LATENCY_MS     prints its port, then serves until it is stopped

- Bucket ``source`` holds KEYS keys ``object-000000000.bin`` and on of KEY_BYTES bytes each, and any
  object ``large-BYTES.bin`` that somebody asks for by name. Every other bucket is empty.
- A PUT, a part or a completed upload goes into nothing; the CRC-64/NVME that came with it is
  echoed, which tells the client that the store has compared it.
- ``GET /-/counts`` is answered at once, as JSON: what has happened since it was last asked.
"""

import asyncio
import bisect
import hashlib
import json
import os
import random
import re
import socket
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

import uvloop

SOURCE = "source"
PAGE_KEYS = 1000
POOL_BYTES = 16 * 1024 * 1024  # what all bodies are cut from
HEAD_BYTES_MAX = 64 * 1024
FLOW_BIN_S = 0.01
DISCARD_BYTES = 1024 * 1024  # of a body in one call; nothing is copied
XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
ROW = "<Contents><Key>object-"
MODIFIED_HTTP = "Mon, 01 Jan 2024 00:00:00 GMT"
HIGHEST = "\U0010ffff"
CRC64_POLYNOMIAL = 0x9A6C9329AC4BC9B5  # CRC-64/NVME, reflected

_LARGE = re.compile(r"large-(\d+)\.bin")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d+)", re.IGNORECASE)
_CRC = re.compile(rb"\r\nx-amz-checksum-crc64nvme: *([^\r]+)", re.IGNORECASE)


def name_of(number: int) -> str:
    """Return the key of a number; zeros in front keep the numbers in key order."""
    return f"object-{number:09d}.bin"


class Pages:
    """Pages of a listing, put together from a thousand prebuilt entries.

    Within a thousand only the upper digits of the keys change, so they are what joins the rest.
    """

    def __init__(self, count: int, size_bytes: int, etag: str) -> None:
        self._keys = range(count)
        self._rests = [
            f"{number:03d}.bin</Key>"
            f"<LastModified>2024-01-01T00:00:{number % 60:02d}.{number:03d}Z</LastModified>"
            f"<ETag>&quot;{etag}&quot;</ETag><Size>{size_bytes}</Size>"
            f"<StorageClass>STANDARD</StorageClass></Contents>{ROW}"
            for number in range(PAGE_KEYS)
        ]

    def page(self, query: dict[str, str], bucket: str) -> str:
        """Return one page of ListObjectsV2 as XML, by the API reference of S3."""
        prefix = query.get("prefix", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        most = min(PAGE_KEYS, int(query.get("max-keys", PAGE_KEYS)))
        first, end = 0, 0
        if bucket == SOURCE:
            first = bisect.bisect_left(self._keys, prefix, key=name_of)
            first = max(first, bisect.bisect_right(self._keys, after, key=name_of))
            end = bisect.bisect_left(self._keys, prefix + HIGHEST, key=name_of)
        stop = min(first + most, end)
        count = max(0, stop - first)
        url = "<EncodingType>url</EncodingType>" if "encoding-type" in query else ""
        more = count > 0 and stop < end
        token = f"<NextContinuationToken>{name_of(stop - 1)}</NextContinuationToken>"
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{XMLNS}">'
            f"<Name>{bucket}</Name><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys>{url}"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token if more else ''}"
            f"{self._rows(first, stop) if count else ''}</ListBucketResult>"
        )

    def _rows(self, first: int, stop: int) -> str:
        text = ROW
        for block in range(first // PAGE_KEYS, (stop - 1) // PAGE_KEYS + 1):
            upper, start = f"{block:06d}", block * PAGE_KEYS
            text += upper + upper.join(self._rests[max(first - start, 0) : stop - start])
        return text.removesuffix(ROW)


class Answer(NamedTuple):
    """Bytes to send, then ``span`` bytes of the pool's endless repetition from ``start`` on."""

    data: bytes
    start: int = 0
    span: int = 0


class Answers:
    """Turns a request's head into an answer; knows nothing of sockets and time."""

    def __init__(self, *, keys: int, key_bytes: int, pool: bytes) -> None:
        body = pool[:key_bytes]
        self._keys = keys
        self._etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._pages = Pages(keys, key_bytes, self._etag)
        crc = (
            ("x-amz-checksum-crc64nvme", crc64nvme_base64(body)),
            ("x-amz-checksum-type", "FULL_OBJECT"),
        )
        self._whole = _head("200 OK", key_bytes, self._etag, crc) + body
        self._body = body

    def answer(self, method: str, target: str, head: bytes) -> tuple[str, Answer]:
        """Return what kind of request this is, and its whole answer."""
        path, _, text = target.partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        if method == "GET" and not key:
            query = {n: v[-1] for n, v in parse_qs(text, keep_blank_values=True).items()}
            if "uploads" in query:
                return "uploads", _xml(
                    "ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>"
                )
            page = self._pages.page(query, bucket).encode()
            return "list", Answer(_head("200 OK", len(page)) + page)
        if method in ("GET", "HEAD"):
            if "uploadId=" in text:
                return "parts", _xml("ListPartsResult", "<IsTruncated>false</IsTruncated>")
            return method.lower(), self._read(method, bucket, key, head)
        if method == "PUT":
            return "part" if "uploadId=" in text else "put", _written(head)
        if method == "POST" and "uploadId=" in text:
            return "complete", _completed(head)
        if method == "POST" and text.startswith("uploads"):
            return "open", _xml("InitiateMultipartUploadResult", "<UploadId>nothing</UploadId>")
        if method == "DELETE":
            return "delete", Answer(_head("204 No Content", 0))
        return "other", Answer(_head("501 Not Implemented", 0))

    def _read(self, method: str, bucket: str, key: str, head: bytes) -> Answer:
        asked = _RANGE.search(head)
        if large := _LARGE.fullmatch(key):
            return _large(method, int(large[1]), asked)
        if bucket != SOURCE or not self._holds(key):
            return Answer(_head("404 Not Found", 0))
        if method == "HEAD":
            return Answer(_head("200 OK", len(self._body), self._etag))
        if asked is None:
            return Answer(self._whole)
        start, last = int(asked[1]), min(int(asked[2]), len(self._body) - 1)
        return Answer(
            _partial(start, last, len(self._body), self._etag) + self._body[start : last + 1]
        )

    def _holds(self, key: str) -> bool:
        number = key.removeprefix("object-").removesuffix(".bin")
        return number.isdecimal() and int(number) < self._keys and key == name_of(int(number))


def _large(method: str, size: int, asked: re.Match[bytes] | None) -> Answer:
    etag = f"{size:032x}-1"  # the form of an upload in parts: nobody takes it for an MD5
    if asked is None:
        return Answer(_head("200 OK", size, etag), 0, 0 if method == "HEAD" else size)
    start, last = int(asked[1]), min(int(asked[2]), size - 1)
    return Answer(_partial(start, last, size, etag), start, last + 1 - start)


def _written(head: bytes) -> Answer:
    crc = _CRC.search(head)
    echoed = () if crc is None else (("x-amz-checksum-crc64nvme", crc[1].decode()),)
    return Answer(_head("200 OK", 0, "0" * 32, echoed))


def _completed(head: bytes) -> Answer:
    crc = _CRC.search(head)
    text = f"<ETag>&quot;{0:032x}-1&quot;</ETag>"
    if crc is not None:
        text += f"<ChecksumCRC64NVME>{crc[1].decode()}</ChecksumCRC64NVME>"
    return _xml("CompleteMultipartUploadResult", text)


def _head(status: str, length: int, etag: str = "", extra: Sequence[tuple[str, str]] = ()) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in extra)
    if etag:
        lines += f'ETag: "{etag}"\r\nLast-Modified: {MODIFIED_HTTP}\r\n'
    return (
        f"HTTP/1.1 {status}\r\nServer: latent\r\nContent-Length: {length}\r\n{lines}\r\n".encode()
    )


def _partial(start: int, last: int, size: int, etag: str) -> bytes:
    where = ("Content-Range", f"bytes {start}-{last}/{size}")
    return _head("206 Partial Content", last + 1 - start, etag, (where,))


def _xml(root: str, inner: str) -> Answer:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns="{XMLNS}">{inner}</{root}>'.encode()
    )
    return Answer(_head("200 OK", len(body)) + body)


def crc64nvme_base64(data: bytes) -> str:
    """The CRC-64/NVME as S3 writes it. A bit at a time: for one body, once."""
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (CRC64_POLYNOMIAL if crc & 1 else 0)
    return b64encode((crc ^ 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")).decode()


class Counts:
    """What has been asked, since somebody last looked. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._begin()

    def _begin(self) -> None:
        self._requests: dict[str, int] = {}
        self._first_s: dict[str, float] = {}
        self._flows: dict[str, Counter[int]] = {"in": Counter(), "out": Counter()}
        self._in_flight_max = self.in_flight
        self._last_s = 0.0

    def began(self, kind: str) -> None:
        self.in_flight += 1
        self._in_flight_max = max(self._in_flight_max, self.in_flight)
        if kind not in self._requests:
            self._first_s[kind] = time.monotonic()
        self._requests[kind] = self._requests.get(kind, 0) + 1

    def flowed(self, direction: str, size_bytes: int) -> None:
        """Note body bytes that the kernel has just given or taken, in bins of ``FLOW_BIN_S``."""
        self._flows[direction][int(time.monotonic() / FLOW_BIN_S)] += size_bytes

    def ended(self) -> None:
        self.in_flight -= 1
        self._last_s = time.monotonic()

    def take(self) -> dict[str, object]:
        taken: dict[str, object] = {
            "requests": self._requests,
            "first_s": self._first_s,
            "last_s": self._last_s,
            "in_flight_max": self._in_flight_max,
            "flows": self._flows,
            "cpu_s": time.process_time(),
        }
        self._begin()
        return taken


class Store:
    """What the connections of one server share."""

    def __init__(self, *, keys: int, key_bytes: int, latency_s: float) -> None:
        pool = random.Random(1).randbytes(POOL_BYTES)
        self.answers = Answers(keys=keys, key_bytes=key_bytes, pool=pool)
        self.counts = Counts()
        self.latency_s = latency_s
        self.loop = asyncio.get_running_loop()
        self.scratch = bytearray(DISCARD_BYTES)
        self.pool_file = os.memfd_create("pool")
        os.write(self.pool_file, pool)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.loop.add_reader(self._listener, self._accept)
        self.port: int = self._listener.getsockname()[1]

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(self, connection)


class Connection:
    """One kept-alive connection: a head, a body that is discarded, a pause, an answer; and again.

    Works on the bare socket, because a protocol is given every byte of a body, and has no
    ``sendfile`` on uvloop.
    """

    def __init__(self, store: Store, connection: socket.socket) -> None:
        self._store = store
        self._socket = connection
        self._received = b""
        self._to_discard = 0
        self._answer = Answer(b"")
        self._sent = 0
        store.loop.add_reader(connection, self._readable)

    def _readable(self) -> None:
        try:
            if self._to_discard:
                room = min(self._to_discard, DISCARD_BYTES)
                count = self._socket.recv_into(self._store.scratch, room, socket.MSG_TRUNC)
                self._to_discard -= count
                self._store.counts.flowed("in", count)
                if count and not self._to_discard:
                    self._pause()
            else:
                data = self._socket.recv(HEAD_BYTES_MAX)
                count = len(data)
                self._take(data)
        except BlockingIOError:
            return
        except ConnectionError:
            count = 0
        if not count:
            self._close()

    def _take(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        self._received = b""
        method, target = head[: head.index(b" HTTP/")].decode("latin-1").split(" ", 1)
        counts = self._store.counts
        if target == "/-/counts":
            body = json.dumps(counts.take()).encode()
            self._start(Answer(_head("200 OK", len(body)) + body))
            return
        kind, self._answer = self._store.answers.answer(method, target, head)
        counts.began(kind)
        announced = int(length[1]) if (length := _LENGTH.search(head)) else 0
        self._to_discard = announced - len(rest)
        counts.flowed("in", len(rest))
        if not self._to_discard:
            self._pause()

    def _pause(self) -> None:
        self._store.loop.call_later(self._store.latency_s, self._ripe)

    def _ripe(self) -> None:
        self._store.counts.ended()
        self._start(self._answer)

    def _start(self, answer: Answer) -> None:
        self._answer = answer
        self._sent = 0
        if not self._send():
            self._store.loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        if self._send():
            self._store.loop.remove_writer(self._socket)

    def _send(self) -> bool:
        """Send what the connection takes; whether that was all."""
        data, start, span = self._answer
        try:
            while self._sent < len(data):
                self._sent += self._socket.send(memoryview(data)[self._sent :])
            while (done := self._sent - len(data)) < span:
                offset = (start + done) % POOL_BYTES
                room = min(span - done, POOL_BYTES - offset)
                count = os.sendfile(self._socket.fileno(), self._store.pool_file, offset, room)
                self._store.counts.flowed("out", count)
                self._sent += count
        except BlockingIOError:
            return False
        except OSError:
            self._close()
        return True

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            self._store.loop.remove_reader(self._socket)
            self._store.loop.remove_writer(self._socket)
            self._socket.close()


async def serve(keys: int, key_bytes: int, latency_ms: float) -> None:
    """Serve on a free loopback port until cancelled."""
    store = Store(keys=keys, key_bytes=key_bytes, latency_s=latency_ms / 1000)
    sys.stdout.write(f"{store.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
