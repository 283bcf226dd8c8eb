"""The road for every S3 request: aiohttp. The only door to it here, imported when first needed.

Exact: the URL goes out as it is given, no redirect is followed, nothing is decompressed, and no
proxy, netrc or cookie of the process gets in. The lean lane takes the plain requests; what it hands
back comes this way.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp
from yarl import URL

from transports.base import Pace
from transports.digests import BytesLike
from transports.errors import Denied, TimedOut, TransportError, Truncated, Unavailable
from transports.s3_options import Address, S3Options
from transports.s3_reply import Reply, WrongLength

SLICE_BYTES: Final = 128 * 1024
"""At most so many bytes go to the network per grant of ``pace``."""

# Far more than any limit above allows to run at once; it only keeps a fault from eating all sockets.
_CONNECTIONS_MAX: Final = 512
_ERROR_BYTES_MAX: Final = 1024 * 1024
_BODY_BYTES_MAX: Final = 5 * 1024**3


class HttpRoad:
    """A pool of connections for one transport. Made inside a running loop."""

    def __init__(
        self, options: S3Options, *, tls: ssl.SSLContext | None, proxy: str | None
    ) -> None:
        self._proxy = proxy
        self._silence_s = options.read_timeout_s
        self._tls: ssl.SSLContext | bool = True if tls is None else tls
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, ttl_dns_cache=30),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=options.connect_timeout_s,
                sock_read=options.read_timeout_s,
            ),
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        )

    async def request(
        self,
        method: str,
        address: Address,
        target: str,
        headers: Sequence[tuple[str, str]],
        location: str,
        *,
        body: BytesLike = b"",
        into: memoryview | None = None,
        pace: Pace | None = None,
    ) -> Reply:
        """Send one request. ``target`` is the encoded path with its query.

        A success's body lands in ``into``, where that is given; raises ``WrongLength`` when it
        announces another length, ``Truncated`` when it breaks off. Raises ``Unavailable``,
        ``TimedOut`` and ``Denied`` (a certificate) for the way there. A cancelled call closes its
        connection; nothing touches ``body`` or ``into`` afterwards.
        """
        received = _Count()
        try:
            async with asyncio.timeout(None) as watch:
                return await self._exchange(
                    method,
                    f"{address.origin}{target}",
                    headers,
                    location,
                    _Outgoing(body, pace, watch, self._silence_s),
                    into,
                    received,
                )
        except TransportError:
            raise
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            raise TimedOut(location, f"no byte for {self._silence_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(error, location, received) from error

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        location: str,
        outgoing: "_Outgoing",
        into: memoryview | None,
        received: "_Count",
    ) -> Reply:
        sent = list(headers)
        sent += (("accept-encoding", "identity"), ("user-agent", "fluid-mover"))
        if method in ("PUT", "POST"):
            sent.append(("content-length", str(len(outgoing.body))))
        async with self._session.request(
            method,
            URL(url, encoded=True),
            headers=sent,
            data=outgoing.payload(),
            allow_redirects=False,
            proxy=self._proxy,
            ssl=self._tls,
        ) as response:
            outgoing.watch.reschedule(None)  # from here aiohttp watches the silence itself
            answer = {name.lower(): value for name, value in response.raw_headers}
            status = response.status
            if method == "HEAD":
                return Reply(status, answer, b"", 0)
            if into is not None and status < 300:
                await _fill(response, answer, into, location, received)
                return Reply(status, answer, b"", len(into))
            body = await _whole(response, status, location, received)
            return Reply(status, answer, body, len(body))

    async def close(self) -> None:
        await self._session.close()


class _Count:
    """How many bytes of a body have come, and how many were announced."""

    __slots__ = ("expected", "received")

    def __init__(self) -> None:
        self.received = 0
        self.expected = -1


class _Outgoing:
    """A body on its way out, in slices, each within the pace and watched for a stall.

    aiohttp's own timeout for silence begins with the answer, so a server that stops reading would
    hold the request for ever; the watch is set anew with every slice.
    """

    def __init__(
        self, body: BytesLike, pace: Pace | None, watch: asyncio.Timeout, silence_s: float
    ) -> None:
        self.body = body
        self.watch = watch
        self._pace = pace
        self._silence_s = silence_s

    def payload(self) -> BytesLike | AsyncIterator[BytesLike] | None:
        if not len(self.body):
            return None
        if self._pace is None and len(self.body) <= SLICE_BYTES:
            self._touch()
            return self.body
        return self._slices(memoryview(self.body))

    async def _slices(self, view: memoryview) -> AsyncIterator[BytesLike]:
        for start in range(0, len(view), SLICE_BYTES):
            piece = view[start : start + SLICE_BYTES]
            if self._pace is not None:
                self.watch.reschedule(None)  # waiting for a grant is no stall
                await self._pace(len(piece))
            self._touch()
            yield piece

    def _touch(self) -> None:
        self.watch.reschedule(asyncio.get_running_loop().time() + self._silence_s)


async def _fill(
    response: aiohttp.ClientResponse,
    headers: dict[bytes, bytes],
    into: memoryview,
    location: str,
    received: _Count,
) -> None:
    expected = len(into)
    announced = headers.get(b"content-length")
    if announced is not None and int(announced) > expected:
        response.close()
        raise WrongLength(location, expected, int(announced))
    received.expected = expected
    async for piece in response.content.iter_any():
        stop = received.received + len(piece)
        if stop > expected:
            response.close()
            raise WrongLength(location, expected, stop)
        into[received.received : stop] = piece
        received.received = stop
    if received.received < expected:
        raise Truncated(location, received_bytes=received.received, expected_bytes=expected)


async def _whole(
    response: aiohttp.ClientResponse, status: int, location: str, received: _Count
) -> bytes:
    """A body in memory; an error's body is cut at a size that no honest one has."""
    limit = _ERROR_BYTES_MAX if status >= 300 else _BODY_BYTES_MAX
    received.expected = response.content_length if response.content_length is not None else -1
    pieces = []
    async for piece in response.content.iter_any():
        received.received += len(piece)
        if received.received > limit:
            response.close()
            raise Unavailable(location, f"an answer of more than {limit} bytes")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _translated(error: Exception, location: str, received: _Count) -> TransportError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Denied(
            location,
            f"the server's certificate is not trusted ({error.certificate_error}); "
            "give its authority by ?ca_file= or AWS_CA_BUNDLE",
        )
    if isinstance(error, aiohttp.ClientPayloadError) and received.expected >= 0:
        return Truncated(
            location, received_bytes=received.received, expected_bytes=received.expected
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unavailable(
            location, f"cannot connect to {error.host}:{error.port}: {error.os_error}"
        )
    return Unavailable(location, f"{type(error).__name__}: {error}"[:300])
