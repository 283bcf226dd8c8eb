"""Serve metrics over HTTP: ``GET /metrics`` for Prometheus, ``GET /healthz`` for whoever asks whether we live.

There is no authentication and no encryption: names of jobs, workers and nodes are seen by all who reach it.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence

from aiohttp import web

from mover.metrics import Family
from mover.metrics_text import as_asked

TellsFamilies = Callable[[], Sequence[Family]]
"""Says how things stand now; called for each scrape."""


def add_metrics(app: web.Application, tells: TellsFamilies) -> None:
    """Add ``/metrics`` and ``/healthz`` to a web application."""

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = as_asked(tells(), request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)


@contextlib.asynccontextmanager
async def serve_metrics(
    tells: TellsFamilies, *, host: str, port: int
) -> AsyncGenerator[tuple[str, int], None]:
    """Serve until the context ends; "" as host means every address, 0 any port.

    Yields the address and the port that it got. Raises ``OSError``.
    """
    app = web.Application()
    add_metrics(app, tells)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
        bound = runner.addresses[0]
        yield bound[0], bound[1]
    finally:
        await runner.cleanup()
