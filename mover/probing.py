"""Decide pairs that listings left open: ask the stores for times or checksums, or read both.

Only pairs that ``comparing.compare`` could not decide come here.
"""

from collections.abc import Iterable

from mover.ends import Ends
from mover.model import Compare
from transports import digests
from transports.base import Transport
from transports.model import ByteRange, Checksum, Entry, Kind, ObjectInfo

READ_BYTES = 4 * 1024 * 1024
"""Bytes hashed at a time where a checksum has to be computed by reading."""

MTIME_WINDOW_NS = 1_000_000
"""Times kept in metadata are exact to the nanosecond, but some tools write milliseconds."""


async def probe(ends: Ends, source: Entry, target: Entry) -> bool:
    """Whether the two objects are the same. Raises ``TransportError`` when a store cannot tell."""
    if Kind.SYMLINK in (source.kind, target.kind):
        return False
    mode = ends.spec.compare
    source_info = await _info(ends.source, source)
    target_info = await _info(ends.target, target)
    if mode in (Compare.CHECKSUM, Compare.ETAG):
        return await same_content(ends, source_info, target_info)
    if source_info.entry.size != target_info.entry.size:
        return False
    if mode is Compare.SIZE:
        return True
    return abs(_mtime_ns(source_info) - _mtime_ns(target_info)) <= MTIME_WINDOW_NS


async def same_content(ends: Ends, source: ObjectInfo, target: ObjectInfo) -> bool:
    """Compare by a checksum that both stores keep, else one that one keeps, else by reading both."""
    if source.entry.size != target.entry.size:
        return False
    ours, theirs = _by_algorithm(source), _by_algorithm(target)
    shared = ours.keys() & theirs.keys()
    if shared:
        name = min(shared)
        return ours[name] == theirs[name]
    for algorithm in ("md5",):
        if algorithm in ours or algorithm in theirs:
            left = ours.get(algorithm) or await digest_of(
                ends, ends.source, source.entry, algorithm
            )
            right = theirs.get(algorithm) or await digest_of(
                ends, ends.target, target.entry, algorithm
            )
            return left == right
    left = await digest_of(ends, ends.source, source.entry, "xxh3")
    return left == await digest_of(ends, ends.target, target.entry, "xxh3")


async def digest_of(ends: Ends, transport: Transport, entry: Entry, algorithm: str) -> str:
    """Hash an object by reading it, pinned to its entry; memory is one buffer of ``READ_BYTES``."""
    digest = digests.new_digest(algorithm)
    if not transport.capabilities.ranges:
        async for piece in transport.stream(entry):
            digest.update(piece)
        return digest.hexdigest()
    for start in range(0, entry.size, READ_BYTES):
        span = ByteRange(start, min(start + READ_BYTES, entry.size))
        async with ends.budget.buffer(len(span)) as buffer:
            await transport.read_into(entry, span, buffer)
            digest.update(buffer)
    return digest.hexdigest()


async def _info(transport: Transport, entry: Entry) -> ObjectInfo:
    return await transport.head(entry.key)


def _mtime_ns(info: ObjectInfo) -> int:
    kept = info.attributes.mtime_ns
    return info.entry.mtime_ns if kept is None else kept


def _by_algorithm(info: ObjectInfo) -> dict[str, str]:
    found: Iterable[Checksum] = info.checksums
    return {each.algorithm: each.hex for each in found}
