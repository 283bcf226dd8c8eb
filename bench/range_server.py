"""A directory over HTTP with ranges, for tools that only read from a server.

range_server.py DIRECTORY     prints its port, then serves until it is stopped
"""

import asyncio
import sys

from aiohttp import web


async def serve(directory: str) -> None:
    """Serve on a free loopback port until cancelled."""
    application = web.Application()
    application.router.add_static("/", directory)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
