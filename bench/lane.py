"""What the lean lane saves: client CPU per request, against the general client it stands in for.

    python -m bench.lane [--objects 6000] [--repeats 5] [--work get,put,...]

One SeaweedFS, one process, one road after the other in turns, so that whatever else the machine
does falls on both alike. Only this process's CPU time counts, user and system, without any file,
checksum or bookkeeping. The lane is kept for as long as the ratio here justifies it.
"""

import argparse
import asyncio
import os
import ssl
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import uvloop

from bench.stores import SeaweedServer
from transports.s3_auth import Credentials, Signer
from transports.s3_http import HttpRoad
from transports.s3_lean import LeanPool, LeanSigner
from transports.s3_options import Address, S3Options

BUCKET: Final = "lane"
SMALL_BYTES: Final = 16 * 1024
SMALL_CONNECTIONS: Final = 16
LARGE_BYTES: Final = 8 * 1024 * 1024
LARGE_CONNECTIONS: Final = 8
LARGE_DIVISOR: Final = 50  # so many times fewer large requests than small ones


class Work(NamedTuple):
    """One kind of request, and how many of them at once."""

    method: str
    size: int
    connections: int


WORKS: Final = {
    "put": Work("PUT", SMALL_BYTES, SMALL_CONNECTIONS),
    "get": Work("GET", SMALL_BYTES, SMALL_CONNECTIONS),
    "large-put": Work("PUT", LARGE_BYTES, LARGE_CONNECTIONS),
    "large-get": Work("GET", LARGE_BYTES, LARGE_CONNECTIONS),
}


class Road(Protocol):
    """A way to the store. Each call is one signed request, answered with success, or it raises."""

    async def get(self, path: str, into: memoryview | None) -> None: ...
    async def put(self, path: str, body: memoryview | bytes) -> None: ...
    async def close(self) -> None: ...


class LeanRoad:
    """The lean lane as the S3 transport uses it."""

    def __init__(self, server: SeaweedServer, tls: ssl.SSLContext | None, connections: int) -> None:
        url = urlsplit(server.endpoint_url)
        self._signer = LeanSigner(
            access_key=server.access_key,
            secret_key=server.secret_key,
            region=server.region,
            host=url.netloc,
        )
        self._pool = LeanPool(
            host=url.hostname or "", port=url.port or 0, tls=tls, connections_max=connections
        )

    async def get(self, path: str, into: memoryview | None) -> None:
        names, values = _get_headers(into)
        head = self._signer.head("GET", path, "", names, values)
        _expect((await self._pool.request(head, into=into)).status)

    async def put(self, path: str, body: memoryview | bytes) -> None:
        head = self._signer.head("PUT", path, length=len(body))
        _expect((await self._pool.request(head, body)).status)

    async def close(self) -> None:
        await self._pool.close()


class GeneralRoad:
    """The S3 transport's aiohttp client."""

    def __init__(self, server: SeaweedServer, tls: ssl.SSLContext | None, connections: int) -> None:
        url = urlsplit(server.endpoint_url)
        self._address = Address(
            secure=tls is not None,
            host=url.hostname or "",
            port=url.port or 0,
            host_header=url.netloc,
            base="",
        )
        credentials = Credentials(
            access_key_id=server.access_key, secret_access_key=server.secret_key
        )
        self._signer = Signer(credentials, server.region)
        self._http = HttpRoad(S3Options(), tls=tls, proxy=None)

    async def get(self, path: str, into: memoryview | None) -> None:
        names, values = _get_headers(into)
        given = (("host", self._address.host_header), *zip(names, values, strict=True))
        headers = self._signer.headers("GET", path, "", given)
        reply = await self._http.request("GET", self._address, path, headers, path, into=into)
        _expect(reply.status)

    async def put(self, path: str, body: memoryview | bytes) -> None:
        headers = self._signer.headers("PUT", path, "", (("host", self._address.host_header),))
        reply = await self._http.request("PUT", self._address, path, headers, path, body=body)
        _expect(reply.status)

    async def close(self) -> None:
        await self._http.close()


ROADS: Final[dict[str, Callable[[SeaweedServer, ssl.SSLContext | None, int], Road]]] = {
    "lean": LeanRoad,
    "aiohttp": GeneralRoad,
}


def _get_headers(into: memoryview | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if into is None:
        return ("x-amz-checksum-mode",), ("ENABLED",)
    return ("range",), (f"bytes=0-{len(into) - 1}",)


def _expect(status: int) -> None:
    if status not in (200, 206):
        raise RuntimeError(f"the server answered {status}")


class Cost(NamedTuple):
    """CPU of this process and wall time, in microseconds a request."""

    user_us: float
    system_us: float
    wall_us: float

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


async def measure(road: Road, work: Work, count: int) -> Cost:
    """Run ``count`` requests on a crew of as many as there are connections."""
    numbers = iter(range(count))
    body = os.urandom(SMALL_BYTES) * (work.size // SMALL_BYTES)

    async def run(numbers: Iterator[int]) -> None:
        # A buffer of this size is the transport's to have ready, so it is not in the measurement.
        into = memoryview(bytearray(body)) if work.size > SMALL_BYTES else None
        for number in numbers:
            if work.method == "GET":
                await road.get(_path(work, number), into)
            else:
                await road.put(_path(work, number), body if into is None else memoryview(body))

    await _crew(run, iter(range(work.connections)), work.connections)  # connect, and warm up
    before, begun_s = os.times(), time.perf_counter()
    await _crew(run, numbers, work.connections)
    after, ended_s = os.times(), time.perf_counter()
    scale = 1e6 / count
    return Cost(
        (after.user - before.user) * scale,
        (after.system - before.system) * scale,
        (ended_s - begun_s) * scale,
    )


async def _crew(
    run: Callable[[Iterator[int]], Coroutine[None, None, None]], numbers: Iterator[int], size: int
) -> None:
    async with asyncio.TaskGroup() as crew:
        for _ in range(size):
            crew.create_task(run(numbers))


def _path(work: Work, number: int) -> str:
    # Few large objects, so that they need little of the RAM disk.
    return f"/{BUCKET}/{work.size}/{number % 16 if work.size > SMALL_BYTES else number:06d}"


def run(server: SeaweedServer, works: Sequence[str], objects: int, repeats: int) -> list[str]:
    """Measure and return the report, a line for each kind of work and road."""
    tls = None
    if server.ca_file is not None:
        tls = ssl.create_default_context(cafile=server.ca_file)
    server.create_bucket(BUCKET)
    lines = []
    for name in works:
        work = WORKS[name]
        count = objects if work.size == SMALL_BYTES else max(objects // LARGE_DIVISOR, 1)
        costs: dict[str, list[Cost]] = {road: [] for road in ROADS}
        _prepare(server, tls, work, count)
        for _ in range(repeats):
            for road, make in ROADS.items():
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    costs[road].append(runner.run(_once(make, server, tls, work, count)))
        lines += [_line(name, tls is not None, road, found) for road, found in costs.items()]
    return lines


def _prepare(server: SeaweedServer, tls: ssl.SSLContext | None, work: Work, count: int) -> None:
    """See that there is something to get."""
    if work.method == "GET":
        put = work._replace(method="PUT")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            stored = count if work.size == SMALL_BYTES else min(count, 16)
            runner.run(_once(LeanRoad, server, tls, put, stored))


async def _once(
    make: Callable[[SeaweedServer, ssl.SSLContext | None, int], Road],
    server: SeaweedServer,
    tls: ssl.SSLContext | None,
    work: Work,
    count: int,
) -> Cost:
    road = make(server, tls, work.connections)
    try:
        return await measure(road, work, count)
    finally:
        await road.close()


def _line(name: str, tls: bool, road: str, costs: Sequence[Cost]) -> str:
    cpu = sorted(cost.cpu_us for cost in costs)
    user = statistics.median(cost.user_us for cost in costs)
    wall = statistics.median(cost.wall_us for cost in costs)
    return (
        f"{name:<10} {'tls' if tls else 'plain':<6} {road:<8} {statistics.median(cpu):>9.1f}"
        f" {cpu[0]:>9.1f} {cpu[-1]:>9.1f} {user:>9.1f} {wall:>9.1f}"
    )


def main() -> int:
    """Measure with the arguments of the command line, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.lane", description=__doc__)
    parser.add_argument("--objects", type=int, default=6000, help="small requests in a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", default=",".join(WORKS), help=f"of {', '.join(WORKS)}")
    parser.add_argument("--transport", choices=["plain", "tls", "both"], default="both")
    given = parser.parse_args()
    works = given.work.split(",")
    unknown = sorted(set(works) - set(WORKS))
    if unknown:
        parser.error(f"unknown work: {', '.join(unknown)}; known: {', '.join(WORKS)}")
    sys.stdout.write(
        "work       over   road       cpu us       min       max      user      wall\n"
    )
    for tls in (False, True):
        if given.transport in ("both", "tls" if tls else "plain"):
            with SeaweedServer(tls=tls) as server:
                for line in run(server, works, given.objects, given.repeats):
                    sys.stdout.write(f"{line}\n")
                    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
