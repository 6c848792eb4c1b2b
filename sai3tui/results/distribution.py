"""How latencies are spread: counts per range and the percentiles that people quote, from a merged histogram."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sai3tui.metrics.histogram import Histogram
from sai3tui.results.figures import Figures

QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999))
MOST_HALVES = 7
"""Up to so many octaves are cut in two."""


@dataclass(frozen=True, slots=True)
class OpDistribution:
    """Service latencies of one operation in µs. `quantiles` are of `QUANTILES`; `counts` maps the upper edge of a range
    to how many operations were in it."""

    op: str
    group: str
    ops: int
    errors: int
    mean_us: float
    quantiles: tuple[float, ...]
    max_us: float
    counts: tuple[tuple[float, int], ...]


def distribution(op: str, group: str, figures: Figures) -> OpDistribution:
    """All that is shown of one operation."""
    service = figures.service
    return OpDistribution(
        op,
        group,
        figures.ops,
        figures.errors,
        service.mean_us,
        tuple(service.percentile_us(q) for _, q in QUANTILES),
        float(service.max_us),
        _counts(service),
    )


def _counts(histogram: Histogram) -> tuple[tuple[float, int], ...]:
    """Operations per half octave."""
    half = histogram.bins_per_octave // 2
    sums = histogram.counts.reshape(-1, half).sum(axis=1)
    return tuple((_edge(int(n)), int(sums[n])) for n in np.flatnonzero(sums))


def _edge(number: int) -> float:
    """The upper edge of a half octave, in µs."""
    octave, second = divmod(number, 2)
    return math.ldexp(2.0 if second else 1.5, octave)


def common_ranges(parts: Iterable[OpDistribution]) -> tuple[float, ...]:
    """Upper edges, in µs, of ranges in which all of them can be told side by side: octaves, or halves if few."""
    edges = sorted({edge for part in parts for edge, _ in part.counts})
    if not edges:
        return ()
    first, last = math.floor(math.log2(edges[0] / 1.0001)), math.ceil(math.log2(edges[-1] / 1.0001))
    if last - first > MOST_HALVES:
        return tuple(math.ldexp(1.0, octave + 1) for octave in range(first, last))
    return tuple(_edge(number) for number in range(2 * first, 2 * last) if edges[0] <= _edge(number) <= edges[-1])


def in_ranges(part: OpDistribution, ranges: tuple[float, ...]) -> tuple[int, ...]:
    """How many operations were in each range."""
    found = [0] * len(ranges)
    for edge, count in part.counts:
        found[next(n for n, upper in enumerate(ranges) if edge <= upper)] += count
    return tuple(found)
