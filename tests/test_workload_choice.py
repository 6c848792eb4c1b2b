from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from sai3tui.config.model import ArrivalKind, fixed_size
from sai3tui.workload.choice import OpMix
from sai3tui.workload.keyspace import NewObjects
from sai3tui.workload.pacing import Schedule
from sai3tui.workload.sizes import Sizes


def test_entries_come_by_weight() -> None:
    mix = OpMix([70, 20, 0, 10], seed=3)
    drawn = Counter(mix.next()[0] for _ in range(40_000))
    assert drawn[2] == 0
    for entry, share in ((0, 0.7), (1, 0.2), (3, 0.1)):
        assert drawn[entry] / 40_000 == pytest.approx(share, abs=0.01)


def test_points_are_uniform_whatever_the_entry() -> None:
    mix = OpMix([1, 9], seed=3)
    points: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(40_000):
        entry, point = mix.next()
        points[entry].append(point)
    for each in points.values():
        assert min(each) >= 0.0
        assert max(each) < 1.0
        assert sum(each) / len(each) == pytest.approx(0.5, abs=0.02)


def test_exhausted_entry_is_not_drawn_until_it_is_restored() -> None:
    mix = OpMix([1, 1], seed=1)
    mix.exhaust(0)
    assert {mix.next()[0] for _ in range(3000)} == {1}
    mix.exhaust(1)
    emptied = mix.empty
    mix.restore(0, 2.0)
    assert (emptied, mix.empty) == (True, False)
    assert {mix.next()[0] for _ in range(3000)} == {0}


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        OpMix(weights, seed=1)


def test_same_seed_same_draw() -> None:
    one, two, other = OpMix([1, 2], 5), OpMix([1, 2], 5), OpMix([1, 2], 6)
    first = [one.next() for _ in range(2000)]
    assert first == [two.next() for _ in range(2000)]
    assert first != [other.next() for _ in range(2000)]


@pytest.mark.parametrize("kind", list(ArrivalKind))
def test_schedule_keeps_its_rate(kind: ArrivalKind) -> None:
    schedule = Schedule(2000, kind, seed=4, start_ns=10**15)
    due = [schedule.next() for _ in range(20_000)]
    assert all(a <= b for a, b in pairwise(due))
    assert due[0] >= 10**15
    assert (due[-1] - 10**15) / 1e9 == pytest.approx(10.0, rel=0.03)
    steps = [(b - a) / 500_000 for a, b in pairwise(due)]
    variance = sum((step - 1.0) ** 2 for step in steps) / len(steps)
    expected = {ArrivalKind.DETERMINISTIC: 0.0, ArrivalKind.UNIFORM: 1 / 3, ArrivalKind.EXPONENTIAL: 1.0}[kind]
    assert variance == pytest.approx(expected, abs=0.05)


def test_phase_staggers_workers() -> None:
    one = Schedule(1000, ArrivalKind.DETERMINISTIC, 1, 0)
    two = Schedule(1000, ArrivalKind.DETERMINISTIC, 1, 0, phase=0.5)
    assert [one.next(), two.next(), one.next()] == [0, 500_000, 1_000_000]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Schedule(rate, ArrivalKind.UNIFORM, 1, 0)


def test_new_objects_of_all_slots_and_stages_have_names_of_their_own() -> None:
    sizes = Sizes(fixed_size(10), 1)
    spaces = [NewObjects("data/", sizes, 1, stage, slots=3) for stage in (1, 2)]
    keys = [space.key(index) for space in spaces for index in range(3000)]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("data/obj_") for key in keys)
