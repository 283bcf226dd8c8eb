"""Where bytes are, as people write it: the text of a location, read into a value and back.

Pure: no file is looked at and no environment is read; ``opening`` does both.

The forms, and what is literal in each:

- A plain path (``data/x``, ``/srv/d/``) is taken as it stands; nothing in it is special.
- ``file:///srv/a%20b`` is percent-decoded (RFC 8089) and may carry options.
- ``s3://bucket/KEY?region=eu-1``, and every other store: the key is taken as it stands, percent
  signs included, as s5cmd and rclone take it. *The last question mark begins the options*, so a
  key that holds one is written with one more at its end: ``s3://b/what?.txt?``.
- ``https://host/p?version=3#ca_file=/x.pem``: the query belongs to the resource, options follow
  the number sign, which no server ever sees.

Secrets do not belong in a location: it ends up in process lists, histories, logs and manifests.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, unquote

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_MISTYPED: Final = re.compile(r"(s3|gs|az|abfs|https?|file|memory):(?!//)", re.IGNORECASE)
_OPTION: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@\\]+)(:\d{1,5})?")
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A user and a password before a host, wherever a URL may stand in a value.
_PASSWORD: Final = re.compile(r"//[^/?#\s]*:[^/?#\s]*@")

_SECRET_PARTS: Final = (
    "secret", "passw", "passphrase", "token", "signature", "credential", "apikey", "accesskey",
    "authorization",
)  # fmt: skip
_SECRET_WORDS: Final = frozenset({"key", "pwd", "pass", "sig", "sas", "auth", "jwt", "bearer"})
# Names a key without being one.
_NOT_SECRET: Final = re.compile(r".*kms_key_id")

_WEB: Final = frozenset({"http", "https"})
_SECRET_REMEDY: Final = (
    "credentials come from the environment, from profiles and from MOVER_SOURCE_* and "
    "MOVER_TARGET_* variables"
)


class BadLocation(ValueError):
    """A location that cannot be read or must not be used; the text never holds its secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A parsed location.

    ``scheme`` is lower-case; ``file`` for plain paths. ``authority`` is the bucket, the host with
    its port, or the name of a memory store; "" for files. ``path`` is the key or prefix within it,
    without the slash that divides the two; for files it is the path itself, absolute or relative;
    for HTTP it is percent-encoded, as the server wants it. ``query`` is an HTTP resource's own.
    ``options`` are the store's, decoded.
    """

    scheme: str
    authority: str = ""
    path: str = ""
    query: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_tree(self) -> bool:
        """Whether the text alone says tree: it names no object, or ends in a slash."""
        if self.scheme == "file" and self.path.rpartition("/")[2] in {".", ".."}:
            return True
        return not self.path or self.path.endswith("/")

    @property
    def text(self) -> str:
        """The location for people and logs: no options, and no secret by construction."""
        if self.scheme == "file":
            return self.path
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.authority}/{self.path}{query}"

    @property
    def name(self) -> str:
        """The last segment of the path, decoded; "" for a tree.

        A segment of a URL that would decode to more than one name stays encoded.
        """
        if self.is_tree:
            return ""
        segment = self.path.rpartition("/")[2]
        if self.scheme not in _WEB:
            return segment
        decoded = unquote(segment, errors="surrogateescape")
        return segment if "/" in decoded or decoded in {".", ".."} else decoded

    def as_tree(self) -> "Location":
        """The same place, read as a tree: its path ends in a slash or is empty."""
        if not self.path or self.path.endswith("/"):
            return self
        return replace(self, path=f"{self.path}/")

    def parent(self) -> "Location":
        """The tree that holds this object; for a tree, the tree itself. A query stays."""
        if self.is_tree:
            return self
        head, slash, _ = self.path.rpartition("/")
        if self.scheme == "file" and not slash:
            return replace(self, path="./")
        return replace(self, path=f"{head}{slash}")


def parse_location(text: str) -> Location:
    """Read a location as a user writes it.

    Raises ``BadLocation`` for what has no meaning and for a location that holds a secret; the
    message says what to write instead and never repeats a secret.
    """
    if not text:
        raise BadLocation("a location is empty: write a path, or a URL such as s3://bucket/prefix/")
    match = _URL.fullmatch(text)
    if match is None:
        if mistyped := _MISTYPED.match(text):
            scheme = mistyped[1].lower()
            raise BadLocation(
                f"a {scheme} location begins with {scheme}:// (a file of that name: ./{scheme}:…)"
            )
        if "::" in text and "://" in text:
            raise BadLocation("chained locations are not understood (a file of that name: ./…)")
        return _file(text, {})
    scheme, rest = match[1].lower(), match[2]
    if scheme in _WEB:
        return _web(scheme, rest)
    rest, mark, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    options = _options(scheme, query) if mark else {}
    if scheme == "file":
        return _file_url(rest, options)
    authority, _, path = rest.partition("/")
    _check_authority(scheme, authority, path)
    return Location(scheme=scheme, authority=authority, path=path, options=options)


def local_location(path: str) -> Location:
    """The location of a path, taken as it stands even where it looks like a URL."""
    return _file(path, {})


def same_or_inside(inner: Location, outer: Location) -> bool:
    """Whether ``inner`` is ``outer`` or lies in the tree below it, going by their texts.

    Two stores at different endpoints are different even where bucket and key are equal. For local
    paths, make both real and absolute first.
    """
    if _store(inner) != _store(outer):
        return False
    low, high = inner.path.rstrip("/"), outer.path.rstrip("/")
    if inner.scheme == "file" and outer.path and not high:
        return inner.path.startswith("/")  # outer is the root directory itself
    return low == high or not high or low.startswith(f"{high}/")


def looks_secret(name: str) -> bool:
    """Whether a parameter of this name would carry a secret."""
    plain = name.lower().replace("-", "_")
    if _NOT_SECRET.fullmatch(plain):
        return False
    squeezed = plain.replace("_", "")
    if any(part in squeezed for part in _SECRET_PARTS):
        return True
    return not _SECRET_WORDS.isdisjoint(re.split(r"[_.]", plain))


def _file(path: str, options: Mapping[str, str]) -> Location:
    if "\0" in path:
        raise BadLocation("a local path cannot hold a NUL character")
    return Location(scheme="file", path=path, options=options)


def _file_url(rest: str, options: Mapping[str, str]) -> Location:
    host, slash, path = rest.partition("/")
    if host.lower() not in {"", "localhost"} or not slash:
        raise BadLocation("a file location is absolute and has three slashes: file:///srv/data/")
    return _file("/" + unquote(path, errors="surrogateescape"), options)


def _web(scheme: str, rest: str) -> Location:
    rest, mark, fragment = rest.partition("#")
    options = _options(scheme, fragment) if mark else {}
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    _check_authority(scheme, authority, path)
    for piece in query.split("&"):
        name = unquote(piece.partition("=")[0])
        if looks_secret(name):
            raise BadLocation(
                f"the location at {authority} holds a secret in {_shown(name)}: put the whole query"
                " into MOVER_SOURCE_HTTP_QUERY, or the credential into"
                " MOVER_SOURCE_HTTP_AUTHORIZATION"
            )
    # What a person types into a URL unencoded (spaces, letters beyond ASCII) is encoded for them;
    # what is encoded already stays as it is.
    safe = "/%:@!$&'()*+,;=~-._"
    path, query = _LONE_PERCENT.sub("%25", path), _LONE_PERCENT.sub("%25", query)
    return Location(
        scheme=scheme,
        authority=authority.lower(),
        path=quote(path, safe=safe, errors="surrogateescape"),
        query=quote(query, safe=safe + "?", errors="surrogateescape"),
        options=options,
    )


def _options(scheme: str, query: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for piece in filter(None, query.split("&")):
        name, equals, value = piece.partition("=")
        if looks_secret(name) and equals:
            raise BadLocation(f"the option {_shown(name)} would hold a secret: {_SECRET_REMEDY}")
        if not equals or not _OPTION.fullmatch(name):
            remedy = (
                "write name=value&name=value behind the number sign"
                if scheme in _WEB
                else "options are name=value&name=value; a key that holds a question mark is"
                " written with one more at its end"
            )
            raise BadLocation(f"the options of a {scheme} location cannot be read: {remedy}")
        value = unquote(value, errors="surrogateescape")
        if _PASSWORD.search(value):
            raise BadLocation(f"the option {name} holds a password: {_SECRET_REMEDY}")
        if name in options:
            raise BadLocation(f"the option {name} is given twice")
        options[name] = value
    return options


def _check_authority(scheme: str, authority: str, path: str) -> None:
    """Refuse what names no store; nothing of a bad authority is repeated: it may be a password."""
    user, at, _ = authority.rpartition("@")
    # Secrets hold slashes often enough: a user, a colon and no port before a later "@" is one too.
    torn = not at and "@" in path and not _HOST.fullmatch(authority) and ":" in authority
    if ":" in user or torn:
        raise BadLocation(f"a {scheme} location must not hold a password: {_SECRET_REMEDY}")
    if scheme in {"s3", "gs"}:
        if not authority:
            raise BadLocation(f"the location names no bucket: write {scheme}://bucket/prefix/")
        if not _BUCKET.fullmatch(authority):
            raise BadLocation(
                f"what stands between {scheme}:// and the next slash is no bucket name"
                " (letters, digits, dots, hyphens)"
            )
    elif scheme in _WEB:
        if not authority:
            raise BadLocation(f"the location names no host: write {scheme}://host/path")
        if "@" in authority:
            raise BadLocation(f"a {scheme} location must not hold a user: {_SECRET_REMEDY}")
        if not _HOST.fullmatch(authority):
            raise BadLocation(f"what stands between {scheme}:// and the next slash is no host")


def _store(location: Location) -> tuple[str, str, str]:
    """What makes two locations the same store: scheme, authority and endpoint."""
    endpoint = location.options.get("endpoint_url", "").rstrip("/").lower()
    return location.scheme, location.authority, endpoint


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:37] + "...")
