"""The state cache: what is recorded, when it is on disk, and what a kill or a full disk leaves."""

from __future__ import annotations

import asyncio
import itertools
from array import array
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.source import CREATE, DELETE, TAKE, Purpose, StateSource, TrackedSet
from sai3tui.errors import ErrorKind, Failure, ResourceError
from sai3tui.state.decide import Action, Found, after_sample, decide
from sai3tui.state.generations import Generation, Holding, Known, found, moved
from sai3tui.state.layout import LayoutCache
from sai3tui.state.names import NamePool, NamesTaken, Span
from sai3tui.state.states import CHUNK, ObjectState, SlotStates, wanted
from sai3tui.state.store import StateStore
from sai3tui.workload.partition import slot_count

PLANNED, CREATING, CREATED, DELETED = ObjectState


def numbers(*ks: int) -> np.ndarray:
    return np.array(ks, dtype=np.int64)


@given(
    st.integers(1, 3 * CHUNK),
    st.lists(st.tuples(st.sampled_from(ObjectState), st.integers(0, 3 * CHUNK), st.integers(1, 50), st.integers(1, 9))),
)
@settings(max_examples=60, deadline=None)
def test_states_are_those_of_a_plain_list(count: int, changes: list[tuple[ObjectState, int, int, int]]) -> None:
    states = SlotStates(count)
    model = np.zeros(count, dtype=np.uint8)
    for state, first, length, step in changes:
        ks = np.arange(first, first + length * step, step, dtype=np.int64)
        ks = ks[ks < count]
        states.set(ks, state)
        model[ks] = state
    seen = np.concatenate([states.chunk(number) for number in states.chunks()])
    assert (seen == model).all()
    assert [states.total(state) for state in ObjectState] == np.bincount(model, minlength=4).tolist()
    again = SlotStates(count, states.take_dirty())
    assert [again.total(state) for state in ObjectState] == [states.total(state) for state in ObjectState]
    assert states.take_dirty() == {}
    for mask in (wanted(CREATED), wanted(PLANNED, DELETED)):
        there = list(again.where(mask))
        assert np.concatenate([numbers(), *there]).tolist() == np.flatnonzero(mask[model]).tolist()


@given(st.integers(0, 400), st.integers(1, 6), st.integers(1, 6), st.data())
@settings(max_examples=60, deadline=None)
def test_another_number_of_slots_keeps_what_is_known(count: int, before: int, after: int, data: st.DataObject) -> None:
    old_slot = data.draw(st.integers(0, before - 1))
    slot = data.draw(st.integers(0, after - 1))
    old = SlotStates(slot_count(count, before, old_slot))
    for k in range(old.count):
        old.set(numbers(k), ObjectState(data.draw(st.integers(0, 3))) if k < 20 else CREATED)
    new = moved(old, (before, old_slot), count, (after, slot))
    for k in range(new.count):
        index = slot + k * after
        known = old.get(index // before) if index % before == old_slot else PLANNED
        assert new.get(k) is known


FLAGS = list(itertools.product([False, True], repeat=3))


@pytest.mark.parametrize(("fresh", "force", "skip"), FLAGS)
def test_the_decision_table_row_by_row(fresh: bool, force: bool, skip: bool) -> None:
    def action(what: Found) -> Action:
        return decide(what, fresh=fresh, force_overwrite=force, skip_verification=skip)

    assert action(Found.UNFINISHED) is (Action.BEGIN if fresh else Action.RESUME)
    assert action(Found.FINISHED) is (Action.BEGIN if fresh or force else Action.REPAIR)
    nothing = Action.ADOPT if skip else Action.COMPARE
    assert action(Found.NOTHING) is (Action.BEGIN if fresh or force else nothing)


def test_a_sample_decides_between_all_none_and_looking() -> None:
    assert after_sample(8, 0) is Action.REPAIR
    assert after_sample(0, 8) is Action.BEGIN
    assert after_sample(3, 5) is Action.COMPARE


def test_a_generation_is_finished_once_the_barrier_after_it_has_opened() -> None:
    known = Known(Generation(1, 1, 7, {0: 10}))
    for created in (0, 4, 10):
        known.states(0, 0).set(np.arange(created), CREATED)
        assert found(known) is Found.UNFINISHED
        assert known.whole is (created == 10)
    known.states(0, 0).set(numbers(3), DELETED)
    assert known.whole
    known.record = replace(known.record, complete=True)
    known.states(0, 0).set(numbers(3), CREATING)
    assert found(known) is Found.FINISHED
    assert found(None) is Found.NOTHING


RECORD = Generation(1, 2, 7, {0: 1000, 1: 6}, (Holding(0, 1, 0, 500, 3), Holding(1, 1, 0, 3, 3)))


async def begun(cache: LayoutCache, number: int = 1) -> Generation:
    record = replace(RECORD, number=number)
    cache.save(record)
    await cache.flush()
    return record


def column(cache: LayoutCache) -> Found:
    return found(next(iter(reversed(cache.known())), None))


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[LayoutCache]:
    opened = LayoutCache.open(tmp_path / "cache", 1000)
    yield opened
    await opened.close()


def test_generation_records_survive_json_and_rubbish_does_not() -> None:
    assert Generation.from_json(RECORD.to_json()) == RECORD
    for rubbish in (b"", b"{}", b"[1]", b'{"number": "x"}', b"\xff"):
        with pytest.raises(ValueError, match=r".*"):
            Generation.from_json(rubbish)


async def test_what_was_flushed_is_there_after_reopening(tmp_path: Path) -> None:
    cache = LayoutCache.open(tmp_path, 1000)
    assert column(cache) is Found.NOTHING
    record = await begun(cache)
    cache.states(record, 0, 1).set(numbers(3, 5, 499), CREATED)
    cache.states(record, 1, 1).set(numbers(0), CREATING)
    await cache.flush()
    pool = NamePool("up/", 1, 3, 1)
    taken = NamesTaken((40,), (Span(0, 3, 2),))
    await cache.reserve(pool, taken)
    await cache.close()

    again = LayoutCache.open(tmp_path, 1000)
    assert again.latest == record
    assert column(again) is Found.UNFINISHED
    assert [k for k in range(500) if again.states(record, 0, 1).get(k) is CREATED] == [3, 5, 499]
    assert again.states(record, 1, 1).get(0) is CREATING
    assert again.reserved() == {pool: taken}
    await again.forget([pool])
    assert again.reserved() == {}
    await again.close()


async def test_an_older_generation_is_kept_until_the_new_one_is_complete(cache: LayoutCache) -> None:
    first = await begun(cache)
    cache.states(first, 0, 1).set(numbers(1), CREATED)
    second = await begun(cache, 2)
    await cache.flush()
    assert set(cache.generations) == {1, 2}
    assert cache.states(first, 0, 1).get(1) is CREATED
    done = cache.complete(second)
    assert cache.generations == {2: done}
    assert column(cache) is Found.FINISHED


async def test_a_full_disk_is_an_error_that_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sai3tui.state.store.MAP_SLACK", 128 * 1024)
    store = StateStore.open(tmp_path / "small", 0)
    with pytest.raises(ResourceError, match="small") as caught:
        await store.commit({b"row": b"x" * 1_000_000})
    assert "MDB_MAP_FULL" in caught.value.failure().causes[0]
    with pytest.raises(ResourceError):
        await store.commit({b"other": b"x"})
    with pytest.raises(ResourceError):
        await store.close()


async def test_a_data_directory_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        LayoutCache.open(tmp_path / "file", 10)


def source(
    cache: LayoutCache, record: Generation, endpoints: int, purpose: Purpose, turn: int = 0, ahead: int = 0
) -> StateSource:
    sets = [
        TrackedSet(each, cache.states(record, each.set_id, each.slot), lambda indices: 10 * len(indices))
        for each in record.holdings
    ]
    return StateSource(cache, record, sets, endpoints, purpose, turn=turn, ahead=ahead)


async def test_sets_take_turns_or_follow_each_other(cache: LayoutCache) -> None:
    record = await begun(cache)
    order = []
    for turn in (0, 2):
        leases = source(cache, record, 1, CREATE, turn)
        order.append("")
        while (lease := await leases.grant(0, 3)) is not None:
            order[-1] += str(lease.set_id) * lease.count
    assert order == ["0" * 500 + "111", "0011001" + "0" * 496]


@pytest.mark.parametrize("turn", [0, 5])
@pytest.mark.parametrize(("endpoints", "want"), [(1, 1), (2, 7), (3, 1000)])
async def test_leases_cover_every_object_once_at_its_endpoint(
    cache: LayoutCache, endpoints: int, want: int, turn: int
) -> None:
    record = await begun(cache)
    leases = source(cache, record, endpoints, CREATE, turn)
    assert leases.todo == 503
    seen: set[tuple[int, int]] = set()
    for endpoint in range(endpoints):
        while (lease := await leases.grant(endpoint, want)) is not None:
            assert lease.count <= want
            indices = list(lease.indices())
            assert len(indices) == lease.count
            for index in indices:
                slot, k = index % 2, index // 2
                assert slot == 1
                assert k % endpoints == endpoint
                assert cache.states(record, lease.set_id, 1).get(k) is CREATING
                assert (lease.set_id, k) not in seen
                seen.add((lease.set_id, k))
            leases.finished(lease.lease_id, array("Q", indices), [])
    assert len(seen) == 503
    assert (leases.done, leases.bytes, leases.repeated) == (503, 5030, 0)
    assert cache.states(record, 0, 1).total(CREATED) == 500


async def test_a_grant_is_on_disk_before_it_is_given(tmp_path: Path) -> None:
    cache = LayoutCache.open(tmp_path, 1000)
    record = await begun(cache)
    leases = source(cache, record, 1, CREATE)
    lease = await leases.grant(0, 20)
    assert lease is not None
    # A copy of what is committed at this moment is what a kill -9 would leave.
    copy = tmp_path / "copy"
    copy.mkdir()
    cache.copy_to(copy)
    await cache.close()
    other = LayoutCache.open(copy, 1000)
    assert other.states(record, 0, 1).total(CREATING) == 20
    again = source(other, record, 1, CREATE)
    assert again.todo == 503
    first = await again.grant(0, 30)
    assert first is not None
    assert list(first.indices())[:20] == list(lease.indices())
    assert again.repeated == 20
    await other.close()


async def test_deletes_are_put_on_disk_many_at_once_before_they_are_granted(tmp_path: Path) -> None:
    cache = LayoutCache.open(tmp_path, 1000)
    record = await begun(cache)
    states = cache.states(record, 0, 1)
    states.set(np.arange(500, dtype=np.int64), CREATED)
    await cache.flush()
    leases = source(cache, record, 2, TAKE, ahead=60)
    given = await asyncio.gather(*(leases.grant(endpoint, 7) for endpoint in (0, 1, 0, 1)))
    copy = tmp_path / "copy"
    copy.mkdir()
    cache.copy_to(copy)
    other = LayoutCache.open(copy, 1000)
    recorded = other.states(record, 0, 1)
    assert recorded.total(CREATING) == 120
    indices = [index for lease in given if lease is not None for index in lease.indices()]
    assert len(set(indices)) == 28
    assert all(recorded.get(index // 2) is CREATING for index in indices)
    await other.close()
    for lease in given:
        assert lease is not None
        leases.finished(lease.lease_id, array("Q", list(lease.indices())[:5]), [])
        leases.unused(lease.lease_id, 1)
    leases.settle()
    # What was granted and not given back may be gone or not; all else is as it was.
    assert [states.total(state) for state in (DELETED, CREATING, CREATED)] == [20, 4, 476]
    await cache.close()


async def test_deletes_wait_for_the_disk_once_for_many_leases(
    cache: LayoutCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await begun(cache)
    cache.states(record, 0, 1).set(np.arange(500, dtype=np.int64), CREATED)
    flush, waits = cache.flush, 0

    async def counted() -> None:
        nonlocal waits
        waits += 1
        await flush()

    monkeypatch.setattr(cache, "flush", counted)
    taken: list[int] = []
    leases = source(cache, record, 2, TAKE, ahead=60)
    for endpoint in (0, 1):
        while (lease := await leases.grant(endpoint, 7)) is not None:
            taken += lease.indices()
            leases.finished(lease.lease_id, array("Q", lease.indices()), [])
    assert sorted(taken) == list(range(1, 1000, 2))
    assert waits == 2 * 5
    assert (leases.done, leases.repeated, cache.states(record, 0, 1).total(DELETED)) == (500, 0, 500)


async def test_what_is_created_is_never_granted_again(cache: LayoutCache) -> None:
    record = await begun(cache)
    cache.states(record, 0, 1).set(np.arange(0, 500, 3, dtype=np.int64), CREATED)
    cache.states(record, 0, 1).set(numbers(1, 2), DELETED)
    leases = source(cache, record, 2, CREATE)
    granted: list[int] = []
    for endpoint in (0, 1):
        while (lease := await leases.grant(endpoint, 9)) is not None:
            if lease.set_id == 0:
                granted += [index // 2 for index in lease.indices()]
    assert sorted(granted) == [k for k in range(500) if k % 3]


async def test_a_lost_lease_is_granted_again_without_what_was_finished(cache: LayoutCache) -> None:
    record = await begun(cache)
    leases = source(cache, record, 1, CREATE)
    lease = await leases.grant(0, 6)
    assert lease is not None
    indices = list(lease.indices())
    leases.finished(lease.lease_id, array("Q", [indices[1], indices[4]]), [])
    leases.lost(lease.lease_id)
    leases.finished(lease.lease_id, array("Q", [indices[0]]), [])
    back: list[int] = []
    while (again := await leases.grant(0, 100)) is not None:
        assert again.epoch == 4
        back += again.indices() if again.set_id == 0 else []
    assert set(back) & set(indices) == {indices[0], indices[2], indices[3], indices[5]}
    assert leases.repeated == 4
    assert leases.done == 2


async def test_failures_are_kept_and_a_missing_object_is_deleted(cache: LayoutCache) -> None:
    record = await begun(cache)
    cache.states(record, 1, 1).set(numbers(0, 1, 2), CREATED)
    leases = source(cache, record, 1, DELETE)
    lease = await leases.grant(0, 10)
    assert lease is not None
    assert lease.set_id == 1
    one, two, three = lease.indices()
    gone = Failure(ErrorKind.NOT_FOUND, "not there")
    refused = Failure(ErrorKind.PERMISSION, "refused")
    leases.finished(lease.lease_id, array("Q", [one]), [(two, gone), (three, refused)])
    assert (leases.done, leases.failed, leases.samples) == (2, 1, [refused])
    assert [cache.states(record, 1, 1).get(k) for k in range(3)] == [DELETED, DELETED, CREATED]
