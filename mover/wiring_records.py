"""Opens the manifests of a prewarm: the one that it writes, and that of the former job whose files it evicts."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from mover.errors import Incomplete, Rejected
from mover.prewarm.model import WarmSpec, Wish
from mover.prewarm_recalling import FormerJob
from mover.prewarm_recording import WarmRecorder
from mover.resolving import open_record, refuse_within
from transports.base import Transport
from transports.errors import Transient, TransportError
from transports.location import local_location, parse_location


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Opens the manifest that a job writes, and the one of the former job that it evicts."""

    spec: WarmSpec
    job: str
    node: str
    environment: Mapping[str, str]
    stack: AsyncExitStack

    async def recorder(self, record_in: Path, note: Callable[[str], None]) -> WarmRecorder:
        """What writes: into nothing where nothing is warmed, nor evicted by a record.

        ``record_in`` is the place where the specification names none; where that cannot be had, ``note`` hears why.
        Raises ``Rejected`` and ``Incomplete`` for a place that was asked for.
        """
        spec = self.spec
        warms = spec.wish is Wish.WARM
        job = self.job if warms else spec.evicts
        transport = None
        if warms or (spec.evicts and not spec.dry_run):
            transport = await self._open(record_in, job, create=warms)
            if transport is None and warms:
                note(
                    "no manifest can be kept here: an eviction of this job goes by its specification"
                )
        return WarmRecorder(
            transport=transport,
            job=job,
            node=self.node,
            source=spec.source,
            target=spec.target,
            is_asked_for=bool(spec.manifest),
            note=note,
        )

    async def former(self, record_in: Path) -> FormerJob | None:
        """The former job whose files are evicted; None for an eviction of all that is there. Raises as ``recorder``."""
        job = self.spec.evicts
        if not job or self.spec.wish is not Wish.EVICT:
            return None
        transport = await self._open(record_in, job, create=False)
        return FormerJob(job=job, node=self.node, transport=transport)

    async def _open(self, record_in: Path, job: str, *, create: bool) -> Transport | None:
        """The root of a job's manifest; None where this host's own place will not do."""
        spec = self.spec
        place = local_location(f"{record_in.parent.with_name(job) / record_in.name}/")
        try:
            if spec.manifest:
                place = parse_location(spec.manifest).as_tree()
                ends = {"target": spec.targets, "cache directory": [spec.into] if spec.into else []}
                refuse_within(place, ends)
            return await open_record(place, job, self.environment, self.stack, create=create)
        except TransportError as error:
            if not spec.manifest:
                return None
            what = f"the manifest cannot be used: {error}; --manifest names another place"
            raise (Incomplete if isinstance(error, Transient) else Rejected)(what) from error
        except ValueError as error:
            raise Rejected(str(error)) from error
