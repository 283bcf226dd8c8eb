"""Google's own joining: objects become one without passing through here, and are looked at before they are shown.

Compose takes whole objects, at most ``COMPOSED_MAX`` of one bucket, never ranges. So an old object can be
part of a new one that grew; what else stays of it has to be written again. What compose made lies in the
staging directory until its CRC-32C is what it must be, then it is rewritten under its name, which moves
no bytes. Sources are named with their generation and the last request with what it replaces.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from transports import digests
from transports.errors import AlreadyExists, Changed, Corrupt
from transports.filesystem_answers import Info, checksums_of, entry_of
from transports.filesystem_calls import Calls
from transports.model import Entry, Presence

COMPOSED_MAX: Final = 32
_JSON: Final = {"Content-Type": "application/json"}


class Piece(NamedTuple):
    """A whole object that becomes part of another: its path, and what is known of its bytes."""

    path: str
    generation: str
    crc32c: str
    size: int


def piece_of(path: str, info: Info) -> Piece:
    """The piece that an object is as its filesystem tells of it."""
    entry = entry_of(path, info)
    crcs = [each.hex for each in checksums_of(info) if each.algorithm == "crc32c"]
    return Piece(path, entry.version, crcs[0] if crcs else "", entry.size)


class Composing:
    """Joins objects of one bucket. Errors are the filesystem's own, but for those that are named."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def piece(self, path: str) -> Piece:
        """The object at a path, as a piece."""
        return piece_of(path, await self._calls.info(path))

    async def join(
        self,
        pieces: Sequence[Piece],
        hidden: str,
        path: str,
        location: str,
        replaces: Entry | Presence,
    ) -> None:
        """Make one object of the pieces, prove it where nobody sees it, and show it.

        Raises ``Corrupt``, ``Changed``, ``AlreadyExists``; nothing is visible then.
        """
        whole = pieces[0]
        if len(pieces) > 1:
            await self._compose(pieces, hidden, location)
            whole = await self.piece(hidden)
        expected = digests.combine_crc32c_parts([(int(p.crc32c, 16), p.size) for p in pieces])
        if (whole.crc32c, whole.size) != (f"{expected:08x}", sum(p.size for p in pieces)):
            raise Corrupt(
                location, algorithm="crc32c", expected=f"{expected:08x}", actual=whole.crc32c
            )
        condition = await self._condition(whole, path, location, replaces)
        if condition is not None:
            await self._rewrite(whole, path, location, condition)

    async def _compose(self, pieces: Sequence[Piece], hidden: str, location: str) -> None:
        bucket, _, key = hidden.partition("/")
        sources = [
            {
                "name": piece.path.partition("/")[2],
                "generation": piece.generation,
                "objectPreconditions": {"ifGenerationMatch": piece.generation},
            }
            for piece in pieces
        ]
        request = {
            "kind": "storage#composeRequest",
            "sourceObjects": sources,
            "destination": {"name": key, "bucket": bucket},
        }
        try:
            await self._post("b/{}/o/{}/compose", bucket, key, json=request)
        except (FileExistsError, FileNotFoundError) as error:  # what it makes of 412 and 404
            raise Changed(location, "what it is made of was replaced") from error

    async def _rewrite(
        self, whole: Piece, path: str, location: str, condition: Mapping[str, str]
    ) -> None:
        try:
            await self._rewrite_pinned(whole, path, condition)
        except FileExistsError as error:
            if condition.get("ifGenerationMatch") == "0":
                raise AlreadyExists(location) from error
            raise Changed(location, "another object has taken its place") from error

    async def _rewrite_pinned(self, whole: Piece, path: str, condition: Mapping[str, str]) -> None:
        source, target = whole.path.partition("/"), path.partition("/")
        pins = {"sourceGeneration": whole.generation, **condition}
        ends = (source[0], source[2], target[0], target[2])
        answer = await self._post("b/{}/o/{}/rewriteTo/b/{}/o/{}", *ends, **pins)
        while not answer.get("done"):
            token = str(answer["rewriteToken"])
            answer = await self._post(
                "b/{}/o/{}/rewriteTo/b/{}/o/{}", *ends, rewriteToken=token, **pins
            )

    async def _condition(
        self, whole: Piece, path: str, location: str, replaces: Entry | Presence
    ) -> Mapping[str, str] | None:
        """What must be at the path; looked at before as well, for servers that ignore conditions.

        None where the object is there already: the answer to an earlier call was lost.
        """
        if replaces is Presence.ANY:
            return {}
        try:
            there = await self.piece(path)
        except FileNotFoundError:
            if replaces is Presence.NONE:
                return {"ifGenerationMatch": "0"}
            raise Changed(location, "the object is gone") from None
        if isinstance(replaces, Entry) and there.generation == replaces.version:
            return {"ifGenerationMatch": there.generation}
        if (there.crc32c, there.size) == (whole.crc32c, whole.size):
            return None
        if not isinstance(replaces, Entry):
            raise AlreadyExists(location)
        raise Changed(location, "another object has taken its place")

    async def _post(self, path: str, *names: str, **options: object) -> Mapping[str, object]:
        answer = await self._calls.call(
            "call", "POST", path, *names, headers=_JSON, json_out=True, **options
        )
        return answer if isinstance(answer, Mapping) else {}


def reference(piece: Piece) -> bytes:
    """What stands in the staging directory for a piece that lies elsewhere."""
    return json.dumps(piece._asdict()).encode()


def referred(text: bytes) -> Piece:
    """The reverse of ``reference``. Raises ``ValueError``, ``TypeError``."""
    return Piece(**json.loads(text))
