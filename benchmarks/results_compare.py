"""How often `sai3tui results compare` is right: pairs of simulated runs, identical ones and ones 5 % slower.

Each run is a series of one-second intervals with noise as storage has it: a slow component (AR(1) of the rate), white
noise, and now and then a stall of a few seconds; latencies are lognormal and follow the rate (a closed loop of 64
connections). The seeds are fixed, so that the figures can be had again.
"""

from __future__ import annotations

import argparse

import numpy as np

from sai3tui.metrics.histogram import FINE, OCTAVES, bin_indices
from sai3tui.results.compare import Intervals, Verdict, compare, overall

CONNECTIONS = 64
BYTES = 1 << 20


def simulated(seconds: int, slower: float, noise: float, memory: float, rng: np.random.Generator) -> Intervals:
    """`noise` is the relative deviation of an interval, `memory` the autocorrelation of neighbours."""
    level = np.zeros(seconds)
    shocks = rng.normal(0, noise * np.sqrt(1 - memory**2), seconds)
    level[0] = rng.normal(0, noise)
    for second in range(1, seconds):
        level[second] = memory * level[second - 1] + shocks[second]
    stalls = np.ones(seconds)
    for _ in range(rng.poisson(seconds / 200)):
        at = rng.integers(0, seconds)
        stalls[at : at + 2] = 0.8
    rate = 2000 * (1 - slower) * np.exp(level) * stalls * rng.normal(1, 0.01, seconds)
    ops = rng.poisson(np.maximum(rate, 1)).astype(float)
    rows, bins, counts = [], [], []
    for second, count in enumerate(ops.astype(int)):
        mean_ns = CONNECTIONS / max(count, 1) * 1e9
        latencies = (rng.lognormal(-0.125, 0.5, count) * mean_ns).astype(np.int64)
        found = np.bincount(bin_indices(latencies, FINE), minlength=OCTAVES * FINE)
        filled = np.flatnonzero(found)
        rows.append(np.full(len(filled), second))
        bins.append(filled)
        counts.append(found[filled].astype(float))
    return Intervals(
        ops, ops * BYTES, np.ones(seconds), np.concatenate(rows), np.concatenate(bins), np.concatenate(counts)
    )


def verdict(seconds: int, slower: float, noise: float, memory: float, seed: int) -> Verdict:
    rng = np.random.default_rng(seed)
    first = simulated(seconds, 0.0, noise, memory, rng)
    second = simulated(seconds, slower, noise, memory, rng)
    return overall(compare(first, second, family=4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    options = parser.parse_args()
    print("seconds  noise  memory  identical: no difference  5 % slower: worse")
    for seconds, noise, memory in ((60, 0.03, 0.5), (120, 0.03, 0.7), (300, 0.05, 0.8), (600, 0.05, 0.8)):
        same = [verdict(seconds, 0.0, noise, memory, 1000 + n) for n in range(options.pairs)]
        slow = [verdict(seconds, 0.05, noise, memory, 2000 + n) for n in range(options.pairs)]
        right = same.count(Verdict.SAME), slow.count(Verdict.WORSE)
        print(
            f"{seconds:7d}  {noise:.0%}     {memory:.1f}     {right[0]:d} of {len(same)}"
            f"                  {right[1]:d} of {len(slow)}"
        )


if __name__ == "__main__":
    main()
