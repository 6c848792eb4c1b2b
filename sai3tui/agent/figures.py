"""Shared figures as the run log's statistics: totals of a stage, and what lies between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sai3tui.events import AttemptStats, EndpointStats, OpStats
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

    `cpu` has, for each living worker (by process id), the CPU time that its loop has used since it was started and
    the monotonic time at which it had, in nanoseconds. `lag` is how long what was ready waited for a loop.
    """

    stage: int
    time_ns: int
    ops: tuple[OpStats, ...] = ()
    endpoints: tuple[EndpointStats, ...] = ()
    cpu: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    lag: Histogram = field(default_factory=lambda: Histogram(COARSE))
    failed_attempts: tuple[AttemptStats, ...] = ()

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
    """The difference of two `Totals`."""

    seconds: float
    ops: tuple[OpStats, ...]
    endpoints: tuple[EndpointStats, ...]
    lag: Histogram
    failed_attempts: tuple[AttemptStats, ...]


def totals_of(
    copy: Copy,
    uris: Sequence[str],
    time_ns: int,
    cpu: Mapping[int, tuple[int, int]],
    failed_attempts: Sequence[AttemptStats] = (),
) -> Totals:
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
    lag = _words_histogram(copy.lag, COARSE)
    return Totals(copy.stage, time_ns, tuple(ops), tuple(endpoints), dict(cpu), lag, tuple(failed_attempts))


def interval(before: Totals | None, after: Totals) -> Interval:
    """What happened between two readings; `before` of another stage, or None, counts as nothing.

    The merge of all intervals of a stage equals its last totals, maxima included.
    """
    if before is None or before.stage != after.stage:
        before = Totals(after.stage, after.time_ns if before is None else before.time_ns)
    old_ops = {(stats.op, stats.bucket): stats for stats in before.ops}
    old_endpoints = {(stats.op, stats.endpoint): stats for stats in before.endpoints}
    seconds = (after.time_ns - before.time_ns) / 1e9
    ops = (_op_difference(old_ops.get((stats.op, stats.bucket)), stats) for stats in after.ops)
    endpoints = (_endpoint_difference(old_endpoints.get((each.op, each.endpoint)), each) for each in after.endpoints)
    return Interval(
        seconds,
        tuple(stats for stats in ops if stats.attempts),
        tuple(stats for stats in endpoints if stats.attempts),
        histogram_difference(before.lag, after.lag),
        tuple(_attempt_difference(before.failed_attempts, after.failed_attempts)),
    )


def busiest_pct(before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]]) -> float:
    """How busy the busiest worker's loop was between two readings of `Totals.cpu`, in percent of one core."""
    shares = []
    for pid, (used_ns, at_ns) in after.items():
        old_used_ns, old_at_ns = before.get(pid, (0, 0))
        if old_at_ns and at_ns > old_at_ns:
            shares.append((used_ns - old_used_ns) / (at_ns - old_at_ns))
    return 100.0 * max(shares, default=0.0)


def _attempt_difference(old: Sequence[AttemptStats], new: Sequence[AttemptStats]) -> Iterator[AttemptStats]:
    known = {stats.cause: stats for stats in old}
    for stats in new:
        before = known.get(stats.cause)
        if before is None:
            yield stats
        elif stats.count > before.count:
            # When the first of these was is not known, but it was after the last of those before.
            count, retried = stats.count - before.count, stats.retried - before.retried
            yield replace(stats, count=count, retried=retried, first_ns=before.last_ns)


def _histogram(cell: Words, kind: int, bins: int) -> Histogram:
    return _words_histogram(histogram_of(cell, kind, bins), FINE if bins == FINE_BINS else COARSE)


def _words_histogram(words: Words, per_octave: int) -> Histogram:
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
