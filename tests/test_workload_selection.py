"""Orders, popularity, shares of agents and fleet-wide schedules: properties of pure functions."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.agent.stages.in_order import InOrder
from sai3tui.config.model import ArrivalKind, PathSelection, Popularity, SizeKind, SizeSpec
from sai3tui.workload.drawing import Draw, Drawer
from sai3tui.workload.pacing import FleetSchedule
from sai3tui.workload.popularity import Chooser, ZipfRanks
from sai3tui.workload.share import Paths, Share
from sai3tui.workload.sizes import Sizes
from sai3tui.workload.spread import Spread


@given(st.integers(1, 5000))
def test_a_spread_is_a_permutation(count: int) -> None:
    spread = Spread(count)
    assert sorted(spread.place(number) for number in range(count)) == list(range(count))


@given(st.integers(64, 10**15), st.integers(0, 10**15))
def test_neighbours_are_spread_evenly(count: int, start: int) -> None:
    spread = Spread(count)
    start %= count - 32
    places = sorted(spread.place(number) for number in range(start, start + 32))
    gaps = [after - before for before, after in zip(places, [*places[1:], places[0] + count], strict=True)]
    assert max(gaps) <= 4 * count / 32 + 1


@pytest.mark.parametrize("exponent", [0.5, 0.99, 1.0, 1.5])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_zipf_ranks_have_their_probabilities(count: int, exponent: float) -> None:
    draws = 20_000
    found = Counter(ZipfRanks(count, exponent).ranks(np.random.default_rng(7), draws).tolist())
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    expected = weights / weights.sum() * draws
    observed = np.array([found[rank] for rank in range(count)])
    assert observed.sum() == draws
    # A chi-squared of count - 1 degrees of freedom is hardly ever more than six standard deviations off.
    chi = float(((observed - expected) ** 2 / expected).sum())
    assert chi <= count - 1 + 6 * (2 * count) ** 0.5


def test_zipf_needs_no_table() -> None:
    found = ZipfRanks(10**12, 0.99).ranks(np.random.default_rng(3), 3000)
    assert found.min() >= 0
    assert found.max() < 10**12
    assert (found < 10**6).sum() > 1000
    assert (found > 10**9).sum() > 100


@given(st.integers(1, 10**12), st.sampled_from([Popularity.UNIFORM, Popularity.ZIPF]), st.integers(0, 2**64 - 1))
def test_every_choice_is_a_place(count: int, popularity: Popularity, seed: int) -> None:
    chosen, again = (
        Chooser(count, popularity).choose(np.random.Generator(np.random.PCG64(seed)), 20).tolist() for _ in range(2)
    )
    assert chosen == again
    assert 0 <= min(chosen) <= max(chosen) < count


def test_popular_places_are_alike_for_all_workers_and_scattered() -> None:
    tops = []
    for seed in range(2):
        drawer = Drawer(Draw(count=1000, popularity=Popularity.ZIPF, zipf_exponent=1.2), seed)
        found = Counter(drawer.next() for _ in range(5000))
        tops.append([place for place, _ in found.most_common(3)])
    assert tops[0] == tops[1]
    assert tops[0][0] is not None
    assert max(place or 0 for place in tops[0]) > 300


@given(st.integers(0, 300), st.integers(1, 7), st.integers(1, 9))
def test_shares_are_a_partition(count: int, agents: int, group: int) -> None:
    shares = [Share(count, agent, agents, group) for agent in range(agents)]
    owned = [share.indices(np.arange(len(share))) for share in shares]
    assert sorted(np.concatenate(owned).tolist()) == list(range(count))
    everything = np.arange(count)
    for agent, each in enumerate(owned):
        paths = Paths(PathSelection.EXCLUSIVE, agent, agents, group)
        assert each.tolist() == everything[paths.owned(everything)].tolist()


@st.composite
def draws(draw: st.DrawFn) -> tuple[Draw, list[int]]:
    """A draw for one agent, and the indices that it is about."""
    count = draw(st.integers(1, 200))
    agents = draw(st.integers(1, 6))
    selection = draw(st.sampled_from(PathSelection))
    paths = Paths(selection, draw(st.integers(0, agents - 1)), agents, draw(st.integers(1, 5)), 0.3)
    popularity = draw(st.sampled_from([Popularity.UNIFORM, Popularity.ZIPF]))
    halves = draw(st.integers(0, 7))
    if draw(st.booleans()):
        listed = sorted(draw(st.sets(st.integers(0, 10**12), min_size=1, max_size=50)))
        return Draw(listed=array("Q", listed).tobytes(), popularity=popularity, paths=paths, halves=halves), listed
    return Draw(count=count, popularity=popularity, paths=paths, halves=halves), list(range(count))


@given(draws(), st.integers(0, 2**64 - 1))
def test_a_draw_keeps_to_what_it_is_about(made: tuple[Draw, list[int]], seed: int) -> None:
    draw, indices = made
    paths = draw.paths
    assert paths is not None
    own = [index for index in indices if index // paths.group % paths.agents == paths.agent]
    allowed = own if paths.selection is PathSelection.EXCLUSIVE and own else indices
    if draw.halves:
        allowed = [index for index in allowed if index // draw.halves % 2 == 0]
    drawer = Drawer(draw, seed)
    for _ in range(5):
        index = drawer.next()
        assert index in allowed if allowed else index is None


@given(st.lists(draws(), min_size=1, max_size=1), st.integers(1, 9), st.booleans())
async def test_in_order_is_each_object_once_for_the_fleet(
    made: list[tuple[Draw, list[int]]], want: int, once: bool
) -> None:
    draw, indices = made[0]
    paths = draw.paths
    assert paths is not None
    if draw.halves:
        indices = [index for index in indices if index // draw.halves % 2 == 0]
    found: list[int] = []
    for agent in range(paths.agents):
        source = InOrder(3, [replace(draw, paths=replace(paths, agent=agent))], once=once)
        own: list[int] = []
        while (lease := await source.grant(0, want)) is not None:
            granted = list(lease.indices())
            assert 0 < len(granted) <= want
            assert (lease.lease_id, lease.set_id) == (0, 3)
            if own and not once and granted[0] == own[0]:
                break
            own += granted
        assert own == sorted(own)
        found += own
    assert sorted(found) == indices


@pytest.mark.parametrize(
    ("selection", "own"),
    [
        (PathSelection.RANDOM, 0.25),
        (PathSelection.EXCLUSIVE, 1.0),
        (PathSelection.PARTITIONED, 0.7 + 0.3 * 0.25),
        (PathSelection.WEIGHTED, 0.7),
    ],
)
@pytest.mark.parametrize("listed", [b"", array("Q", range(1000)).tobytes()])
def test_how_often_an_agent_stays_with_its_own(selection: PathSelection, own: float, listed: bytes) -> None:
    drawer = Drawer(Draw(count=1000, listed=listed, paths=Paths(selection, 2, 4, 10, 0.3)), 11)
    stayed = sum((drawer.next() or 0) // 10 % 4 == 2 for _ in range(4000))
    assert stayed / 4000 == pytest.approx(own, abs=0.03)


@st.composite
def fleets(draw: st.DrawFn) -> list[tuple[int, int]]:
    """The connections of every worker as (first, count)."""
    counts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    return [(sum(counts[:place]), count) for place, count in enumerate(counts)]


@settings(max_examples=60)
@given(fleets(), st.sampled_from([ArrivalKind.DETERMINISTIC, ArrivalKind.UNIFORM]), st.integers(0, 1000))
def test_the_workers_of_a_fleet_keep_one_schedule(fleet: list[tuple[int, int]], kind: ArrivalKind, seed: int) -> None:
    total = sum(count for _, count in fleet)
    rate, start = 1000.0, 5_000_000_000
    whole = FleetSchedule(rate, kind, seed, start, 0, total, total)
    expected = [whole.next() for _ in range(6 * total)]
    merged: list[int] = []
    for first, count in fleet:
        part = FleetSchedule(rate, kind, seed, start, first, count, total)
        due = [part.next() for _ in range(6 * count)]
        assert due == sorted(due)
        merged += due
    assert sorted(merged) == expected
    if kind is ArrivalKind.DETERMINISTIC:
        assert {after - before for before, after in pairwise(expected)} == {1_000_000}
        assert expected[0] == start


def test_parts_of_a_poisson_process_are_poisson_and_keep_the_rate() -> None:
    merged: list[int] = []
    for first, count in ((0, 3), (3, 1), (4, 4)):
        part = FleetSchedule(8000.0, ArrivalKind.EXPONENTIAL, 5, 0, first, count, 8)
        while (due := part.next()) < 2_000_000_000:
            merged.append(due)
    gaps = np.diff(np.sort(np.array(merged)))
    assert len(merged) == pytest.approx(16_000, rel=0.03)
    assert float(gaps.std() / gaps.mean()) == pytest.approx(1.0, abs=0.05)


@given(fleets(), st.sampled_from(ArrivalKind), st.integers(0, 10**10))
def test_who_begins_late_skips_what_was_due_before(fleet: list[tuple[int, int]], kind: ArrivalKind, late: int) -> None:
    total = sum(count for _, count in fleet)
    first, count = fleet[-1]
    skipped, whole = (FleetSchedule(50.0, kind, 3, 10**9, first, count, total) for _ in range(2))
    skipped.skip(10**9 + late)
    due = [skipped.next() for _ in range(20)]
    assert due == sorted(due)
    assert due[0] >= 10**9 + late
    if kind is not ArrivalKind.EXPONENTIAL:
        expected = whole.next()
        while expected < 10**9 + late:
            expected = whole.next()
        assert due[0] == expected


@pytest.mark.parametrize(("rate", "first", "count"), [(0.0, 0, 1), (1.0, 1, 2), (1.0, -1, 1), (1.0, 0, 0)])
def test_what_is_no_part_of_a_fleet(rate: float, first: int, count: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        FleetSchedule(rate, ArrivalKind.UNIFORM, 1, 0, first, count, 2)


def test_weighted_sizes_are_drawn_by_weight() -> None:
    spec = SizeSpec(SizeKind.WEIGHTED, 10, 1000, weighted=((10, 3), (77, 0), (1000, 1)))
    sizes = Sizes(spec, 9)
    indices = np.arange(20_000, dtype=np.uint64)
    drawn = sizes.sizes(indices)
    assert [sizes.size(index) for index in range(200)] == drawn[:200].tolist()
    found = Counter(drawn.tolist())
    assert set(found) == {10, 1000}
    assert found[10] / 20_000 == pytest.approx(0.75, abs=0.02)
    assert sizes.mean == (3 * 10 + 1000) / 4
    assert sizes.maximum == 1000
