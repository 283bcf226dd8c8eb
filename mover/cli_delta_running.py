"""Run a delta command in front of a person: its signals, its progress, its errors, its result.

Nothing of stores, queues and displays is imported before it is needed: for local files the
interpreter's start would else cost as much as the work.
"""

import asyncio
import dataclasses
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from mover.beside import first_leaf
from mover.delta.checksums import StepSums
from mover.delta.garbled import Foreign, Garbled
from mover.delta.model import Strong
from mover.delta.signature_format import SignatureFile
from mover.delta_inputs import Input, StoreInput
from mover.delta_opening import PIPE, Opener, is_local
from mover.delta_signing import (
    Outcome,
    SignWish,
    read_signature,
    sign,
    write_signature_file,
)
from mover.errors import Damaged, Incomplete, MoverError, Rejected
from mover.units import format_bytes, format_duration
from scheduler.signals import SignalLog, draining_on_signals, hear_interrupts
from transports.errors import Corrupt, NoSpace, Permanent, TransportError

SHOWN_AFTER_S: Final = 1.0
"""Work that is done by then needs no display, whose import would take a part of it."""

UPDATE_EVERY_S: Final = 0.2

Work = Callable[[Opener, "Watching"], Awaitable[Outcome]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How a command works and what it shows; ``threads`` 0 lets the size choose."""

    threads: int
    as_json: bool
    progress: bool | None


def run_sign(old: str, signature: str, *, wish: dict[str, Any], shown: dict[str, Any]) -> int:
    """``mover delta sign``; returns the exit code. Raises ``MoverError``."""
    show = Shown(**shown)

    async def work(opener: Opener, watch: "Watching") -> Outcome:
        given, wished = await opener.input(old), SignWish(**wish)
        left = await _left(given, wished)
        is_read = left is None
        if left is None:
            found = await sign(given, wished, threads=show.threads, watch=watch)
            left = SignatureFile(signature=found)
        async with opener.draft(signature) as draft:
            length = await write_signature_file(left, draft)
        head = left.signature.head
        return Outcome(
            read_bytes=head.size if is_read else 0,
            wire_bytes=length,
            blocks=head.blocks,
            block_bytes=head.block_bytes,
        )

    return _run("delta sign", work, show, to_pipe=signature == PIPE)


async def _left(given: Input, wished: SignWish) -> SignatureFile | None:
    """The signature that was left when an object of a store was written, where any one will do."""
    is_any = wished.block_bytes == 0 and wished.strong is Strong.XXH3_128
    if not is_any or not isinstance(given, StoreInput):
        return None
    # Not needed for files.
    from mover.delta_stored import stored_signature

    return await stored_signature(given.transport, given.entry)


def run_diff(
    signature: str,
    new: str,
    delta: str,
    *,
    base: bool,
    ladder: bool | None,
    shown: dict[str, Any],
) -> int:
    """``mover delta diff``; returns the exit code. Raises ``MoverError``.

    With ``base`` the first name is of the old object itself. A ``ladder`` goes with the delta; None is
    where one of the names is of a store.
    """
    show = Shown(**shown)
    if ladder is None:
        ladder = not all(is_local(name) for name in (signature, new, delta))

    async def compare(opener: Opener, watch: "Watching") -> Outcome:
        # Not needed for a comparison with a signature.
        from mover.delta_differencing import diff_known

        old, given = await opener.input(signature), await opener.input(new)
        async with opener.draft(delta) as draft:
            return await diff_known(
                old,
                given,
                draft,
                threads=show.threads,
                watch=watch,
                ladder=_sums(ladder),
            )

    async def work(opener: Opener, watch: "Watching") -> Outcome:
        from mover.delta_diffing import diff

        file, _ = await read_signature(await opener.input(signature))
        given = await opener.input(new)
        async with opener.draft(delta) as draft:
            return await diff(
                file.signature,
                given,
                draft,
                threads=show.threads,
                watch=watch,
                ladder=_sums(ladder),
            )

    return _run("delta diff", compare if base else work, show, to_pipe=delta == PIPE)


def _sums(wanted: bool) -> StepSums | None:
    if not wanted:
        return None
    # Its checksums need a library that takes a moment to load.
    from mover.delta_ladders import RunningLadder

    return RunningLadder()


def run_patch(old: str, delta: str, out: str, *, shown: dict[str, Any]) -> int:
    """``mover delta patch``; returns the exit code. Raises ``MoverError``."""

    async def work(opener: Opener, watch: "Watching") -> Outcome:
        from mover.delta_applying import patch

        given = await opener.input(old)
        return await patch(given, await opener.input(delta), opener, out, watch=watch)

    return _run("delta patch", work, Shown(**shown), to_pipe=out == PIPE)


def run_publish(source: str, to: str, *, wish: dict[str, Any], shown: dict[str, Any]) -> int:
    """``mover delta publish``; returns the exit code. Raises ``MoverError``."""
    show = Shown(**shown)

    async def work(opener: Opener, watch: "Watching") -> Outcome:
        from mover.delta_publishing import publish

        full = SignWish(**wish, full=True)
        return await publish(source, to, opener, full, threads=show.threads, watch=watch)

    return _run("delta publish", work, show, to_pipe=to == PIPE)


def run_fetch(
    source: str,
    basis: str,
    out: str,
    *,
    signature: str,
    gap_bytes: int | None,
    shown: dict[str, Any],
) -> int:
    """``mover delta fetch``; returns the exit code. Raises ``MoverError``."""
    show = Shown(**shown)
    gap = {} if gap_bytes is None else {"gap_bytes": gap_bytes}

    async def work(opener: Opener, watch: "Watching") -> Outcome:
        from mover.delta_publishing import fetch

        return await fetch(
            source,
            basis,
            out,
            opener,
            signature=signature,
            threads=show.threads,
            watch=watch,
            **gap,
        )

    return _run("delta fetch", work, show, to_pipe=out == PIPE)


class Watching:
    """Shows how far a command has come, once it takes longer than a moment."""

    def __init__(self, command: str, shown: Shown) -> None:
        self._command = command
        self._wanted = shown.progress
        if self._wanted is None:
            self._wanted = not shown.as_json and sys.stderr.isatty()
        self._started_s = time.monotonic()
        self._next_s = self._started_s + SHOWN_AFTER_S
        self._stack = AsyncExitStack()
        self._display: Any = None

    def __call__(self, done: int, size: int | None) -> None:
        now_s = time.monotonic()
        if not self._wanted or now_s < self._next_s:
            return
        self._next_s = now_s + UPDATE_EVERY_S
        from mover.progress import Progress

        if self._display is None:
            self._display = self._stack.enter_context(_new_display())
        self._display.update(
            Progress(
                job=self._command,
                seconds=now_s - self._started_s,
                planned_objects=1,
                planned_bytes=done if size is None else size,
                planned_all=size is not None,
                copied_objects=0,
                copied_bytes=done,
                skipped_objects=0,
                failed_objects=0,
            )
        )

    async def close(self) -> None:
        """Leave the terminal as it was."""
        await self._stack.aclose()


def _new_display() -> Any:
    from mover.display import LineDisplay

    if not sys.stderr.isatty():
        return LineDisplay()
    from mover.display_live import LiveDisplay, is_live_terminal

    return LiveDisplay() if is_live_terminal() else LineDisplay()


def _run(command: str, work: Work, shown: Shown, *, to_pipe: bool) -> int:
    started_s = time.monotonic()
    log: SignalLog | None = None

    async def main() -> Outcome:
        nonlocal log
        task = asyncio.current_task()

        def cancel() -> None:
            if task is not None:
                task.cancel()

        with draining_on_signals(drain=cancel, stop=cancel) as log:
            watch = Watching(command, shown)
            try:
                async with AsyncExitStack() as stack:
                    return await work(Opener(stack=stack, environment=os.environ), watch)
            finally:
                await watch.close()

    hear_interrupts()
    try:
        outcome = asyncio.run(main())
    except asyncio.CancelledError:
        if log is None or log.exit_code is None:
            raise
        sys.stderr.write("mover: interrupted; nothing was written\n")
        return log.exit_code
    except Exception as error:
        raise _as_mover_error(error) from error
    _tell(command, outcome, time.monotonic() - started_s, shown, to_pipe=to_pipe)
    return 0


def _as_mover_error(error: BaseException) -> BaseException:
    """What a failure means for a person; a bug stays what it is."""
    error = first_leaf(error)
    if isinstance(error, MoverError | BrokenPipeError):
        return error
    if isinstance(error, Foreign):
        return Rejected(str(error))
    if isinstance(error, Garbled | Corrupt):
        return Damaged(str(error))
    if isinstance(error, Permanent) and not isinstance(error, NoSpace):
        return Rejected(str(error))
    if isinstance(error, TransportError | OSError):
        return Incomplete(str(error))
    return error


def _tell(command: str, outcome: Outcome, seconds: float, shown: Shown, *, to_pipe: bool) -> None:
    if shown.as_json:
        result = {"command": command, "state": "done", **dataclasses.asdict(outcome)}
        # Standard output may be the delta itself.
        stream = sys.stderr if to_pipe else sys.stdout
        stream.write(json.dumps({**result, "seconds": round(seconds, 3)}) + "\n")
        stream.flush()
        return
    sys.stderr.write(f"mover: {_line(command, outcome)} in {format_duration(seconds)}\n")


def _line(command: str, outcome: Outcome) -> str:
    wire = format_bytes(outcome.wire_bytes)
    if command in ("delta sign", "delta publish"):
        if outcome.blocks and not outcome.read_bytes:
            return f"found what was signed when it was written; the signature has {wire}"
        return (
            f"signed {format_bytes(outcome.read_bytes)} in {outcome.blocks:,} blocks of"
            f" {format_bytes(outcome.block_bytes)}; the signature has {wire}"
        )
    made = (
        f"{format_bytes(outcome.matched_bytes)} matched, {format_bytes(outcome.literal_bytes)} new,"
        f" {format_bytes(outcome.filled_bytes)} filled"
    )
    if outcome.changed_bytes:
        made += f", {format_bytes(outcome.changed_bytes)} with changed elements"
    if outcome.stored_bytes:
        made += f", {format_bytes(outcome.stored_bytes)} copied by the store"
    if command == "delta diff":
        return f"compared {format_bytes(outcome.new_bytes)}: {made}; the delta has {wire}"
    if command == "delta fetch":
        return f"made {format_bytes(outcome.new_bytes)}, verified: {made}; {wire} came"
    return f"made {format_bytes(outcome.new_bytes)}, verified: {made}; read {wire} of delta"
