"""One figure over the last seconds: sums and a histogram to which intervals are added and from which they leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sai3tui.config.metric_names import LatencyKind, Metric, Quantity
from sai3tui.events import EndpointStats, OpStats
from sai3tui.metrics.histogram import Counts, Histogram

SLACK_S = 0.5


@dataclass(slots=True)
class _Part:
    """One interval. Histograms stand as the bins that are not empty: a whole one is 16 KiB."""

    seconds: float
    ops: int = 0
    bytes: int = 0
    errors: int = 0
    filled: Counts | None = None
    counts: Counts | None = None
    max_us: int = 0
    sum_us: int = 0


class Sliding:
    """What a metric needs of the last `window_s` seconds (None: of all that was added)."""

    def __init__(self, window_s: float | None) -> None:
        self._window_s = window_s
        self._parts: deque[_Part] = deque()
        self._histogram: Histogram | None = None
        self.seconds = 0.0
        self.ops = 0
        self.bytes = 0
        self.errors = 0

    def add(self, metric: Metric, rows: Iterable[OpStats | EndpointStats], seconds: float) -> None:
        """The next interval; what is older than the window leaves."""
        part = _Part(seconds)
        found: Histogram | None = None
        for stats in rows:
            if not metric.covers(stats.op):
                continue
            part.ops += stats.ops
            part.bytes += stats.bytes
            part.errors += stats.errors
            if metric.quantity is Quantity.LATENCY:
                histogram = _histogram(stats, metric.kind)
                found = histogram.copy() if found is None else _merged(found, histogram)
        self.seconds += seconds
        self.ops += part.ops
        self.bytes += part.bytes
        self.errors += part.errors
        if found is not None:
            self._take(part, found)
        if self._window_s is not None:
            self._parts.append(part)
            while len(self._parts) > 1 and self.seconds - self._parts[0].seconds >= self._window_s - SLACK_S:
                self._drop(self._parts.popleft())

    def figure(self, metric: Metric, *, named: bool) -> float | None:
        """See `thresholds.figure`."""
        if not named and not self.ops + self.errors:
            return None
        match metric.quantity:
            case Quantity.THROUGHPUT:
                return self.bytes / self.seconds if self.seconds > 0 else None
            case Quantity.OPS:
                return self.ops / self.seconds if self.seconds > 0 else None
            case Quantity.ERRORS:
                return float(self.errors)
            case Quantity.ERROR_RATE:
                tried = self.ops + self.errors
                return self.errors / tried if tried else None
            case Quantity.LATENCY:
                return self._latency(metric.quantile)
            case Quantity.COVERAGE:
                return None

    def _latency(self, quantile: float | None) -> float | None:
        histogram = self._histogram
        if histogram is None or not histogram.count:
            return None
        if quantile is None:
            return histogram.mean_us / 1e6
        if self._window_s is not None:
            histogram.max_us = max(part.max_us for part in self._parts)
        return float(histogram.max_us if quantile >= 1 else histogram.percentile_us(quantile)) / 1e6

    def _take(self, part: _Part, found: Histogram) -> None:
        if self._histogram is None:
            self._histogram = found.copy()
        else:
            self._histogram = _merged(self._histogram, found)
        if self._window_s is not None:
            filled, part.counts = found.filled()
            part.filled = filled.astype(np.uint64)
            part.max_us, part.sum_us = found.max_us, found.sum_us

    def _drop(self, part: _Part) -> None:
        self.seconds -= part.seconds
        self.ops -= part.ops
        self.bytes -= part.bytes
        self.errors -= part.errors
        if self._histogram is not None and part.filled is not None and part.counts is not None:
            self._histogram.counts[part.filled.astype(np.intp)] -= part.counts
            self._histogram.sum_us -= part.sum_us


def _histogram(stats: OpStats | EndpointStats, kind: LatencyKind) -> Histogram:
    if kind is LatencyKind.SERVICE:
        return stats.service
    if isinstance(stats, EndpointStats):
        raise ValueError(f"{kind.value} latencies of an endpoint are not measured")
    return stats.scheduled if kind is LatencyKind.SCHEDULED else stats.ttfb


def _merged(into: Histogram, other: Histogram) -> Histogram:
    into.merge(other)
    return into
