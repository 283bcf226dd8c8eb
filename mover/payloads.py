"""How tasks, results and specifications are written: msgpack for the queue, JSON for people.

A payload is ``[tag, value]``. Keys that are not valid Unicode (file names with stray bytes) cannot
be msgpack strings; such a payload is written with its keys as bytes under a tag of its own, so that
the common case pays nothing. A payload may be packed: then the value is a whole payload, compressed,
under a tag that names the way and its version. Decoding is strict: an unknown tag or a missing field
is an error that names the queue as foreign, never a guess.
"""

import os
from typing import Any, TypeVar

import msgspec

from mover.delta_tasks import Diff, Direct, Patch, Prove, Sample, Seek, Sign
from mover.errors import Rejected
from mover.model import (
    Assembly,
    Chunk,
    CopySpec,
    LargeObject,
    Listing,
    Removal,
    SmallShard,
    Sweep,
    TaskResult,
)
from mover.packing import Damaged, pack, unpack
from mover.prewarm.model import Round, WarmShard, WarmSpec

Payload = (
    SmallShard
    | LargeObject
    | Chunk
    | Assembly
    | Listing
    | Sweep
    | Removal
    | Direct
    | Prove
    | Sample
    | Seek
    | Sign
    | Diff
    | Patch
    | Round
    | WarmShard
)

Spec = CopySpec | WarmSpec
"""What a job was asked to do."""

T = TypeVar("T")

_TAGS: dict[str, type[Any]] = {
    "small": SmallShard,
    "large": LargeObject,
    "chunk": Chunk,
    "assembly": Assembly,
    "listing": Listing,
    "sweep": Sweep,
    "removal": Removal,
    "direct": Direct,
    "prove": Prove,
    "sample": Sample,
    "seek": Seek,
    "sign": Sign,
    "diff": Diff,
    "patch": Patch,
    "round": Round,
    "warm": WarmShard,
}
_NAMES = {kind: tag for tag, kind in _TAGS.items()}
_STRAY = "stray-bytes:"
_PACKED = "packed-1"  # one frame of zstd

PACKED_BYTES_MIN = 4096
"""A payload of less than some forty entries stays as it is."""

PACKED_BYTES_MAX = 64 * 1024 * 1024
"""What a packed payload may unpack to: a shard of probes with the longest names takes a twentieth."""

_LEVEL = 1
"""A thousand entries with random ETags, 85 kB: 34 kB in 0.27 ms, and back in 0.09; level -1 leaves 44 kB
in 0.23, level -3 47 kB in 0.15 (python-zstandard 0.25, 2026-11-27)."""

_encode = msgspec.msgpack.Encoder().encode
_decoders = {tag: msgspec.msgpack.Decoder(kind) for tag, kind in _TAGS.items()}
_frame = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_packed = msgspec.msgpack.Decoder(bytes)
_result = msgspec.msgpack.Decoder(TaskResult)


def encode_payload(payload: Payload, *, packed: bool = False) -> bytes:
    """Write a task for the queue; ``packed`` where that makes a large one smaller."""
    tag = _NAMES[type(payload)]
    try:
        data = _encode((tag, payload))
    except UnicodeEncodeError:
        data = _encode((_STRAY + tag, _escape(msgspec.to_builtins(payload, str_keys=True))))
    if packed and PACKED_BYTES_MIN <= len(data) <= PACKED_BYTES_MAX:
        return min(data, _encode((_PACKED, pack(data, level=_LEVEL))), key=len)
    return data


def decode_payload(data: bytes) -> Payload:
    """Read a task, packed or not. Raises ``Rejected`` when it is not one of ours."""
    try:
        tag, raw = _frame.decode(data)
        if tag == _PACKED:
            plain = unpack(_packed.decode(raw), bytes_max=PACKED_BYTES_MAX)
            tag, raw = _frame.decode(plain)
        if tag.startswith(_STRAY):
            kind = _TAGS[tag.removeprefix(_STRAY)]
            value: Payload = msgspec.convert(_unescape(msgspec.msgpack.decode(raw)), kind)
        else:
            value = _decoders[tag].decode(raw)
    except (msgspec.MsgspecError, KeyError, Damaged) as error:
        raise Rejected(f"this queue holds a task of another version of mover: {error}") from error
    return value


def encode_result(result: TaskResult) -> bytes:
    """Write what a task came to."""
    try:
        return _encode(result)
    except UnicodeEncodeError:
        return _encode(_escape(msgspec.to_builtins(result)))


def decode_result(data: bytes) -> TaskResult:
    """Read what a task came to."""
    try:
        return _result.decode(data)
    except msgspec.ValidationError:
        return msgspec.convert(_unescape(msgspec.msgpack.decode(data)), TaskResult)


def encode_spec(spec: Spec) -> bytes:
    """Write a specification as JSON; equal specifications give equal bytes."""
    return msgspec.json.encode(_escape_text(msgspec.to_builtins(spec)), order="sorted")


def decode_spec(data: bytes) -> Spec:
    """Read a specification. Raises ``Rejected`` for one of another version."""
    try:
        value = _unescape_text(msgspec.json.decode(data))
        if isinstance(value, dict) and "targets" in value:
            return msgspec.convert(value, WarmSpec)
        return msgspec.convert(value, CopySpec)
    except msgspec.MsgspecError as error:
        raise Rejected(f"this job was written by another version of mover: {error}") from error


def _escape(value: Any) -> Any:
    """Strings with stray bytes become ``bytes``; all else stays."""
    if isinstance(value, str):
        return os.fsencode(value) if _is_stray(value) else value
    return _walk(value, _escape)


def _unescape(value: Any) -> Any:
    return os.fsdecode(value) if isinstance(value, bytes) else _walk(value, _unescape)


def _escape_text(value: Any) -> Any:
    """JSON has no bytes: a string with stray bytes becomes ``{"hex": …}``."""
    if isinstance(value, str):
        return {"hex": os.fsencode(value).hex()} if _is_stray(value) else value
    return _walk(value, _escape_text)


def _unescape_text(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"hex"}:
        return os.fsdecode(bytes.fromhex(value["hex"]))
    return _walk(value, _unescape_text)


def _walk(value: Any, each: Any) -> Any:
    if isinstance(value, dict):
        return {key: each(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [each(item) for item in value]
    return value


def _is_stray(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
