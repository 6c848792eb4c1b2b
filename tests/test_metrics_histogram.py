from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sai3tui.agent.figures import histogram_difference
from sai3tui.metrics.histogram import COARSE, FINE, Histogram, bin_indices, upper_edge_us

NANOSECONDS = st.integers(min_value=0, max_value=2**32 * 1000 - 1)
SAMPLES = st.lists(NANOSECONDS, min_size=1, max_size=200)


def recorded(samples: list[int], bins: int = FINE) -> Histogram:
    made = Histogram(bins)
    made.record(samples)
    return made


def everything(histogram: Histogram) -> tuple[object, ...]:
    bins, counts = histogram.filled()
    return histogram.bins_per_octave, bins.tolist(), counts.tolist(), histogram.max_us, histogram.sum_us


@given(st.lists(SAMPLES, min_size=1, max_size=4), st.sampled_from([FINE, COARSE]))
def test_merge_of_parts_is_the_whole(parts: list[list[int]], bins: int) -> None:
    merged = Histogram(bins)
    for part in parts:
        merged.merge(recorded(part, bins))
    whole = recorded([sample for part in parts for sample in part], bins)
    assert (merged.counts == whole.counts).all()
    assert merged.max_us == whole.max_us
    assert merged.count == sum(map(len, parts))
    assert abs(merged.sum_us - whole.sum_us) <= len(parts)


@given(SAMPLES, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_percentile_is_the_samples_own_bin_edge(samples: list[int], q: float) -> None:
    exact_us = float(np.quantile(samples, q, method="inverted_cdf")) / 1000.0
    found = recorded(samples).percentile_us(q)
    # Never understated, and overstated by less than the width of a bin; what is below 1 µs counts as the first bin.
    assert exact_us * (1 - 1e-9) <= found <= exact_us * (1 + 1 / FINE) + 1.02


@given(NANOSECONDS, st.sampled_from([FINE, COARSE]))
def test_sample_lies_below_the_edge_of_its_bin_and_not_below_the_one_before(sample: int, bins: int) -> None:
    (index,) = bin_indices(np.array([sample]), bins).tolist()
    microseconds = max(1.0, sample / 1000.0)
    assert microseconds <= upper_edge_us(index, bins) * (1 + 1e-12)
    assert index == 0 or microseconds >= upper_edge_us(index - 1, bins) * (1 - 1e-12)


@given(NANOSECONDS)
def test_coarse_bins_are_eight_fine_ones(sample: int) -> None:
    sample_array = np.array([sample])
    assert bin_indices(sample_array, COARSE)[0] == bin_indices(sample_array, FINE)[0] // (FINE // COARSE)


def test_different_layouts_do_not_merge() -> None:
    with pytest.raises(ValueError, match="cannot merge"):
        Histogram(FINE).merge(Histogram(COARSE))


@given(SAMPLES, SAMPLES)
def test_difference_is_what_was_added(first: list[int], then: list[int]) -> None:
    old = recorded(first)
    new = old.copy()
    new.record(then)
    between = histogram_difference(old, new)
    assert (between.counts == recorded(then).counts).all()
    # The maximum is that of `then`, or at most one bin more.
    exact = -(-max(then) // 1000)
    assert exact <= between.max_us <= max(exact * (1 + 1 / FINE), 2) + 1
    merged = old.copy()
    merged.merge(between)
    assert merged.max_us == new.max_us


def test_empty_histogram_says_zero() -> None:
    assert Histogram().percentile_us(0.99) == 0.0
    assert Histogram().mean_us == 0.0


@pytest.mark.parametrize(("q", "samples", "rank"), [(0.07, 100, 7), (15 / 29, 29, 15), (0.999, 1000, 999), (0.5, 3, 2)])
def test_rounding_of_a_share_does_not_move_the_rank(q: float, samples: int, rank: int) -> None:
    histogram = Histogram()
    histogram.record([1_000_000] * rank + [100_000_000] * (samples - rank))
    assert histogram.percentile_us(q) < 2_000
