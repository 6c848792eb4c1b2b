"""Comparing runs: differences with confidence intervals, from what was measured interval by interval. Pure.

Neighbouring intervals resemble each other (caches, queues, background work), so they are resampled in blocks that are
longer than that memory (circular block bootstrap). What cannot be told from noise is "no difference"; what cannot be
told at all is "too few intervals".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from sai3tui.metrics.histogram import EDGES_US, FINE

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

RESAMPLES = 1000
CONFIDENCE = 0.99
SMALLEST_SHARE = 0.01
"""Differences below 1 % are not worth a verdict, however sure they are."""
FEWEST_INTERVALS = 8
MOST_INTERVALS = 600
"""Longer series are added up to as many intervals: blocks cover their memory all the better."""
QUANTILES = (("p50", 0.5), ("p99", 0.99))
_EDGES_US: Floats = np.array(EDGES_US[FINE])


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    SAME = "no difference"
    UNKNOWN = "too few intervals"


@dataclass(frozen=True, slots=True)
class Intervals:
    """One operation of one stage, interval by interval: operations, body bytes, seconds, and histograms of service time
    as sparse rows (`bins` and `counts` of interval `rows`)."""

    ops: Floats
    bytes: Floats
    seconds: Floats
    rows: Indices
    bins: Indices
    counts: Floats

    @property
    def count(self) -> int:
        return len(self.seconds)

    def shortened(self, most: int = MOST_INTERVALS) -> Intervals:
        """The same, with neighbours added up so that there are at most `most`."""
        step = -(-self.count // most)
        if step <= 1:
            return self
        starts = np.arange(0, self.count, step)

        def add(values: Floats) -> Floats:
            return np.add.reduceat(values, starts)

        return Intervals(add(self.ops), add(self.bytes), add(self.seconds), self.rows // step, self.bins, self.counts)

    def dense(self) -> tuple[Floats, Floats]:
        """Counts per interval and bin that occurs, and the upper edges of those bins in µs."""
        used, columns = np.unique(self.bins, return_inverse=True)
        table = np.zeros((self.count, len(used)))
        np.add.at(table, (self.rows, columns), self.counts)
        return table, _EDGES_US[used]


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two runs. `share` is (second - first) / first with its confidence interval; values are operations
    and bytes per second, or µs."""

    metric: str
    first: float
    second: float
    share: float
    low: float
    high: float
    verdict: Verdict


def block_length(series: Floats) -> int:
    """Intervals of a block: three times the integrated autocorrelation time, from 2 to a quarter of them all."""
    count = len(series)
    most = max(2, count // 4)
    if count < FEWEST_INTERVALS or not series.std():
        return min(2, most)
    return int(min(most, max(2, math.ceil(3 * autocorrelation_time(series)))))


def autocorrelation_time(series: Floats) -> float:
    """How many neighbouring intervals tell as much as one would if they did not resemble each other; 1 at least."""
    count = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred)
    memory = 1.0
    if variance <= 0:
        return memory
    for lag in range(1, count // 3):
        correlation = float(centred[lag:] @ centred[:-lag]) / variance
        # The first lags that do not stand out from noise end it (Geyer's cut, made simple).
        if correlation < 1.0 / math.sqrt(count):
            break
        memory += 2 * correlation
    return memory


def block_weights(count: int, length: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each of `count` intervals is in each resample, from circular blocks of `length`: resamples x count."""
    blocks = -(-count // length)
    starts = rng.integers(0, count, size=(resamples, blocks))
    chosen = (starts[:, :, None] + np.arange(length)) % count
    chosen = chosen.reshape(resamples, -1)[:, :count]
    weights = np.zeros((resamples, count))
    np.add.at(weights, (np.arange(resamples)[:, None], chosen), 1.0)
    return weights


def compare(
    first: Intervals,
    second: Intervals,
    *,
    family: int = 1,
    smallest: float = SMALLEST_SHARE,
    confidence: float = CONFIDENCE,
    seed: int = 1,
) -> list[Difference]:
    """Throughput, operations per second and percentiles of the second run against the first.

    `family` is how many comparisons are judged together: the intervals are widened so that all of them hold at once
    with `confidence`.
    """
    sides = [side.shortened() for side in (first, second)]
    metrics = ["ops_per_s"] + (["bytes_per_s"] if any(side.bytes.sum() for side in sides) else [])
    metrics += [name for name, _ in QUANTILES] if all(side.counts.sum() for side in sides) else []
    values = [_values(side, metrics, np.ones((1, side.count))) for side in sides]
    few = any(side.count < FEWEST_INTERVALS for side in sides)
    resampled: list[dict[str, Floats]] = []
    if not few:
        rng = np.random.default_rng(seed)
        for side in sides:
            rates = np.divide(side.ops, side.seconds, out=np.zeros(side.count), where=side.seconds > 0)
            weights = block_weights(side.count, block_length(rates), RESAMPLES, rng)
            resampled.append(_values(side, metrics, weights))
    return [
        _difference(name, values[0][name][0], values[1][name][0], resampled, sides, family, smallest, confidence)
        for name in metrics
    ]


def _values(side: Intervals, metrics: Sequence[str], weights: Floats) -> dict[str, Floats]:
    """Each metric of each resample."""
    seconds = np.maximum(weights @ side.seconds, 1e-9)
    made: dict[str, Floats] = {"ops_per_s": weights @ side.ops / seconds, "bytes_per_s": weights @ side.bytes / seconds}
    if any(name in metrics for name, _ in QUANTILES):
        table, edges = side.dense()
        sums = np.cumsum(weights @ table, axis=1)
        for name, q in QUANTILES:
            made[name] = _quantiles(sums, edges, q)
    return {name: made[name] for name in metrics}


def _quantiles(sums: Floats, edges: Floats, q: float) -> Floats:
    """Interpolated within the bin: a whole bin is 1.6 % wide, as much as what is looked for."""
    ranks = np.maximum(1.0, q * sums[:, -1])
    at = np.minimum((sums < ranks[:, None]).sum(axis=1), len(edges) - 1)
    lines = np.arange(len(sums))
    before = np.where(at > 0, sums[lines, at - 1], 0.0)
    inside = (ranks - before) / np.maximum(sums[lines, at] - before, 1e-9)
    upper = edges[at]
    octave = 2.0 ** np.floor(np.log2(upper * (1 - 1e-9)))
    found: Floats = upper - octave / FINE * (1 - np.clip(inside, 0.0, 1.0))
    return found


def _difference(
    metric: str,
    first: float,
    second: float,
    resampled: Sequence[dict[str, Floats]],
    sides: Sequence[Intervals],
    family: int,
    smallest: float,
    confidence: float,
) -> Difference:
    share = _share(first, second)
    if not resampled:
        return Difference(metric, first, second, share, -math.inf, math.inf, Verdict.UNKNOWN)
    shares = _shares(resampled[0][metric], resampled[1][metric])
    tail = (1 - confidence) / 2 / max(1, family)
    # Few intervals understate their own spread; and half a bin of rounding is in every percentile.
    spread = float(np.std(shares)) * _small_sample(min(side.count for side in sides))
    reach = normal_quantile(1 - tail) * spread
    low, high = max(-1.0, share - reach), share + reach
    verdict = Verdict.SAME
    if (low > 0 or high < 0) and abs(share) >= smallest:
        more_is_better = metric.endswith("_per_s")
        verdict = Verdict.BETTER if (share > 0) == more_is_better else Verdict.WORSE
    return Difference(metric, float(first), float(second), share, low, high, verdict)


def _small_sample(count: int) -> float:
    return math.sqrt(count / max(1, count - 3)) * (1 + 2.5 / count)


def _share(first: float, second: float) -> float:
    return float((second - first) / first) if first else 0.0


def _shares(first: Floats, second: Floats) -> Floats:
    return np.divide(second - first, first, out=np.zeros_like(first), where=first > 0)


def normal_quantile(p: float) -> float:
    """Of the standard normal distribution, by bisection of its distribution function."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        if 0.5 * (1 + math.erf(middle / math.sqrt(2))) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def overall(differences: Iterable[Difference]) -> Verdict:
    """Of several metrics: worse if any is and none is better; better likewise; both at once is worse."""
    found = {difference.verdict for difference in differences}
    if Verdict.WORSE in found:
        return Verdict.WORSE
    if Verdict.BETTER in found:
        return Verdict.BETTER
    return Verdict.UNKNOWN if found <= {Verdict.UNKNOWN} else Verdict.SAME
