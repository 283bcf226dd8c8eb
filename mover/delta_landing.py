"""The last step of an object that is sent as a difference: make it of the basis and the delta.

It is near the target. Nothing is visible before all of it is proved (``delta_patching``), and what
replaces the basis replaces just that version of it, where the store can promise that.
"""

import dataclasses
import random

from msgspec.structs import replace

from mover.attributes import dress
from mover.copying_large import compare_with_source, finished_tally, pin
from mover.delta.model import Op, OpKind, pack_ops
from mover.delta_choosing import saved_usd
from mover.delta_keeping import Keeper
from mover.delta_parcels import clear_object
from mover.delta_patches import Counts
from mover.delta_patches import Patch as Plan
from mover.delta_patching import Fill, Patcher
from mover.delta_proving import is_same
from mover.delta_receiving import read_ladder, received
from mover.delta_resigning import Resigner
from mover.delta_stored import keeps_signatures
from mover.delta_tasks import OpenUpload, Patch, Spent, keepers_of
from mover.ends import Ends
from mover.manifest import DeltaRow, Row, finished_row
from mover.model import TaskResult, Verify
from mover.payloads import encode_payload
from mover.probing import digest_of
from mover.recording import now_ms
from mover.rereading import verify_whole
from mover.settings import FLEET_POLICY
from mover.uploading import Fence, drop_uploads
from mover.verifying import proof_of
from scheduler.model import Lease
from scheduler.patience import patiently
from scheduler.store import TaskStore
from transports.errors import Changed, NotFound
from transports.model import (
    Attributes,
    ByteRange,
    Entry,
    ObjectInfo,
    Presence,
    Proof,
    Receipt,
)


class Lander:
    """Patches one object; ``fence`` raises unless the task is still held. Errors as of ``Sender``.

    A cancel, and a failure for now, leave the upload whose name is with the task, where there is one.
    """

    def __init__(self, ends: Ends, fence: Fence, keeper: Keeper) -> None:
        self._ends = ends
        self._fence = fence
        self._keeper = keeper

    async def patch(self, task: Patch, *, repeated: bool, rows: list[Row] | None) -> TaskResult:
        """Make the object visible."""
        ends, key = self._ends, self._ends.target_key(task.entry.key)
        made, left = None, task.upload
        if repeated:
            made = await self._made_before(task, key)
            goes_on = left.upload_id if left is not None and made is None else ""
            await drop_uploads(ends, key, self._fence, keep=goes_on)
        info = await pin(ends, task.entry)
        counts = Counts()
        retries_before = ends.live.retries
        if made is None:
            try:
                made, counts = await self._make(task, key, info)
            except Changed:
                # Another holder that does not know that it has lost the task may have finished it.
                made = await self._made_before(task, key) if repeated else None
                if made is None:
                    raise
        if ends.live.retries != retries_before:
            # An answer that got lost may have taken the name of an upload with it.
            await drop_uploads(ends, key, self._fence)
        proof = await self._verified(task, key, info, made)
        await clear_object(ends, key, keepers_of(task))
        return self._landed(task, info, made._replace(proof=proof), counts, rows)

    async def _made_before(self, task: Patch, key: str) -> Receipt | None:
        """The object, where an earlier holder has made it and died before it could say so."""
        ends = self._ends
        try:
            info = await ends.near_target.head(key)
        except NotFound:
            return None
        found, entry = info.entry, task.entry
        is_basis = task.basis.key == key and is_same(found, task.basis)
        if is_basis or found.size != entry.size:
            return None
        known = next((c.hex for c in info.checksums if c.algorithm == task.whole.algorithm), "")
        if not known:
            known = await digest_of(ends, ends.near_target, found, task.whole.algorithm)
        if known != task.whole.hex:
            return None
        return Receipt(key, found.size, found.etag, Proof.STRONG, task.whole, found.version)

    async def _make(self, task: Patch, key: str, info: ObjectInfo) -> tuple[Receipt, Counts]:
        ends, entry, near = self._ends, task.entry, self._ends.near_target
        resend = self._resend(entry)
        plan = Plan(
            key=key,
            size=entry.size,
            ops=pack_ops([Op(0, 0, entry.size, OpKind.COPY)]),
            basis=task.basis,
            whole=task.whole,
            attributes=self._attributes(entry, info),
            replaces=await self._replaces(task, key),
            trusted=task.delta is None and not ends.spec.has_sides,
        )
        patcher = Patcher(
            target=near,
            near=near,
            literals=resend,
            budget=ends.budget,
            token=ends.token,
            resend=resend,
            keeper=self._keeper,
        )
        if task.delta is None or task.ladder is None:
            return await self._signed(patcher, plan)
        ladder = await read_ladder(ends.near_depot, task.ladder)
        receiving = received(ends.near_depot, task.delta, size=entry.size, basis=task.basis)
        async with receiving as delta:
            patcher = dataclasses.replace(patcher, literals=delta.literals.fill)
            plan = dataclasses.replace(plan, ops=delta.ops, ladder=ladder)
            receipt, counts = await self._signed(patcher, plan)
            counts.requests += delta.literals.requests
        return receipt, counts

    async def _signed(self, patcher: Patcher, plan: Plan) -> tuple[Receipt, Counts]:
        """Patch, and leave the signature of what was made where that is wished."""
        near = self._ends.near_target
        if not self._ends.spec.sign_on_write or not keeps_signatures(near):
            patched = await patcher.run(plan)
            return patched.receipt, patched.counts
        resigner = await Resigner.of(near, self._ends.budget, plan.basis, plan.size)
        patched = await dataclasses.replace(patcher, passing=resigner).run(plan)
        await resigner.finish(patched.ops, patched.receipt)
        patched.counts.requests += resigner.requests
        return patched.receipt, patched.counts

    async def _replaces(self, task: Patch, key: str) -> Entry | Presence:
        """What must be at the key when the object takes it: the basis, or nothing where it is elsewhere.

        Raises ``Changed`` where that is not so now, for stores that do not look themselves.
        """
        near = self._ends.near_target
        in_place = task.basis.key == key
        if near.capabilities.conditional_finish:
            return task.basis if in_place else Presence.NONE
        try:
            there = (await near.head(key)).entry
        except NotFound:
            if in_place:
                raise
            return Presence.ANY
        if not in_place or not is_same(there, task.basis):
            raise Changed(f"{near.location}{key}")
        return Presence.ANY

    def _resend(self, entry: Entry) -> Fill:
        """Reads bytes of the new object over the link: the few that a false match stood for."""
        source = self._ends.source

        async def read(span: ByteRange, buffer: memoryview) -> None:
            await source.read_into(entry, span, buffer)

        return read

    def _attributes(self, entry: Entry, info: ObjectInfo) -> Attributes:
        source, target = self._ends.source.capabilities, self._ends.target.capabilities
        return dress(entry, info.attributes, source, target)

    async def _verified(self, task: Patch, key: str, info: ObjectInfo, made: Receipt) -> Proof:
        ends = self._ends
        read = compare_with_source(ends, info, task.whole)
        if ends.spec.verify is Verify.FULL:
            await verify_whole(ends, key, task.whole)
            return Proof.STRONG
        return proof_of(read, made.proof, ends.source.capabilities, ends.target.capabilities)

    def _landed(
        self, task: Patch, info: ObjectInfo, made: Receipt, counts: Counts, rows: list[Row] | None
    ) -> TaskResult:
        ends, entry = self._ends, task.entry
        basis = task.basis.key if task.basis.key != made.key else ""
        puts = counts.copied_parts + counts.mixed_parts + 2
        fetched = Spent(
            wire_bytes=counts.resent_bytes,
            gets=_reads(task) + max(counts.requests - puts, 0),
            puts=puts,
            hashed_bytes=entry.size,
        )
        spent = task.spent.plus(fetched)
        saved = saved_usd(entry, spent)
        ends.live.copied_bytes += entry.size
        if rows is not None:
            mtime_ns = self._attributes(entry, info).mtime_ns
            made = made._replace(size=entry.size)
            row = finished_row(
                ends.at_target(entry), made, now_ms(), mtime_ns=mtime_ns, checksum=task.whole
            )
            delta = DeltaRow(
                spent.wire_bytes,
                task.literal_bytes,
                task.matched_bytes,
                spent.requests,
                round(saved, 6),
                basis,
                task.direct,
                task.changed_bytes,
                task.base,
            )
            rows.append(replace(row, delta=delta))
        tally = finished_tally(entry.size, made.proof)
        tally.patched_objects = 1
        tally.renamed_objects = int(basis != "")
        tally.wire_bytes = counts.resent_bytes
        tally.delta_wire_bytes = spent.wire_bytes
        tally.literal_bytes, tally.matched_bytes = task.literal_bytes, task.matched_bytes
        tally.direct_objects, tally.changed_bytes = int(task.direct), task.changed_bytes
        tally.delta_requests = spent.requests
        tally.saved_usd_e6 = round(saved * 1e6)
        return TaskResult(tally=tally)


def _reads(task: Patch) -> int:
    """The requests that the parcels of an object took."""
    return sum(parcel.reads for parcel in (task.delta, task.ladder) if parcel is not None)


class QueueKeeper(Keeper):
    """Keeps the upload of a patch with its task, for the next holder.

    Only with parts: a task that moves on has all its attempts again, and to open an upload is not to
    move on. Raises ``LeaseLost``, ``StoreUnavailable``.
    """

    outlives_failure = True

    def __init__(self, store: TaskStore, lease: Lease, task: Patch) -> None:
        self.left = task.upload
        self._store = store
        self._lease = lease
        self._task = task

    async def keep(self, upload: OpenUpload) -> bool:
        if not upload.parts:
            return False
        task = dataclasses.replace(self._task, upload=upload)
        payload = encode_payload(task)
        advanced = await patiently(
            lambda: self._store.advance(self._lease, payload),
            patience_s=FLEET_POLICY.patience_s,
            rng=random.random,
        )
        self._lease, self._task = advanced.lease, task
        return True

    async def forget(self) -> None:
        """Nothing to do: the task ends, or notes another upload."""
