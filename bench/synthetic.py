"""An S3 server that only lists: any number of keys, made up page by page, the same in all buckets.

It answers what a comparison of two buckets asks (ListObjects in both versions, HEAD of a bucket or
an object, the bucket's location) and nothing else; signatures are not looked at. It exists to ask
how a client's memory grows with the number of keys, without storing them. Run as a script:

    synthetic.py COUNT SIZE     prints its port, then serves until it is stopped
"""

import asyncio
import bisect
import sys
from collections.abc import Sequence
from typing import overload
from urllib.parse import parse_qs, unquote, urlsplit

PAGE_KEYS = 1000
MODIFIED_ISO = "2024-01-01T00:00:00.000Z"
MODIFIED_HTTP = "Mon, 01 Jan 2024 00:00:00 GMT"
HEAD_BYTES_MAX = 64 * 1024
XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"


class Keys(Sequence[str]):
    """``count`` keys in order, none of them stored: the number of a key is its name."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [name_of(number) for number in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return name_of(index)


def name_of(number: int) -> str:
    """Return the key of a number; zeros in front keep the numbers in key order."""
    return f"object-{number:09d}.bin"


def page_of(keys: Keys, *, prefix: str, after: str, most: int) -> tuple[list[str], bool]:
    """Return the keys that start with ``prefix`` and come after ``after``, and if more follow."""
    first = bisect.bisect_left(keys, prefix) if prefix else 0
    if after:
        first = max(first, bisect.bisect_right(keys, after))
    page = [key for key in keys[first : first + most + 1] if key.startswith(prefix)]
    return page[:most], len(page) > most


def listing(query: dict[str, str], keys: Keys, *, bucket: str, size_bytes: int) -> str:
    """Return one page of ListObjects or ListObjectsV2 as XML, by the API reference of S3."""
    second = query.get("list-type") == "2"
    resume = query.get("continuation-token") or query.get("start-after", "")
    after = resume if second else query.get("marker", "")
    prefix = query.get("prefix", "")
    most = min(PAGE_KEYS, int(query.get("max-keys", PAGE_KEYS)))
    page, more = page_of(keys, prefix=prefix, after=after, most=most)
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>{MODIFIED_ISO}</LastModified>"
        f"<ETag>&quot;{index:032x}&quot;</ETag><Size>{size_bytes}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for index, key in enumerate(page)
    )
    resumption = ""
    if more:
        element = "NextContinuationToken" if second else "NextMarker"
        resumption = f"<{element}>{page[-1]}</{element}>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="{XMLNS}">'
        f"<Name>{bucket}</Name><Prefix>{prefix}</Prefix><KeyCount>{len(page)}</KeyCount>"
        f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
        f"{resumption}{contents}</ListBucketResult>"
    )


class Answers:
    """Turns a request line into an answer; knows nothing of sockets."""

    def __init__(self, *, count: int, size_bytes: int) -> None:
        self._keys = Keys(count)
        self._size_bytes = size_bytes

    def answer(self, method: str, target: str) -> bytes:
        """Return the whole answer to a request: head and body."""
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {name: values[-1] for name, values in parse_qs(parts.query, True).items()}
        if method == "HEAD":
            length = self._size_bytes if key else 0
            return self._head("200 OK", length)
        if method != "GET" or key:
            return self._whole("501 Not Implemented", "<Error><Code>NotImplemented</Code></Error>")
        if "location" in query:
            return self._whole("200 OK", f'<LocationConstraint xmlns="{XMLNS}"/>')
        if "versioning" in query:
            return self._whole("200 OK", f'<VersioningConfiguration xmlns="{XMLNS}"/>')
        page = listing(query, self._keys, bucket=bucket, size_bytes=self._size_bytes)
        return self._whole("200 OK", page)

    @staticmethod
    def _head(status: str, length: int) -> bytes:
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n"
            f'Last-Modified: {MODIFIED_HTTP}\r\nETag: "{0:032x}"\r\n\r\n'
        ).encode()

    def _whole(self, status: str, text: str) -> bytes:
        body = text.encode()
        return self._head(status, len(body)) + body


async def serve(answers: Answers) -> None:
    """Serve on a free loopback port until cancelled; connections are kept alive."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                writer.write(answers.answer(method, target))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done with this connection
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Answers(count=int(sys.argv[1]), size_bytes=int(sys.argv[2]))))
