"""Every fault of the proxy, before a plain HTTP server, as a client's socket sees it."""

from __future__ import annotations

import http.client
import os
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.faults.script import Answer, Drip, Flip, Latency, Reset, Rule, Stall, Truncate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import ProxyFactory
    from tests.faults.proxy import FaultProxy
    from tests.faults.script import Fault
    from tests.servers.http import HttpServer

SIZE_BYTES = 300_000


@pytest.fixture
def body(http_server: HttpServer) -> bytes:
    content = os.urandom(SIZE_BYTES)
    (http_server.root / "file").write_bytes(content)
    return content


@pytest.fixture
def proxy(http_server: HttpServer, fault_proxy: ProxyFactory) -> FaultProxy:
    return fault_proxy(http_server.base_url)


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(proxy.endpoint_url).netloc, timeout=10)
    yield connection
    connection.close()


def get(client: http.client.HTTPConnection, path: str = "/ranges/file") -> bytes:
    client.request("GET", path)
    return client.getresponse().read()


@pytest.mark.parametrize("path", ["/ranges/file", "/chunked/file"])
def test_a_healthy_network_changes_nothing_and_keeps_the_connection(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes, path: str
) -> None:
    for _ in range(3):
        assert get(client, path) == body
    client.request("HEAD", "/ranges/file")
    assert client.getresponse().read() == b""
    assert get(client) == body
    assert (proxy.connections, proxy.requests) == (1, 5)
    assert proxy.methods == {"GET": 4, "HEAD": 1}
    assert proxy.events == []
    assert proxy.down.total_bytes == 4 * SIZE_BYTES


def test_the_host_header_reaches_the_store_untouched(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes, http_server: HttpServer
) -> None:
    assert get(client) == body
    seen = http_server.requests[-1].headers["host"]
    assert seen == urlsplit(proxy.endpoint_url).netloc
    assert seen != urlsplit(http_server.base_url).netloc


def test_reset_comes_after_the_bytes_before_it(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes
) -> None:
    proxy.follow(Rule(fault=Reset(at_byte=100_000), nth={1}))
    client.request("GET", "/ranges/file")
    response = client.getresponse()
    assert response.read(100_000) == body[:100_000]
    with pytest.raises(ConnectionResetError):
        response.read()
    assert proxy.count(Reset) == 1
    client.close()
    assert get(client) == body


def test_reset_before_the_head_happens_after_the_store_has_acted(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes, http_server: HttpServer
) -> None:
    proxy.follow(Rule(fault=Reset(head=True)))
    with pytest.raises(ConnectionResetError):
        get(client)
    assert [request.status for request in http_server.requests] == [200]


@pytest.mark.parametrize("path", ["/ranges/file", "/chunked/file"])
def test_truncation_is_a_clean_end_before_the_promised_one(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes, path: str
) -> None:
    proxy.follow(Rule(fault=Truncate(at_byte=12_345)))
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(client, path)
    assert body.startswith(caught.value.partial)
    assert len(caught.value.partial) <= 12_345
    assert proxy.down.total_bytes == 12_345


@pytest.mark.parametrize("path", ["/ranges/file", "/chunked/file"])
def test_flip_changes_one_bit_and_no_more(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes, path: str
) -> None:
    proxy.follow(Rule(fault=Flip(at_byte=200_000, bit=5), nth={1}))
    got = get(client, path)
    wrong = [place for place in range(SIZE_BYTES) if got[place] != body[place]]
    assert wrong == [200_000]
    assert got[200_000] ^ body[200_000] == 1 << 5
    assert get(client, path) == body


@pytest.mark.parametrize(
    ("fault", "expected_s"),
    [
        pytest.param(Stall(for_s=0.3, at_byte=150_000), 0.3, id="stall"),
        pytest.param(Latency(delay_s=0.3), 0.3, id="latency"),
        pytest.param(Drip(bytes_per_s=1_000_000), 0.3, id="drip"),
    ],
)
def test_slow_networks_are_slow_and_right(
    proxy: FaultProxy,
    client: http.client.HTTPConnection,
    body: bytes,
    fault: Fault,
    expected_s: float,
) -> None:
    proxy.follow(Rule(fault=fault))
    begun_s = time.monotonic()
    assert get(client) == body
    assert time.monotonic() - begun_s >= expected_s


def test_a_storm_answers_s3_errors_on_the_same_connection_and_ends(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes, http_server: HttpServer
) -> None:
    proxy.follow(Rule(fault=Answer(status=503, retry_after_s=2), nth=range(1, 3)))
    for _ in range(2):
        client.request("GET", "/ranges/file")
        response = client.getresponse()
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
        assert b"<Code>SlowDown</Code>" in response.read()
    assert http_server.requests == []
    assert get(client) == body
    assert proxy.connections == 1
    assert [event.number for event in proxy.events] == [1, 2]


def test_refusing_resets_what_is_open_and_takes_nothing_new(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes
) -> None:
    assert get(client) == body
    with proxy.refusing():
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            get(client)
        address = urlsplit(proxy.endpoint_url)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.hostname, address.port), timeout=5)
    client.close()
    assert get(client) == body


def test_the_meter_sees_when_bytes_pass(
    proxy: FaultProxy, client: http.client.HTTPConnection, body: bytes
) -> None:
    proxy.follow(Rule(fault=Drip(bytes_per_s=500_000)))
    assert get(client) == body
    assert proxy.down.total_bytes == SIZE_BYTES
    rates = proxy.down.window_rates(0.4)
    assert 250_000 < max(rates) <= 510_000
    assert proxy.down.burst_bytes(500_000) < 50_000
