"""Bytes at rest: list, read, write and verify objects in any store.

Belongs here: the ``Transport`` port, one thin adapter per kind of store, the decorators that any
adapter can wear (retry, record, limit, throttle, faults), and the contract suite that each adapter
runs. Every third-party storage library enters the house through one module of this package.
Does not belong here: what should move and why (``mover``), who works on it and when
(``scheduler``). This package imports neither.
"""

from transports.base import Pace, Transport
from transports.errors import (
    AlreadyExists,
    Changed,
    Corrupt,
    Denied,
    Invalid,
    NoSpace,
    NotFound,
    Permanent,
    Throttled,
    TimedOut,
    Transient,
    TransportError,
    Truncated,
    Unavailable,
)
from transports.model import (
    Attributes,
    Blob,
    ByteRange,
    Capabilities,
    Checksum,
    Entry,
    Kind,
    ObjectInfo,
    PartReceipt,
    PartSpec,
    Proof,
    Receipt,
    UploadInfo,
)

__all__ = [
    "AlreadyExists",
    "Attributes",
    "Blob",
    "ByteRange",
    "Capabilities",
    "Changed",
    "Checksum",
    "Corrupt",
    "Denied",
    "Entry",
    "Invalid",
    "Kind",
    "NoSpace",
    "NotFound",
    "ObjectInfo",
    "Pace",
    "PartReceipt",
    "PartSpec",
    "Permanent",
    "Proof",
    "Receipt",
    "Throttled",
    "TimedOut",
    "Transient",
    "Transport",
    "TransportError",
    "Truncated",
    "Unavailable",
    "UploadInfo",
]
