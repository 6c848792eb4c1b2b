"""Log-linear histograms of latencies: the one layout on the wire, in memory and in files.

Octave o holds values from 2^o to 2^(o+1) microseconds, o from 0 to 31, cut into equally wide bins. With 64 bins an
octave the half-width of a bin is at most 0.8 % of its values. A percentile is the upper edge of the bin that holds
the ceil(q * n)-th smallest sample, so it is never understated; the maximum is kept exactly. Merging is adding counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

OCTAVES = 32
FINE = 64
COARSE = 8

Counts = npt.NDArray[np.uint64]
_NO_BINS: npt.NDArray[np.intp] = np.zeros(0, dtype=np.intp)
_NO_COUNTS: Counts = np.zeros(0, dtype=np.uint64)


def bin_indices(nanoseconds: npt.NDArray[np.int64], bins_per_octave: int) -> npt.NDArray[np.intp]:
    """The bin of each latency. Values below 1 µs fall into bin 0, those beyond 2^32 µs into the last."""
    mantissa, exponent = np.frexp(np.maximum(nanoseconds, 1000) / 1000.0)
    octave = exponent - 1
    within = ((mantissa * 2.0 - 1.0) * bins_per_octave).astype(np.intp)
    return np.minimum(octave * bins_per_octave + within, OCTAVES * bins_per_octave - 1)


def upper_edge_us(index: int, bins_per_octave: int) -> float:
    """The largest latency of a bin, in microseconds."""
    octave, within = divmod(index, bins_per_octave)
    return math.ldexp(1.0 + (within + 1) / bins_per_octave, octave)


def nonzero(counts: Counts) -> npt.NDArray[np.intp]:
    """Where there is one, ascending: as `numpy.flatnonzero`, which takes twice as long for few of many."""
    found: npt.NDArray[np.intp] = (counts != 0).nonzero()[0]
    return found


def rank(q: float, total: int) -> int:
    """Which of `total` samples, in ascending order and from 1 on, a share `q` of them does not exceed."""
    # The slack takes back what rounding adds to the product: 0.07 * 100 is a little more than 7.
    return min(total, max(1, math.ceil(q * total - 1e-12 * total)))


EDGES_US = {bins: tuple(upper_edge_us(index, bins) for index in range(OCTAVES * bins)) for bins in (FINE, COARSE)}
"""`upper_edge_us` of every bin of both layouts."""


class Histogram:
    """Counts per bin. `max_us` is exact and rounded up to whole microseconds; `sum_us` is exact, for the mean.

    What was read is kept as the bins that are filled until somebody needs all of them: most histograms are read once,
    and many are empty.
    """

    __slots__ = ("_bins", "_dense", "_values", "bins_per_octave", "max_us", "sum_us")

    def __init__(self, bins_per_octave: int = FINE, counts: Counts | None = None, max_us: int = 0, sum_us: int = 0):
        self.bins_per_octave = bins_per_octave
        self.max_us = max_us
        self.sum_us = sum_us
        self._dense: Counts | None = counts
        # Numbers of filled bins, ascending, and their counts; never changed, so that copies may share them.
        self._bins: npt.NDArray[np.intp] = _NO_BINS
        self._values: Counts = _NO_COUNTS

    @property
    def counts(self) -> Counts:
        """Of every bin; what is changed there is changed here."""
        if self._dense is None:
            self._dense = np.zeros(OCTAVES * self.bins_per_octave, dtype=np.uint64)
            self._dense[self._bins] = self._values
            self._bins, self._values = _NO_BINS, _NO_COUNTS
        return self._dense

    @counts.setter
    def counts(self, counts: Counts) -> None:
        self._dense = counts
        self._bins, self._values = _NO_BINS, _NO_COUNTS

    @property
    def count(self) -> int:
        return int((self._values if self._dense is None else self._dense).sum())

    def filled(self) -> tuple[npt.NDArray[np.intp], Counts]:
        """Numbers of the bins that are not empty, ascending, and their counts; not to be changed."""
        if self._dense is None:
            return self._bins, self._values
        bins = nonzero(self._dense)
        return bins, self._dense[bins]

    def record(self, nanoseconds: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Add samples, in nanoseconds."""
        samples = np.asarray(nanoseconds, dtype=np.int64)
        if not samples.size:
            return
        found = np.bincount(bin_indices(samples, self.bins_per_octave), minlength=self.counts.size)
        self.counts += found.astype(np.uint64)
        self.max_us = max(self.max_us, -(-int(samples.max()) // 1000))
        self.sum_us += int(samples.sum()) // 1000

    def merge(self, other: Histogram) -> None:
        """Add another histogram of the same layout. Raises ValueError if the layouts differ."""
        if other.bins_per_octave != self.bins_per_octave:
            raise ValueError(f"cannot merge {other.bins_per_octave} bins per octave into {self.bins_per_octave}")
        bins = other._bins
        if other._dense is not None:
            np.add(self.counts, other._dense, out=self.counts)
        elif not bins.size:
            if not other.max_us:
                return
        elif self._dense is not None:
            self._dense[bins] += other._values
        elif not self._bins.size:
            self._bins, self._values = bins, other._values
        else:
            self.counts[bins] += other._values
        self.max_us = max(self.max_us, other.max_us)
        self.sum_us += other.sum_us

    def merge_all(self, others: Sequence[Histogram]) -> None:
        """As `merge` of each, for less where there are several with few filled bins."""
        if any(other.bins_per_octave != self.bins_per_octave for other in others):
            raise ValueError(f"cannot merge other layouts into {self.bins_per_octave} bins per octave")
        sparse = [other for other in others if other._dense is None and other._bins.size]
        if len(sparse) < 2 or len(sparse) < len(others):
            for other in others:
                self.merge(other)
            return
        bins = np.concatenate([other._bins for other in sparse])
        np.add.at(self.counts, bins, np.concatenate([other._values for other in sparse]))
        self.max_us = max(self.max_us, *[other.max_us for other in sparse])
        self.sum_us += sum([other.sum_us for other in sparse])

    def percentile_us(self, q: float) -> float:
        """The latency in microseconds that a share `q` (0..1) of samples does not exceed; 0.0 if there are none."""
        return self.percentiles_us((q,))[0]

    def percentiles_us(self, shares: Sequence[float]) -> list[float]:
        """Several at once, which costs little more than one."""
        counts = self._values if self._dense is None else self._dense
        if not self.max_us or not counts.size:
            return [0.0] * len(shares)
        sums = counts.cumsum()
        total = int(sums[-1])
        if not total:
            return [0.0] * len(shares)
        places = sums.searchsorted(np.array([rank(q, total) for q in shares], dtype=np.uint64))
        if self._dense is None:
            places = self._bins[places]
        edges, highest = EDGES_US[self.bins_per_octave], float(self.max_us)
        return [min(edges[index], highest) for index in places.tolist()]

    @property
    def mean_us(self) -> float:
        total = self.count
        return self.sum_us / total if total else 0.0

    @classmethod
    def from_filled(
        cls, bins_per_octave: int, bins: npt.NDArray[np.intp], counts: Counts, max_us: int, sum_us: int
    ) -> Histogram:
        """The inverse of `filled`, for bins that are right: ascending, within the layout, each with a count. Neither
        array may be changed after that."""
        made = cls.__new__(cls)
        made.bins_per_octave = bins_per_octave
        made.max_us = max_us
        made.sum_us = sum_us
        made._dense = None
        made._bins = bins
        made._values = counts
        return made

    def copy(self) -> Histogram:
        made = Histogram.from_filled(self.bins_per_octave, self._bins, self._values, self.max_us, self.sum_us)
        made._dense = self._dense.copy() if self._dense is not None else None
        return made
