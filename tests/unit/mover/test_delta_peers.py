"""A difference whose parcels workers keep: all of them, some, lost at each step, and killed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from mover.beside import first_leaf
from mover.delta_parcels import clean_up
from mover.delta_tasks import (
    Diff,
    Direct,
    Keeper,
    OpenUpload,
    Outline,
    Patch,
    Sign,
    Spent,
    keepers_of,
)
from mover.payloads import decode_payload, encode_payload
from tests.unit.mover.delta_pairs import MIB, NEW, Killed, Mortal, Pair
from tests.unit.mover.engine import make_executor
from tests.unit.mover.test_delta_directing import Based
from tests.unit.mover.test_payloads import ENTRIES, PARCEL
from transports.model import Checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mover.ends import Ends
    from mover.payloads import Payload
    from transports.model import Entry

HERE, THERE = Keeper("http://here"), Keeper("http://there", near_source=True)


class FakePeers:
    """Keepers in memory, as both sides see them: ``shelves`` by address; a missing one is away."""

    def __init__(self, own: Keeper | None, *keepers: Keeper, room: int = 1000) -> None:
        self.own = own
        self.room = room
        self.shelves: dict[str, dict[str, bytes]] = {keeper.address: {} for keeper in keepers}
        self.puts = 0
        self.told_lost: list[str] = []

    def is_away(self, keeper: str) -> bool:
        return keeper not in self.shelves

    async def put(self, keeper: str, key: str, data: bytes) -> bool:
        if self.is_away(keeper) or self.puts >= self.room:
            return False
        self.puts += 1
        self.shelves[keeper][key] = data
        return True

    async def get(self, keeper: str, piece: Entry) -> bytes | None:
        return self.shelves.get(keeper, {}).get(piece.key)

    async def remove(self, keeper: str, prefix: str) -> None:
        shelf = self.shelves.get(keeper, {})
        for key in [key for key in shelf if key.startswith(prefix)]:
            del shelf[key]

    def forget(self, job: str) -> None:
        if self.own is not None:
            self.shelves[self.own.address] = {}

    def lost(self, keeper: str) -> None:
        self.told_lost.append(keeper)
        if self.own is not None and self.own.address == keeper:
            self.own = None

    def die(self, keeper: Keeper) -> None:
        """The keeper restarts without what it had."""
        self.shelves[keeper.address] = {}


def with_peers(ends: Ends, peers: FakePeers, *known: Keeper) -> Ends:
    async def keepers() -> Sequence[Keeper]:
        return known

    return dataclasses.replace(ends, peers=peers, unmetered_peers=peers, keepers=keepers)


def hidden_in(pair: Pair) -> list[str]:
    return [key for key in pair.target.store.objects if ".mover-delta" in key]


@pytest.fixture(params=[False, True])
def coarse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without an outline and a finer signature."""
    if request.param:
        monkeypatch.setattr("mover.delta_sending.first_bytes", lambda *_: MIB // 2)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("own", "known"), [(HERE, []), (None, [HERE]), (THERE, []), (None, [THERE])]
)
async def test_all_of_it_is_kept_by_a_worker(own: Keeper | None, known: list[Keeper]) -> None:
    pair = Pair()
    await pair.begin()
    peers = FakePeers(own, HERE, THERE)
    seen: list[Payload] = []

    def look(task: Payload) -> None:
        seen.append(task)
        assert hidden_in(pair) == []

    await pair.run(with_peers(pair.ends(), peers, *known), look)
    result = await pair.result()
    assert (pair.made == NEW, result.failures, result.tally.patched_objects) == (True, [], 1)
    assert peers.puts >= 3
    assert all(not shelf for shelf in peers.shelves.values())
    assert {at for task in seen if isinstance(task, Diff | Patch) for at in keepers_of(task)} == {
        own or known[0]
    }


async def wire_bytes(peers: FakePeers | None) -> tuple[int, int]:
    pair = Pair()
    await pair.begin()
    ends = pair.ends()
    await pair.run(ends if peers is None else with_peers(ends, peers))
    tally = (await pair.result()).tally
    return tally.wire_bytes, tally.delta_requests


async def test_what_crosses_is_the_same_and_the_store_is_asked_less() -> None:
    stored, asked = await wire_bytes(None)
    kept, asked_less = await wire_bytes(FakePeers(HERE, HERE))
    assert abs(stored - kept) < 100  # compressed, with other seeds
    assert asked_less <= asked - 3 * 3


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("room", range(5))
async def test_what_a_keeper_does_not_take_is_stored(room: int) -> None:
    pair = Pair()
    await pair.begin()
    peers = FakePeers(HERE, HERE, room=room)
    await pair.run(with_peers(pair.ends(), peers))
    result = await pair.result()
    assert (pair.made == NEW, result.failures, result.tally.patched_objects) == (True, [], 1)
    assert pair.is_clean()
    assert peers.shelves == {HERE.address: {}}


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("step", range(1, 5))
async def test_a_keeper_is_lost_before_a_step(step: int) -> None:
    pair = Pair()
    await pair.begin()
    peers = FakePeers(HERE, HERE)
    seen: list[Payload] = []

    def lose(task: Payload) -> None:
        seen.append(task)
        if len(seen) == 1 + step:
            peers.die(HERE)

    await pair.run(with_peers(pair.ends(), peers), lose)
    result = await pair.result()
    assert (pair.made == NEW, result.failures, result.tally.patched_objects) == (True, [], 1)
    assert pair.is_clean()
    anew = [task for task in seen if isinstance(task, Sign) and task.spent.lost]
    if step >= len(seen):  # with small blocks it takes fewer
        assert anew == []
        return
    at_step = seen[step]
    assert isinstance(at_step, Sign | Diff | Patch)
    if not keepers_of(at_step):
        assert anew == []
        return
    assert anew[0].level == 0
    assert set(peers.told_lost) == {HERE.address}
    later = [task for task in seen if isinstance(task, Diff | Patch) and task.spent.lost]
    assert all(keepers_of(task) == set() for task in later)


async def test_parts_that_were_made_with_what_is_lost_are_dropped() -> None:
    pair = Pair()
    await pair.begin()
    peers = FakePeers(HERE, HERE)
    ends = with_peers(pair.ends(), peers)
    executor = make_executor(ends, pair.store)
    while claimed := await pair.claim():
        lease, task = claimed
        if isinstance(task, Patch) and not task.spent.lost:
            peers.die(HERE)
            upload = await pair.target.begin_upload("big", len(NEW), token=ends.token)
            task = dataclasses.replace(task, upload=OpenUpload(upload_id=upload))
            lease = dataclasses.replace(lease, payload=encode_payload(task))
        await pair.finish(lease, await executor.run(lease))
        assert not pair.target.store.uploads
    assert (pair.made == NEW, pair.is_clean()) == (True, True)


async def test_a_delta_from_a_base_that_is_lost_is_made_again() -> None:
    pair = Based()
    await pair.begin()
    peers = FakePeers(None, THERE)
    seen: list[Payload] = []

    def lose(task: Payload) -> None:
        if isinstance(task, Patch) and not task.spent.lost:
            assert keepers_of(task) == {THERE}
            peers.die(THERE)
        seen.append(task)

    await pair.run(with_peers(pair.based(), peers, THERE), lose)
    result = await pair.result()
    assert (pair.made == NEW, result.failures, result.tally.direct_objects) == (True, [], 1)
    assert [type(task) for task in seen[-3:]] == [Patch, Direct, Patch]
    assert pair.is_clean()


async def test_who_does_not_speak_with_keepers_sends_for_another_signature() -> None:
    pair = Pair()
    await pair.begin()
    peers = FakePeers(HERE, HERE)
    while claimed := await pair.claim():
        lease, task = claimed
        ends = pair.ends()
        if not isinstance(task, Diff | Patch):
            ends = with_peers(ends, peers)
        await pair.finish(lease, await make_executor(ends, pair.store).run(lease))
    result = await pair.result()
    assert (pair.made == NEW, result.failures, result.tally.patched_objects) == (True, [], 1)
    assert set(peers.told_lost) == {HERE.address}


async def test_workers_may_be_killed_and_keepers_forget() -> None:
    deaths = 0
    while True:
        pair = Pair()
        await pair.begin()
        peers = FakePeers(HERE, HERE)
        fate = [2 * deaths + 1]
        ends = pair.ends(
            Mortal(pair.source, fate, after=True), Mortal(pair.target, fate, after=True)
        )
        try:
            await pair.run(with_peers(ends, peers))
        except BaseException as error:
            if not isinstance(first_leaf(error), Killed):
                raise
        else:
            break
        deaths += 1
        if deaths % 2:
            peers.die(HERE)
        await pair.store.reap(now_s=0.0, dead=["w"])
        again = with_peers(pair.ends(), peers)
        await pair.run(again)
        result = await pair.result()
        assert (pair.made == NEW, result.failures) == (True, []), deaths
        await clean_up(again)
        assert pair.is_clean(), deaths
        assert peers.shelves == {HERE.address: {}}
    assert deaths >= 5


def test_payloads_say_where_parcels_are() -> None:
    kept = dataclasses.replace(PARCEL, at=THERE, stored=1)
    task = Sign(
        entry=ENTRIES[0],
        basis=ENTRIES[1],
        block_bytes=2048,
        outline=Outline(ops=kept, ladder=PARCEL, whole=Checksum("crc64nvme", "0f"), digest="00"),
        spent=Spent(lost=HERE.address),
    )
    assert decode_payload(encode_payload(task)) == task
    assert keepers_of(task) == {THERE}
    assert (kept.puts, kept.reads, PARCEL.puts, PARCEL.reads) == (1, 2, 2, 4)
