"""Delete a batch of objects at the target, and the directories that this leaves empty.

Where directories are real, one that the source does not have goes when its last content has gone.
Several workers may empty one directory between them: whoever is last removes it, because a directory
that is not empty is left alone.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Final

from mover.delta_stored import keeps_signatures, remove_signatures
from mover.ends import Ends
from mover.manifest import Row, deleted_row
from mover.model import Failure, Removal, Tally, TaskResult
from mover.naming import HIDDEN
from mover.recording import now_ms
from transports.errors import NotFound, Transient, TransportError
from transports.model import Entry, Kind


def directories_above(keys: Iterable[str]) -> list[str]:
    """Every directory on the way to one of the keys, with its slash; parents first."""
    found = set[str]()
    for key in keys:
        parts = key.removesuffix("/").split("/")
        found.update("/".join(parts[:depth]) + "/" for depth in range(1, len(parts)))
        if key.endswith("/"):
            found.add(key)
    return sorted(found)


_AFTER_SLASH: Final = chr(ord("/") + 1)


class Remover:
    """Removes one batch; ``result`` and ``transient`` say what came of it, ``rows`` record it."""

    def __init__(self, ends: Ends, rows: list[Row] | None) -> None:
        self._ends = ends
        self._rows = rows
        self.result = TaskResult(tally=Tally())
        self.transient: dict[str, Transient] = {}

    async def run(self, removal: Removal) -> TaskResult:
        """Remove; safe to run again. A cancel leaves some of the objects removed.

        Raises ``TransportError`` where the source cannot tell whether it has a directory.
        """
        entries = removal.entries
        if removal.failed:
            entries = [each for each in entries if not await self._is_back(each)]
        real = self._ends.target.capabilities.has_directories
        held_back = [each for each in entries if real and each.kind is Kind.DIRECTORY]
        await self._delete([each for each in entries if not (real and each.kind is Kind.DIRECTORY)])
        if not real:
            return self.result
        absent = await self._absent(directories_above(each.key for each in entries))
        listed = {each.key: each for each in held_back}
        self.result.tally.skipped_objects += len(listed.keys() - absent)
        # The deepest first, because a parent is empty only then.
        for _, names in groupby(sorted(absent, key=_depth, reverse=True), key=_depth):
            level = list(names)
            for directory in level:
                await self._clear(directory)
            await self._delete([listed.get(key, _unlisted(key)) for key in level], counted=listed)
        return self.result

    async def _is_back(self, entry: Entry) -> bool:
        """Whether the source has it now: a removal that failed may be tried again days later."""
        try:
            await self._ends.source.head(entry.key)
        except NotFound:
            return False
        self.result.tally.skipped_objects += 1
        return True

    async def _clear(self, directory: str) -> None:
        """Remove the signatures that a directory hides, where nothing else is left in it."""
        target, hidden = self._ends.target, f"{directory}{HIDDEN}"
        if not keeps_signatures(target):
            return
        with suppress(TransportError):
            first = await target.first_after("", directory)
            if first is None or not first.startswith(hidden):
                return
            if await target.first_after(f"{hidden[:-1]}{_AFTER_SLASH}", directory) is None:
                await remove_signatures(target, directory)

    async def _absent(self, directories: Sequence[str]) -> set[str]:
        """Those that the source does not have: a question for each, none below one that it lacks."""
        source, absent = self._ends.source, set[str]()
        for directory in directories:
            parent = directory[: directory.rfind("/", 0, -1) + 1]
            if parent in absent or await source.first_after("", directory) is None:
                absent.add(directory)
        return absent

    async def _delete(
        self, entries: Sequence[Entry], *, counted: dict[str, Entry] | None = None
    ) -> None:
        """Delete; entries that were never listed (``counted``) are no news, gone or not."""
        if not entries:
            return
        outcomes = await self._ends.target.delete([entry.key for entry in entries])
        at_ms = now_ms()
        for entry, error in zip(entries, outcomes, strict=True):
            if counted is not None and entry.key not in counted:
                continue
            if error is not None:
                self._failed(entry, error)
                continue
            self.result.tally.deleted_objects += 1
            self._ends.live.deleted_objects += 1
            if self._rows is not None:
                self._rows.append(deleted_row(entry, at_ms))

    def _failed(self, entry: Entry, error: TransportError) -> None:
        failure = Failure(entry.key, type(error).__name__, f"it could not be deleted: {error}")
        self.result.failures.append(failure)
        self.result.tally.failed_objects += 1
        if isinstance(error, Transient):
            self.transient[entry.key] = error


def _depth(directory: str) -> int:
    return directory.count("/")


def _unlisted(key: str) -> Entry:
    return Entry(key, 0, 0, kind=Kind.DIRECTORY)
