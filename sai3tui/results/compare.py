"""Comparing runs: differences with confidence intervals, from what was measured interval by interval. Pure.

Neighbouring intervals resemble each other (caches, queues, background work), so they are resampled in blocks that are
longer than that memory (circular block bootstrap). What is between runs, and not within them, is measured where there
are several runs of the same thing, and expected otherwise. What cannot be told from noise is "no difference"; what
cannot be told at all is "too few intervals".
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
CONFIDENCE = 0.98
SMALLEST_SHARE = 0.02
"""Smaller differences get no verdict, however sure they are: two runs of the same thing differ by as much."""
FEWEST_INTERVALS = 8
MOST_INTERVALS = 600
"""Longer series are added up to as many intervals: blocks cover their memory all the better."""
LEAST = 1e-12
"""Instead of zero, which has no logarithm."""
EXPECTED = 0.004
EXPECTED_BETWEEN = {"p99": 0.01}
"""How far runs of the same thing are apart beside what changes within them, as a standard deviation, where nothing is
known of it (benchmarks/results_compare.py --real): of all metrics, and of those that scatter more."""
EXPECTED_FREEDOM = 2
"""What is expected weighs as much as so many further runs."""
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
    first: Sequence[Intervals],
    second: Sequence[Intervals],
    *,
    before: Sequence[Intervals] = (),
    rows: int = 1,
    smallest: float = SMALLEST_SHARE,
    confidence: float = CONFIDENCE,
    seed: int = 1,
) -> list[Difference]:
    """Throughput, operations per second and percentiles of the second side against the first, each of one run or more;
    `before` are further runs of what the first side is, which tell how far such runs are apart.

    `rows` is how many such comparisons are judged together: all their intervals hold at once with `confidence`.
    """
    enough = [run for run in before if run.count >= FEWEST_INTERVALS]
    sides = [[run.shortened() for run in runs] for runs in (first, second, enough)]
    runs = [run for side in sides for run in side]
    metrics = ["ops_per_s"] + (["bytes_per_s"] if all(run.bytes.sum() for run in runs) else [])
    metrics += [name for name, _ in QUANTILES] if all(run.counts.sum() for run in runs) else []
    means = [[_means(run, metrics) for run in side] for side in sides]
    if any(run.count < FEWEST_INTERVALS for run in runs):
        middles = [np.exp(np.mean(side, axis=0)) for side in means[:2]]
        return [
            Difference(name, float(a), float(b), float(b / a - 1), -math.inf, math.inf, Verdict.UNKNOWN)
            for name, a, b in zip(metrics, *middles, strict=True)
        ]
    rng = np.random.default_rng(seed)
    errors = [[_errors(run, metrics, rng) for run in side] for side in sides]
    apart = np.mean(errors[1], axis=0) - np.mean(errors[0], axis=0)
    tests = rows * independent(apart)
    return [
        _difference(
            name,
            [np.array([run[column] for run in side]) for side in means],
            [np.array([float(run[:, column].var()) for run in side]) for side in errors],
            smallest,
            (1 - confidence) / 2 / tests,
        )
        for column, name in enumerate(metrics)
    ]


def independent(resamples: Floats) -> float:
    """How many independent ones so many metrics are worth, which resemble each other: resamples x metrics. By the
    spread of the eigenvalues of their correlation (Galwey 2009)."""
    centred = resamples - resamples.mean(axis=0)
    spread = centred.std(axis=0)
    kept = centred[:, spread > LEAST] / spread[spread > LEAST]
    if kept.shape[1] < 2:
        return 1.0
    values = np.clip(np.linalg.eigvalsh(kept.T @ kept / len(kept)), 0.0, None)
    return float(np.sqrt(values).sum() ** 2 / values.sum())


def _means(run: Intervals, metrics: Sequence[str]) -> Floats:
    """The logarithm of each metric of a run."""
    found: Floats = _logarithms(run, metrics, np.ones((1, run.count)))[0]
    return found


def _errors(run: Intervals, metrics: Sequence[str], rng: np.random.Generator) -> Floats:
    """How far resamples of a run are from it: resamples x metrics, of logarithms."""
    rates = np.divide(run.ops, run.seconds, out=np.zeros(run.count), where=run.seconds > 0)
    found = _logarithms(run, metrics, block_weights(run.count, block_length(rates), RESAMPLES, rng))
    # Few intervals understate their own spread.
    error: Floats = (found - found.mean(axis=0)) * _small_sample(run.count)
    return error


def _logarithms(run: Intervals, metrics: Sequence[str], weights: Floats) -> Floats:
    """Of each metric of each resample."""
    seconds = np.maximum(weights @ run.seconds, 1e-9)
    made: dict[str, Floats] = {"ops_per_s": weights @ run.ops / seconds, "bytes_per_s": weights @ run.bytes / seconds}
    if any(name in metrics for name, _ in QUANTILES):
        table, edges = run.dense()
        sums = np.cumsum(weights @ table, axis=1)
        for name, q in QUANTILES:
            made[name] = _quantiles(sums, edges, q)
    found: Floats = np.log(np.maximum(np.column_stack([made[name] for name in metrics]), LEAST))
    return found


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
    metric: str, means: Sequence[Floats], variances: Sequence[Floats], smallest: float, tail: float
) -> Difference:
    """Of logarithms of the runs of each side (and those before), and of the variance of each by what is within it."""
    first, second, before = means
    share = float(second.mean() - first.mean())
    within = float(variances[0].mean() / len(first) + variances[1].mean() / len(second))
    weight = 1 / len(first) + 1 / len(second)
    groups = [np.concatenate((first, before)), second]
    freedom = sum(len(group) - 1 for group in groups)
    seen = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / max(1, freedom)
    excess = max(0.0, seen - float(np.concatenate(variances).mean()))
    expected = EXPECTED_BETWEEN.get(metric, EXPECTED) ** 2
    between = weight * (EXPECTED_FREEDOM * expected + freedom * excess) / (EXPECTED_FREEDOM + freedom)
    variance = within + between
    reach = normal_quantile(1 - tail)
    if freedom and between:
        # What is between runs is known from few of them, what is within them from many intervals (Satterthwaite).
        reach = t_quantile(1 - tail, (EXPECTED_FREEDOM + freedom) * (variance / between) ** 2)
    reach *= math.sqrt(variance)
    low, high = math.expm1(share - reach), math.expm1(share + reach)
    found = math.expm1(share)
    verdict = Verdict.SAME
    if (low > 0 or high < 0) and abs(found) >= smallest:
        more_is_better = metric.endswith("_per_s")
        verdict = Verdict.BETTER if (found > 0) == more_is_better else Verdict.WORSE
    return Difference(metric, math.exp(first.mean()), math.exp(second.mean()), found, low, high, verdict)


def _small_sample(count: int) -> float:
    return math.sqrt(count / max(1, count - 3)) * (1 + 2.5 / count)


def t_quantile(p: float, freedom: float) -> float:
    """Of Student's distribution, by the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5)."""
    z = normal_quantile(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


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
