"""Sums of many histograms at once: one by one, each addition would cost several calls, and sums with all their bins
would be too many for a processor's caches. So they are made in a workspace that all share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sai3tui.metrics.histogram import EDGES_US, OCTAVES, Counts, Histogram, nonzero, rank


class Workspace:
    """All bins of sums that are being made; empty in between."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(0, dtype=np.uint64)

    def summed(self, places: npt.NDArray[np.intp], values: Counts, size: int) -> tuple[npt.NDArray[np.intp], Counts]:
        """Places below `size` in ascending order, each once, and the sum of the values that stood there."""
        if len(self._counts) < size:
            self._counts = np.zeros(size, dtype=np.uint64)
        np.add.at(self._counts, places, values)
        found = nonzero(self._counts[:size])
        sums = self._counts[found]
        self._counts[found] = 0
        return found, sums


@dataclass(frozen=True, slots=True)
class HistogramRows:
    """Histograms one after the other: bins an octave of each, where its filled bins begin (and the last one's end), all
    numbers of filled bins and their counts, and the maximum and the sum of each in µs."""

    layouts: Sequence[int]
    ends: Sequence[int]
    bins: npt.NDArray[np.intp]
    counts: Counts
    max_us: Sequence[int]
    sum_us: Sequence[int]


class HistogramSums:
    """Growing sums, numbered from 0 in the order in which they were begun."""

    __slots__ = ("_layouts", "_max_us", "_places", "_starts", "_sum_us", "_values", "_workspace")

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._layouts: npt.NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._starts: npt.NDArray[np.intp] = np.zeros(1, dtype=np.intp)
        self._max_us: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._sum_us: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._places: npt.NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._values: Counts = np.zeros(0, dtype=np.uint64)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._layouts)

    def begin(self, layouts: Sequence[int]) -> None:
        """More sums, of so many bins an octave each."""
        more = np.array(layouts, dtype=np.intp)
        self._layouts = np.concatenate((self._layouts, more))
        self._starts = np.concatenate(([0], (self._layouts * OCTAVES).cumsum()))
        self._max_us = np.concatenate((self._max_us, np.zeros(len(more), dtype=np.int64)))
        self._sum_us = np.concatenate((self._sum_us, np.zeros(len(more), dtype=np.int64)))

    def add(self, numbers: Sequence[int], histograms: Sequence[Histogram]) -> None:
        """Each histogram to the sum of that number. Raises ValueError if layouts differ; nothing is added then."""
        into = np.array(numbers, dtype=np.intp)
        if (self._layouts[into] != [histogram.bins_per_octave for histogram in histograms]).any():
            raise ValueError("cannot add histograms of another layout")
        np.maximum.at(self._max_us, into, [histogram.max_us for histogram in histograms])
        np.add.at(self._sum_us, into, [histogram.sum_us for histogram in histograms])
        filled = [histogram.filled() for histogram in histograms]
        places = np.repeat(self._starts[into], [len(bins) for bins, _ in filled])
        places += np.concatenate([bins for bins, _ in filled])
        values = [self._values, *(counts for _, counts in filled)]
        self._places, self._values = self._workspace.summed(
            np.concatenate((self._places, places)), np.concatenate(values), int(self._starts[-1])
        )

    def sums(self) -> HistogramRows:
        """All of them, one after the other."""
        ends = self._places.searchsorted(self._starts)
        bins = self._places - np.repeat(self._starts[:-1], np.diff(ends))
        sides = self._max_us.tolist(), self._sum_us.tolist()
        return HistogramRows(self._layouts.tolist(), ends.tolist(), bins, self._values, *sides)


def merged_percentile_us(groups: Sequence[Sequence[Histogram]], bins_per_octave: int, q: float) -> list[float]:
    """`Histogram.percentile_us` of the merge of each group; for coarse ones, as all bins of all groups are looked at.
    Raises ValueError if one has another layout."""
    histograms = [histogram for group in groups for histogram in group]
    if any(histogram.bins_per_octave != bins_per_octave for histogram in histograms):
        raise ValueError("cannot add histograms of another layout")
    width = OCTAVES * bins_per_octave
    filled = [histogram.filled() for histogram in histograms]
    lengths = [len(bins) for bins, _ in filled]
    if not sum(lengths):
        return [0.0] * len(groups)
    starts = [width * row for row, group in enumerate(groups) for _ in group]
    places = np.concatenate([bins for bins, _ in filled]) + np.repeat(starts, lengths)
    counts = np.zeros(width * len(groups), dtype=np.uint64)
    np.add.at(counts, places, np.concatenate([values for _, values in filled]))
    sums = counts.reshape(len(groups), width).cumsum(axis=1)
    totals = sums[:, -1].tolist()
    ranks = np.array([rank(q, total) for total in totals], dtype=np.uint64)
    found = (sums < ranks[:, np.newaxis]).sum(axis=1).tolist()
    edges = EDGES_US[bins_per_octave]
    return [
        min(edges[index], float(max([histogram.max_us for histogram in group]))) if total else 0.0
        for index, group, total in zip(found, groups, totals, strict=True)
    ]
