"""What a worker writes down per operation: a few appends; everything else happens four times a second, vectorised."""

from __future__ import annotations

from array import array
from collections import Counter

import numpy as np
import numpy.typing as npt

from sai3tui.config.ops import OPS, Op
from sai3tui.metrics.buckets import BUCKETS, UPPER_BOUNDS, bucket_of
from sai3tui.metrics.histogram import COARSE, FINE, bin_indices
from sai3tui.metrics.shared import (
    ATTEMPTS,
    BYTES,
    COARSE_BINS,
    COUNT,
    ERRORS,
    FINE_BINS,
    HISTOGRAM_HEAD,
    MAX_US,
    SUM_NS,
    SharedWriter,
    Words,
    histogram_of,
)

_BOUNDS = np.asarray(UPPER_BOUNDS, dtype=np.int64)
_OP_BITS = 3

Samples = npt.NDArray[np.int64]


class Recorder:
    """Collects operations and adds them to a `SharedWriter` at `flush`.

    An operation that succeeded counts under the bucket of the bytes that it moved, one that failed under that of the
    size that it would have had. Histograms hold operations that succeeded only. Times are nanoseconds.
    """

    __slots__ = ("_bytes", "_due", "_failed", "_first", "_kind", "_lag", "_retried", "_service", "_writer", "errors")

    def __init__(self, writer: SharedWriter) -> None:
        self._writer = writer
        self._kind = array("q")
        self._bytes = array("q")
        self._service = array("q")
        self._due = array("q")
        self._first = array("q")
        self._lag = array("q")
        self._failed: Counter[tuple[Op, int, int]] = Counter()
        self._retried: Counter[tuple[Op, int, int]] = Counter()
        self.errors = 0
        """Operations that failed for good since the stage began."""

    def start_stage(self, stage: int) -> None:
        """Forget all, in the mapping too."""
        self._clear()
        self.errors = 0
        self._writer.start_stage(stage)

    def success(self, op: int, endpoint: int, size: int, due: int, t0: int, t_first: int, t_last: int) -> None:
        """An operation that succeeded. `due` is when it should have begun (or was first tried)."""
        self._kind.append(endpoint << _OP_BITS | op)
        self._bytes.append(size)
        self._service.append(t_last - t0)
        self._due.append(t_last - due)
        self._first.append(t_first - t0)

    def failure(self, op: Op, endpoint: int, size: int) -> None:
        """An operation that failed for good."""
        self.errors += 1
        self._failed[op, endpoint, bucket_of(size)] += 1

    def retry(self, op: Op, endpoint: int, size: int) -> None:
        """An attempt that failed and will be made again."""
        self._retried[op, endpoint, bucket_of(size)] += 1

    def lag(self, nanoseconds: int) -> None:
        """How long something that was ready has waited for this process."""
        self._lag.append(nanoseconds)

    def flush(self) -> None:
        """Add everything collected to the mapping."""
        if not self._kind and not self._failed and not self._retried and not self._lag:
            return
        writer = self._writer
        writer.begin()
        try:
            if self._kind:
                self._flush_successes()
            if self._lag:
                lag = np.frombuffer(self._lag, dtype=np.int64)
                _bump(writer.lag, lag, bin_indices(lag, COARSE))
            for (op, endpoint, bucket), count in self._failed.items():
                for cell in (writer.op(op * BUCKETS + bucket), writer.endpoint(op, endpoint)):
                    cell[ERRORS] += np.uint64(count)
                    cell[ATTEMPTS] += np.uint64(count)
            for (op, endpoint, bucket), count in self._retried.items():
                for cell in (writer.op(op * BUCKETS + bucket), writer.endpoint(op, endpoint)):
                    cell[ATTEMPTS] += np.uint64(count)
        finally:
            writer.end()
            self._clear()

    def _clear(self) -> None:
        # New arrays, not `del a[:]`: numpy still exports the old ones' buffers while a flush is on the stack.
        self._kind = array("q")
        self._bytes = array("q")
        self._service = array("q")
        self._due = array("q")
        self._first = array("q")
        self._lag = array("q")
        self._failed.clear()
        self._retried.clear()

    def _flush_successes(self) -> None:
        writer = self._writer
        kind = np.frombuffer(self._kind, dtype=np.int64)
        sizes = np.frombuffer(self._bytes, dtype=np.int64)
        times: list[Samples] = [
            np.frombuffer(samples, dtype=np.int64) for samples in (self._service, self._due, self._first)
        ]
        bins = [bin_indices(samples, FINE) for samples in times]
        op = kind & ((1 << _OP_BITS) - 1)
        cells = op * BUCKETS + np.searchsorted(_BOUNDS, sizes)
        for number in np.flatnonzero(np.bincount(cells, minlength=len(OPS) * BUCKETS)).tolist():
            mask = cells == number
            cell = writer.op(number)
            _count(cell, int(np.count_nonzero(mask)), int(sizes[mask].sum()))
            for which, (samples, found) in enumerate(zip(times, bins, strict=True)):
                _bump(histogram_of(cell, which, FINE_BINS), samples[mask], found[mask])
        service, coarse = times[0], bins[0] // (FINE // COARSE)
        for place in np.unique(kind).tolist():
            mask = kind == place
            cell = writer.endpoint(place & ((1 << _OP_BITS) - 1), place >> _OP_BITS)
            _count(cell, int(np.count_nonzero(mask)), int(sizes[mask].sum()))
            _bump(histogram_of(cell, 0, COARSE_BINS), service[mask], coarse[mask])


def _count(cell: Words, count: int, size: int) -> None:
    cell[COUNT] += np.uint64(count)
    cell[ATTEMPTS] += np.uint64(count)
    cell[BYTES] += np.uint64(size)


def _bump(histogram: Words, samples: Samples, bins: npt.NDArray[np.intp]) -> None:
    counts = np.bincount(bins)
    histogram[HISTOGRAM_HEAD : HISTOGRAM_HEAD + counts.size] += counts.astype(np.uint64)
    histogram[MAX_US] = max(int(histogram[MAX_US]), -(-int(samples.max()) // 1000))
    histogram[SUM_NS] += np.uint64(max(0, int(samples.sum())))
