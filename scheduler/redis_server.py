"""The connection to a Redis or Valkey server, and its scripts. The only door to ``redis``.

A queue's address is a URL as redis-py takes it:

- ``redis://host:6379/0``, ``rediss://`` (TLS; ``?ssl_ca_certs=/path``), ``unix:///path``;
- ``redis+cluster://host:6379`` (or ``rediss+cluster``): any node of a cluster;
- ``redis+sentinel://host:26379,host:26379/SERVICE/0``: the master that the sentinels name.

A user name may stand in the URL; a password may too, where the URL does not come from a command
line. ``password`` is used where the URL has none.

Scripts are files in ``scheduler/lua``; each begins with ``common.lua``. They are sent once and then
called by their digest. Every key of a job has the hash tag ``{job}``, so a job lives in one slot.
"""

from __future__ import annotations

import functools
import importlib.resources
import urllib.parse
from hashlib import sha1
from typing import TYPE_CHECKING, Any, TypeAlias

import redis.asyncio
import redis.asyncio.sentinel
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from scheduler.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Value: TypeAlias = str | bytes | int | float
"""What an argument of a command may be."""

OLDEST = (6, 2)
"""XAUTOCLAIM came with this version of Redis. Valkey calls itself Redis 7.2."""

ANSWER_MAX_S = 5.0
"""A server that has not answered by then is away; verbs are repeated by whoever is patient."""

CONNECTIONS_MAX = 16
"""Connections of one process; a verb waits for one."""

_LASTING = (
    exceptions.AuthenticationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
    exceptions.InvalidResponse,
)


class RedisServer:
    """A server that keeps queues. Made by ``open``, ended by ``aclose``; shared by its users."""

    def __init__(self, client: Any, location: str) -> None:
        self._client = client
        self.location = location

    @classmethod
    async def open(cls, url: str, *, password: str | None = None) -> RedisServer:
        """Connect, and look whether this server can keep a queue.

        Raises ``StoreUnavailable``: permanent for a wrong password, a version that is too old, or
        a server that throws keys away when its memory is full.
        """
        server = cls(_connect(url, password), _without_secret(url))
        try:
            await server._check()
        except BaseException:
            await server.aclose()
            raise
        return server

    async def aclose(self) -> None:
        """Close all connections. A second call does nothing."""
        await self._client.aclose()

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

    async def _check(self) -> None:
        info = await self._translated(lambda: self._client.info("server"))
        if isinstance(next(iter(info.values()), None), dict):  # a cluster answers by node
            info = next(iter(info.values()))
        version = str(info.get("redis_version", "0"))
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < OLDEST:
            raise self._refused(f"it is Redis {version}, and 6.2 or newer is needed")
        memory = await self._translated(lambda: self._client.info("memory"))
        if isinstance(next(iter(memory.values()), None), dict):
            memory = next(iter(memory.values()))
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys"):
            raise self._refused(
                f"it throws keys away when its memory is full (maxmemory-policy {policy});"
                " set noeviction"
            )

    async def _translated(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except _LASTING as error:
            raise self._refused(_one_line(error)) from error
        except exceptions.OutOfMemoryError as error:
            raise StoreUnavailable(
                location=self.location, detail="its memory is full; raise maxmemory"
            ) from error
        except exceptions.ResponseError as error:
            # The server is up, and says no for a reason that may pass: read-only, loading, busy.
            if isinstance(error, exceptions.ReadOnlyError) or _may_pass(error):
                raise self._away(error) from error
            raise
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(location=self.location, detail=_one_line(error))

    def _refused(self, detail: str) -> StoreUnavailable:
        return StoreUnavailable(location=self.location, detail=detail, permanent=True)


def _connect(url: str, password: str | None) -> Any:
    """A client for any of the URL's kinds; nothing is sent yet."""
    scheme, _, rest = url.partition("://")
    kind, _, topology = scheme.partition("+")
    options: dict[str, Any] = {
        "socket_timeout": ANSWER_MAX_S,
        "socket_connect_timeout": ANSWER_MAX_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if password is not None and not urllib.parse.urlsplit(url).password:
        options["password"] = password
    plain = f"{kind}://{rest}"
    if topology == "cluster":
        return redis.asyncio.RedisCluster.from_url(plain, **options)
    if topology == "sentinel":
        return _behind_sentinels(plain, options)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        plain, max_connections=CONNECTIONS_MAX, timeout=ANSWER_MAX_S, **options
    )
    return redis.asyncio.Redis.from_pool(pool)


def _behind_sentinels(url: str, options: dict[str, Any]) -> Any:
    parts = urllib.parse.urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    sentinels = [(host, int(port or 26379)) for host, _, port in (h.partition(":") for h in hosts)]
    service, _, database = parts.path.strip("/").partition("/")
    credentials: dict[str, Any] = {
        name: urllib.parse.unquote(value)
        for name, value in (("username", parts.username), ("password", parts.password))
        if value
    }
    watch = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]
        sentinels, sentinel_kwargs=options
    )
    if parts.scheme == "rediss":
        credentials["ssl"] = True
    return watch.master_for(service, db=int(database or 0), **options, **credentials)


def check_url(url: str) -> None:
    """Raise ``ValueError``, with one clear line, for a URL that names no Redis."""
    scheme = url.partition("://")[0]
    if scheme not in {"redis", "rediss", "unix"} and scheme not in {
        f"{kind}+{topology}" for kind in ("redis", "rediss") for topology in ("cluster", "sentinel")
    }:
        raise ValueError(f"{url!r} names no Redis: write redis://host:6379/0")
    if scheme.endswith("+sentinel") and not urllib.parse.urlsplit(url).path.strip("/"):
        raise ValueError("a sentinel's URL names the service: redis+sentinel://host:26379/SERVICE")
    try:
        if not scheme.endswith("+sentinel"):
            _ = urllib.parse.urlsplit(url).port
    except ValueError as error:
        raise ValueError(f"{_without_secret(url)}: {error}") from error


def has_secret(url: str) -> bool:
    """Whether a password stands in the URL."""
    parts = urllib.parse.urlsplit(url)
    return bool(parts.password) or "password=" in parts.query


def _without_secret(url: str) -> str:
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
    text = (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


def _may_pass(error: Exception) -> bool:
    return str(error).startswith(
        ("LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "MISCONF", "NOREPLICAS", "OOM")
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300]
