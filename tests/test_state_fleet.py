"""What a fleet knows of its objects: united, dealt out, handed over, and sent over the wire."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent.listen import MAX_RECEIVED_BYTES
from sai3tui.controller.space import TO_CREATE, Space
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.state import wire
from sai3tui.state.deal import deal, hand_over, work_in
from sai3tui.state.generations import Generation, Holding, Known, told_to, unite
from sai3tui.state.layout import LayoutCache
from sai3tui.state.states import CHUNK, ObjectState, SlotStates
from sai3tui.state.wire import known_from_proto, known_to_proto, slots_from_proto, slots_to_proto

PLANNED, CREATING, CREATED, DELETED = ObjectState


def known_of(slots: int, sets: dict[int, int], seed: int, created: float) -> Known:
    """A generation of which a random part is created."""
    known = Known(Generation(1, slots, 7, sets))
    rng = np.random.default_rng(seed)
    for each in known.everything():
        ks = np.flatnonzero(rng.random(each.end_k) < created).astype(np.int64)
        known.states(each.set_id, each.slot).set(ks, CREATED)
    return known


def covered(record: Generation, dealt: list[list[Holding]]) -> bool:
    """Whether every object is held exactly once."""
    for set_id in record.sets:
        for slot in range(record.slots):
            held = sorted(
                (each.first_k, each.end_k)
                for holdings in dealt
                for each in holdings
                if (each.set_id, each.slot) == (set_id, slot)
            )
            at = 0
            for first, end in held:
                if first != at:
                    return False
                at = end
            if at != record.count(set_id, slot):
                return False
    return True


@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.dictionaries(st.integers(0, 2), st.integers(1, 400), min_size=1),
    st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    st.integers(0, 99),
)
def test_all_objects_are_dealt_once_and_work_evenly(
    slots: int, agents: int, sets: dict[int, int], created: float, seed: int
) -> None:
    known = known_of(slots, sets, seed, created)
    dealt = deal(known, agents, TO_CREATE, 5)
    assert len(dealt) == agents
    assert covered(known.record, dealt)
    work = [work_in(known, holdings, TO_CREATE) for holdings in dealt]
    # Each set is cut by itself, to within one object; slots that are alike enough stay whole.
    assert max(work) <= 1.25 * sum(work) / agents + agents + len(sets)
    assert {each.epoch for holdings in dealt for each in holdings} <= {5}


def test_as_many_slots_as_agents_are_one_for_each() -> None:
    known = known_of(3, {0: 3000}, 1, 0.0)
    assert deal(known, 3, TO_CREATE, 1) == [[Holding(0, slot, 0, 1000, 1)] for slot in range(3)]


@given(st.integers(1, 4), st.integers(1, 4), st.floats(0, 1), st.integers(0, 99))
def test_exactly_what_a_lost_agent_left_is_handed_over(slots: int, survivors: int, created: float, seed: int) -> None:
    known = known_of(slots, {0: 300, 1: 70}, seed, created)
    lost = deal(known, 2, TO_CREATE, 1)[0]
    handed = hand_over(known, lost, survivors, TO_CREATE, 2)
    left = work_in(known, lost, TO_CREATE)
    assert sum(work_in(known, holdings, TO_CREATE) for holdings in handed) == left
    assert all(work_in(known, [each], TO_CREATE) for holdings in handed for each in holdings)
    inside = {(each.set_id, each.slot, k) for each in lost for k in range(each.first_k, each.end_k)}
    got = [(each.set_id, each.slot, k) for part in handed for each in part for k in range(each.first_k, each.end_k)]
    assert len(got) == len(set(got))
    assert set(got) <= inside


def claim(number: int, epoch: int, states: dict[int, ObjectState], slots: int = 1, slot: int = 0) -> Known:
    record = Generation(number, slots, 7, {0: 100})
    count = record.count(0, slot)
    known = Known(replace(record, holdings=(Holding(0, slot, 0, count, epoch),)))
    for k, state in states.items():
        known.states(0, slot).set(np.array([k], dtype=np.int64), state)
    return known


def test_the_later_epoch_is_right_and_the_earlier_one_fills_in() -> None:
    old = claim(1, 3, {0: CREATED, 1: CREATED, 2: CREATING, 9: CREATED})
    new = claim(1, 4, {1: DELETED, 2: CREATED, 3: CREATING})
    for order in ([old, new], [new, old]):
        states = unite(order)[1].states(0, 0)
        assert [states.get(k) for k in (0, 1, 2, 3, 4, 9)] == [CREATED, DELETED, CREATED, CREATING, PLANNED, CREATED]


def test_what_was_known_before_somebody_looked_at_the_storage_counts_no_more() -> None:
    old = claim(1, 3, {0: CREATED, 1: CREATED, 2: DELETED})
    old.record = replace(old.record, complete=True)
    looked = claim(1, 4, {1: CREATED})
    looked.record = replace(looked.record, surveyed=4)
    later = claim(1, 5, {2: CREATED})
    for order in ([old, looked, later], [later, looked, old]):
        known = unite(order)[1]
        assert [known.states(0, 0).get(k) for k in (0, 1, 2)] == [PLANNED, CREATED, CREATED]
        assert (known.record.surveyed, known.record.complete) == (4, False)
    assert Generation.from_json(looked.record.to_json()) == looked.record
    assert known_from_proto(known_to_proto(looked)).record == looked.record


def test_who_is_told_of_objects_keeps_what_it_has_recorded_itself() -> None:
    mine = claim(1, 3, {0: CREATED, 1: CREATED, 2: CREATING, 50: CREATED})
    told = claim(1, 4, {1: DELETED, 2: CREATED})
    told.record = replace(told.record, holdings=(Holding(0, 0, 0, 50, 4),))
    states = told_to(mine, told).states(0, 0)
    assert [states.get(k) for k in (0, 1, 2, 50)] == [CREATED, DELETED, CREATED, PLANNED]
    assert told.states(0, 0).get(0) is PLANNED
    assert told_to(None, told) is told
    told.record = replace(told.record, surveyed=4)
    assert told_to(mine, told).states(0, 0).get(0) is PLANNED


def test_generations_are_kept_apart_and_slots_of_another_number_are_the_same_objects() -> None:
    one = claim(1, 1, {0: CREATED, 1: CREATED, 7: CREATED})
    half = claim(1, 2, {3: CREATING}, slots=2, slot=1)
    other = claim(2, 9, {5: CREATED})
    united = unite([one, half, other])
    assert set(united) == {1, 2}
    known = united[1]
    assert known.record.slots == 2
    # 0 and 1 of one slot are 0 of the even and 0 of the odd one; 7 is 3 of the odd one, where the later claim counts.
    assert known.states(0, 0).get(0) is CREATED
    assert known.states(0, 1).get(0) is CREATED
    assert known.states(0, 1).get(3) is CREATING
    assert known.total(CREATED) == 2


@given(st.integers(1, 3 * CHUNK), st.integers(1, 3), st.floats(0, 1), st.integers(0, 9))
def test_states_survive_the_wire(count: int, slots: int, created: float, seed: int) -> None:
    known = known_of(slots, {0: count}, seed, created)
    again = known_from_proto(known_to_proto(known))
    assert again.record == known.record
    for place, states in known.slots.items():
        assert again.slots[place].packed() == states.packed()


def test_an_agent_can_be_told_the_states_of_60_million_objects_at_once_however_they_are_mixed() -> None:
    """What does not fit into a message is refused, and the agent is lost."""
    count = 1_000_000
    known = Known(Generation(1, 1, 7, {0: count}))
    mixed = np.random.default_rng(7).integers(0, len(ObjectState), count)
    for state in (CREATING, CREATED, DELETED):
        known.states(0, 0).set(np.flatnonzero(mixed == state).astype(np.int64), state)
    size = known_to_proto(known).ByteSize()
    assert size >= count // 4  # all states are there, and random ones cannot be compressed
    assert 60 * size < MAX_RECEIVED_BYTES


@pytest.mark.parametrize("count", [1 << 50, 1 << 62, (1 << 64) - 1])
def test_states_that_unpack_to_more_than_there_can_be_are_refused(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no memory is made room for by what a message claims."""
    monkeypatch.setattr(wire, "MAX_UNPACKED", 8 * 1024 * 1024)
    bomb = zstandard.compress(bytes(64 * 1024 * 1024))
    message = pb.GenerationStates(number=1, slots=1, sets={0: count}, states=[pb.SlotChunks(chunks=bomb)])
    before = psutil.Process().memory_info().rss
    with pytest.raises(ValueError, match=r"are not the states|more objects than"):
        known_from_proto(message)
    assert psutil.Process().memory_info().rss - before < 64 * 1024 * 1024


def test_states_that_cannot_be_are_refused() -> None:
    known = known_of(1, {0: 100}, 1, 0.5)
    (message,) = slots_to_proto(known.slots)
    message.slot = 3
    with pytest.raises(ValueError, match="no slot"):
        slots_from_proto([message], known.record)
    message.slot = 0
    message.chunks = b"rubbish"
    with pytest.raises(ValueError, match="unpacked"):
        slots_from_proto([message], known.record)
    big = Known(Generation(1, 1, 7, {0: 5 * CHUNK}))
    big.states(0, 0).set(np.arange(0, 5 * CHUNK, CHUNK, dtype=np.int64), CREATED)
    (bomb,) = slots_to_proto(big.slots)
    with pytest.raises(ValueError, match="at most 1 chunks"):
        slots_from_proto([bomb], known.record)


def changed(
    record: Generation, set_id: int, slot: int, ks: range, state: ObjectState
) -> dict[tuple[int, int], SlotStates]:
    states = SlotStates(record.count(set_id, slot))
    states.set(np.array(ks, dtype=np.int64), state)
    return {(set_id, slot): states}


async def test_a_lost_agent_is_fenced_and_what_it_writes_after_that_is_counted() -> None:
    cache = LayoutCache.in_memory(Path())
    space = Space(["a", "b", "c"], {0: 300}, 7, cache)
    record = space.begin().record
    space.assign(["a", "b", "c"], TO_CREATE)
    space.changed("b", 1, changed(record, 0, 1, range(40), CREATED))
    handed = space.lose("b", ["a", "c"], TO_CREATE)
    assert handed.objects == 60
    assert set(handed.to) == {"a", "c"}
    assert sum(each.end_k - each.first_k for held in handed.to.values() for each in held) == 60
    # The one that counts as lost goes on: no progress, but objects that two have written.
    space.changed("b", 1, changed(record, 0, 1, range(55), CREATED))
    assert space.twice == {"b": 15}
    assert space.latest is not None
    assert space.latest.total(CREATED) == 40
    for name, slot in (("a", 0), ("c", 2)):
        space.changed(name, 1, changed(record, 0, slot, range(100), CREATED))
        space.changed(name, 1, changed(record, 0, 1, range(100), CREATED))
    assert space.finished()
    assert space.latest.total(CREATED) == 300
    await cache.close()


async def test_a_survivor_that_is_lost_too_hands_on_what_it_was_given(tmp_path: Path) -> None:
    cache = LayoutCache.open(tmp_path, 300)
    space = Space(["a", "b", "c"], {0: 300}, 7, cache)
    record = space.begin().record
    space.assign(["a", "b", "c"], TO_CREATE)
    space.lose("a", ["b", "c"], TO_CREATE)
    handed = space.lose("b", ["c"], TO_CREATE)
    assert handed.objects == 150
    for slot in range(3):
        space.changed("c", 1, changed(record, 0, slot, range(100), CREATED))
    assert space.finished()
    await cache.close()
    # The controller's cache knows it all in a later run, also without any agent's.
    again = LayoutCache.open(tmp_path, 300)
    later = Space(["x"], {0: 300}, 7, again)
    later.unite([], [])
    assert later.latest is not None
    assert later.latest.record.complete
    assert later.latest.total(CREATED) == 300
    await again.close()


async def test_cleanup_knows_objects_of_an_older_generation_too() -> None:
    cache = LayoutCache.in_memory(Path())
    space = Space(["a"], {0: 100}, 7, cache)
    old = claim(1, 1, {0: CREATED, 1: CREATED, 2: DELETED})
    new = claim(2, 2, {1: CREATED, 5: CREATING})
    space.unite([old, new], [])
    space.gather()
    assert space.latest is not None
    states = space.latest.states(0, 0)
    assert [states.get(k) for k in (0, 1, 2, 5)] == [CREATING, CREATED, PLANNED, CREATING]
    await cache.close()
