"""The connection to a Redis or Valkey server, and its scripts. The only door to ``redis``.

A queue's address is a URL as redis-py takes it:

- ``redis://host:6379/0``, ``rediss://`` (TLS; ``?ssl_ca_certs=/path``), ``unix:///path``;
- ``redis+cluster://host:6379`` (or ``rediss+cluster``): any node of a cluster;
- ``redis+sentinel://host:26379,host:26379/SERVICE/0``: the master that the sentinels name.

A user name may stand in the URL; a password may too, where the URL does not come from a command
line. ``password`` is used where the URL has none. Sentinels that want a password are given the
server's; with ``rediss+sentinel`` they are spoken to over TLS as well.

Scripts are files in ``scheduler/lua``, put together from ``common.lua`` and the parts that their name
lists, as in ``intake+enqueue``. They are sent once and then called by their digest. Every key of a job has the hash tag ``{job}``, so a job lives in one slot.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.resources
import urllib.parse
from hashlib import sha1
from typing import TYPE_CHECKING, Any, TypeAlias

import redis.asyncio
import redis.asyncio.sentinel
from redis import exceptions
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scheduler import redis_failures
from scheduler.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Value: TypeAlias = str | bytes | int | float
"""What an argument of a command may be."""

OLDEST = (6, 2)
"""XAUTOCLAIM came with this version of Redis. Valkey calls itself Redis 7.2."""

ANSWER_MAX_S = 5.0
"""A server that has not answered by then is away; verbs are repeated by whoever is patient."""

CONNECTIONS_MAX = 4
"""Calls of one process under way, and so its connections; further ones wait for their turn. A server
admits ten thousand connections (``maxclients``), and a fleet may have a thousand workers."""

_CODES = {
    exceptions.AuthenticationError: "NOAUTH",
    exceptions.AuthenticationWrongNumberOfArgsError: "NOAUTH",
    exceptions.AuthorizationError: "NOPERM",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.AskError: "MOVED",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.MasterDownError: "MASTERDOWN",
}
"""The first words of errors that redis-py has taken off their texts."""


class RedisServer:
    """A server that keeps queues. Made by ``open``, ended by ``aclose``; shared by its users."""

    def __init__(
        self, clients: Sequence[Any], location: str, *, secrets: Sequence[str] = ()
    ) -> None:
        self._client, *self._sentinels = clients
        self._secrets = secrets
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._is_closed = False
        self.location = location

    @classmethod
    async def open(cls, url: str, *, password: str | None = None) -> RedisServer:
        """Connect, and look whether this server can keep a queue.

        Raises ``StoreUnavailable``: permanent for a wrong password, a user without rights, a
        version that is too old, or a server that throws keys away when its memory is full.
        """
        try:
            return await cls._open(url, password, knows_sentinels=False)
        except StoreUnavailable as error:
            # Whether sentinels want a password can only be found out by asking them.
            if "No master" not in (cause := str(error.__cause__)) or "Authentic" not in cause:
                raise
        return await cls._open(url, password, knows_sentinels=True)

    @classmethod
    async def _open(cls, url: str, password: str | None, *, knows_sentinels: bool) -> RedisServer:
        secrets = [password, urllib.parse.urlsplit(url).password]
        server = cls(
            _connect(url, password, knows_sentinels=knows_sentinels),
            without_secret(url),
            secrets=[secret for secret in secrets if secret],
        )
        try:
            await server._check()
        except BaseException:
            await server.aclose()
            raise
        return server

    async def aclose(self) -> None:
        """Close all connections. A second call does nothing."""
        self._is_closed = True
        for client in (self._client, *self._sentinels):
            await client.aclose()

    async def run(self, script: str, key: str, *arguments: Value) -> Any:
        """Run a script of ``scheduler/lua`` on the job whose ``meta`` key is given."""
        text, digest = _script(script)

        async def call() -> Any:
            try:
                return await self._client.evalsha(digest, 1, key, *arguments)
            except exceptions.NoScriptError:  # a server that was restarted has forgotten it
                return await self._client.eval(text, 1, key, *arguments)

        return await self._translated(call)

    async def do(self, *command: Value) -> Any:
        """Run one plain command; its answer as bytes, numbers and lists."""
        return await self._translated(lambda: self._client.execute_command(*command))

    async def info(self, section: str) -> dict[str, Any]:
        """A section of INFO; of any one node where the server is a cluster."""
        info: dict[str, Any] = await self._translated(lambda: self._client.info(section))
        first = next(iter(info.values()), None)
        if isinstance(self._client, redis.asyncio.RedisCluster) and isinstance(first, dict):
            return first  # of more than one node
        return info

    async def _check(self) -> None:
        version = str((await self.info("server")).get("redis_version", "0"))
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < OLDEST:
            raise self._refused(f"it is Redis {version}, and 6.2 or newer is needed")
        policy = str((await self.info("memory")).get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys"):
            raise self._refused(
                f"it throws keys away when its memory is full (maxmemory-policy {policy});"
                " set noeviction"
            )

    async def _translated(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._is_closed:
            raise self._refused("it is closed")
        try:
            await self._take_turn()
            try:
                return await call()
            finally:
                self._turns.release()
        # RedisClusterException is no RedisError.
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            failure = redis_failures.explain(_text(error))
            if failure is not None:
                raise self._unavailable(failure) from error
            if isinstance(error, exceptions.ResponseError):  # the server is well, and we are not
                raise
            line = redis_failures.one_line(_text(error))
            raise self._unavailable(redis_failures.Failure(line, permanent=False)) from error

    async def _take_turn(self) -> None:
        """Turns go in the order of asking, and no call under way asks for another.

        Not left to redis-py: its pool that waits may lose a wake-up with a waiter that is cancelled,
        and those for clusters and sentinels do not wait but fail.
        """
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                await self._turns.acquire()
        except TimeoutError:
            raise TimeoutError("timed out behind earlier calls") from None

    def _unavailable(self, failure: redis_failures.Failure) -> StoreUnavailable:
        detail = failure.detail
        for secret in self._secrets:
            detail = detail.replace(secret, "***")
        return StoreUnavailable(location=self.location, detail=detail, permanent=failure.permanent)

    def _refused(self, detail: str) -> StoreUnavailable:
        return StoreUnavailable(location=self.location, detail=detail, permanent=True)


def _connect(url: str, password: str | None, *, knows_sentinels: bool) -> Sequence[Any]:
    """A client for any of the URL's kinds, then those of its sentinels; nothing is sent yet."""
    scheme, _, rest = url.partition("://")
    kind, _, topology = scheme.partition("+")
    options: dict[str, Any] = {
        "protocol": 2,  # what commands answer depends on it
        "socket_timeout": ANSWER_MAX_S,
        "socket_connect_timeout": ANSWER_MAX_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if password is not None and not urllib.parse.urlsplit(url).password:
        options["password"] = password
    plain = f"{kind}://{rest}"
    if topology == "cluster":
        return [redis.asyncio.RedisCluster.from_url(plain, **options)]
    if topology == "sentinel":
        return _behind_sentinels(plain, options, knows_sentinels=knows_sentinels)
    return [redis.asyncio.Redis.from_url(plain, **options)]


def _behind_sentinels(url: str, options: dict[str, Any], *, knows_sentinels: bool) -> Sequence[Any]:
    parts = urllib.parse.urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    # redis-py reads the rest of the URL once it names one host and a database.
    first = parts._replace(netloc=user + at + hosts.partition(",")[0], path=f"/{database or 0}")
    given: dict[str, Any] = {**options, **parse_url(urllib.parse.urlunsplit(first))}
    for name in ("host", "port"):
        given.pop(name, None)
    given["ssl"] = given.pop("connection_class", None) is SSLConnection
    not_theirs = {"db"} if knows_sentinels else {"db", "username", "password"}
    watch = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]
        [
            (host, int(port or 26379))
            for host, _, port in (h.partition(":") for h in hosts.split(","))
        ],
        sentinel_kwargs={name: given[name] for name in given.keys() - not_theirs},
    )
    return [watch.master_for(service, **given), *watch.sentinels]


def check_url(url: str) -> None:
    """Raise ``ValueError``, with one clear line, for a URL that names no Redis."""
    scheme = url.partition("://")[0]
    if scheme not in {"redis", "rediss", "unix"} and scheme not in {
        f"{kind}+{topology}" for kind in ("redis", "rediss") for topology in ("cluster", "sentinel")
    }:
        raise ValueError(f"{without_secret(url)!r} names no Redis: write redis://host:6379/0")
    if scheme.endswith("+sentinel") and not urllib.parse.urlsplit(url).path.strip("/"):
        raise ValueError("a sentinel's URL names the service: redis+sentinel://host:26379/SERVICE")
    try:
        if not scheme.endswith("+sentinel"):
            _ = urllib.parse.urlsplit(url).port
    except ValueError as error:
        raise ValueError(f"{without_secret(url)}: {error}") from error


def has_secret(url: str) -> bool:
    """Whether a password stands in the URL."""
    parts = urllib.parse.urlsplit(url)
    return bool(parts.password) or "password=" in parts.query


def without_secret(url: str) -> str:
    """The URL as it may be shown."""
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urllib.parse.urlunsplit(
        (parts.scheme, user.partition(":")[0] + at + host, parts.path, "", "")
    )


@functools.cache
def _script(name: str) -> tuple[str, str]:
    """The whole text of a script, and its digest by which the server knows it."""
    folder = importlib.resources.files("scheduler") / "lua"
    parts = ["common", *name.split("+")]
    text = "".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


def _text(error: Exception) -> str:
    codes = [code for kind, code in _CODES.items() if isinstance(error, kind)]
    return " ".join([*codes, str(error) or type(error).__name__])
