from __future__ import annotations

from collections import Counter

import pytest

from sai3tui.agent.stages.names import new_names
from sai3tui.config.model import fixed_size
from sai3tui.state.names import NamePool
from sai3tui.workload.choice import OpMix


def test_entries_come_by_weight() -> None:
    mix = OpMix([70, 20, 0, 10], seed=3)
    drawn = Counter(mix.next() for _ in range(40_000))
    assert drawn[2] == 0
    for entry, share in ((0, 0.7), (1, 0.2), (3, 0.1)):
        assert drawn[entry] / 40_000 == pytest.approx(share, abs=0.01)


def test_exhausted_entry_is_not_drawn_until_it_is_restored() -> None:
    mix = OpMix([1, 1], seed=1)
    mix.exhaust(0)
    assert {mix.next() for _ in range(3000)} == {1}
    mix.exhaust(1)
    emptied = mix.empty
    mix.restore(0, 2.0)
    assert (emptied, mix.empty) == (True, False)
    assert {mix.next() for _ in range(3000)} == {0}


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        OpMix(weights, seed=1)


def test_same_seed_same_draw() -> None:
    one, two, other = OpMix([1, 2], 5), OpMix([1, 2], 5), OpMix([1, 2], 6)
    first = [one.next() for _ in range(2000)]
    assert first == [two.next() for _ in range(2000)]
    assert first != [other.next() for _ in range(2000)]


def test_new_objects_of_all_slots_and_stages_have_names_of_their_own() -> None:
    spaces = [new_names(NamePool("data/", 1, stage, slot), fixed_size(10)) for stage in (1, 2) for slot in range(3)]
    keys = [space.key(index) for space in spaces for index in range(1000)]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("data/obj_") for key in keys)
