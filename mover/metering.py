"""A monitor that keeps what a job has told last, for metrics: over HTTP while it runs, and in a file.

``metered`` puts it before another monitor. The file is for jobs that end before anybody scrapes: it is written
whole, at each of the job's updates and once more at the end.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mover import __version__
from mover.beside import running_beside
from mover.errors import Rejected
from mover.metrics import FAILED, Family, Standing, families, information
from mover.model import Report, State
from mover.pacing import Pace
from mover.prewarm_report import WarmReport
from mover.progress import Monitor, Progress
from mover.seeing_out import in_thread

PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsWish:
    """Where metrics shall be found: ``listen`` is HOST:PORT, ``file`` a path; "" for nowhere."""

    listen: str = ""
    file: str = ""


class Metering:
    """Implements ``Monitor``; passes all that it hears on. ``clock`` gives the time in seconds since 1970."""

    def __init__(
        self, inner: Monitor, *, command: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._inner = inner
        self._command = command
        self._clock = clock
        self._pace = Pace()
        self.standing: Standing | None = None
        self.changed = asyncio.Event()

    def begin(self, job: str, *, resumed: bool) -> None:
        self._inner.begin(job, resumed=resumed)

    def update(self, progress: Progress) -> None:
        self._pace.add(progress)
        self._keep(
            Standing.of_progress(
                progress, self._pace, command=self._command, told_at_s=self._clock()
            )
        )
        self._inner.update(progress)

    def note(self, message: str) -> None:
        self._inner.note(message)

    def end(self, report: Report) -> None:
        warm = report if isinstance(report, WarmReport) else None
        self._keep(
            Standing.of_report(
                report,
                command=self._command,
                told_at_s=self._clock(),
                residency=warm.fullness.nodes if warm else (),
                rounds=warm.rounds if warm else 0,
                before=self.standing,
            )
        )
        self._inner.end(report)

    def break_off(self, state: str) -> None:
        """The run has ended without a report: its last numbers stay, in this state."""
        if self.standing is not None and not self.standing.ended:
            self._keep(replace(self.standing, state=state, rate_bytes_per_s=0.0, eta_s=None))

    def families(self) -> list[Family]:
        """How the job stands now; nothing of it before its first update."""
        told = () if self.standing is None else (self.standing,)
        return [information(__version__), *families(told)]

    def _keep(self, standing: Standing) -> None:
        self.standing = standing
        self.changed.set()


@contextlib.asynccontextmanager
async def metered(
    inner: Monitor, wish: MetricsWish, *, command: str
) -> AsyncGenerator[Monitor, None]:
    """A monitor that also serves and writes metrics as wished; ``inner`` itself where nothing is.

    Raises ``Rejected`` for an address that cannot be listened at, and a file that cannot be written; nothing of an
    older file is touched then, nor before the job has told something. A cancelled block leaves its last numbers.
    """
    if not (wish.listen or wish.file):
        yield inner
        return
    metering = Metering(inner, command=command)
    async with contextlib.AsyncExitStack() as stack:
        if wish.file:
            await stack.enter_async_context(_written(metering, Path(wish.file), inner.note))
        if wish.listen:
            at = await stack.enter_async_context(_served(metering, wish.listen))
            inner.note(f"metrics: http://{at}/metrics")
        try:
            yield metering
        except asyncio.CancelledError:
            metering.break_off(State.INTERRUPTED)
            raise
        except BaseException:
            metering.break_off(FAILED)
            raise


@contextlib.asynccontextmanager
async def _served(metering: Metering, listen: str) -> AsyncGenerator[str, None]:
    from mover.metrics_serving import serve_metrics  # aiohttp's server half

    host, port = listening_at(listen)
    async with contextlib.AsyncExitStack() as stack:
        serving = serve_metrics(metering.families, host=host, port=port)
        try:
            bound_host, bound_port = await stack.enter_async_context(serving)
        except OSError as error:
            raise Rejected(f"--metrics {listen}: {_reason(error)}") from error
        yield f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"


def listening_at(text: str) -> tuple[str, int]:
    """Host ("" for every address) and port of ``HOST:PORT`` or ``:PORT``. Raises ``Rejected``."""
    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and int(port) <= PORT_MAX
    if not colon or not is_port or (":" in host and not host.startswith("[")):
        raise Rejected(f"--metrics {text}: write HOST:PORT, as in 127.0.0.1:9090, or :9090")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _reason(error: OSError) -> str:
    """What the system says, without the address again."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


# -- the file --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _written(
    metering: Metering, path: Path, note: Callable[[str], None]
) -> AsyncGenerator[None, None]:
    from mover.metrics_text import as_text

    file = _MetricsFile(path)
    try:
        await in_thread(file.try_out)
    except OSError as error:
        raise Rejected(f"--metrics-file {path}: {error.strerror}") from error
    has_failed = False

    async def write() -> None:
        nonlocal has_failed
        metering.changed.clear()
        text = as_text(metering.families())
        try:
            await in_thread(file.write, text)
        except OSError as error:
            if not has_failed:
                note(f"metrics cannot be written to {path} ({error.strerror}); it is tried again")
            has_failed = True
        else:
            has_failed = False

    async def follow() -> None:
        while True:
            await metering.changed.wait()
            await write()

    try:
        async with running_beside(follow):
            yield
    finally:
        if metering.standing is not None:
            await write()


class _MetricsFile:
    """A file that is replaced whole. All of it blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # node_exporter reads every *.prom of its directory: an unfinished one must not be called so.
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.new")

    def try_out(self) -> None:
        """Raise ``OSError`` if it cannot be written; what is there stays."""
        if self._path.is_dir():
            raise IsADirectoryError(21, "it is a directory")
        self._temporary.open("wb").close()
        self._temporary.unlink()

    def write(self, text: bytes) -> None:
        """Replace the file. An error leaves it as it was. Raises ``OSError``."""
        try:
            self._temporary.write_bytes(text)
            self._temporary.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            raise
