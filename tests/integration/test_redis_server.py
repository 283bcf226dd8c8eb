"""Real servers that refuse, fail, restart and move: what the queue says, and that it goes on."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from bench.redis_process import RedisProcess
from bench.stores import free_ports
from scheduler.errors import StoreUnavailable
from scheduler.model import Done, NewTask, TaskState
from scheduler.patience import patiently
from scheduler.redis_server import ANSWER_MAX_S, CONNECTIONS_MAX, RedisServer, check_url, has_secret
from scheduler.redis_store import RedisTaskStore
from tests.servers.redis import ancient_server, sentinel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from scheduler.model import Lease

SECRET = "not-for-logs"
FREEZE_S = 3.0


@pytest.fixture(scope="module")
def process() -> Iterator[RedisProcess]:
    with RedisProcess() as process:
        yield process


async def _refusal(url: str, *, password: str | None = None) -> StoreUnavailable:
    """What opening a store there says; checks what holds for every such line."""
    with pytest.raises(StoreUnavailable) as refused:
        await RedisTaskStore.open(url, "job", password=password)
    error = refused.value
    assert "\n" not in str(error)
    assert SECRET not in str(error)
    assert error.location in str(error)
    return error


async def _claim(store: RedisTaskStore, limit: int = 100) -> list[Lease]:
    return await store.claim("w", limit=limit, lease_s=30, now_s=time.time())


def _with_tls() -> Path | None:
    """A program here that speaks TLS; the bundled one does not."""
    path = shutil.which("redis-server")
    return Path(path) if path else None


# --- Refusals ---


async def test_a_wrong_password_is_refused_for_good() -> None:
    with RedisProcess(("requirepass", SECRET)) as process:
        for url, password in (
            (process.url, None),
            (process.url, "wrong-" + SECRET),
            (process.url.replace("://", f"://:{SECRET}x@"), None),
            (process.url.replace("://", f"://nobody:{SECRET}@"), None),
        ):
            error = await _refusal(url, password=password)
            assert error.permanent
            assert "refuses the user name or the password; check both" in error.detail
        async with await RedisTaskStore.open(process.url, "job", password=SECRET) as store:
            assert await _claim(store) == []


@pytest.mark.parametrize("rights", ["~mover:* +@all -info", "~mover:* +@read +info +ping"])
async def test_a_user_without_rights_is_refused_for_good(
    process: RedisProcess, rights: str
) -> None:
    server = await RedisServer.open(process.url)
    await server.do("ACL", "SETUSER", "weak", "RESET", "ON", f">{SECRET}", *rights.split())
    await server.aclose()
    url = process.url.replace("://", f"://weak:{SECRET}@")
    with pytest.raises(StoreUnavailable, match="its user may not do this .* allow it") as refused:
        async with await RedisTaskStore.open(url, "job") as store:
            await store.enqueue([NewTask(payload=b"a")])
    assert refused.value.permanent
    assert SECRET not in str(refused.value)


async def test_a_user_needs_no_more_rights_than_the_refusal_names(process: RedisProcess) -> None:
    server = await RedisServer.open(process.url)
    rights = ["~mover:*", "+@all", "-@dangerous", "+info"]
    await server.do("ACL", "SETUSER", "crew", "RESET", "ON", f">{SECRET}", *rights)
    await server.aclose()
    url = process.url.replace("://", f"://crew:{SECRET}@")
    async with await RedisTaskStore.open(url, "rights", attempts_max=3) as store:
        await store.enqueue([NewTask(payload=b"a")], checkpoint=b"c")
        (lease,) = await _claim(store)
        await store.extend([lease], lease_s=30, now_s=time.time())
        assert (await store.reap(now_s=time.time(), dead=["w"])).reclaimed == 1
        await store.beat("w", b"", now_s=time.time())
        await store.forget_finished()
        await store.expire(9)
        await store.clear()


async def test_nobody_there_may_pass() -> None:
    (port,) = free_ports(1)
    begun_s = time.monotonic()
    error = await _refusal(f"redis://user:{SECRET}@127.0.0.1:{port}/0?socket_timeout=2")
    assert not error.permanent
    assert error.location == f"redis://user@127.0.0.1:{port}/0"
    assert "nothing listens at this address; start the server, or correct" in error.detail
    assert "its host name is not known" in (await _refusal("redis://no.such.invalid:1/0")).detail
    assert "nothing listens" in (await _refusal("unix:///no/such/socket")).detail
    assert time.monotonic() - begun_s < ANSWER_MAX_S + 10


async def test_an_old_version_is_refused_for_good() -> None:
    with ancient_server("5.0.7") as port:
        error = await _refusal(f"redis://127.0.0.1:{port}/0")
    assert error.permanent
    assert "it is Redis 5.0.7, and 6.2 or newer is needed" in error.detail


async def test_a_server_that_throws_keys_away_is_refused_for_good() -> None:
    with RedisProcess(("maxmemory-policy", "allkeys-lru")) as process:
        error = await _refusal(process.url)
    assert error.permanent
    assert "maxmemory-policy allkeys-lru); set noeviction" in error.detail


async def test_a_database_that_is_not_there_is_refused_for_good(process: RedisProcess) -> None:
    error = await _refusal(process.url.replace("/0", "/99"))
    assert (error.permanent, error.detail) == (
        True,
        "it has no database of this number; write /0",
    )


async def test_a_replica_takes_no_writes_for_now(process: RedisProcess) -> None:
    with RedisProcess(("replicaof", f"127.0.0.1 {process.port}")) as replica:
        async with await RedisTaskStore.open(replica.url, "job") as store:
            with pytest.raises(StoreUnavailable, match="is a replica and takes no wr") as refused:
                await store.enqueue([NewTask(payload=b"a")])
    assert not refused.value.permanent


async def test_too_many_connections_may_pass() -> None:
    with RedisProcess() as process:
        async with await RedisTaskStore.open(process.url, "job") as store:
            await store._server.do("CONFIG", "SET", "maxclients", 1)
            error = await _refusal(process.url)
    assert not error.permanent
    assert "maxclients" in error.detail


async def test_a_failing_server_is_not_asked_in_a_busy_loop() -> None:
    (port,) = free_ports(1)
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        await RedisServer.open(f"redis://127.0.0.1:{port}/0")

    with pytest.raises(StoreUnavailable):
        await patiently(call, patience_s=1.5, rng=lambda: 0.0)
    assert 3 <= calls <= 10


# --- Restarts and frozen servers ---


async def test_a_durable_server_that_is_killed_loses_nothing() -> None:
    with RedisProcess(("appendfsync", "always"), durable=True) as process:
        async with await RedisTaskStore.open(process.url, "job") as store:
            await store.enqueue([NewTask(payload=b"%d" % number) for number in range(50)])
            held, finished = await _claim(store, limit=2)
            await store.finish(finished, Done(), result=b"r", now_s=time.time())
            process.stop()
            with pytest.raises(StoreUnavailable) as refused:
                await store.stats()
            assert not refused.value.permanent
            process.start()
            # The scripts are gone from the server's cache; the leases are not.
            await store.finish(held, Done(), result=b"r", now_s=time.time())
            assert len(await _claim(store)) == 48
            stats = await store.stats()
    assert (stats.tasks[TaskState.DONE], stats.tasks[TaskState.LEASED]) == (2, 48)


async def test_a_server_that_freezes_for_a_while_is_waited_for(process: RedisProcess) -> None:
    async with await RedisTaskStore.open(process.url, "frozen") as store:
        await store.enqueue([NewTask(payload=b"a")])
        process.freeze()
        asyncio.get_running_loop().call_later(FREEZE_S, process.thaw)
        begun_s = time.monotonic()
        assert len(await _claim(store)) == 1
        assert FREEZE_S - 0.5 < time.monotonic() - begun_s < ANSWER_MAX_S


@pytest.mark.slow
async def test_a_server_that_stays_frozen_is_given_up_for_now(process: RedisProcess) -> None:
    async with await RedisTaskStore.open(process.url, "frozen") as store:
        await store.enqueue([NewTask(payload=b"a")])
        process.freeze()
        try:
            begun_s = time.monotonic()
            with pytest.raises(StoreUnavailable, match="does not answer in time") as refused:
                await store.stats()
            assert not refused.value.permanent
            assert time.monotonic() - begun_s < ANSWER_MAX_S + 2
        finally:
            process.thaw()
        # A late answer to the question of before is not taken for this one's.
        assert await store.load_checkpoint() is None
        assert (await store.stats()).tasks[TaskState.PENDING] == 1


# --- Turns ---


async def test_no_more_calls_than_connections_are_under_way(process: RedisProcess) -> None:
    server = await RedisServer.open(process.url)
    watch = await RedisServer.open(process.url)
    before = (await watch.info("clients"))["connected_clients"]
    async with asyncio.TaskGroup() as callers:
        calls = [
            callers.create_task(server.do("INCR", "turns"), name="call")
            for _ in range(50 * CONNECTIONS_MAX)
        ]
    assert {call.result() for call in calls} == set(range(1, 50 * CONNECTIONS_MAX + 1))
    clients = (await watch.info("clients"))["connected_clients"] - before
    assert 1 <= clients <= CONNECTIONS_MAX
    await server.aclose()
    await watch.aclose()


async def test_turns_of_callers_that_were_cancelled_come_to_others(process: RedisProcess) -> None:
    server = await RedisServer.open(process.url)
    for delay_s in (0.0, 0.0005, 0.001, 0.002):
        async with asyncio.TaskGroup() as callers:
            calls = [
                callers.create_task(server.do("GET", "turns"), name="call") for _ in range(100)
            ]
            await asyncio.sleep(delay_s)
            for call in calls[1::2]:
                call.cancel()
    # As many at a time as there are connections: each turn has come back.
    async with asyncio.timeout(ANSWER_MAX_S - 1), asyncio.TaskGroup() as callers:
        for _ in range(CONNECTIONS_MAX):
            callers.create_task(server.do("PING"), name="call")
    await server.aclose()


@pytest.mark.slow
async def test_who_waits_behind_a_frozen_server_is_told_too(process: RedisProcess) -> None:
    async with await RedisTaskStore.open(process.url, "behind") as store:
        process.freeze()
        try:
            begun_s = time.monotonic()
            answers: list[BaseException] = []

            async def ask() -> None:
                with pytest.raises(StoreUnavailable, match="does not answer in time") as refused:
                    await store.stats()
                answers.append(refused.value)

            async with asyncio.TaskGroup() as callers:
                for _ in range(3 * CONNECTIONS_MAX):
                    callers.create_task(ask(), name="call")
            assert len(answers) == 3 * CONNECTIONS_MAX
            assert time.monotonic() - begun_s < 2 * ANSWER_MAX_S + 2
        finally:
            process.thaw()
        assert (await store.stats()).open_tasks == 0


# --- TLS ---


@pytest.fixture(scope="module")
def tls_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, RedisProcess]]:
    """A server with TLS, its CA's file, and the server itself."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    identity = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    identity.private_key_pem.write_to_path(directory / "key.pem")
    identity.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    (port,) = free_ports(1)
    with RedisProcess(
        ("tls-port", str(port)),
        ("tls-cert-file", str(directory / "cert.pem")),
        ("tls-key-file", str(directory / "key.pem")),
        ("tls-ca-cert-file", str(directory / "ca.pem")),
        ("tls-auth-clients", "no"),
        program=_with_tls(),
    ) as process:
        yield f"rediss://127.0.0.1:{port}/0", directory / "ca.pem", process


@pytest.mark.skipif(_with_tls() is None, reason="the bundled server speaks no TLS")
async def test_tls_with_a_ca_file(tls_url: tuple[str, Path, RedisProcess]) -> None:
    url, ca, process = tls_url
    async with await RedisTaskStore.open(f"{url}?ssl_ca_certs={ca}", "job") as store:
        await store.enqueue([NewTask(payload=b"a")])
        assert len(await _claim(store)) == 1
    for wrong, expected in (
        (url, "name its CA with ?ssl_ca_certs=/path"),
        (f"{url}?ssl_ca_certs=/no/such/file", "the file of its CA cannot be read"),
    ):
        error = await _refusal(wrong)
        assert error.permanent
        assert expected in error.detail
    for wrong, expected in (
        (url.replace("rediss://", "redis://"), "write rediss://"),
        (process.url.replace("redis://", "rediss://"), "or without TLS"),
    ):
        error = await _refusal(wrong)
        assert not error.permanent
        assert expected in error.detail


# --- Clusters and sentinels ---


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisProcess]:
    with RedisProcess(("cluster-enabled", "yes")) as process:
        yield process


async def test_a_cluster_keeps_a_job_in_one_slot(cluster: RedisProcess) -> None:
    url = cluster.url.replace("redis://", "redis+cluster://")
    away = await _refusal(url)
    assert not away.permanent
    server = await RedisServer.open(cluster.url)
    await server.do("CLUSTER", "ADDSLOTS", *range(16384))

    async def is_whole() -> bool:
        return "'ok'" in str(await server.do("CLUSTER", "INFO")).replace(":ok", "'ok'")

    await _until(is_whole)
    await server.aclose()
    async with await RedisTaskStore.open(url, "job") as store:
        await store.enqueue([NewTask(payload=b"a"), NewTask(payload=b"b", pool="eu")])
        (lease,) = await _claim(store)
        await store.finish(lease, Done(), result=b"r", now_s=time.time())
        assert (await store.stats()).tasks[TaskState.DONE] == 1
        assert await store.events() == []
        assert await store.load_checkpoint() is None


async def test_a_single_server_is_no_cluster(process: RedisProcess) -> None:
    error = await _refusal(process.url.replace("redis://", "redis+cluster://"))
    assert error.permanent
    assert "it is no cluster; write redis://" in error.detail


@pytest.mark.slow
async def test_a_failover_is_followed() -> None:
    with RedisProcess(("repl-ping-replica-period", "1")) as master:
        address = f"127.0.0.1 {master.port}"
        with (
            RedisProcess(("replicaof", address)) as replica,
            sentinel("fleet", master.port) as port,
        ):
            url = f"redis+sentinel://127.0.0.1:{port}/fleet/0"
            await _have_met(port, replica)
            async with await RedisTaskStore.open(url, "job") as store:
                await store.enqueue([NewTask(payload=b"a"), NewTask(payload=b"b")])
                first, second = await _claim(store)
                await store.finish(first, Done(), now_s=time.time())
                await store._server.do("WAIT", 1, 5000)  # until the replica has all of it
                master.stop()
                await patiently(
                    lambda: store.finish(second, Done(), now_s=time.time()),
                    patience_s=20,
                    rng=lambda: 0.0,
                )
                assert (await store.stats()).tasks[TaskState.DONE] == 2


async def _have_met(sentinel_port: int, replica: RedisProcess) -> None:
    """Wait until the replica has its master's data, and the sentinel knows of the replica."""
    server = await RedisServer.open(replica.url)
    watch = await RedisServer.open(f"redis://127.0.0.1:{sentinel_port}")

    async def have_met() -> bool:
        link = (await server.info("replication")).get("master_link_status")
        return link == "up" and bool(await watch.do("SENTINEL", "REPLICAS", "fleet"))

    await _until(have_met)
    await server.aclose()
    await watch.aclose()


async def _until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            if await look():
                return
            await asyncio.sleep(0.05)


async def test_sentinels_with_a_password_are_given_the_servers() -> None:
    with RedisProcess(("requirepass", SECRET)) as master:
        for theirs in ("", SECRET):
            with sentinel("fleet", master.port, password=theirs) as port:
                url = f"redis+sentinel://127.0.0.1:{port}/fleet"
                async with await RedisTaskStore.open(url, "job", password=SECRET) as store:
                    await store.enqueue([NewTask(payload=b"a")])
                unknown = await _refusal(
                    f"redis+sentinel://127.0.0.1:{port}/other", password=SECRET
                )
                assert not unknown.permanent
                assert "no sentinel names a master for this service" in unknown.detail


# --- URLs ---


def test_urls_are_checked_without_showing_a_secret() -> None:
    for url in (
        f"http://user:{SECRET}@host/0",
        f"redis+sentinel://user:{SECRET}@host:1",
        f"redis://user:{SECRET}@host:port/0",
    ):
        with pytest.raises(ValueError, match=r"redis|sentinel|[Pp]ort") as refused:
            check_url(url)
        assert SECRET not in str(refused.value)
    for url in ("redis://h:1/0", "unix:///s", "redis+sentinel://a:1,b:2/fleet/0", "rediss://h"):
        check_url(url)
        assert not has_secret(url)
    assert has_secret("redis://:pw@h")
    assert has_secret("unix:///s?password=pw")
