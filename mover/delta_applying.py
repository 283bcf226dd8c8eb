"""The flow that makes a new object of an old one and a delta, and lets nobody see it before it is right.

The old object is read where the delta says, the delta from start to end; in memory are some MiB.
"""

import asyncio
from contextlib import AsyncExitStack

from mover.delta.delta_reading import DeltaReader
from mover.delta_drafts import Draft
from mover.delta_inputs import Input, PipeInput, StoreInput, spooled
from mover.delta_making import Making
from mover.delta_opening import Opener
from mover.delta_refusing import refuse_other_basis, refuse_other_size, wrong_result
from mover.delta_signing import Outcome, Watch
from mover.errors import Rejected


async def patch(old: Input, delta: Input, opener: Opener, out: str, *, watch: Watch) -> Outcome:
    """Write to ``out`` what the delta makes of ``old``, verified whole before it is published.

    Raises ``Rejected`` for an input that cannot be read at any place or is not the delta's basis,
    ``Garbled``, ``Damaged`` where the result is not what was diffed, ``TransportError``. Nothing
    is left then, and after a cancel.
    """
    async with AsyncExitStack() as stack:
        if isinstance(old, StoreInput) and (there := await opener.target(out)) is not None:
            # Not needed for files.
            from mover.delta_storing import Storing, copies_ranges

            target, key = there
            if copies_ranges(old, target):
                delta = delta if delta.seekable else await spooled(delta, stack)
                outcome = await Storing(old, delta, target, key, watch, notes=opener.notes).run()
                if outcome is not None:
                    return outcome
        patching = _Patching(await _seekable(old, stack), opener, out, watch, stack)
        await delta.pour(patching.take)
        return await patching.finish(delta)


async def _seekable(old: Input, stack: AsyncExitStack) -> Input:
    """The input, to be read at any place.

    A store without ranges can be read once through only: its object goes through a temporary file.
    """
    if isinstance(old, PipeInput):
        raise Rejected(
            f"{old.name} is a pipe: OLD must be a file or an object, read here and there"
        )
    return old if old.seekable else await spooled(old, stack)


class _Patching:
    """One patch under way; the draft is opened once the delta's head has told the size."""

    def __init__(
        self, old: Input, opener: Opener, out: str, watch: Watch, stack: AsyncExitStack
    ) -> None:
        self._old = old
        self._opener = opener
        self._out = out
        self._watch = watch
        self._stack = stack
        self._reader = DeltaReader()
        self._begun: tuple[Draft, Making] | None = None
        self._delta_bytes = 0

    async def take(self, piece: memoryview) -> None:
        """Carry out what the next piece of the delta says."""
        self._delta_bytes += len(piece)
        for made in self._reader.feed(piece):
            _, making = await self._begin()
            await making.make(made)
        await asyncio.sleep(0)

    async def _begin(self) -> tuple[Draft, Making]:
        if self._begun is None:
            head = self._reader.head
            assert head is not None  # noqa: S101 - operations come after the head
            refuse_other_size(self._old, head)
            opening = self._opener.draft(self._out, size=head.new_size, held=True)
            draft = await self._stack.enter_async_context(opening)
            self._begun = draft, Making(self._old, draft, self._watch, head.new_size)
        return self._begun

    async def finish(self, delta: Input) -> Outcome:
        """Verify the whole, and publish it."""
        end = self._reader.finish()
        draft, making = await self._begin()
        self._old.check_unchanged()
        delta.check_unchanged()
        made = making.digest.digest()
        if made != end.whole:
            await refuse_other_basis(self._old, self._reader.head)
            raise wrong_result(self._old, made, end.whole)
        await draft.publish()
        return Outcome(
            read_bytes=self._delta_bytes + making.copied_bytes + making.changed_bytes,
            wire_bytes=self._delta_bytes,
            literal_bytes=making.literal_bytes,
            matched_bytes=making.copied_bytes,
            filled_bytes=making.filled_bytes,
            changed_bytes=making.changed_bytes,
            new_bytes=end.new_size,
            ops=end.ops,
        )
