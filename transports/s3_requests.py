"""One bucket's requests: addressed, signed, sent by lane or road, and judged.

Nothing is tried again here (decorators do that), but for what only this module can mend: a bucket
in another region, credentials that ran out, and a request that the lean lane hands back.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urlsplit

from transports.base import Pace
from transports.digests import BytesLike
from transports.errors import Denied, Invalid, Transient, TransportError, Unavailable
from transports.proxies import proxy_of
from transports.s3_auth import CredentialSource, Signer
from transports.s3_errors import EXPIRED, Refusal, error_from, refusal_of, told_of
from transports.s3_headers import quoted_key
from transports.s3_lean import Drop, LeanPool, LeanSigner, NotPlain, Pour, Run
from transports.s3_options import Address, S3Options, address_of
from transports.s3_reply import Reply
from transports.side_loop import SideLoop

if TYPE_CHECKING:
    from transports.s3_http import HttpRoad

Pairs = Sequence[tuple[str, str]]

_ASK_AGAIN_S: Final = 60.0
"""How often the credential source is asked; it renews ahead of time by itself."""

_MOVES_MAX: Final = 2
_LANE_CONNECTIONS_MAX: Final = 256
_MOVED: Final = frozenset({301, 302, 307, 308, 400})


def canonical_query(pairs: Pairs) -> str:
    """A query as SigV4 wants it: encoded, then sorted by name and value."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join([f"{name}={value}" for name, value in encoded])


class Wanted(NamedTuple):
    """A whole object to ask for: its full key, what goes along, and how long it should be."""

    key: str
    query: Pairs
    headers: Pairs
    size_bytes: int


class NotPourable(Exception):
    """An answer that cannot be handed on as it arrives; asking with a buffer settles it."""


def _copies(body: BytesLike, headers: Pairs) -> bool:
    """Whether a request makes the store copy, which must not be asked twice: it can be long."""
    return not body and any(name == "x-amz-copy-source" for name, _ in headers)


class S3Client:
    """Sends requests to one bucket. ``credentials`` is None for a public bucket.

    ``tls`` is made once and shared by both roads. ``now_s`` gives seconds since 1970.
    """

    def __init__(
        self,
        *,
        bucket: str,
        options: S3Options,
        credentials: CredentialSource | None,
        environment: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.bucket = bucket
        self.server = ""
        self._options = options
        self._environment = environment
        self._credentials = credentials
        self._tls = tls
        self._now_s = now_s
        self._region = options.region
        self._address = address_of(bucket, options, self._region)
        scheme = "https" if self._address.secure else "http"
        self._proxy = options.proxy or proxy_of(
            scheme, self._address.host, self._address.port, environment
        )
        self._signer: Signer | None = None
        self._lean_signer: LeanSigner | None = None
        self._good_until_s = 0.0
        self._turn = asyncio.Lock()
        self._road: HttpRoad | None = None
        self._pools: dict[Address, LeanPool] = {}
        # The connections that pour live in a loop of their own, where a sink may block.
        self._pouring_pools: dict[Address, LeanPool] = {}
        self._side = SideLoop()
        self._closed = False
        # What the lane hands back is asked twice, so only what may be. (method, about the bucket)
        self._lane_kinds = {("PUT", False), ("DELETE", False)}
        self._lane_kinds |= {(verb, whole) for verb in ("GET", "HEAD") for whole in (False, True)}
        if not options.lane or self._proxy:
            self._lane_kinds.clear()

    def __repr__(self) -> str:
        return f"<S3Client {self._address.origin}{self._address.base} {self._region}>"

    def location_of(self, key: str | None) -> str:
        """A full key (or None for the bucket) as text for messages."""
        return f"s3://{self.bucket}/{key or ''}"

    async def send(
        self,
        method: str,
        key: str | None,
        query: Pairs = (),
        headers: Pairs = (),
        *,
        body: BytesLike = b"",
        into: memoryview | Pour | Drop | None = None,
        pace: Pace | None = None,
        creating: bool = False,
        also: int = 0,
    ) -> Reply:
        """Send a request about a full key (None for the bucket) and return the success.

        ``headers`` have lower-case, unique names, in order. ``into`` takes the body of a success: a
        buffer, a sink, which is called in another thread, or nobody; ``NotPourable`` is raised where only
        the lean lane could do that and the answer is not for it. ``also`` is a status that is no refusal either. Raises the error of ``s3_errors`` for a refusal, and what ``HttpRoad.request`` raises. A
        cancelled call may have been carried out by the store.
        """
        # None, not "": an empty key must never turn into a request about the whole bucket.
        path = "" if key is None else "/" + quoted_key(key, self.location_of(key))
        encoded = canonical_query(query) if query else ""
        if self._options.requester_pays:
            headers = sorted((*headers, ("x-amz-request-payer", "requester")))
        moves = renewals = 0
        while True:
            if self._now_s() >= self._good_until_s:
                await self._renew(expired=None)
            signer, region, address = self._signer, self._region, self._address
            reply = await self._once(method, key, path, encoded, headers, body, into, pace)
            if reply.status < 300 or reply.status == also:
                return reply
            refusal = refusal_of(reply.status, reply.headers, reply.body)
            if moves < _MOVES_MAX and self._moved(refusal, reply, region, address):
                moves += 1
            elif refusal.code in EXPIRED and self._credentials is not None and not renewals:
                renewals += 1
                await self._renew(expired=signer)
            else:
                location = self.location_of(key)
                raise error_from(refusal, location, now_s=self._now_s(), creating=creating)

    async def run(self, wanted: Sequence[Wanted]) -> tuple[list[Reply], TransportError | None]:
        """Ask for small objects one after the other, as one run of the lean lane, and let their bodies go.

        Returns the successes up to the first answer that is none, or is not for the lean lane, and what was wrong with
        the way to the one behind them. None at all means no more than that ``send`` has to ask for the first.
        """
        if ("GET", False) not in self._lane_kinds or self._options.requester_pays:
            return [], None
        if self._now_s() >= self._good_until_s:
            await self._renew(expired=None)
        signer, address = self._lean_signer, self._address
        if signer is None:
            return [], None
        failure = None
        try:
            heads = [self._head_of(each, signer, address) for each in wanted]
        except (Invalid, ValueError):  # a name that cannot be asked for
            return [], None
        run = Run(heads, [each.size_bytes for each in wanted])
        try:
            await self._pool(address, self._pools).run(run)
        except NotPlain as reason:
            self._learn(reason, ("GET", False))
        except (Transient, Denied) as error:
            failure = error
        replies = [Reply(*answer) for answer in run.answers if answer.status < 300]
        if replies:
            self._greeted(replies[0])
        return replies, failure

    def _head_of(self, wanted: Wanted, signer: LeanSigner, address: Address) -> bytes:
        path = f"{address.base}/{quoted_key(wanted.key, self.location_of(wanted.key))}"
        query = canonical_query(wanted.query) if wanted.query else ""
        names = tuple([name for name, _ in wanted.headers])
        return signer.head("GET", path, query, names, [value for _, value in wanted.headers])

    def _learn(self, reason: NotPlain, kind: tuple[str, bool]) -> None:
        """A store that sends successes of a kind that is not for the lane will go on doing so."""
        if reason.length is None and reason.status is not None and reason.status < 300:
            self._lane_kinds.discard(kind)

    def refused(self, body: bytes, key: str) -> Exception:
        """The error in the body of an answer that began as a success (200 with ``<Error>``)."""
        refusal = refusal_of(200, {}, body)
        if not refusal.code:
            return Unavailable(self.location_of(key), "a success whose body cannot be read")
        return error_from(refusal, self.location_of(key), now_s=self._now_s())

    @property
    def pours(self) -> bool:
        """Whether bodies can go to a sink: where the lean lane serves."""
        return ("GET", False) in self._lane_kinds

    async def in_side_thread(self, work: Callable[[], None]) -> None:
        """Run a little blocking work where sinks are called."""

        async def run() -> None:
            work()

        await self._side.run(run)

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        self._closed = True
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.close()
        pools, self._pouring_pools = self._pouring_pools, {}
        for pool in pools.values():
            await self._side.run(pool.close)
        await self._side.close()
        if self._road is not None:
            road, self._road = self._road, None
            await road.close()

    # -- one try ---------------------------------------------------------------------------------

    async def _once(
        self,
        method: str,
        key: str | None,
        path: str,
        query: str,
        headers: Pairs,
        body: BytesLike,
        into: memoryview | Pour | Drop | None,
        pace: Pace | None,
    ) -> Reply:
        if self._closed:
            raise Unavailable(self.location_of(key), "the transport is closed")
        address = self._address
        path = f"{address.base}{path}" or "/"
        kind = (method, key is None)
        if kind in self._lane_kinds and not _copies(body, headers):
            try:
                return await self._by_lane(
                    address, method, key, path, query, headers, body, into, pace
                )
            except NotPlain as reason:
                # Redirected or odd: the road below takes all of HTTP.
                self._learn(reason, kind)
        if isinstance(into, Pour | Drop):
            raise NotPourable(self.location_of(key))
        location = self.location_of(key)
        signed: Pairs = (("host", address.host_header), *headers)
        if self._signer is not None:
            signed = self._signer.headers(method, path, query, signed)
        target = f"{path}?{query}" if query else path
        if self._road is None:
            from transports.s3_http import HttpRoad

            self._road = HttpRoad(self._options, tls=self._tls, proxy=self._proxy)
        reply = await self._road.request(
            method, address, target, signed, location, body=body, into=into, pace=pace
        )
        return self._greeted(reply)

    async def _by_lane(
        self,
        address: Address,
        method: str,
        key: str | None,
        path: str,
        query: str,
        headers: Pairs,
        body: BytesLike,
        into: memoryview | Pour | Drop | None,
        pace: Pace | None,
    ) -> Reply:
        signer = self._lean_signer
        if signer is None:
            raise NotPlain("not signed yet")
        try:
            head = signer.head(
                method,
                path,
                query,
                tuple([name for name, _ in headers]),
                [value for _, value in headers],
                length=len(body) if method == "PUT" else None,
            )
            if isinstance(into, Pour):
                pouring = self._pool(address, self._pouring_pools)
                answer = await self._side.run(lambda: pouring.request(head, into=into))
            else:
                pool = self._pool(address, self._pools)
                answer = await pool.request(head, body or None, into=into, pace=pace)
        except (Transient, Denied) as error:  # told of the endpoint; say which object it was
            raise told_of(error, self.location_of(key)) from error
        return self._greeted(Reply(*answer))

    def _greeted(self, reply: Reply) -> Reply:
        """An answer, of which the server's name is remembered."""
        if not self.server:
            self.server = reply.text(b"server") or "unnamed"
        return reply

    def _pool(self, address: Address, pools: dict[Address, LeanPool]) -> LeanPool:
        if address in pools:
            return pools[address]
        pools[address] = pool = LeanPool(
            host=address.host,
            port=address.port,
            tls=self._tls if address.secure else None,
            connections_max=_LANE_CONNECTIONS_MAX,
            connect_timeout_s=self._options.connect_timeout_s,
            idle_timeout_s=self._options.read_timeout_s,
        )
        return pool

    # -- credentials and regions -----------------------------------------------------------------

    async def _renew(self, *, expired: Signer | None) -> None:
        """Ask for credentials: routinely, or because the store called ``expired``'s too old.

        Of many requests that ask at once, one does it and the others find it done.
        """
        async with self._turn:
            if expired is not None and self._signer is not expired:
                return
            if expired is None and self._now_s() < self._good_until_s:
                return
            if self._credentials is not None and expired is not None:
                await self._credentials.renewed()
            await self._sign_anew()

    async def _sign_anew(self) -> None:
        """Make both signers for the present credentials, region and address."""
        region, address = self._region, self._address
        if self._credentials is None:
            self._signer = None
            key_id = secret = token = ""
        else:
            found = await self._credentials.current()
            key_id, secret, token = (
                found.access_key_id,
                found.secret_access_key,
                found.session_token,
            )
            self._signer = Signer(found, region, now_s=self._now_s)
        self._lean_signer = LeanSigner(
            access_key=key_id,
            secret_key=secret,
            session_token=token or None,
            region=region,
            host=address.host_header,
            now_s=self._now_s,
        )
        moved = (region, address) != (self._region, self._address)
        self._good_until_s = 0.0 if moved else self._now_s() + _ASK_AGAIN_S

    def _moved(self, refusal: Refusal, reply: Reply, region: str, address: Address) -> bool:
        """Turn to where the answer says the bucket is; True where a new try makes sense.

        Three cases: 1. another request has turned already; 2. the answer names another region;
        3. it sends us to another host for the same path (a bucket whose name is not yet known
        everywhere). A redirect to another path is never followed: that would be another key.
        """
        if reply.status not in _MOVED:
            return False
        if (region, address) != (self._region, self._address):
            return True
        if refusal.region and refusal.region != region:
            self._region = refusal.region
            self._address = address_of(self.bucket, self._options, self._region)
            self._good_until_s = 0.0
            return True
        target = urlsplit(reply.text(b"location"))
        secure = target.scheme == "https"
        if reply.status != 307 or not target.hostname or secure != address.secure:
            return False
        if target.hostname == address.host or not target.path.startswith(address.base):
            return False
        self._address = address._replace(
            host=target.hostname, port=target.port or address.port, host_header=target.netloc
        )
        self._good_until_s = 0.0
        return True
