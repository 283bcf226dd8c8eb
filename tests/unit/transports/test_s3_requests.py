"""How requests go out and come back: regions, credentials, both roads, and broken answers."""

import asyncio
import ssl

import pytest
import trustme

from tests.unit.transports.s3_script import (
    KEYS,
    Request,
    ScriptedS3,
    answer,
    error,
    scripted,
    transport_to,
)
from transports.errors import (
    Changed,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    TimedOut,
    TransportError,
    Truncated,
    Unavailable,
)
from transports.model import NO_ATTRIBUTES, Blob, ByteRange, Entry, Proof
from transports.s3_auth import Credentials
from transports.testing.support import Gathering

LANES = pytest.mark.parametrize("lane", ["true", "false"])
ENTRY = Entry("k", 5, 0, "tag")


def blob(data: bytes = b"hello", key: str = "k") -> Blob:
    return Blob(Entry(key, len(data), 0), data, NO_ATTRIBUTES, Proof.WEAK)


def region_of(request: Request) -> str:
    return request.headers["authorization"].split("/")[2]


@LANES
@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "AuthorizationHeaderMalformed", "<Region>eu-9</Region>"),
        error(301, "PermanentRedirect", x_amz_bucket_region="eu-9"),
        error(307, "TemporaryRedirect", x_amz_bucket_region="eu-9"),
    ],
)
async def test_the_bucket_tells_its_region_once(lane: str, refusal: bytes) -> None:
    def handler(request: Request) -> bytes:
        return answer(200, b"hello") if region_of(request) == "eu-9" else refusal

    async with scripted(handler) as script, transport_to(script, lane=lane) as transport:
        for _ in range(2):
            (result,) = await transport.read_small([ENTRY])
            assert isinstance(result, Blob)
    regions = [region_of(request) for request in script.requests]
    assert regions[-2:] == ["eu-9", "eu-9"]
    assert regions.count("eu-9") == 2
    assert len(regions) <= 4  # the lane hands a redirect to the road, which asks again


async def test_heads_learn_the_region_from_the_header_alone() -> None:
    def handler(request: Request) -> bytes:
        if region_of(request) == "eu-9":
            return answer(content_length="5")
        return answer(400, x_amz_bucket_region="eu-9")

    async with scripted(handler) as script, transport_to(script) as transport:
        assert (await transport.head("k")).entry.size == 5


@LANES
async def test_a_region_that_keeps_moving_is_an_error(lane: str) -> None:
    count = iter(range(100))

    def handler(request: Request) -> bytes:
        return error(400, "AuthorizationHeaderMalformed", f"<Region>r-{next(count)}</Region>")

    async with scripted(handler) as script, transport_to(script, lane=lane) as transport:
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, Invalid)
    assert 2 <= len(script.requests) <= 6


@LANES
async def test_another_host_is_followed_for_the_same_path_only(lane: str) -> None:
    async with scripted(lambda _: answer(200, b"hello")) as there:
        place = f"http://localhost:{there.port}"

        def handler(request: Request) -> bytes:
            wrong = "/bucket/other" if request.path.endswith("k2") else ""
            return error(307, "TemporaryRedirect", location=place + (wrong or request.path))

        async with scripted(handler) as script, transport_to(script, lane=lane) as transport:
            (result,) = await transport.read_small([ENTRY])
            assert isinstance(result, Blob)
        assert there.requests[-1].headers["host"] == f"localhost:{there.port}"


@LANES
async def test_a_redirect_to_another_key_is_refused(lane: str) -> None:
    """As Go servers send for ``a//b``: following it would read another object."""
    reply = answer(301, location="/bucket/a/b")
    async with scripted(lambda _: reply) as script, transport_to(script, lane=lane) as transport:
        (result,) = await transport.read_small([Entry("a//b", 5, 0)])
        assert isinstance(result, Invalid)


class Expiring:
    """A source whose first credentials are too old."""

    def __init__(self) -> None:
        self.number = 0

    async def current(self) -> Credentials:
        return Credentials(access_key_id=f"KEY{self.number}", secret_access_key="s")

    async def renewed(self) -> Credentials:
        self.number += 1
        return await self.current()


@LANES
async def test_credentials_that_ran_out_are_renewed_once_for_all(lane: str) -> None:
    def handler(request: Request) -> bytes:
        if "KEY1/" in request.headers["authorization"]:
            return answer(200, b"hello")
        return error(400, "ExpiredToken")

    source = Expiring()
    async with scripted(handler) as script, transport_to(script, lane=lane) as transport:
        transport._client._credentials = source
        async with asyncio.TaskGroup() as crew:
            reads = [crew.create_task(transport.read_small([ENTRY])) for _ in range(8)]
        assert all(isinstance(read.result()[0], Blob) for read in reads)
    assert source.number == 1


@LANES
async def test_credentials_that_stay_too_old_are_denied(lane: str) -> None:
    handler = error(400, "ExpiredToken")
    async with scripted(lambda _: handler) as script, transport_to(script, lane=lane) as transport:
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, Denied)
    assert len(script.requests) == 2


@LANES
async def test_unsigned_requests_carry_no_proof(lane: str) -> None:
    async with (
        scripted(lambda _: answer(200, b"hello")) as script,
        transport_to(script, environment={}, lane=lane, unsigned="true") as transport,
    ):
        await transport.read_small([ENTRY])
        assert not transport.capabilities.server_copy
    assert not {"authorization", "x-amz-date"} & script.requests[0].headers.keys()


@LANES
async def test_options_become_headers(lane: str) -> None:
    options = {
        "requester_pays": "true", "storage_class": "GLACIER_IR", "acl": "private",
        "sse": "aws:kms", "sse_kms_key_id": "k1",
    }  # fmt: skip
    async with (
        scripted(lambda _: answer(etag='"e"')) as script,
        transport_to(script, "", KEYS, lane=lane, **options) as transport,
    ):
        await transport.write_small([blob()])
        await transport.read_small([ENTRY])
    put, get = script.requests[0].headers, script.requests[-1].headers
    assert put["x-amz-storage-class"] == "GLACIER_IR"
    assert put["x-amz-acl"] == "private"
    assert put["x-amz-server-side-encryption"] == "aws:kms"
    assert put["x-amz-server-side-encryption-aws-kms-key-id"] == "k1"
    assert put["x-amz-request-payer"] == get["x-amz-request-payer"] == "requester"
    assert "x-amz-storage-class" not in get


@LANES
async def test_a_wish_to_wait_comes_through(lane: str) -> None:
    reply = error(503, "SlowDown", retry_after="7")
    async with scripted(lambda _: reply) as script, transport_to(script, lane=lane) as transport:
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, Throttled)
        assert result.retry_after_s == 7.0
        assert str(result).startswith("s3://bucket/k: SlowDown")


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@LANES
async def test_chunked_answers_are_read(lane: str) -> None:
    async with scripted(lambda _: CHUNKED) as script, transport_to(script, lane=lane) as transport:
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, Blob)
        assert result.data == b"hello"
        buffer = bytearray(5)
        await transport.read_into(ENTRY, ByteRange(0, 5), memoryview(buffer))
        assert buffer == b"hello"


async def test_chunked_answers_reach_a_sink_by_way_of_a_buffer() -> None:
    async with scripted(lambda _: CHUNKED) as script, transport_to(script) as transport:
        assert transport.capabilities.pours
        for _ in range(2):  # the second time the lane is not even tried
            sink = Gathering()
            await transport.read_to(ENTRY, ByteRange(0, 5), sink)
            assert sink.data == b"hello"


async def test_a_slower_road_does_not_pour() -> None:
    async with scripted(lambda _: CHUNKED) as script, transport_to(script, lane="no") as transport:
        assert not transport.capabilities.pours


async def test_what_must_not_be_asked_twice_is_asked_once() -> None:
    """The lane hands chunked answers back, and a second POST would open a second upload."""
    opened = (
        b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    )
    copied = b"<CopyObjectResult><ETag>tag</ETag></CopyObjectResult>"

    def chunked(body: bytes) -> bytes:
        return CHUNKED.replace(b"5\r\nhello", b"%x\r\n%s" % (len(body), body))

    def handler(request: Request) -> bytes:
        return chunked(opened if request.method == "POST" else copied)

    async with scripted(handler) as script, transport_to(script) as transport:
        await transport.begin_upload("k", 1, token="t")
        await transport.copy(ENTRY, transport, "c")
    assert [request.method for request in script.requests] == ["POST", "PUT"]


async def test_a_kind_of_answer_without_a_length_leaves_the_lane() -> None:
    endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
    async with scripted(lambda _: endless) as script, transport_to(script) as transport:
        await transport.read_small([ENTRY] * 3)
    assert len(script.requests) == 4


async def test_chunked_answers_stay_in_the_lane() -> None:
    async with scripted(lambda _: CHUNKED) as script, transport_to(script) as transport:
        await transport.read_small([ENTRY] * 3)
    assert len(script.requests) == 3


def broken(body: bytes, length: int, status: int = 200, **headers: str) -> bytes:
    return answer(status, body, content_length=str(length), connection="close", **headers)


@LANES
async def test_a_body_that_breaks_off_says_how_much_is_good(lane: str) -> None:
    reply = broken(b"hel", 5, 206, content_range="bytes 1-5/9")
    async with scripted(lambda _: reply) as script, transport_to(script, lane=lane) as transport:
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, Truncated)
        assert (result.received_bytes, result.location) == (3, "s3://bucket/k")
        buffer = bytearray(5)
        with pytest.raises(Truncated) as caught:
            await transport.read_into(ENTRY, ByteRange(1, 6), memoryview(buffer))
        assert (caught.value.received_bytes, caught.value.expected_bytes) == (3, 5)
        assert buffer[:3] == b"hel"


@LANES
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(206, b"hello", content_range="bytes 2-6/9"), Changed),
        (answer(206, b"hello world", content_range="bytes 1-11/12"), Changed),
        (answer(200, b"hello"), Invalid),
        (answer(206, b"hell", content_range="bytes 1-4/5"), Truncated),
        (error(416, "InvalidRange"), Changed),
        (error(412, "PreconditionFailed"), Changed),
    ],
)
async def test_ranges_that_are_not_what_was_asked_for(
    lane: str, reply: bytes, kind: type[TransportError]
) -> None:
    async with scripted(lambda _: reply) as script, transport_to(script, lane=lane) as transport:
        with pytest.raises(kind):
            await transport.read_into(ENTRY, ByteRange(1, 6), memoryview(bytearray(5)))


async def test_a_store_without_ranges_is_named() -> None:
    reply = answer(200, b"hello world")
    entry = ENTRY._replace(size=11)
    async with scripted(lambda _: reply) as script, transport_to(script) as transport:
        with pytest.raises(Invalid, match="ignores ranges"):
            await transport.read_into(entry, ByteRange(0, 5), memoryview(bytearray(5)))


@LANES
@pytest.mark.parametrize(("size", "kind"), [(4, Changed), (6, Truncated)])
async def test_another_size_than_listed(lane: str, size: int, kind: type[TransportError]) -> None:
    reply = answer(200, b"hello")
    async with scripted(lambda _: reply) as script, transport_to(script, lane=lane) as transport:
        (result,) = await transport.read_small([ENTRY._replace(size=size)])
        assert isinstance(result, kind)


@LANES
async def test_reads_are_pinned_and_ask_for_the_checksum(lane: str) -> None:
    reply = answer(200, b"hello")
    async with scripted(lambda _: reply) as script, transport_to(script, lane=lane) as transport:
        await transport.read_small([ENTRY, ENTRY._replace(etag="")])
    first, second = script.requests
    assert first.headers["if-match"] == '"tag"'
    assert first.headers["x-amz-checksum-mode"] == "ENABLED"
    assert "if-match" not in second.headers


@LANES
async def test_a_silent_server_times_out(lane: str) -> None:
    async with (
        scripted(lambda _: None) as script,
        transport_to(script, lane=lane, read_timeout_s="0.2") as transport,
    ):
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, TimedOut)


@LANES
async def test_a_server_that_stops_reading_times_out(lane: str) -> None:
    async with (
        scripted(lambda _: answer(), reading=False) as script,
        transport_to(script, lane=lane, read_timeout_s="0.3") as transport,
    ):
        async with asyncio.timeout(10):
            (result,) = await transport.write_small([blob(bytes(32 << 20))])
        assert isinstance(result, TimedOut)


@LANES
async def test_waiting_for_the_pace_is_no_stall(lane: str) -> None:
    granted: list[int] = []

    async def pace(size_bytes: int) -> None:
        granted.append(size_bytes)
        await asyncio.sleep(0.15)

    data = bytes(300_000)
    async with (
        scripted(lambda _: answer(etag='"opaque"')) as script,
        transport_to(script, lane=lane, read_timeout_s="0.1") as transport,
    ):
        (result,) = await transport.write_small([blob(data)], pace=pace)
    assert not isinstance(result, TransportError)
    assert sum(granted) == len(data)
    assert max(granted) <= 128 * 1024
    assert script.requests[0].body == data


@LANES
async def test_a_dead_host_is_unavailable(lane: str) -> None:
    async with scripted(lambda _: answer()) as script:
        pass
    async with transport_to(script, lane=lane) as transport:
        with pytest.raises(Unavailable, match=r"s3://bucket/"):
            await anext(aiter(transport.list()))


@LANES
async def test_a_cancelled_read_leaves_nothing(lane: str) -> None:
    async with scripted(lambda _: None) as script, transport_to(script, lane=lane) as transport:
        async with asyncio.TaskGroup() as crew:
            reading = crew.create_task(transport.read_small([ENTRY]))
            await script.arrived.wait()
            reading.cancel()
        script.handler = lambda _: answer(200, b"hello")
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, Blob)
    for _ in range(100):
        if not script.open_connections:
            break
        await asyncio.sleep(0.01)
    assert not script.open_connections


async def test_a_closed_transport_says_so() -> None:
    async with scripted(lambda _: answer()) as script:
        async with transport_to(script) as transport:
            pass
        (result,) = await transport.read_small([ENTRY])
        assert isinstance(result, Unavailable)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@LANES
async def test_certificates(
    lane: str, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with scripted(lambda _: answer(200, b"hello"), tls=context) as script:
        url = f"https://127.0.0.1:{script.port}"
        trusting = {"endpoint_url": url, "ca_file": str(ca_file), "lane": lane}
        async with transport_to(script, "", KEYS, **trusting) as transport:
            (result,) = await transport.read_small([ENTRY])
            assert isinstance(result, Blob)
        environment = KEYS | {"AWS_CA_BUNDLE": str(ca_file)}
        async with transport_to(script, "", environment, endpoint_url=url, lane=lane) as transport:
            assert isinstance((await transport.read_small([ENTRY]))[0], Blob)
        careless = {"endpoint_url": url, "verify": "false", "lane": lane}
        async with transport_to(script, "", KEYS, **careless) as transport:
            assert isinstance((await transport.read_small([ENTRY]))[0], Blob)
        async with transport_to(script, endpoint_url=url, lane=lane) as transport:
            (result,) = await transport.read_small([ENTRY])
            assert isinstance(result, Denied)
            assert "certificate" in str(result)
            with pytest.raises(Denied, match="ca_file"):
                await transport.head("k")


async def test_a_missing_ca_file_is_named() -> None:
    script = ScriptedS3(lambda _: answer())
    with pytest.raises(ValueError, match="/no/ca.pem"):
        async with transport_to(script, endpoint_url="https://h", ca_file="/no/ca.pem"):
            pass


async def test_a_proxy_carries_every_request() -> None:
    """In a side's own environment; hosts in NO_PROXY are reached directly."""
    async with scripted(lambda _: answer(200, b"hello")) as proxy:
        through = KEYS | {"HTTP_PROXY": proxy.url}
        script = ScriptedS3(lambda _: answer())
        options = {"endpoint_url": "http://store.invalid:81"}
        async with transport_to(script, "", through, **options) as transport:
            (result,) = await transport.read_small([ENTRY])
            assert isinstance(result, Blob)
        assert proxy.requests[0].target == "http://store.invalid:81/bucket/k"
        assert proxy.requests[0].headers["host"] == "store.invalid:81"
        around = through | {"NO_PROXY": ".invalid"}
        async with transport_to(script, "", around, **options) as transport:
            (result,) = await transport.read_small([ENTRY])
            assert isinstance(result, Unavailable)
        assert len(proxy.requests) == 1
        named = options | {"proxy": proxy.url}  # the option goes before NO_PROXY
        async with transport_to(script, "", around, **named) as transport:
            (result,) = await transport.read_small([ENTRY])
            assert isinstance(result, Blob)
    assert len(proxy.requests) == 2


async def test_virtual_addressing_puts_the_bucket_into_the_host() -> None:
    async with scripted(lambda _: answer(200, b"hello")) as proxy:
        through = KEYS | {"HTTP_PROXY": proxy.url}
        script = ScriptedS3(lambda _: answer())
        options = {"endpoint_url": "http://store.invalid", "addressing": "virtual"}
        async with transport_to(script, "p/", through, **options) as transport:
            await transport.read_small([ENTRY])
    assert proxy.requests[0].target == "http://bucket.store.invalid/p/k"


@LANES
async def test_names_go_out_as_they_are(lane: str) -> None:
    keys = ["a//b", "../x", "./k", "/abs", "a%2Fb", "a+b c", "é", "d/", "a?b#c", "\n"]
    async with (
        scripted(lambda _: answer(200, b"hello")) as script,
        transport_to(script, lane=lane) as transport,
    ):
        await transport.read_small([Entry(key, 5, 0) for key in keys])
    assert [request.target for request in script.requests] == [
        "/bucket/a//b", "/bucket/../x", "/bucket/./k", "/bucket//abs", "/bucket/a%252Fb",
        "/bucket/a%2Bb%20c", "/bucket/%C3%A9", "/bucket/d/", "/bucket/a%3Fb%23c", "/bucket/%0A",
    ]  # fmt: skip


async def test_no_verb_turns_an_empty_key_into_the_bucket() -> None:
    async with scripted(lambda _: answer()) as script, transport_to(script) as transport:
        (deleted,) = await transport.delete([""])
        (read,) = await transport.read_small([Entry("", 0, 0)])
        (written,) = await transport.write_small([blob(b"", "")])
        assert all(isinstance(result, Invalid) for result in (deleted, read, written))
        for call in (
            transport.head(""),
            transport.begin_upload("", 1, token="t"),
            transport.abort_upload("", "u"),
        ):
            with pytest.raises(Invalid):
                await call
    assert script.requests == []


async def test_a_missing_object_and_an_implicit_directory() -> None:
    def handler(request: Request) -> bytes:
        if request.path.endswith("d/"):
            return answer(etag='"d41d8cd98f00b204e9800998ecf8427e-0"')
        return answer(404)

    async with scripted(handler) as script, transport_to(script) as transport:
        for key in ("k", "d/"):
            with pytest.raises(NotFound):
                await transport.head(key)
