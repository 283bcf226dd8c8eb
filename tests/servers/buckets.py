"""A bucket of one test, and a look into it that does not use the code under test."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote_plus

import defusedxml.ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from bench.s3_raw import RawAnswer, S3Raw

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class S3Server(Protocol):
    """What SeaweedServer and MotoServer have in common."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def ca_file(self) -> Path | None: ...
    @property
    def endpoint_url(self) -> str: ...
    @property
    def raw(self) -> S3Raw: ...
    def environment(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A fresh bucket on one server."""

    server: S3Server
    name: str

    @classmethod
    def create(cls, server: S3Server) -> Bucket:
        bucket = cls(server=server, name=f"t-{uuid.uuid4().hex[:16]}")
        server.raw.create_bucket(bucket.name)
        return bucket

    def location(self, prefix: str = "", *, endpoint_url: str | None = None) -> str:
        """The bucket as a location of the mover; ``endpoint_url`` puts a proxy in between."""
        endpoint = quote(endpoint_url or self.server.endpoint_url, safe=":/")
        return f"s3://{self.name}/{prefix}?endpoint_url={endpoint}&region={self.server.region}"

    def make_public(self) -> None:
        """Let anybody list and read: a signature does not survive a proxy that leaves out ranges."""
        resources = [f"arn:aws:s3:::{self.name}", f"arn:aws:s3:::{self.name}/*"]
        actions = ["s3:GetObject", "s3:ListBucket"]
        allowed = {"Effect": "Allow", "Principal": "*", "Action": actions, "Resource": resources}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        answer = self.server.raw.call(
            "PUT", f"/{self.name}", query={"policy": ""}, body=policy.encode()
        )
        assert answer.status < 300, answer

    def keep_versions(self) -> None:
        """Let the server keep what is replaced or deleted."""
        space = _NAMESPACE.strip("{}")
        status = "<Status>Enabled</Status>"
        body = f'<VersioningConfiguration xmlns="{space}">{status}</VersioningConfiguration>'
        answer = self.server.raw.call(
            "PUT", f"/{self.name}", query={"versioning": ""}, body=body.encode()
        )
        assert answer.status == 200, answer

    def put(self, key: str, body: bytes, *, headers: Mapping[str, str] | None = None) -> RawAnswer:
        return self.server.raw.put(self.name, key, body, headers=headers)

    def get(self, key: str) -> bytes:
        return self.server.raw.get(self.name, key)

    def head(self, key: str) -> RawAnswer:
        return self.server.raw.call(
            "HEAD", f"/{self.name}/{key}", headers={"x-amz-checksum-mode": "ENABLED"}
        )

    def delete(self, key: str) -> None:
        self.server.raw.call("DELETE", f"/{self.name}/{key}")

    def list_keys(self, prefix: str = "") -> list[str]:
        """All keys, in the order in which the server lists them."""
        return list(self._listed(prefix))

    def tree(self, prefix: str = "") -> dict[str, bytes]:
        """Every object under ``prefix``, by its whole key. For small trees."""
        return {key: self.get(key) for key in self.list_keys(prefix)}

    def upload_keys(self) -> list[str]:
        """The keys of all open multipart uploads, sorted (an upload each, so they may repeat)."""
        found: list[str] = []
        marker: dict[str, str] = {}
        while True:
            root = self._xml({"uploads": "", **marker})
            found += [upload.findtext(f"{_NAMESPACE}Key", "") for upload in _all(root, "Upload")]
            if root.findtext(f"{_NAMESPACE}IsTruncated") != "true":
                return sorted(found)
            upload = root.findtext(f"{_NAMESPACE}NextUploadIdMarker", "")
            key = root.findtext(f"{_NAMESPACE}NextKeyMarker", "")
            marker = {"upload-id-marker": upload} | ({"key-marker": key} if key else {})

    def destroy(self) -> None:
        """Remove the bucket with its objects and open uploads. Repeatable."""
        raw = self.server.raw
        if raw.call("DELETE", f"/{self.name}").status in (200, 204, 404):
            return
        for upload in list(_all(self._xml({"uploads": ""}), "Upload")):
            key = upload.findtext(f"{_NAMESPACE}Key", "")
            number = upload.findtext(f"{_NAMESPACE}UploadId", "")
            raw.call("DELETE", f"/{self.name}/{key}", query={"uploadId": number})
        for key in self.list_keys():
            self.delete(key)
        versions = self._xml({"versions": ""})
        for version in [*_all(versions, "Version"), *_all(versions, "DeleteMarker")]:
            key = version.findtext(f"{_NAMESPACE}Key", "")
            number = version.findtext(f"{_NAMESPACE}VersionId", "")
            raw.call("DELETE", f"/{self.name}/{key}", query={"versionId": number})
        raw.delete_bucket(self.name)

    def _listed(self, prefix: str) -> Iterator[str]:
        token: dict[str, str] = {}
        while True:
            query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, **token}
            root = self._xml(query)
            for entry in _all(root, "Contents"):
                yield unquote_plus(entry.findtext(f"{_NAMESPACE}Key", ""))
            following = root.findtext(f"{_NAMESPACE}NextContinuationToken")
            if root.findtext(f"{_NAMESPACE}IsTruncated") != "true" or following is None:
                return
            token = {"continuation-token": following}

    def _xml(self, query: Mapping[str, str]) -> Element:
        answer = self.server.raw.call("GET", f"/{self.name}", query=query)
        assert answer.status == 200, answer
        root: Element = defusedxml.ElementTree.fromstring(answer.body)
        return root


def _all(root: Element, name: str) -> Iterator[Element]:
    return root.iter(f"{_NAMESPACE}{name}")
