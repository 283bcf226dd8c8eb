"""Settings of an S3 location, and the address of a bucket that follows from them. Pure.

Names are those of the location's query (``s3://bucket/p?region=eu-1&profile=lab``). What a setting
leaves open comes from the environment and from the AWS profile, in that order, as the AWS tools do:
``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_DEFAULT_REGION``,
``AWS_CA_BUNDLE``, and ``HTTP(S)_PROXY`` with ``NO_PROXY`` for the way there.
"""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_REGION: Final = "us-east-1"

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})

# A bucket that can stand in a host name under one wildcard certificate: no dots, no capitals.
_HOST_SAFE_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """How to reach and use a bucket. "" means: not set.

    ``addressing`` puts the bucket into the ``path`` or the host name (``virtual``); ``auto`` takes
    the host on AWS and the path elsewhere. ``verify=False`` accepts any certificate.
    ``list_order`` says how the store sorts: ``key`` as S3 does, ``tree`` directory by directory,
    ``auto`` by the server's name. ``storage_class``, ``acl``, ``sse`` (``AES256``, ``aws:kms``) and
    ``sse_kms_key_id`` go along with each write. ``lane=False`` leaves the lean lane unused.
    ``connect_timeout_s`` is for a connection, ``read_timeout_s`` for a silence between two bytes.
    """

    endpoint_url: str = ""
    region: str = ""
    addressing: str = "auto"
    profile: str = ""
    requester_pays: bool = False
    unsigned: bool = False
    ca_file: str = ""
    verify: bool = True
    proxy: str = ""
    storage_class: str = ""
    acl: str = ""
    sse: str = ""
    sse_kms_key_id: str = ""
    list_order: str = "auto"
    lane: bool = True
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        _one_of("addressing", self.addressing, ("auto", "path", "virtual"))
        _one_of("list_order", self.list_order, ("auto", "key", "tree"))
        if self.endpoint_url:
            split_endpoint(self.endpoint_url)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(known)}")


def parse_options(given: Mapping[str, str], environment: Mapping[str, str]) -> S3Options:
    """Read a location's options and fill what they leave open from ``environment``.

    Raises ``ValueError`` that names the option (and, for an unknown one, those that exist). Reads
    the AWS configuration file, for the profile's region and endpoint, where there is one.
    """
    known = {field.name: field for field in fields(S3Options)}
    values: dict[str, str | bool | float] = {}
    for name, text in given.items():
        field = known.get(name)
        if field is None:
            raise ValueError(f"unknown S3 option {name!r} (known: {', '.join(sorted(known))})")
        default = field.default
        if default is MISSING or isinstance(default, str):
            values[name] = text
        else:
            values[name] = (
                _boolean(name, text) if default in (True, False) else _seconds(name, text)
            )
    for name, text in _ambient(values, environment).items():
        if not values.get(name):
            values[name] = text
    return S3Options(**values)  # type: ignore[arg-type]


def _boolean(name: str, text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{name}={text!r} is neither true nor false")
    return word in _TRUE


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError(f"{name}={text!r} is not a number of seconds")
    return seconds


def _ambient(given: Mapping[str, object], environment: Mapping[str, str]) -> dict[str, str]:
    """What the environment and the profile say; the environment comes first."""
    profile = str(given.get("profile") or "") or environment.get("AWS_PROFILE", "")
    from_file = _profile_settings(profile, environment)
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() in _TRUE:
        endpoint = ""
        from_file.pop("endpoint_url", None)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return {
        "endpoint_url": endpoint or from_file.get("endpoint_url", ""),
        "region": region or from_file.get("region", "") or DEFAULT_REGION,
        "ca_file": environment.get("AWS_CA_BUNDLE", "") or from_file.get("ca_bundle", ""),
    }


def _profile_settings(profile: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of one profile in the AWS configuration file; {} where there is none."""
    path = Path(environment.get("AWS_CONFIG_FILE") or "~/.aws/config")
    home = environment.get("HOME")
    if home and path.parts[:1] == ("~",):
        path = Path(home, *path.parts[1:])
    try:
        path = path.expanduser()
    except RuntimeError:  # nobody's home
        return {}
    if not path.is_file():
        return {}
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}  # the credential chain reads this file too, and is the one to complain
    for section in (f"profile {profile}" if profile else "default", profile or "default"):
        if parser.has_section(section):
            return dict(parser.items(section))
    return {}


class Address(NamedTuple):
    """Where a bucket is: ``host`` without brackets, ``base`` the path in front of each key.

    ``host_header`` is the Host that is sent and signed: with the port where it is not the scheme's
    own.
    """

    secure: bool
    host: str
    port: int
    host_header: str
    base: str

    @property
    def origin(self) -> str:
        """Scheme and authority, as the beginning of a URL."""
        return f"{'https' if self.secure else 'http'}://{self.host_header}"


def split_endpoint(url: str) -> tuple[bool, str, int, str]:
    """Split an endpoint URL into (secure, host, port, path). Raises ``ValueError`` naming it."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"endpoint_url={url!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"endpoint_url={url!r} is not http://host[:port] or https://host[:port]")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("endpoint_url holds more than a scheme, a host, a port and a path")
    secure = parts.scheme == "https"
    return secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/")


def address_of(bucket: str, options: S3Options, region: str) -> Address:
    """Where ``bucket`` answers, for a region. Raises ``ValueError`` for an unusable endpoint."""
    if options.endpoint_url:
        secure, host, port, base = split_endpoint(options.endpoint_url)
        virtual = options.addressing == "virtual"
    else:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        secure, host, port, base = True, f"s3.{region}.{suffix}", 443, ""
        safe = _HOST_SAFE_BUCKET.fullmatch(bucket) is not None
        virtual = options.addressing == "virtual" or (options.addressing == "auto" and safe)
    if virtual:
        host = f"{bucket}.{host}"
    else:
        base = f"{base}/{bucket}"
    shown = f"[{host}]" if ":" in host else host
    header = shown if port == (443 if secure else 80) else f"{shown}:{port}"
    return Address(secure, host, port, header, base)


def write_headers(options: S3Options) -> list[tuple[str, str]]:
    """The headers that go along with every new object."""
    pairs = (
        ("x-amz-acl", options.acl),
        ("x-amz-server-side-encryption", options.sse),
        ("x-amz-server-side-encryption-aws-kms-key-id", options.sse_kms_key_id),
        ("x-amz-storage-class", options.storage_class),
    )
    return [(name, value) for name, value in pairs if value]
