"""Sums of many histograms at once are those of one by one, also as they stand on the wire."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sai3tui.event_codec import histogram_from_proto, histograms_bytes
from sai3tui.metrics.histogram import COARSE, FINE, Histogram
from sai3tui.metrics.histogram_sums import HistogramSums, Workspace
from sai3tui.metrics.varints import varint, varints
from sai3tui.proto import sai3tui_pb2 as pb
from tests.test_metrics_histogram import NANOSECONDS, recorded

LAYOUTS = (FINE, COARSE, FINE, COARSE)
ADDED = st.lists(st.tuples(st.integers(0, len(LAYOUTS) - 1), st.lists(NANOSECONDS, max_size=20)), max_size=12)


def everything(histogram: Histogram) -> tuple[object, ...]:
    return histogram.bins_per_octave, histogram.sparse(), histogram.max_us, histogram.sum_us


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
        messages = [pb.Histogram.FromString(data) for data in histograms_bytes(each.sums())]
        found = [histogram_from_proto(message, bins) for message, bins in zip(messages, LAYOUTS, strict=True)]
        assert [everything(histogram) for histogram in found] == [everything(histogram) for histogram in whole]


def test_another_layout_is_refused_and_nothing_is_added() -> None:
    sums = HistogramSums(Workspace())
    sums.begin((FINE, FINE))
    with pytest.raises(ValueError, match="another layout"):
        sums.add((0, 1), (recorded([5000]), recorded([5000], COARSE)))
    assert not len(sums.sums().bins)
    assert sums.sums().max_us == [0, 0]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=30))
def test_numbers_in_base_128_one_by_one_and_together(numbers: list[int]) -> None:
    data, places = varints(np.array(numbers, dtype=np.uint64))
    assert data == b"".join(map(varint, numbers))
    assert [data[begin:end] for begin, end in itertools.pairwise(places)] == list(map(varint, numbers))


def test_a_number_that_is_too_long_has_eight_bits_in_its_last_byte() -> None:
    data, _ = varints(np.array([2**64 - 1, 1], dtype=np.uint64), longest=9)
    assert data == b"\xff" * 9 + b"\x01"
