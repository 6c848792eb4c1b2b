"""How often `sai3tui results compare` is right: pairs of simulated runs, identical ones and ones 5 % slower.

Each run is a series of one-second intervals with noise as storage has it: a slow component (AR(1) of the rate), white
noise, and now and then a stall of a few seconds; latencies are lognormal and follow the rate (a closed loop of 64
connections). The seeds are fixed, so that the figures can be had again.

`--real N` makes real runs instead, N times three after each other, each with a controller, an agent and a server of its
own that answers after a fixed time: the second is as the first, the third's server takes 5 % longer. What the host does
otherwise is in them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sai3tui.metrics.histogram import FINE, OCTAVES, bin_indices
from sai3tui.results.compare import Intervals, Verdict, compare, overall
from sai3tui.results.compared import compare_runs, load_for_comparison
from sai3tui.storage.null_sink import null_sink

CONNECTIONS = 64
BYTES = 1 << 20
DELAY_S = 0.1
CONFIG = """\
target: s3+http://127.0.0.1:{port}/bench/
concurrency: 32
prepare:
  ensure_objects: [{{base_uri: "d/", count: 64, size_spec: 4KiB}}]
workload:
  - {{op: get, path: "d/*", weight: 100}}
duration: {seconds}s
preflight: {{skip: [region, write, read, range, stat, list, multipart, delete, namespace, bucket]}}
"""
LONGEST_RUN_S = 120.0


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


def real(root: Path, seconds: int, delay_s: float) -> Path:
    """The results directory of a run."""
    with null_sink(delay_s) as port:
        config = root / "bench.yaml"
        config.write_text(CONFIG.format(port=port, seconds=seconds))
        command = [sys.executable, "-m", "sai3tui", "--batch", str(config), "--json", "--no-preflight"]
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "none")
        done = subprocess.run(
            [*command, "--results", str(root)],
            capture_output=True,
            env={**os.environ, **keys, "XDG_DATA_HOME": str(root / "data")},
            timeout=seconds + LONGEST_RUN_S,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return Path(json.loads(done.stdout.splitlines()[-1])["results"])


def real_pairs(count: int, seconds: int) -> None:
    same: list[Verdict] = []
    slow: list[Verdict] = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(count):
            root = Path(directory) / str(number)
            root.mkdir()
            runs = [load_for_comparison(real(root, seconds, DELAY_S * (1 + slower))) for slower in (0.0, 0.0, 0.05)]
            for found, other in ((same, runs[1]), (slow, runs[2])):
                comparison = compare_runs(runs[0], other)
                # Preparing 64 objects is too short for a verdict.
                rows = [row for row in comparison.rows if "execute" in row.stage]
                found.append(overall(difference for row in rows for difference in row.differences))
                told = ", ".join(f"{d.metric} {d.share:+.1%}" for row in rows for d in row.differences)
                print(f"pair {number + 1}: {found[-1].value} ({told})", flush=True)
    print(
        f"{seconds} s each: identical, no difference: {same.count(Verdict.SAME)} of {count}; "
        f"5 % slower, worse: {slow.count(Verdict.WORSE)} of {count}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--real", type=int, metavar="N", help="N pairs of real runs of each kind, instead")
    parser.add_argument("--seconds", type=int, default=20, help="of each real run")
    options = parser.parse_args()
    if options.real:
        real_pairs(options.real, options.seconds)
        return
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
