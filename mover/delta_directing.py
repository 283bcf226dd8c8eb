"""Send one large object as a difference from a base near the source, without a signature.

1. *Direct*, near the source: look for an older version that is the target's. Where checksums that both
   stores keep prove it, compare and leave the delta at once.
2. *Prove*, near the target, where they tell nothing: read the old version for its digest, which is all that
   crosses; then go on with the first step, which reads the base, and compares the two digests before anything else.
3. *Patch*, near the target, as ever (``delta_landing``).

A base is a help and no more. Whatever is wrong with it, the object goes by signature, or whole, as if it had
not been there, and the record says why.
"""

from dataclasses import dataclass, replace
from typing import Final

from mover.beside import first_leaf
from mover.copying_large import pin
from mover.delta.checksums import whole_digest
from mover.delta.costing import Way
from mover.delta.surveying import Survey
from mover.delta_choosing import asks_samples, may_be_sent, still_pays, way_of
from mover.delta_inputs import RANGE_BYTES, Input, StoreInput, Take
from mover.delta_pairing import Pairing, index_bytes
from mover.delta_parcels import Step, parcel_writer
from mover.delta_proving import Standing, is_same, may_be_base, standing
from mover.delta_receiving import ladder_bytes
from mover.delta_scanning import Scanned
from mover.delta_sending import READ_BYTES, Whole, first_sign
from mover.delta_tasks import DeltaTask, Diff, Direct, Patch, Prove, Sample, Sign, Spent
from mover.ends import Ends
from mover.errors import MoverError
from mover.model import LargeObject
from transports.base import Transport
from transports.errors import Changed, NotFound, TransportError
from transports.model import Checksum, Entry, ObjectInfo

BASES_MAX: Final = 3
"""Older versions of the right size that are read for their digest, or asked for what the store knows."""


class Lost(Exception):
    """A base cannot be used after all; the text says why."""


@dataclass(frozen=True, slots=True)
class _Base:
    """An older version near the source, and what it is called in the record."""

    store: Transport
    info: ObjectInfo
    name: str


class _BaseInput(Input):
    """The bytes of a base. Errors of its store are ``Lost``: they are not those of the object."""

    seekable = True

    def __init__(self, base: _Base) -> None:
        self.size: int = base.info.entry.size
        self._inner = StoreInput(base.store, base.info.entry)
        self.name = self._inner.name

    async def pour(self, take: Take) -> None:
        try:
            await self._inner.pour(take)
        except (TransportError, ExceptionGroup) as error:
            raise _lost(error) from error

    async def read(self, start: int, stop: int) -> bytes:
        try:
            return await self._inner.read(start, stop)
        except (TransportError, ExceptionGroup) as error:
            raise _lost(error) from error


def _lost(error: Exception) -> Exception:
    """What the failure of a base is; an error that is no store's stays what it is."""
    leaf = first_leaf(error)
    return Lost(f"{type(leaf).__name__}: {leaf}") if isinstance(leaf, TransportError) else error


async def first_step(ends: Ends, task: LargeObject) -> Sample | Sign | Direct | None:
    """The first step of an object that is to be sent as a difference; None for one that is not."""
    spec, entry, basis = ends.spec, task.entry, task.basis
    source, target = ends.source.capabilities, ends.target.capabilities
    if basis is None or not may_be_sent(entry, basis, source, target):
        return None
    known = await ends.rates()
    way = way_of(spec, entry, basis, known, proven=spec.has_base or None)
    if way is Way.FULL:
        return None
    if spec.has_base:
        return Direct(entry=entry, basis=basis, again=task.again)
    if asks_samples(spec, entry, basis, known):
        return Sample(entry=entry, basis=basis, again=task.again)
    return first_sign(spec, task, basis, known)


async def begin_anew(ends: Ends, task: DeltaTask, lost: str) -> Sign | Direct:
    """The first step again of an object whose parcels were ``lost`` with their keeper; the store has the next."""
    spent = task.spent.plus(Spent(lost=lost))
    if isinstance(task, Patch) and task.direct:
        return Direct(entry=task.entry, basis=task.basis, spent=spent, again=task.again)
    anew = LargeObject(entry=task.entry, again=task.again)
    sign = first_sign(ends.spec, anew, task.basis, await ends.rates())
    base = task.base if isinstance(task, Sign | Diff | Patch) else ""
    return replace(sign, spent=spent, base=base)


class Director(Step):
    """Runs the steps of one object that may have a base.

    Raises ``TransportError``, maybe in groups: ``Changed`` where source or target are no longer those that
    were planned. A cancel leaves parcels, which the object's end or the job's end removes.
    """

    async def prove(self, task: Prove) -> Direct:
        """Take the digest of the target's old version."""
        ends, basis, whole = self._ends, task.basis, whole_digest()

        async def take(piece: memoryview) -> None:
            whole.update(piece)

        async with ends.budget.reserve(READ_BYTES):
            await StoreInput(ends.near_target, basis).pour(take)
        self._spend(gets=_reads(basis.size), hashed_bytes=basis.size)
        return Direct(
            entry=task.entry,
            basis=basis,
            digest=whole.digest().hex(),
            spent=self._spent,
            again=task.again,
        )

    async def direct(self, task: Direct) -> Patch | Prove | Sign | Whole:
        """Leave a delta from a base, where there is one that pays, or say how to go on without."""
        ends, entry, basis = self._ends, task.entry, task.basis
        await pin(ends, entry)
        equal, unknown, reason = await self._sorted(task)
        if task.digest:
            equal, unknown = [*equal, *unknown], []
        proven = bool(equal)
        if not equal and not unknown:
            return await self._without(task, reason)
        known = await ends.rates()
        if way_of(ends.spec, entry, basis, known, proven=proven) is not Way.DIRECT:
            return await self._without(task, "it would have cost more than it saves")
        if not equal:
            return Prove(entry=entry, basis=basis, spent=self._spent, again=task.again)
        for base in equal:
            try:
                return await self._take(task, base)
            except (Lost, ExceptionGroup) as error:
                leaf = first_leaf(error)
                if not isinstance(leaf, Lost):
                    raise
                reason = f"{base.name}: {leaf}"
        return await self._without(task, reason)

    async def _without(self, task: Direct, reason: str) -> Sign | Whole:
        ends, entry, basis = self._ends, task.entry, task.basis
        known = await ends.rates()
        if way_of(ends.spec, entry, basis, known, proven=None) is not Way.DELTA:
            return Whole(self._spent)
        sign = first_sign(ends.spec, LargeObject(entry=entry, again=task.again), basis, known)
        return replace(sign, spent=self._spent, base=reason)

    # -- finding -------------------------------------------------------------------------------

    async def _sorted(self, task: Direct) -> tuple[list[_Base], list[_Base], str]:
        """The bases that are proven, and those of which nothing is known; or why there are none."""
        equal, unknown, reason = (
            list[_Base](),
            list[_Base](),
            "there is no base of that name and size",
        )
        basis: ObjectInfo | None = None
        for find in (self._copy_of, self._versions_of):
            try:
                bases = await find(task)
            except Lost as lost:
                bases, reason = [], str(lost)
            for base in bases:
                basis = basis or await self._basis(task.basis)
                which = standing(base.info, basis)
                if which is Standing.OTHER:
                    reason = f"{base.name}: its checksum is another"
                else:
                    (equal if which is Standing.EQUAL else unknown).append(base)
            if equal:
                break
        return equal, unknown[:BASES_MAX], reason

    async def _basis(self, wanted: Entry) -> ObjectInfo:
        """What the target tells of its old version. Raises ``Changed`` where it is another one."""
        self._spend(gets=1)
        found = await self._ends.target.head(wanted.key)
        if not is_same(found.entry, wanted):
            raise Changed(f"{self._ends.target.location}{wanted.key}")
        return found

    async def _copy_of(self, task: Direct) -> list[_Base]:
        """The object in the older copy of the tree. Raises ``Lost``."""
        if self._ends.base is None:
            return []
        try:
            store = await self._ends.base()
            self._spend(gets=1)
            info = await store.head(task.entry.key)
        except NotFound:
            return []
        except (TransportError, MoverError, ValueError) as error:
            raise Lost(f"the base cannot be had: {error}") from error
        is_one = may_be_base(info, store.capabilities, task.basis.size)
        return [_Base(store, info, f"{store.location}{task.entry.key}")] if is_one else []

    async def _versions_of(self, task: Direct) -> list[_Base]:
        """The older versions that the source keeps of the object. Raises ``Lost``."""
        if not self._ends.spec.base_versions:
            return []
        store, key = self._ends.near_source, task.entry.key
        try:
            versions = await store.older_versions(key, task.basis.size)
        except TransportError as error:
            raise Lost(f"older versions cannot be had: {error}") from error
        self._spend(gets=1 + len(versions))
        return [
            _Base(store, info, f"{store.location}{key}, version {info.entry.version}")
            for info in versions
            if may_be_base(info, store.capabilities, task.basis.size)
        ]

    # -- comparing -----------------------------------------------------------------------------

    async def _take(self, task: Direct, base: _Base) -> Patch | Whole:
        """Compare with a base, and leave the delta. Raises ``Lost``."""
        ends, entry, size = self._ends, task.entry, base.info.entry.size
        new = StoreInput(ends.near_source, entry)
        pairing = Pairing(_BaseInput(base), size, new, entry.size)
        async with ends.budget.reserve(READ_BYTES + index_bytes(size)):
            self._spend(gets=_reads(size), hashed_bytes=size)
            index, digest = await pairing.index()
            if task.digest not in ("", digest.hex()):
                raise Lost("its bytes are others than those at the target")
            self._spend(gets=_reads(entry.size), hashed_bytes=entry.size)
            scanned = await pairing.scan(index)
            if scanned is None:
                return Whole(self._spent)
            found = await pairing.survey(scanned)
            pays = still_pays(
                ends.spec,
                entry,
                task.basis,
                literal_bytes=found.literal_bytes,
                edits=found.edits + len(found.pieces),
                known=await ends.rates(),
            )
            if not pays:
                return Whole(self._spent)
            return await self._send(task, base, pairing, scanned, found, digest)

    async def _send(
        self,
        task: Direct,
        base: _Base,
        pairing: Pairing,
        scanned: Scanned,
        found: Survey,
        digest: bytes,
    ) -> Patch:
        entry, keeper = task.entry, await self._keeper()
        async with parcel_writer(self._far, self._name(entry, "delta"), keeper=keeper) as writer:
            delta = await pairing.write(scanned, found, digest, writer)
            parcel = await writer.finish()
        self._spend(wire_bytes=parcel.size, gets=pairing.requests, puts=parcel.puts)
        ladder = await self._leave(entry, "ladder", ladder_bytes(scanned.ladder), keeper=keeper)
        return Patch(
            entry=entry,
            basis=task.basis,
            delta=parcel,
            ladder=ladder,
            whole=Checksum("crc64nvme", f"{scanned.whole:016x}"),
            literal_bytes=delta.literal_bytes,
            matched_bytes=entry.size - delta.literal_bytes,
            spent=self._spent,
            again=task.again,
            base=base.name,
            direct=True,
            changed_bytes=delta.changed_bytes,
        )


def _reads(size: int) -> int:
    return -(-size // RANGE_BYTES)
