"""Latencies as ranges and percentiles: nothing is lost, and everything is told side by side on one scale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sai3tui.results.bands import Band, StageBand, band_under
from sai3tui.results.distribution import common_ranges, distribution, in_ranges
from sai3tui.results.figures import Figures
from sai3tui.results.views import Series

samples = st.lists(st.integers(1_000, 2**41), min_size=1, max_size=60)


def of(nanoseconds: list[int]) -> Figures:
    figures = Figures(ops=len(nanoseconds))
    figures.service.record(nanoseconds)
    return figures


@given(st.lists(samples, min_size=1, max_size=3))
def test_every_operation_is_in_one_range(runs: list[list[int]]) -> None:
    parts = [distribution("get", "get", of(run)) for run in runs]
    ranges = common_ranges(parts)
    assert list(ranges) == sorted(set(ranges))
    for part, run in zip(parts, runs, strict=True):
        assert sum(in_ranges(part, ranges)) == part.ops == len(run)
        assert list(part.quantiles) == sorted(part.quantiles)
        assert part.quantiles[-1] <= part.max_us


def test_a_range_holds_what_is_below_its_edge() -> None:
    part = distribution("put", "put", of([1_000_000] * 3 + [1_400_000] * 2 + [9_000_000]))
    found = {
        edge: n for edge, n in zip(common_ranges([part]), in_ranges(part, common_ranges([part])), strict=True) if n
    }
    assert found == {1024.0: 3, 1536.0: 2, 12288.0: 1}


def test_nothing_measured_has_no_ranges() -> None:
    assert common_ranges([distribution("get", "get", Figures())]) == ()


def test_a_band_stands_under_the_same_second_of_the_same_stage() -> None:
    band = Band((10.0, 20.0), (15.0, 25.0))
    bands = (StageBand(2, (1.0, 2.0), band, Band(), Band(), Band()),)
    series = Series(at_s=(5.0, 6.0, 7.0, 8.0, 9.0), stage_index=(1, 2, 2, 2, 2))
    under = band_under(bands, series, "get_bytes")
    assert under.low == (0.0, 20.0, 20.0, 20.0, 0.0)
    assert band_under((), series, "get_bytes") == Band()
