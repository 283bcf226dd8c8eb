"""A small blocking S3 caller for setting scenes: one signed request per connection, nothing hidden.

Benchmarks and tests use it to make buckets, to plant objects and to look at what really stands in a
store without going through the code under test. It never retries and never follows a redirect.
The signature follows the public description of AWS Signature Version 4.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SAFE_IN_PATH = "/-._~"
_SAFE_IN_QUERY = "-._~"


class S3RawError(RuntimeError):
    """A store answered a set-up request with an error status."""

    def __init__(self, *, method: str, target: str, status: int, body: bytes) -> None:
        self.method = method
        self.target = target
        self.status = status
        self.body = body
        super().__init__(f"{method} {target} answered {status}: {body[:300]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """One response: status, headers with lower-case names, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Raw:
    """An S3 endpoint with one pair of keys, addressed path-style.

    ``ca_file`` is the certificate authority to trust for an ``https`` endpoint; None trusts the
    system's. ``timeout_s`` bounds each socket operation, not the whole call.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    ca_file: Path | None = None
    timeout_s: float = 30.0

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        payload_hash: str | None = None,
    ) -> RawAnswer:
        """Send one signed request and return whatever comes back, errors included.

        ``path`` is the unencoded ``/bucket/key``; every byte of it reaches the server
        (no folding of ``//`` or ``..``). ``payload_hash`` replaces the SHA-256 of the body in the
        signature, for trailers. Raises OSError or http.client.HTTPException when no answer comes.
        """
        signed = self.signed_headers(
            method, path, query=query, headers=headers, body=body, payload_hash=payload_hash
        )
        target, query_text = quote(path, safe=_SAFE_IN_PATH), _encoded(query)
        connection = self._connect()
        try:
            full = f"{target}?{query_text}" if query_text else target
            connection.request(method, full, body=body, headers=signed)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return RawAnswer(status=response.status, headers=names, body=response.read())
        finally:
            connection.close()

    def signed_headers(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        payload_hash: str | None = None,
    ) -> dict[str, str]:
        """Return the headers that ``call`` would send, for a caller with a socket of its own."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        payload = payload_hash or hashlib.sha256(body).hexdigest()
        signed = dict(headers or {})
        signed |= {
            "Host": urlsplit(self.endpoint_url).netloc,
            "x-amz-date": stamp,
            "x-amz-content-sha256": payload,
        }
        canonical = sorted((name.lower(), value.strip()) for name, value in signed.items())
        names = ";".join(name for name, _ in canonical)
        lines = "".join(f"{name}:{value}\n" for name, value in canonical)
        request = "\n".join(
            (method, quote(path, safe=_SAFE_IN_PATH), _encoded(query), lines, names, payload)
        )
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, digest))
        key = f"AWS4{self.secret_key}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        signed["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def create_bucket(self, name: str) -> None:
        """Create a bucket; one that exists already is an error (S3RawError)."""
        self._expect("PUT", f"/{name}")

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket; whether it must be empty is the server's choice."""
        self._expect("DELETE", f"/{name}")

    def put(
        self, bucket: str, key: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> RawAnswer:
        """Write one object in one request."""
        return self._expect("PUT", f"/{bucket}/{key}", headers=headers, body=body)

    def get(self, bucket: str, key: str) -> bytes:
        """Return the bytes of one object."""
        return self._expect("GET", f"/{bucket}/{key}").body

    def _expect(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> RawAnswer:
        answer = self.call(method, path, headers=headers, body=body)
        if answer.status >= 300:
            raise S3RawError(method=method, target=path, status=answer.status, body=answer.body)
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.endpoint_url)
        host, port = parts.hostname or "127.0.0.1", parts.port
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        context = ssl.create_default_context(cafile=None if self.ca_file is None else self.ca_file)
        return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=context)


def _encoded(query: Mapping[str, str] | None) -> str:
    return "&".join(
        f"{quote(name, safe=_SAFE_IN_QUERY)}={quote(value, safe=_SAFE_IN_QUERY)}"
        for name, value in sorted((query or {}).items())
    )
