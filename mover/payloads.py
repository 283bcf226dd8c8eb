"""How tasks, results and specifications are written: msgpack for the queue, JSON for people.

A payload is ``[tag, value]``. Keys that are not valid Unicode (file names with stray bytes) cannot
be msgpack strings; such a payload is written with its keys as bytes under a tag of its own, so that
the common case pays nothing. Decoding is strict: an unknown tag or a missing field is an error that
names the queue as foreign, never a guess.
"""

import os
from typing import Any, TypeVar

import msgspec

from mover.errors import Rejected
from mover.model import (
    Assembly,
    Chunk,
    CopySpec,
    LargeObject,
    Listing,
    SmallShard,
    TaskResult,
)

Payload = SmallShard | LargeObject | Chunk | Assembly | Listing

T = TypeVar("T")

_TAGS: dict[str, type[Any]] = {
    "small": SmallShard,
    "large": LargeObject,
    "chunk": Chunk,
    "assembly": Assembly,
    "listing": Listing,
}
_NAMES = {kind: tag for tag, kind in _TAGS.items()}
_STRAY = "stray-bytes:"

_encode = msgspec.msgpack.Encoder().encode
_decoders = {tag: msgspec.msgpack.Decoder(kind) for tag, kind in _TAGS.items()}
_frame = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_result = msgspec.msgpack.Decoder(TaskResult)


def encode_payload(payload: Payload) -> bytes:
    """Write a task for the queue."""
    tag = _NAMES[type(payload)]
    try:
        return _encode((tag, payload))
    except UnicodeEncodeError:
        return _encode((_STRAY + tag, _escape(msgspec.to_builtins(payload, str_keys=True))))


def decode_payload(data: bytes) -> Payload:
    """Read a task. Raises ``Rejected`` when it is not one of ours."""
    try:
        tag, raw = _frame.decode(data)
        if tag.startswith(_STRAY):
            kind = _TAGS[tag.removeprefix(_STRAY)]
            value: Payload = msgspec.convert(_unescape(msgspec.msgpack.decode(raw)), kind)
        else:
            value = _decoders[tag].decode(raw)
    except (msgspec.MsgspecError, KeyError) as error:
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


def encode_spec(spec: CopySpec) -> bytes:
    """Write a specification as JSON; equal specifications give equal bytes."""
    return msgspec.json.encode(_escape_text(msgspec.to_builtins(spec)), order="sorted")


def decode_spec(data: bytes) -> CopySpec:
    """Read a specification. Raises ``Rejected`` for one of another version."""
    try:
        return msgspec.convert(_unescape_text(msgspec.json.decode(data)), CopySpec)
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
