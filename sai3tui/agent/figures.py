"""Shared figures as the run log's statistics: totals of a stage, and what lies between two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sai3tui.events import EndpointStats, OpStats
from sai3tui.metrics.histogram import COARSE, FINE, Histogram, upper_edge_us
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
    Copy,
    Words,
    histogram_of,
)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all workers have measured since stage `stage` (the pool's own number) began, at `time_ns`, monotonic.

    `cpu_s` is the CPU time in seconds that each living worker (by process id) has used since it was started.
    """

    stage: int
    time_ns: int
    ops: tuple[OpStats, ...] = ()
    endpoints: tuple[EndpointStats, ...] = ()
    cpu_s: Mapping[int, float] | None = None

    @property
    def errors(self) -> int:
        return sum(stats.errors for stats in self.ops)

    @property
    def attempts(self) -> int:
        return sum(stats.attempts for stats in self.ops)

    @property
    def count(self) -> int:
        """Operations that succeeded."""
        return sum(stats.ops for stats in self.ops)

    @property
    def bytes(self) -> int:
        return sum(stats.bytes for stats in self.ops)


@dataclass(frozen=True, slots=True)
class Interval:
    """The difference of two `Totals`. `worker_cpu_pct` is that of the busiest worker, in percent of one core."""

    seconds: float
    ops: tuple[OpStats, ...]
    endpoints: tuple[EndpointStats, ...]
    worker_cpu_pct: float


def totals_of(copy: Copy, uris: Sequence[str], time_ns: int, cpu_s: Mapping[int, float]) -> Totals:
    """`copy` as statistics; `uris` are the endpoints'."""
    ops = [
        OpStats(
            op,
            bucket,
            int(cell[COUNT]),
            int(cell[BYTES]),
            int(cell[ERRORS]),
            int(cell[ATTEMPTS]),
            *(_histogram(cell, kind, FINE_BINS) for kind in range(3)),
        )
        for (op, bucket), cell in sorted(copy.ops.items())
    ]
    endpoints = [
        EndpointStats(
            endpoint,
            uris[endpoint],
            op,
            int(cell[COUNT]),
            int(cell[BYTES]),
            int(cell[ERRORS]),
            int(cell[ATTEMPTS]),
            _histogram(cell, 0, COARSE_BINS),
        )
        for (op, endpoint), cell in sorted(copy.endpoints.items())
    ]
    return Totals(copy.stage, time_ns, tuple(ops), tuple(endpoints), dict(cpu_s))


def interval(before: Totals | None, after: Totals) -> Interval:
    """What happened between two readings; `before` of another stage, or None, counts as nothing.

    The merge of all intervals of a stage equals its last totals, maxima included.
    """
    if before is None or before.stage != after.stage:
        before = (
            Totals(after.stage, after.time_ns)
            if before is None
            else Totals(after.stage, before.time_ns, cpu_s=before.cpu_s)
        )
    old_ops = {(stats.op, stats.bucket): stats for stats in before.ops}
    old_endpoints = {(stats.op, stats.endpoint): stats for stats in before.endpoints}
    seconds = (after.time_ns - before.time_ns) / 1e9
    ops = (_op_difference(old_ops.get((stats.op, stats.bucket)), stats) for stats in after.ops)
    endpoints = (_endpoint_difference(old_endpoints.get((each.op, each.endpoint)), each) for each in after.endpoints)
    return Interval(
        seconds,
        tuple(stats for stats in ops if stats.attempts),
        tuple(stats for stats in endpoints if stats.attempts),
        _busiest(before.cpu_s or {}, after.cpu_s or {}, seconds),
    )


def _busiest(before: Mapping[int, float], after: Mapping[int, float], seconds: float) -> float:
    if seconds <= 0:
        return 0.0
    shares = [(cpu - before[pid]) / seconds for pid, cpu in after.items() if pid in before]
    return 100.0 * max(shares, default=0.0)


def _histogram(cell: Words, kind: int, bins: int) -> Histogram:
    words = histogram_of(cell, kind, bins)
    per_octave = FINE if bins == FINE_BINS else COARSE
    return Histogram(per_octave, words[HISTOGRAM_HEAD:].copy(), int(words[MAX_US]), int(words[SUM_NS]) // 1000)


def _op_difference(old: OpStats | None, new: OpStats) -> OpStats:
    if old is None:
        return new.copy()
    return OpStats(
        new.op,
        new.bucket,
        new.ops - old.ops,
        new.bytes - old.bytes,
        new.errors - old.errors,
        new.attempts - old.attempts,
        histogram_difference(old.service, new.service),
        histogram_difference(old.scheduled, new.scheduled),
        histogram_difference(old.ttfb, new.ttfb),
    )


def _endpoint_difference(old: EndpointStats | None, new: EndpointStats) -> EndpointStats:
    if old is None:
        return new.copy()
    return EndpointStats(
        new.endpoint,
        new.uri,
        new.op,
        new.ops - old.ops,
        new.bytes - old.bytes,
        new.errors - old.errors,
        new.attempts - old.attempts,
        histogram_difference(old.service, new.service),
    )


def histogram_difference(old: Histogram, new: Histogram) -> Histogram:
    """What was added to `old` to make `new`.

    Its maximum is exact if it is a new maximum, else the upper edge of its last bin: never understated, and never
    beyond the maximum of `new`.
    """
    counts = new.counts - old.counts
    filled = np.flatnonzero(counts)
    if not filled.size:
        return Histogram(new.bins_per_octave)
    maximum = new.max_us
    if new.max_us == old.max_us:
        maximum = min(maximum, int(-(-upper_edge_us(int(filled[-1]), new.bins_per_octave) // 1)))
    return Histogram(new.bins_per_octave, counts, maximum, new.sum_us - old.sum_us)
