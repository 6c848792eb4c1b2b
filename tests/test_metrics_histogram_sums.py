"""Sums of many histograms at once are those of one by one, also as they stand on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.metrics.histogram import COARSE, FINE, Histogram
from sai3tui.metrics.histogram_sums import HistogramSums, Workspace, merged_percentile_us
from sai3tui.metrics.histogram_wire import packed, rows_of, unpacked
from tests.test_metrics_histogram import NANOSECONDS, everything, recorded

LAYOUTS = (FINE, COARSE, FINE, COARSE)
ADDED = st.lists(st.tuples(st.integers(0, len(LAYOUTS) - 1), st.lists(NANOSECONDS, max_size=20)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(ADDED, min_size=1, max_size=3))
def test_sums_are_those_of_one_by_one(batches: list[list[tuple[int, list[int]]]]) -> None:
    """Two objects share a workspace, turn about; one histogram may go to the same sum twice in a batch."""
    workspace = Workspace()
    sums = [HistogramSums(workspace), HistogramSums(workspace)]
    expected = [[Histogram(bins) for bins in LAYOUTS] for _ in sums]
    for each in sums:
        each.begin(LAYOUTS[:3])
        each.begin(LAYOUTS[3:])
    for number, batch in enumerate(batches):
        parts = [(at, recorded(samples, LAYOUTS[at])) for at, samples in batch]
        if parts:
            sums[number % 2].add([at for at, _ in parts], [histogram for _, histogram in parts])
        for at, histogram in parts:
            expected[number % 2][at].merge(histogram)
    for each, whole in zip(sums, expected, strict=True):
        assert [everything(histogram) for histogram in unpacked(packed(each.sums()))] == [
            everything(histogram) for histogram in whole
        ]


def test_another_layout_is_refused_and_nothing_is_added() -> None:
    sums = HistogramSums(Workspace())
    sums.begin((FINE, FINE))
    with pytest.raises(ValueError, match="another layout"):
        sums.add((0, 1), (recorded([5000]), recorded([5000], COARSE)))
    assert not len(sums.sums().bins)
    assert sums.sums().max_us == [0, 0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.lists(NANOSECONDS, max_size=20), st.booleans()), max_size=4), max_size=5),
    st.sampled_from((FINE, COARSE)),
    st.sampled_from((0.0, 0.5, 0.99, 1.0)),
)
def test_percentiles_of_many_merges_are_those_of_each(
    groups: list[list[tuple[list[int], bool]]], bins: int, q: float
) -> None:
    """Histograms with all bins and such as have only the filled ones, mixed."""
    parts = [[sparse(recorded(s, bins)) if few else recorded(s, bins) for s, few in group] for group in groups]
    expected = []
    for group in parts:
        one_by_one, together = Histogram(bins), Histogram(bins)
        for histogram in group:
            one_by_one.merge(histogram)
        together.merge_all(group)
        assert everything(together) == everything(one_by_one)
        expected.append(one_by_one.percentile_us(q))
    assert merged_percentile_us(parts, bins, q) == expected


def sparse(histogram: Histogram) -> Histogram:
    (made,) = unpacked(packed(rows_of([histogram])))
    return made


def test_histograms_of_another_layout_are_not_merged_among_others() -> None:
    with pytest.raises(ValueError, match="cannot merge"):
        Histogram().merge_all([Histogram(), Histogram(COARSE)])
    with pytest.raises(ValueError, match="another layout"):
        merged_percentile_us([[Histogram(COARSE)], [Histogram()]], COARSE, 0.5)
