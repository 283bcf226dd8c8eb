"""An HTTP server over one directory, in every manner that a mover meets in the wild.

The first segment of a path chooses the manner; the rest names a file under ``root``:

===========  =====================================================================================
ranges       ranges, strong ETag, Last-Modified, Content-Length
plain        no ranges (the header is ignored), ETag, Last-Modified, Content-Length
chunked      no ranges, no Content-Length: the body comes in chunks
bare         no ranges and no validators: nothing tells one version from the next
weak         ranges and only a weak ETag
redirect     302 to the same file under ``ranges``
loop         302 to itself
denied       401 without the password ``user:pass``, else as ``ranges``
nginx        as ``ranges``; a directory answers nginx's index page
apache       as ``ranges``; a directory answers Apache's index page
python       as ``ranges``; a directory answers the page of ``python -m http.server``
===========  =====================================================================================
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from tests.servers.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from aiohttp.abc import AbstractStreamWriter

_INDEXED = ("nginx", "apache", "python")
_RANGED = ("ranges", "weak", "denied", *_INDEXED)
_MANNERS = (*_RANGED, "plain", "chunked", "bare", "redirect", "loop")
_PIECE_BYTES = 64 * 1024
_LOGIN = "Basic " + base64.b64encode(b"user:pass").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the server saw it: header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int


class HttpServer(LoopThread):
    """Serves ``root`` on 127.0.0.1; ``requests`` holds what was asked since ``forget``."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.requests: list[Request] = []
        self.base_url = ""

    def url(self, manner: str, path: str = "") -> str:
        """The address of a file or directory in one of the manners above."""
        assert manner in _MANNERS, manner
        return f"{self.base_url}/{manner}/{quote(path)}"

    def forget(self) -> None:
        self.requests.clear()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        response = self._decide(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(
            Request(
                method=request.method, path=request.path, headers=headers, status=response.status
            )
        )
        return response

    def _decide(self, request: web.BaseRequest) -> web.StreamResponse:
        _, manner, *rest = request.path.split("/")
        path = "/".join(rest)
        if manner not in _MANNERS or ".." in rest:
            return web.Response(status=404)
        if manner in ("redirect", "loop"):
            goal = "ranges" if manner == "redirect" else "loop"
            return web.Response(status=302, headers={"Location": f"/{goal}/{quote(path)}"})
        if manner == "denied" and request.headers.get("Authorization") != _LOGIN:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="files"'})
        found = self.root / path
        if found.is_dir() and manner in _INDEXED:
            if not request.path.endswith("/"):
                return web.Response(status=301, headers={"Location": f"{request.path}/"})
            page = index_page(manner, found, f"/{path}")
            return web.Response(text=page, content_type="text/html", charset="utf-8")
        if not found.is_file():
            return web.Response(status=404)
        return _file_answer(request, manner, found)


def _file_answer(request: web.BaseRequest, manner: str, found: Path) -> web.StreamResponse:
    body, status = found.read_bytes(), 200
    headers = _validators(manner, found, body)
    etag = headers.get("ETag")
    wanted = request.headers.get("If-Match")
    if wanted is not None and etag is not None and wanted not in ("*", etag):
        return web.Response(status=412, headers=headers)
    if etag is not None and request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    if manner in _RANGED:
        headers["Accept-Ranges"] = "bytes"
        kept = request.headers.get("If-Range")
        if "Range" in request.headers and (kept is None or kept in headers.values()):
            span = _span(request.headers["Range"], len(body))
            if span is None:
                return web.Response(
                    status=416, headers={**headers, "Content-Range": f"bytes */{len(body)}"}
                )
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{len(body)}"
            body, status = body[span.start : span.stop], 206
    if manner == "chunked":
        return _Chunked(body, headers)
    return web.Response(status=status, headers=headers, body=body)


def _validators(manner: str, found: Path, body: bytes) -> dict[str, str]:
    if manner == "bare":
        return {}
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    if manner == "weak":
        return {"ETag": f"W/{tag}"}
    return {"ETag": tag, "Last-Modified": formatdate(found.stat().st_mtime, usegmt=True)}


def _span(text: str, size_bytes: int) -> range | None:
    """The single range that a header asks of a body, or None where it has nothing there."""
    first, _, last = text.removeprefix("bytes=").partition("-")
    if not first:
        start, stop = max(0, size_bytes - int(last)), size_bytes
    else:
        start, stop = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    return range(start, stop) if start < stop else None


class _Chunked(web.StreamResponse):
    """A body of unknown length."""

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self._content = body
        self.enable_chunked_encoding()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        writer = await super().prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(self._content), _PIECE_BYTES):
                await self.write(self._content[start : start + _PIECE_BYTES])
        return writer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One entry of an index page, ready for HTML."""

    link: str
    name: str
    size_bytes: int
    is_directory: bool
    mtime_s: float

    @property
    def short(self) -> str:
        """The name as servers cut it: what a page shows is not always the whole name."""
        return self.name if len(self.name) <= 50 else f"{self.name[:47]}..&gt;"


def index_page(manner: str, directory: Path, shown: str) -> str:
    """The page that nginx's autoindex, Apache's mod_autoindex or Python's server would show."""
    rows = []
    for entry in sorted(directory.iterdir()):
        name = entry.name + ("/" if entry.is_dir() else "")
        facts = entry.stat()
        rows.append(
            _Row(
                link=quote(name),
                name=html.escape(name),
                size_bytes=facts.st_size,
                is_directory=entry.is_dir(),
                mtime_s=facts.st_mtime,
            )
        )
    page = {"nginx": _nginx_page, "apache": _apache_page, "python": _python_page}[manner]
    return page(rows, html.escape(shown))


def _python_page(rows: list[_Row], title: str) -> str:
    items = "\n".join(f'<li><a href="{row.link}">{row.name}</a></li>' for row in rows)
    return (
        '<!DOCTYPE HTML>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>Directory listing for {title}</title>\n</head>\n<body>\n"
        f"<h1>Directory listing for {title}</h1>\n<hr>\n<ul>\n{items}\n</ul>\n<hr>\n"
        "</body>\n</html>\n"
    )


def _nginx_page(rows: list[_Row], title: str) -> str:
    lines = []
    for row in rows:
        stamp = time.strftime("%d-%b-%Y %H:%M", time.gmtime(row.mtime_s))
        pad = " " * (51 - min(len(row.name), 50))
        size = "-" if row.is_directory else str(row.size_bytes)
        lines.append(f'<a href="{row.link}">{row.short}</a>{pad}{stamp} {size:>19}\n')
    return (
        f"<html>\n<head><title>Index of {title}</title></head>\n<body>\n"
        f'<h1>Index of {title}</h1><hr><pre><a href="../">../</a>\n{"".join(lines)}'
        "</pre><hr></body>\n</html>\n"
    )


def _apache_page(rows: list[_Row], title: str) -> str:
    lines = []
    for row in rows:
        stamp = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row.mtime_s))
        size = "  - " if row.is_directory else f"{row.size_bytes / 1024:.1f}K"
        kind = "[DIR]" if row.is_directory else "[   ]"
        lines.append(
            f'<tr><td valign="top"><img src="/icons/unknown.gif" alt="{kind}"></td>'
            f'<td><a href="{row.link}">{row.short}</a></td>'
            f'<td align="right">{stamp}  </td><td align="right">{size}</td></tr>\n'
        )
    # The column headings are links too: a crawler must not take them for files.
    heads = "".join(
        f'<th><a href="?C={column};O=A">{word}</a></th>'
        for column, word in (("N", "Name"), ("M", "Last modified"), ("S", "Size"))
    )
    parent = '<tr><td></td><td><a href="/apache/">Parent Directory</a></td></tr>'
    return (
        f"<html><head><title>Index of {title}</title></head>\n<body>\n<h1>Index of {title}</h1>\n"
        f"<table>\n<tr><th></th>{heads}</tr>\n{parent}\n{''.join(lines)}</table>\n"
        "<address>Apache/2.4 Server</address>\n</body></html>\n"
    )
