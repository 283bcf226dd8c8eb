"""A limiter for others: ``juicefs sync`` takes part in the budget of a link over HTTP.

``POST /limit/NAME`` with the body of ``limiter_protocol``; give the client the URL
``http://HOST:PORT/limit/NAME``. Bytes are booked in the same bucket that a job with
``--link NAME=RATE`` uses, so both together keep the rate. There is no authentication: listen on an
address that only those who are meant to can reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from mover.beside import running_beside
from mover.limiter_protocol import BODY_MAX_BYTES, Returnable, answer, grant_for, parse_ask
from mover.link_quotas import FOLLOW_EVERY_S, UNIT_BYTES, local_now
from mover.links import Link, LinkRate, check_link_name, link_bucket
from mover.units import Malformed
from scheduler.errors import StoreUnavailable
from scheduler.quota import Quota

if TYPE_CHECKING:
    from scheduler.rates import RateStore

PATIENCE_S: Final = 30.0
"""The longest that an answer is held back. The stock client goes on when it arrives, so this is also
how slow it becomes while the store of rates is away: 1 MiB each 30 s."""

LINKS_MAX: Final = 1000
"""How many links one limiter serves: each is followed once a second."""


class Unknown(LookupError):
    """Nobody has said what the rate of this link is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Link {name} is not known: no job and no limiter has set its rate")
        self.name = name


class Away(ConnectionError):
    """The store of rates did not answer for as long as a client is made to wait."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The store of the rate of link {name} is away")
        self.name = name


@dataclass(slots=True, kw_only=True)
class _Served:
    rate: LinkRate
    quota: Quota
    returnable: Returnable = field(default_factory=Returnable)


class Limiter:
    """Grants bytes of links. ``links`` are those whose rates it sets; others it finds in the store.

    ``follow`` must run beside it. Close it with ``aclose``.
    """

    def __init__(
        self,
        store: RateStore,
        links: Sequence[Link] = (),
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._links = links
        self._patience_s = patience_s
        self._clock = clock
        self._served: dict[str, _Served] = {}

    async def start(self) -> None:
        """Set the rates of the links that were given. Raises ``StoreUnavailable``."""
        for link in self._links:
            await self._store.set_rate(link.bucket, link.text)
            self._serve(link.name, link.text)

    async def grant(self, name: str, asked_bytes: int) -> int:
        """Wait until bytes of a link may be used, and return how many: at most what was asked for.

        Raises ``Unknown``, and ``Away`` if the store did not answer in ``patience_s``. A cancel
        puts back what was taken.
        """
        served = await self._find(name)
        wanted = grant_for(asked_bytes, served.rate())
        granted = await self._take(served, wanted)
        if granted == 0 and wanted and served.quota.is_store_away:
            raise Away(name)
        served.returnable.grant(granted, self._clock())
        return granted

    async def give_back(self, name: str, size_bytes: int) -> None:
        """Take bytes back that were granted lately and not used. Raises ``Unknown``, ``Away``."""
        served = await self._find(name)
        served.quota.put_back(served.returnable.accept(size_bytes, self._clock()))
        await served.quota.give_back()

    async def follow(self) -> None:
        """Keep the rates as they are set for all users of the links; ends by cancellation."""
        while True:
            for name, served in list(self._served.items()):
                with contextlib.suppress(StoreUnavailable):
                    served.rate.hear(await self._store.get_rate(link_bucket(name)))
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def aclose(self) -> None:
        """Give back what is held. The store stays open."""
        for served in self._served.values():
            await served.quota.aclose()

    async def _take(self, served: _Served, wanted: int) -> int:
        """Take piece by piece, so that several clients take turns; less if patience ends."""
        taken = 0
        try:
            async with asyncio.timeout(self._patience_s):
                while taken < wanted:
                    piece = served.quota.piece
                    amount = wanted - taken if piece is None else min(wanted - taken, int(piece))
                    await served.quota.take(amount)
                    taken += amount
        except TimeoutError:
            return taken
        except BaseException:
            served.quota.put_back(taken)
            raise
        return taken

    async def _find(self, name: str) -> _Served:
        served = self._served.get(name)
        if served is None:
            try:
                text = await self._store.get_rate(link_bucket(name))
            except StoreUnavailable as error:
                raise Away(name) from error
            if text is None or len(self._served) >= LINKS_MAX:
                raise Unknown(name)
            served = self._serve(name, text)
        if not served.rate.is_known:
            raise Unknown(name)
        return served

    def _serve(self, name: str, text: bytes) -> _Served:
        rate = LinkRate(None, now=local_now)
        rate.hear(text)
        quota = Quota(
            self._store,
            link_bucket(name),
            rate_per_s=rate,
            unit=UNIT_BYTES,
            clock=self._clock,
        )
        return self._served.setdefault(name, _Served(rate=rate, quota=quota))


def limiter_app(limiter: Limiter) -> web.Application:
    """The limiter as a web application, to be served alone or added to another one."""

    async def limit(request: web.Request) -> web.Response:
        try:
            name = check_link_name(request.match_info["name"], what="link")
            asked_bytes = parse_ask(await request.read())
            if asked_bytes < 0:
                await limiter.give_back(name, -asked_bytes)
            granted = await limiter.grant(name, asked_bytes) if asked_bytes > 0 else 0
        except Malformed as error:
            return _refusal(400, error)
        except Unknown as error:
            return _refusal(404, error)
        except (Away, StoreUnavailable) as error:
            return _refusal(503, error)
        return web.json_response(answer(granted))

    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.router.add_post("/limit/{name}", limit)
    return app


@contextlib.asynccontextmanager
async def serve_limiter(
    limiter: Limiter, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[int, None]:
    """Serve the limiter until the context ends; yields the port. Raises ``OSError``."""
    await limiter.start()
    # A client that is gone must not go on taking: its handler is cancelled.
    runner = web.AppRunner(limiter_app(limiter), handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        async with running_beside(limiter.follow):
            yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
        await limiter.aclose()


def _refusal(status: int, error: Exception) -> web.Response:
    return web.Response(status=status, text=f"{error}\n")
