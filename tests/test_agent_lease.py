from __future__ import annotations

from array import array
from collections.abc import Callable

from hypothesis import assume, given
from hypothesis import strategies as st

from sai3tui.agent.lease import LEASES_PER_CONNECTION, MAX_OUTSTANDING, Lease, RetryPolicy, lease_size
from sai3tui.agent.worker.handle import shares
from sai3tui.agent.worker.lane import backoff_s
from sai3tui.agent.worker.messages import Finished, Granted, Settled, Wanted, WorkerSetup
from sai3tui.agent.worker.supply import Held, Supply
from sai3tui.storage.engine import Endpoint


@given(st.integers(0, 10**12), st.integers(1, 10_000))
def test_all_leases_together_stay_within_the_allowance(count: int, connections: int) -> None:
    size = lease_size(count, connections)
    assert size >= 1
    outstanding = size * connections * LEASES_PER_CONNECTION
    assert outstanding <= max(min(count // 100, MAX_OUTSTANDING), connections * LEASES_PER_CONNECTION)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 2000)), min_size=1, max_size=50))
def test_a_fleet_stays_within_one_allowance(agents: list[tuple[int, int]]) -> None:
    """However many objects and connections each agent has. Two objects a connection are always allowed."""
    fleet = sum(connections for _, connections in agents)
    sizes = [lease_size(count, connections, fleet) for count, connections in agents]
    out = [size * own * LEASES_PER_CONNECTION for size, (_, own) in zip(sizes, agents, strict=True)]
    assert all(size >= 1 for size in sizes)
    more = sum(each for each, size in zip(out, sizes, strict=True) if size > 1)
    assert more <= min(sum(count for count, _ in agents) // 100, MAX_OUTSTANDING)


def test_lease_sizes_of_some_sets() -> None:
    assert lease_size(640, 16) == 1
    assert lease_size(64_000, 16) == 20
    assert lease_size(10**9, 16) == 32
    assert lease_size(10**9, 16, 4 * 16) == 8


@given(st.integers(1, 50), st.integers(0, 49), st.integers(0, 10**9), st.integers(1, 100), st.integers(1, 8))
def test_indices_belong_to_the_slot(slots: int, slot: int, first_k: int, count: int, stride: int) -> None:
    assume(slot < slots)
    indices = list(Lease(1, 0, 1, slot, slots, 0, first_k, count, stride).indices())
    assert len(indices) == count
    assert all(index % slots == slot for index in indices)
    assert [index // slots for index in indices] == [first_k + j * stride for j in range(count)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 16))
def test_connections_are_dealt_evenly_both_ways(connections: list[int], workers: int) -> None:
    assume(sum(connections))
    setup = WorkerSetup(tuple(Endpoint(f"s3://{e}/", "s3") for e in range(len(connections))), tuple(connections))
    dealt = shares(setup, workers)
    assert len(dealt) == min(workers, sum(connections))
    assert [sum(part) for part in zip(*(each.connections for each in dealt), strict=True)] == connections
    per_worker = [sum(each.connections) for each in dealt]
    assert min(per_worker) >= 1
    assert max(per_worker) - min(per_worker) <= 1
    for part in zip(*(each.connections for each in dealt), strict=True):
        assert max(part) - min(part) <= 1
    assert [each.first_connection for each in dealt] == [sum(per_worker[:n]) for n in range(len(dealt))]


def test_backoff_grows_to_its_limit() -> None:
    policy = RetryPolicy(9, initial_delay=0.1, max_delay=1.0, multiplier=2.0, jitter=0.0)
    assert [backoff_s(policy, attempt) for attempt in (1, 2, 3, 4, 5, 50)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    jittery = RetryPolicy(9, initial_delay=0.1, max_delay=1.0, multiplier=2.0, jitter=0.25)
    assert all(0.15 <= backoff_s(jittery, 2) <= 0.25 for _ in range(100))


def test_supply_asks_ahead_and_reports_before_it_asks() -> None:
    sent: list[object] = []
    scheduled: list[Callable[[], None]] = []
    supply = Supply(1, sent.append, scheduled.append, lambda seconds, call: None)

    def run_scheduled() -> list[object]:
        for call in [scheduled.pop(0) for _ in list(scheduled)]:
            call()
        messages = list(sent)
        sent.clear()
        return messages

    def take() -> tuple[int, Held]:
        taken = shelf.take()
        assert taken is not None
        return taken

    shelf = supply.shelf(None, 0, 4)
    assert run_scheduled() == [Wanted(1, ((None, 0, 4),))]
    lease = Lease(7, 0, 1, 0, 1, 0, 0, 4, explicit=array("Q", [3, 1, 4, 15]).tobytes())
    supply.granted(Granted(1, None, 0, 4, lease))
    assert run_scheduled() == []
    first, held = take()
    second, _ = take()
    assert (first, second) == (3, 1)
    supply.done(held, first)
    supply.need()
    settled = Settled(7, array("Q", [3]).tobytes())
    assert run_scheduled() == [Finished(1, (settled,)), Wanted(1, ((None, 0, 2),))]
    supply.granted(Granted(1, None, 0, 2, None))
    assert shelf.dry
    assert not shelf.exhausted
    assert [take()[0], take()[0]] == [4, 15]
    assert shelf.take() is None
    assert supply.exhausted
