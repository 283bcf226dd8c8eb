"""Options of an S3 location, the environment behind them, and the address that follows."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from transports.s3_options import Address, S3Options, address_of, parse_options


def test_options_are_read_by_their_type() -> None:
    options = parse_options(
        {"endpoint_url": "http://h:1", "unsigned": "yes", "verify": "false", "read_timeout_s": "5"},
        {"AWS_CONFIG_FILE": "/nowhere"},
    )
    assert options == S3Options(
        endpoint_url="http://h:1",
        region="us-east-1",
        unsigned=True,
        verify=False,
        read_timeout_s=5.0,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"regoin": "x"}, ["regoin", "region", "endpoint_url"]),
        ({"unsigned": "maybe"}, ["unsigned", "maybe"]),
        ({"read_timeout_s": "soon"}, ["read_timeout_s"]),
        ({"read_timeout_s": "-1"}, ["read_timeout_s"]),
        ({"addressing": "dns"}, ["addressing", "virtual"]),
        ({"endpoint_url": "host:8333"}, ["endpoint_url"]),
        ({"endpoint_url": "http://h:99999"}, ["endpoint_url"]),
        ({"endpoint_url": "http://h/?x=1"}, ["endpoint_url"]),
    ],
)
def test_bad_options_are_named(given: Mapping[str, str], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_options(given, {"AWS_CONFIG_FILE": "/nowhere"})
    assert all(word in str(caught.value) for word in words)


def test_the_environment_and_the_profile_fill_the_gaps(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[default]\nregion = from-default\n[profile lab]\nregion = from-lab\n"
        "endpoint_url = http://lab:1\n"
    )
    base = {"AWS_CONFIG_FILE": str(config)}
    assert parse_options({}, base).region == "from-default"
    assert parse_options({}, base | {"AWS_REGION": "env"}).region == "env"
    assert parse_options({"region": "mine"}, base | {"AWS_REGION": "env"}).region == "mine"
    lab = parse_options({"profile": "lab"}, base)
    assert (lab.region, lab.endpoint_url) == ("from-lab", "http://lab:1")
    assert parse_options({}, base | {"AWS_PROFILE": "lab"}).region == "from-lab"
    general = {"AWS_ENDPOINT_URL": "http://any", "AWS_CA_BUNDLE": "/ca.pem"}
    assert parse_options({}, base | general).endpoint_url == "http://any"
    assert parse_options({}, base | general).ca_file == "/ca.pem"
    own = general | {"AWS_ENDPOINT_URL_S3": "http://s3"}
    assert parse_options({}, base | own).endpoint_url == "http://s3"
    ignoring = own | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert parse_options({}, base | ignoring).endpoint_url == ""


@pytest.mark.parametrize(
    ("bucket", "options", "expected"),
    [
        ("b-1", {}, Address(True, "b-1.s3.eu-1.amazonaws.com", 443,
                            "b-1.s3.eu-1.amazonaws.com", "")),
        ("b.1", {}, Address(True, "s3.eu-1.amazonaws.com", 443, "s3.eu-1.amazonaws.com", "/b.1")),
        ("b-1", {"addressing": "path"},
         Address(True, "s3.eu-1.amazonaws.com", 443, "s3.eu-1.amazonaws.com", "/b-1")),
        ("b", {"endpoint_url": "http://h:8333"}, Address(False, "h", 8333, "h:8333", "/b")),
        ("b", {"endpoint_url": "http://h/"}, Address(False, "h", 80, "h", "/b")),
        ("b", {"endpoint_url": "https://h:443/s3"}, Address(True, "h", 443, "h", "/s3/b")),
        ("b", {"endpoint_url": "http://[::1]:9"}, Address(False, "::1", 9, "[::1]:9", "/b")),
        ("b", {"endpoint_url": "http://h:1", "addressing": "virtual"},
         Address(False, "b.h", 1, "b.h:1", "")),
    ],
)  # fmt: skip
def test_addresses(bucket: str, options: dict[str, str], expected: Address) -> None:
    read = parse_options(options, {"AWS_CONFIG_FILE": "/nowhere"})
    assert address_of(bucket, read, "eu-1") == expected


def test_china_has_its_own_domain() -> None:
    assert address_of("b.c", S3Options(), "cn-north-1").host.endswith(".amazonaws.com.cn")
