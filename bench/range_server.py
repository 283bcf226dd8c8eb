"""A directory over HTTP, with several ranges in one request as zsync asks for them (RFC 9110, 14.6).

range_server.py DIRECTORY     prints its port, then serves until it is stopped
"""

import asyncio
import os
import re
import sys
from pathlib import Path

from aiohttp import web

BOUNDARY = "next-range"
_SPANS = re.compile(r"(\d+)-(\d+)")


async def answer(request: web.Request) -> web.StreamResponse:
    """One range or none by aiohttp's own means; several as ``multipart/byteranges``."""
    path = Path(request.app["root"]) / request.match_info["name"]
    spans = [(int(a), int(b) + 1) for a, b in _SPANS.findall(request.headers.get("Range", ""))]
    if len(spans) < 2:
        return web.FileResponse(path)
    size = path.stat().st_size
    heads = [
        f"\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Range: bytes {start}-{min(stop, size) - 1}/{size}\r\n\r\n".encode()
        for start, stop in spans
    ]
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    length = sum(map(len, heads)) + sum(min(stop, size) - start for start, stop in spans) + len(end)
    response = web.StreamResponse(
        status=206,
        headers={
            "Content-Type": f"multipart/byteranges; boundary={BOUNDARY}",
            "Content-Length": str(length),
        },
    )
    await response.prepare(request)
    with path.open("rb") as file:
        for head, (start, stop) in zip(heads, spans, strict=True):
            await response.write(head)
            await response.write(os.pread(file.fileno(), stop - start, start))
    await response.write(end)
    return response


async def serve(directory: str) -> None:
    """Serve on a free loopback port until cancelled."""
    application = web.Application()
    application["root"] = directory
    application.router.add_get("/{name}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
