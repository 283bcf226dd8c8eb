"""The lean lane against real S3 servers: signatures, bodies, ranges, parts and conditions."""

import asyncio
import base64
import hashlib
import os
import ssl
from collections.abc import Coroutine
from urllib.parse import quote, urlsplit

import pytest
import uvloop

from bench.stores import SeaweedServer
from tests.servers.buckets import Bucket, S3Server
from tests.servers.moto import MotoServer
from transports.s3_lean import LeanPool, LeanSigner

RANGE = ("if-match", "range")


@pytest.fixture(params=["seaweed_bucket", "seaweed_tls_bucket", "moto_bucket"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Bucket)
    return found


def reach(server: S3Server, *, connections_max: int = 4) -> tuple[LeanPool, LeanSigner]:
    url = urlsplit(server.endpoint_url)
    tls = None
    if url.scheme == "https":
        tls = ssl.create_default_context(cafile=server.ca_file)
    pool = LeanPool(
        host=url.hostname or "", port=url.port or 0, tls=tls, connections_max=connections_max
    )
    signer = LeanSigner(
        access_key=server.access_key, secret_key=server.secret_key,
        region=server.region, host=url.netloc,
    )  # fmt: skip
    return pool, signer


def on_uvloop(main: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def test_small_objects_go_up_and_come_down(bucket: Bucket) -> None:
    async def main() -> None:
        pool, signer = reach(bucket.server)
        bodies = {f"dir/k {n}+ä%~": os.urandom(n * 1000) for n in range(40)}

        async def carry(key: str, body: bytes) -> None:
            path = f"/{bucket.name}/{quote(key, safe='/-._~')}"
            md5 = hashlib.md5(body, usedforsecurity=False)
            head = signer.head(
                "PUT", path, "", ("content-md5", "x-amz-meta-note"),
                (base64.b64encode(md5.digest()).decode(), "two  words"), length=len(body),
            )  # fmt: skip
            answer = await pool.request(head, body)
            assert answer.status == 200, answer
            assert answer.headers[b"etag"].strip(b'"').decode() == md5.hexdigest()
            answer = await pool.request(signer.head("GET", path))
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers[b"x-amz-meta-note"].split() == [b"two", b"words"]

        async with asyncio.TaskGroup() as crew:
            for key, body in bodies.items():
                crew.create_task(carry(key, body))
        assert pool.connections <= 4
        await pool.close()

    on_uvloop(main())


def test_large_body_lands_in_place(bucket: Bucket) -> None:
    async def main() -> None:
        pool, signer = reach(bucket.server)
        body = os.urandom(1 << 20) * 24 + b"odd"
        path = f"/{bucket.name}/large"
        answer = await pool.request(signer.head("PUT", path, length=len(body)), memoryview(body))
        assert answer.status == 200, answer
        etag = answer.headers[b"etag"].decode()
        landed = memoryview(bytearray(len(body)))
        step = 5 << 20

        async def fetch(start: int) -> None:
            into = landed[start : start + step]
            span = f"bytes={start}-{start + len(into) - 1}"
            answer = await pool.request(
                signer.head("GET", path, "", RANGE, (etag, span)), into=into
            )
            assert (answer.status, answer.received_bytes, answer.body) == (206, len(into), b"")

        async with asyncio.TaskGroup() as crew:
            for start in range(0, len(body), step):
                crew.create_task(fetch(start))
        assert landed == body
        # A moved pin is an error with its document, and the connection goes on.
        head = signer.head("GET", path, "", RANGE, ('"another"', "bytes=0-9"))
        answer = await pool.request(head, into=memoryview(bytearray(10)))
        assert answer.status == 412
        await pool.close()

    on_uvloop(main())


def test_errors_are_answers(bucket: Bucket) -> None:
    async def main() -> None:
        pool, signer = reach(bucket.server)
        wrong = LeanSigner(
            access_key=bucket.server.access_key, secret_key="wrong",
            region=bucket.server.region, host=urlsplit(bucket.server.endpoint_url).netloc,
        )  # fmt: skip
        answer = await pool.request(signer.head("GET", f"/{bucket.name}/missing"))
        assert answer.status == 404
        assert b"NoSuchKey" in answer.body
        if not isinstance(bucket.server, MotoServer):  # moto believes everyone and everything
            answer = await pool.request(wrong.head("GET", f"/{bucket.name}/missing"))
            assert answer.status == 403
            assert b"SignatureDoesNotMatch" in answer.body
            head = signer.head(
                "PUT", f"/{bucket.name}/bad", "", ("content-md5",), ("AA==",), length=3
            )
            answer = await pool.request(head, b"abc")
            assert answer.status == 400
        await pool.close()

    on_uvloop(main())


def test_server_that_restarts_is_met_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kept connections are stale then, every one of them, and no request notices."""

    async def main(server: SeaweedServer) -> None:
        pool, signer = reach(server)
        server.create_bucket("again")
        loop = asyncio.get_running_loop()

        async def put(number: int) -> int:
            head = signer.head("PUT", f"/again/k{number}", length=4)
            return (await pool.request(head, b"data")).status

        for _ in range(2):
            async with asyncio.TaskGroup() as crew:
                tasks = [crew.create_task(put(number)) for number in range(20)]
            assert [task.result() for task in tasks] == [200] * 20
            assert pool.idle == 4
            await loop.run_in_executor(None, server.restart)
        await pool.close()

    with SeaweedServer(tmp_path_factory.mktemp("weed")) as server:
        on_uvloop(main(server))
