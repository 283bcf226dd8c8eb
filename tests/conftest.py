"""Fixtures for every test: real servers, fresh buckets, faulty networks, small disks.

A server starts when a test first asks for it and serves the whole run; a bucket is a test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings

from bench.stores import SeaweedServer
from tests.faults.proxy import FaultProxy
from tests.servers.buckets import Bucket
from tests.servers.disks import small_disk as mount_small_disk
from tests.servers.http import HttpServer
from tests.servers.moto import MotoServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.script import Rule
    from tests.servers.buckets import S3Server


NEW_OBJECTS = 50_000
"""With thousands of tests in memory, looking through them for garbage is a sixth of a run of the
unit tests. What a test leaves is found as before, by rarer looks and by pytest's at the end."""


def pytest_configure() -> None:
    # No loop to begin with: pytest-asyncio would else find, and leave open, the policy's own.
    asyncio.set_event_loop(None)
    gc.set_threshold(NEW_OBJECTS, 20, 20)


def pytest_collection_finish() -> None:
    """What is imported and collected stays."""
    gc.collect()
    gc.freeze()


# Neither the contract suites nor what tests share is a test module; without this their asserts say
# nothing.
pytest.register_assert_rewrite("transports.testing", "scheduler.testing", "tests.e2e.support")

# The same examples every time, so that a red run is red again; machines under load are slow.
settings.register_profile(
    "thorough", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# `make test` has to end before one's patience; `make soak` asks for the thorough ones.
settings.register_profile("house", settings.get_profile("thorough"), max_examples=40)
settings.load_profile("house")


class ProxyFactory(Protocol):
    """Puts a faulty network in front of an endpoint; it ends with the test."""

    def __call__(
        self,
        endpoint_url: str,
        *rules: Rule,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        store_tls: ssl.SSLContext | None = None,
    ) -> FaultProxy: ...


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """SeaweedFS over http. Shared: a test that restarts or kills a server starts its own."""
    with SeaweedServer() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_tls() -> Iterator[SeaweedServer]:
    """SeaweedFS over https; its certificate authority is ``ca_file``."""
    with SeaweedServer(tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """moto's S3: exact with every name."""
    with MotoServer() as server:
        yield server


@pytest.fixture
def bucket_on() -> Iterator[Callable[[S3Server], Bucket]]:
    """Makes fresh buckets on any server; they go with the test."""
    with contextlib.ExitStack() as made:

        def make(server: S3Server) -> Bucket:
            bucket = Bucket.create(server)
            made.callback(bucket.destroy)
            return bucket

        yield make


@pytest.fixture
def seaweed_bucket(seaweed: SeaweedServer, bucket_on: Callable[[S3Server], Bucket]) -> Bucket:
    return bucket_on(seaweed)


@pytest.fixture
def public_bucket(seaweed_bucket: Bucket) -> Bucket:
    """A bucket that anybody may list and read."""
    seaweed_bucket.make_public()
    return seaweed_bucket


@pytest.fixture
def seaweed_tls_bucket(
    seaweed_tls: SeaweedServer, bucket_on: Callable[[S3Server], Bucket]
) -> Bucket:
    return bucket_on(seaweed_tls)


@pytest.fixture
def moto_bucket(moto_server: MotoServer, bucket_on: Callable[[S3Server], Bucket]) -> Bucket:
    return bucket_on(moto_server)


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[S3Server], None]:
    """Sets this process's AWS_* variables to a server's, for the length of a test."""

    def use(server: S3Server) -> None:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
def http_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """An HTTP server over an empty directory of the test's own, in many manners."""
    with HttpServer(tmp_path_factory.mktemp("http-root")) as server:
        yield server


@pytest.fixture
def fault_proxy() -> Iterator[ProxyFactory]:
    """A faulty, metered network in front of any endpoint."""
    with contextlib.ExitStack() as made:

        def make(
            endpoint_url: str,
            *rules: Rule,
            seed: int = 0,
            tls: ssl.SSLContext | None = None,
            store_tls: ssl.SSLContext | None = None,
        ) -> FaultProxy:
            return made.enter_context(
                FaultProxy(endpoint_url, *rules, seed=seed, tls=tls, store_tls=store_tls)
            )

        yield make


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], Path]]:
    """Mounts file systems of a given size in bytes; they are unmounted whatever happens."""
    with contextlib.ExitStack() as mounted:
        yield lambda size_bytes: mounted.enter_context(mount_small_disk(size_bytes))
