"""histograms.hlog, read by HdrHistogram's own reader, and perf_ext.tsv."""

from __future__ import annotations

import csv
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.metrics.histogram import Histogram
from sai3tui.results.hdr import HIGHEST_NS, hdr_encode, hdr_index
from sai3tui.results.perf_ext import COLUMNS
from sai3tui.results.views import Outcome
from tests.test_results_files import written


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1_000, HIGHEST_NS), min_size=1, max_size=200))
def test_their_reader_finds_our_counts_and_percentiles(nanoseconds: list[int]) -> None:
    ours = Histogram()
    ours.record(nanoseconds)
    theirs = HdrHistogram.decode(hdr_encode(ours))
    assert theirs.get_total_count() == len(nanoseconds)
    samples = len(nanoseconds)
    for rank in {1, (samples + 1) // 2, samples}:
        mine = ours.percentile_us(rank / samples) * 1000
        # Their rank is rounded to the nearest, ours up.
        found = theirs.get_value_at_percentile((rank - 0.4) / samples * 100)
        assert abs(found - mine) <= mine * 0.0011 + 1


@given(st.integers(0, HIGHEST_NS))
def test_places_are_those_of_their_array(value: int) -> None:
    theirs = HdrHistogram(1, HIGHEST_NS, 3)
    assert hdr_index(value) == theirs._counts_index_for(value)


def test_a_run_leaves_a_log_that_their_reader_reads(tmp_path: Path) -> None:
    directory, tally, _ = written(tmp_path, Outcome("success", 0))
    reader = HistogramLogReader(str(directory / "histograms.hlog"), HdrHistogram(1, HIGHEST_NS, 3))
    counts: dict[str, int] = {}
    while (found := reader.get_next_interval_histogram()) is not None:
        counts[found.get_tag()] = counts.get(found.get_tag(), 0) + found.get_total_count()
    reader.close()
    assert counts == {"01_prepare.put.service": 16, "01_prepare.list.service": 2, "02_execute.get.service": 7}
    assert sum(counts.values()) == sum(stage.figures.ops for stage in tally.stages.values())


def test_extended_rows_stand_beside_those_of_the_perf_log(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path, Outcome("success", 0))
    with (directory / "perf_ext.tsv").open() as ext, (directory / "perf_log.tsv").open() as log:
        rows = list(csv.DictReader(ext, delimiter="\t"))
        beside = list(csv.DictReader(log, delimiter="\t"))
    assert tuple(rows[0]) == COLUMNS
    assert [row["timestamp_epoch_ms"] for row in rows] == [row["timestamp_epoch_ms"] for row in beside]
    assert sum(int(row["put_attempts"]) for row in rows) == 17
    assert sum(int(row["put_errors"]) for row in rows) == 1
    assert int(rows[0]["put_service_max_us"]) == 1000
