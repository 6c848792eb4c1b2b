"""Histograms as messages have them: all of a report at once, as one by one they cost more than all else in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from sai3tui.metrics.histogram import COARSE, FINE, OCTAVES, Counts, Histogram
from sai3tui.metrics.histogram_sums import HistogramRows
from sai3tui.metrics.varints import read_varints, varints


class PackedHistograms(NamedTuple):
    """Any number of them, by field. Differences between the numbers of the bins that are filled, and their counts, are
    varints."""

    layouts: Sequence[int]
    bin_deltas: Sequence[bytes]
    counts: Sequence[bytes]
    max_us: Sequence[int]
    sum_us: Sequence[int]


def rows_of(histograms: Sequence[Histogram]) -> HistogramRows:
    """Them one after the other."""
    filled = [histogram.filled() for histogram in histograms]
    return HistogramRows(
        [histogram.bins_per_octave for histogram in histograms],
        [0, *accumulate(len(bins) for bins, _ in filled)],
        np.concatenate([np.zeros(0, dtype=np.intp), *(bins for bins, _ in filled)]),
        np.concatenate([np.zeros(0, dtype=np.uint64), *(counts for _, counts in filled)]),
        [histogram.max_us for histogram in histograms],
        [histogram.sum_us for histogram in histograms],
    )


def packed(rows: HistogramRows) -> PackedHistograms:
    """All of `rows`."""
    firsts = [begin for begin, end in pairwise(rows.ends) if begin < end]
    deltas = rows.bins.copy()
    deltas[1:] -= rows.bins[:-1]
    deltas[firsts] = rows.bins[firsts]
    fields = _parts(deltas.astype(np.uint64), rows.ends), _parts(rows.counts, rows.ends)
    return PackedHistograms(rows.layouts, *fields, rows.max_us, rows.sum_us)


def _parts(numbers: Counts, ends: Sequence[int]) -> list[bytes]:
    data, places = varints(numbers)
    return [data[begin:end] for begin, end in pairwise(places[ends].tolist())]


def unpacked(each: PackedHistograms) -> list[Histogram]:
    """The inverse of `packed`. Raises ValueError for bins outside the layout, or that do not fit their counts."""
    count = len(each.layouts)
    parts = [*each.bin_deltas, *each.counts]
    # The bytes of a number are all in one part: the last one of each is below 0x80.
    if not {FINE, COARSE}.issuperset(each.layouts) or not b"".join([part[-1:] for part in parts]).isascii():
        raise ValueError("not a histogram")
    numbers, stops = read_varints(b"".join(parts), list(accumulate(map(len, parts), initial=0)))
    sizes = [end - begin for begin, end in pairwise(stops)]
    if sizes[:count] != sizes[count:]:
        raise ValueError("not a histogram")
    deltas, values = numbers[: stops[count]], numbers[stops[count] :]
    if len(deltas) and np.maximum.reduce(deltas) >= OCTAVES * FINE:
        raise ValueError(f"bin {int(deltas.max())} is outside the layout")
    sums = np.zeros(len(deltas) + 1, dtype=np.intp)
    deltas.view(np.int64).cumsum(out=sums[1:])
    before = sums[stops[: count + 1]]
    for layout, last in zip(each.layouts, (before[1:] - before[:-1]).tolist(), strict=True):
        if last >= OCTAVES * layout:
            raise ValueError(f"bin {last} is outside the layout")
    bins = sums[1:] - before[:-1].repeat(sizes[:count])
    return [
        Histogram.from_filled(layout, bins[begin:end], values[begin:end], max_us, sum_us)
        if begin < end
        else Histogram(layout, None, max_us, sum_us)
        for layout, (begin, end), max_us, sum_us in zip(
            each.layouts, pairwise(stops[: count + 1]), each.max_us, each.sum_us, strict=True
        )
    ]
