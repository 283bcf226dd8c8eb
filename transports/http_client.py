"""Requests to one HTTP location: addressed, authorised, sent, and their failures named."""

import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, TypeAlias
from urllib.parse import quote

import aiohttp
from yarl import URL

from transports.errors import (
    Denied,
    Invalid,
    NotFound,
    TimedOut,
    TransportError,
    Unavailable,
    translating,
)
from transports.http_answers import error_of
from transports.location import Location
from transports.proxies import proxy_of

REMEMBERED_MAX: Final = 4096
"""Redirects remembered by key, so that all reads of an object go to one mirror."""

HttpAnswer: TypeAlias = aiohttp.ClientResponse

BODY_ERRORS: Final = (aiohttp.ClientError, OSError)
"""What reading a body may raise when the way breaks; a timeout is an ``OSError``."""

_OPTIONS: Final = ("ca_file", "connect_timeout_s", "read_timeout_s", "verify")


class HttpClient:
    """A pool of connections for one location."""

    def __init__(
        self,
        location: Location,
        session: aiohttp.ClientSession,
        *,
        query: str = "",
        authorization: str = "",
        environment: Mapping[str, str] | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.now_s = now_s
        self._location = location
        self._root = replace(location, query="").text
        self._session = session
        self._query = "&".join(filter(None, (location.query, query)))
        self._authorization = authorization
        self._environment = environment or {}
        self._moved: dict[str, URL] = {}  # where redirects ended, by key

    @asynccontextmanager
    async def get(
        self, key: str, headers: Mapping[str, str] | None = None, also: Sequence[int] = ()
    ) -> AsyncIterator[HttpAnswer]:
        """An answer with a good status or one of ``also``; errors of the way become ours."""
        name = self._name(key)
        moved = self._moved.get(key)
        url = moved or self._url(key)
        sent = dict(headers or {})
        if self._authorization and url.origin() == self._url("").origin():
            sent["Authorization"] = self._authorization
        proxy = proxy_of(url.scheme, url.host or "", url.port, self._environment)
        with translating(_translate, name):
            async with self._session.get(url, headers=sent, proxy=proxy) as answer:
                if answer.url.scheme != "https" and self._location.scheme == "https":
                    raise Denied(name, "the server leads from https to http")
                if answer.status >= 300 and answer.status not in also:
                    if self._moved.pop(key, None) and answer.status in {401, 403, 404, 410}:
                        raise Unavailable(name, "what a redirect led to is gone")
                    raise error_of(answer.status, answer.headers, name, now_s=self.now_s())
                if (
                    answer.history
                    and answer.url.raw_path.endswith("/")
                    and key[-1:] not in {"", "/"}
                ):
                    raise NotFound(name, "the server shows a directory there")
                if answer.history and len(self._moved) < REMEMBERED_MAX:
                    self._moved[key] = answer.url
                yield answer

    def _url(self, key: str) -> URL:
        location = self._location
        segments = key.removesuffix("/").split("/")
        if key and not {"", ".", ".."}.isdisjoint(segments):
            raise NotFound(self._name(key), "no URL names this")
        path = location.path + quote(key, safe="/-._~", errors="surrogateescape")
        query = f"?{self._query}" if self._query else ""
        return URL(f"{location.scheme}://{location.authority}/{path}{query}", encoded=True)

    def _name(self, key: str) -> str:
        return self._root + key

    async def close(self) -> None:
        await self._session.close()


def open_client(location: Location, environment: Mapping[str, str]) -> HttpClient:
    """Open a location inside a running loop. Raises ``ValueError`` for an option that is no good."""
    options = location.options
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise ValueError(f"unknown HTTP option {unknown[0]!r} (known: {', '.join(_OPTIONS)})")
    connector = aiohttp.TCPConnector(limit=0, ssl=_tls(options, environment), ttl_dns_cache=30)
    timeout = aiohttp.ClientTimeout(
        total=None,
        sock_connect=_seconds(options, "connect_timeout_s", 10.0),
        sock_read=_seconds(options, "read_timeout_s", 60.0),
    )
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
    )
    return HttpClient(
        location,
        session,
        query=environment.get("HTTP_QUERY", "").lstrip("?"),
        authorization=environment.get("HTTP_AUTHORIZATION", ""),
        environment=environment,
    )


def _tls(options: Mapping[str, str], environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    """How certificates are judged; True for aiohttp's one context, since another takes 20 ms."""
    ca_file = options.get("ca_file") or environment.get("SSL_CERT_FILE") or None
    if ca_file is None and "verify" not in options:
        return True
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file={ca_file!r}: {error}") from error
    verify = options.get("verify", "true").lower()
    if verify not in {"true", "false"}:
        raise ValueError(f"verify={verify!r} is neither true nor false")
    if verify == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _seconds(options: Mapping[str, str], name: str, default_s: float) -> float:
    try:
        seconds = float(options.get(name, default_s))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError(f"{name}={options[name]!r} is not a number of seconds")
    return seconds


def _translate(error: BaseException, name: str) -> TransportError | None:
    """Aiohttp's errors as ours. Their texts may hold the URL's query: only causes are repeated."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return Denied(name, "the server's certificate is not trusted: name its CA with ca_file")
    if isinstance(error, TimeoutError):
        return TimedOut(name)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.TooManyRedirects):
        return Invalid(name, "the server's redirects lead nowhere")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unavailable(name, f"no connection: {error.os_error.strerror or 'refused'}")
    if isinstance(error, aiohttp.ClientError | OSError):
        return Unavailable(name, f"the connection failed ({type(error).__name__})")
    return None
