"""Hand parcels to workers that keep them, and get them there: the other half of ``peering``.

Nothing here is worth waiting long for: the target's store takes what a keeper does not. A keeper that was not
reached is let alone for a minute.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import aiohttp
from yarl import URL

from mover.delta_tasks import Keeper
from mover.depots import Meter, Peering, Peers
from mover.peer_protocol import (
    ANSWER,
    DIGEST,
    EXPIRES,
    PROOF,
    VALID_S,
    Misnamed,
    Name,
    Said,
    Unproven,
    digest_of,
    name_at_target,
    span_text,
)
from mover.peer_shelf import Full, Shelf, one_piece
from mover.seeing_out import in_thread
from transports.model import Entry
from transports.proxies import proxy_of
from transports.throttle import SLICE_LANES
from transports.timing import TIMED_BYTES_MIN, Stopwatch

CONNECT_S: Final = 3.0
ANSWER_S: Final = 20.0
"""How long a keeper may say nothing, or take nothing of what it is given."""

STEP_BYTES: Final = 256 * 1024
"""What is given at a time: over 100 kbit/s it is gone before that."""

TRIES: Final = 2
"""A connection that was kept may have been closed by the other end meanwhile."""

AWAY_S: Final = 60.0
"""How long a keeper that was not reached is let alone."""

UNREACHED_S: Final = 600.0
"""How long a worker keeps nothing after another could not get what it kept: each try costs another
reading of an object's old version."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class _Failed(Exception):
    """A keeper did not do what it was asked to; ``is_away`` where it need not be asked again soon."""

    def __init__(self, why: str, *, is_away: bool) -> None:
        super().__init__(why)
        self.is_away = is_away


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class HttpPeering(Peering):
    """What one process knows of keepers, for all of its jobs; ``seen_from`` makes the ``Peers`` of a job.

    ``shelf`` and ``address`` are its own, where it keeps parcels itself.
    """

    secret: bytes
    session: aiohttp.ClientSession
    environment: Mapping[str, str]
    shelf: Shelf | None = None
    address: str = ""
    clock: Callable[[], float] = time.time
    _away_until_s: dict[str, float] = field(default_factory=dict)

    def seen_from(self, meter: Meter | None = None, *, near_source: bool | None = None) -> Peers:
        return _Seen(self, meter or Meter(), near_source)

    def holding(self, job: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.shelf is None else self.shelf.holding(job)

    def is_away(self, keeper: str) -> bool:
        """Whether a keeper is let alone for now."""
        return self._away_until_s.get(keeper, 0.0) > time.monotonic()

    def leave_alone(self, keeper: str, seconds: float) -> None:
        """Ask a keeper nothing for a while."""
        self._away_until_s[keeper] = time.monotonic() + seconds

    async def ask(
        self, keeper: str, said: Said, body: Callable[[], AsyncIterator[bytes]] | None, size: int
    ) -> _Answer:
        """Make a request, once more where the way broke. Raises ``_Failed``."""
        if self.is_away(keeper):
            raise _Failed("it is left alone for a while", is_away=False)
        failure = ""
        for _ in range(TRIES):
            try:
                return await self._ask(keeper, said, body, size)
            except aiohttp.ClientConnectorError as error:
                failure = f"no connection: {error.os_error.strerror or 'refused'}"
                break
            except TimeoutError:
                failure = "it does not answer"
                break
            except (aiohttp.ClientError, OSError, ValueError) as error:
                failure = f"the connection failed ({type(error).__name__})"
        raise _Failed(failure, is_away=True)

    async def _ask(
        self, keeper: str, said: Said, body: Callable[[], AsyncIterator[bytes]] | None, size: int
    ) -> _Answer:
        headers = {EXPIRES: str(said.expires_s), PROOF: said.proof(self.secret)}
        headers |= {DIGEST: said.digest} if said.digest else {}
        headers |= {"Range": said.span} if said.span else {}
        headers |= {"Content-Length": str(size)} if body is not None else {}
        url = URL(keeper + said.path, encoded=True)
        proxy = proxy_of(url.scheme, url.host or "", url.port, self.environment)
        async with self.session.request(
            said.verb,
            url,
            headers=headers,
            data=None if body is None else body(),
            proxy=proxy,
            allow_redirects=False,
        ) as answer:
            # A body that is longer than it may be is a stranger's.
            data = await answer.content.readexactly(size) if _has_bytes(answer, size, said) else b""
            return _Answer(answer.status, answer.headers, data)

    def expires_s(self) -> int:
        """Until when a request that is made now may be made."""
        return int(self.clock()) + VALID_S


def _has_bytes(answer: aiohttp.ClientResponse, size: int, said: Said) -> bool:
    return said.verb == "GET" and answer.status in {200, 206} and answer.content_length == size


class _Seen:
    """``Peers`` for one job and one side."""

    def __init__(self, peering: HttpPeering, meter: Meter, near_source: bool | None) -> None:
        self._peering = peering
        self._meter = meter
        self._near_source = near_source

    @property
    def own(self) -> Keeper | None:
        peering = self._peering
        if self._near_source is None or peering.shelf is None or peering.is_away(peering.address):
            return None
        return Keeper(peering.address, self._near_source)

    def is_away(self, keeper: str) -> bool:
        return self._peering.is_away(keeper)

    # -- leaving -------------------------------------------------------------------------------

    async def put(self, keeper: str, key: str, data: bytes) -> bool:
        peering = self._peering
        try:
            name = name_at_target(key)
            if keeper == peering.address and peering.shelf is not None:
                await peering.shelf.put(name, len(data), one_piece(data))
                return True
            return await self._put(keeper, name, data)
        except (Full, Misnamed):
            return False
        except _Failed as failed:
            self._failed(keeper, failed)
            return False

    async def _put(self, keeper: str, name: Name, data: bytes) -> bool:
        peering, watch = self._peering, self._meter.writes
        digest = await in_thread(digest_of, data)
        said = Said(verb="PUT", path=name.path, expires_s=peering.expires_s(), digest=digest)
        if len(data) < TIMED_BYTES_MIN:
            watch = None
        stalls = asyncio.timeout(None)

        async def body() -> AsyncIterator[bytes]:
            for start, stop in _slices(len(data), self._meter.slice_bytes):
                stalls.reschedule(None)
                with _paused(watch):
                    await self._meter.pass_on(stop - start)
                for at in range(start, stop, STEP_BYTES):
                    stalls.reschedule(asyncio.get_running_loop().time() + ANSWER_S)
                    yield data[at : min(at + STEP_BYTES, stop)]

        try:
            async with stalls:
                asking = peering.ask(keeper, said, body, len(data))
                answer = await _timed(watch, len(data), asking)
        except TimeoutError as error:
            raise _Failed("it takes nothing", is_away=True) from error
        if answer.status == 507:
            return False
        if answer.status != 201:
            raise _Failed(_why(answer), is_away=True)
        return True

    # -- getting -------------------------------------------------------------------------------

    async def get(self, keeper: str, piece: Entry) -> bytes | None:
        peering = self._peering
        try:
            name = name_at_target(piece.key)
            if keeper == peering.address and peering.shelf is not None:
                data = await peering.shelf.read(name)
            else:
                data = await self._get(keeper, name, piece.size)
        except (FileNotFoundError, Misnamed):
            return None
        except _Failed as failed:
            self._failed(keeper, failed)
            return None
        return data if len(data) == piece.size else None

    async def _get(self, keeper: str, name: Name, size: int) -> bytes:
        """A piece, in slices side by side where a rate holds it up. Raises ``_Failed``."""
        watch = self._meter.reads if size >= TIMED_BYTES_MIN else None
        slices = list(_slices(size, self._meter.slice_bytes))
        if len(slices) == 1:
            await self._meter.pass_on(size)
            return await _timed(watch, size, self._slice(keeper, name, 0, size, is_all=True))
        found = bytearray(size)
        left = iter(slices)

        async def lane() -> None:
            for start, stop in left:
                await self._meter.pass_on(stop - start)
                found[start:stop] = await self._slice(keeper, name, start, stop, is_all=False)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(SLICE_LANES):
                    group.create_task(lane(), name=f"slice-lane-{number}")
        except* (_Failed, FileNotFoundError) as errors:
            raise errors.exceptions[0] from None
        return bytes(found)

    async def _slice(
        self, keeper: str, name: Name, start: int, stop: int, *, is_all: bool
    ) -> bytes:
        peering = self._peering
        span = "" if is_all else span_text(start, stop)
        said = Said(verb="GET", path=name.path, expires_s=peering.expires_s(), span=span)
        answer = await peering.ask(keeper, said, None, stop - start)
        if answer.status == 404:
            raise FileNotFoundError
        if answer.status not in {200, 206}:
            raise _Failed(_why(answer), is_away=True)
        if len(answer.body) != stop - start:
            raise _Failed("it has another piece of that name", is_away=False)
        proven = Said(
            verb=ANSWER,
            path=said.path,
            expires_s=said.expires_s,
            span=span,
            digest=await in_thread(digest_of, answer.body),
        )
        try:
            proven.check(peering.secret, answer.headers.get(PROOF, ""), now_s=peering.clock())
        except Unproven as error:
            raise _Failed(f"what it sent is not proven: {error}", is_away=True) from error
        return answer.body

    # -- the rest ------------------------------------------------------------------------------

    async def remove(self, keeper: str, prefix: str) -> None:
        peering = self._peering
        try:
            owner = name_at_target(prefix)
            if keeper == peering.address and peering.shelf is not None:
                peering.shelf.remove(owner)
                return
            said = Said(verb="DELETE", path=owner.path, expires_s=peering.expires_s())
            await peering.ask(keeper, said, None, 0)
        except Misnamed:
            return
        except _Failed as failed:
            self._failed(keeper, failed)

    def forget(self, job: str) -> None:
        if self._peering.shelf is not None:
            self._peering.shelf.remove_job(job)

    def lost(self, keeper: str) -> None:
        is_own = keeper == self._peering.address
        if is_own:
            _log.warning("what was kept at %s could not be got by others", keeper)
        self._peering.leave_alone(keeper, UNREACHED_S if is_own else AWAY_S)

    def _failed(self, keeper: str, failed: _Failed) -> None:
        if failed.is_away:
            _log.warning("the keeper of parcels at %s: %s", keeper, failed)
            self._peering.leave_alone(keeper, AWAY_S)


def _slices(size: int, slice_bytes: Callable[[], int]) -> Iterator[tuple[int, int]]:
    start = 0
    while start < size:
        stop = min(start + slice_bytes(), size)
        yield start, stop
        start = stop


def _why(answer: _Answer) -> str:
    if answer.status == 401:
        return "it has another secret, or its clock is apart from ours"
    return f"it answers {answer.status}"


@contextlib.contextmanager
def _paused(watch: Stopwatch | None) -> Iterator[None]:
    """Wait for something that is not the keeper's."""
    if watch is not None:
        watch.pause()
    try:
        yield
    finally:
        if watch is not None:
            watch.go_on()


async def _timed(watch: Stopwatch | None, size: int, call: Awaitable[T]) -> T:
    if watch is None:
        return await call
    brought = False
    watch.begin(size)
    try:
        answer = await call
        brought = True
    finally:
        watch.end(size, brought=brought)
    return answer


@contextlib.asynccontextmanager
async def open_peering(
    secret: bytes, environment: Mapping[str, str], *, shelf: Shelf | None = None, address: str = ""
) -> AsyncGenerator[HttpPeering, None]:
    """What a process needs to hand parcels on, and to keep them on ``shelf`` under ``address``."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=ANSWER_S)
    async with aiohttp.ClientSession(
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
    ) as session:
        yield HttpPeering(
            secret=secret, session=session, environment=environment, shelf=shelf, address=address
        )
