"""How often `sai3tui results compare` is right: pairs of simulated runs, identical ones and ones 5 % slower.

Each run is a series of one-second intervals with noise as storage has it: a slow component (AR(1) of the rate), white
noise, and now and then a stall of a few seconds; latencies are lognormal and follow the rate (a closed loop of 64
connections). Between runs the rate may differ by itself, as it does from one hour to the next. The seeds are fixed, so
that the figures can be had again.

`--real N` makes real runs instead, N times three: two against a server that answers after a fixed time, one against
another that takes 5 % longer. Both servers stay up; every run has a controller and an agent of its own. What the host
does otherwise is in the runs. Runs of the first kind stand in one directory, so that earlier ones tell how far such
runs are apart, as they do for a user. Which kind goes first alternates: a host that becomes slower favours neither.
`--runs R` has R runs on each side, taken in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sai3tui.metrics.histogram import FINE, OCTAVES, bin_indices
from sai3tui.results.compare import Intervals, Verdict, compare, overall
from sai3tui.results.compared import LoadedRun, compare_runs, earlier_runs, load_for_comparison
from sai3tui.storage.null_sink import null_sink

CONNECTIONS = 64
BYTES = 1 << 20
DELAY_S = 0.1
SLOWER = 0.05
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


@dataclass(frozen=True, slots=True)
class Trial:
    """Runs of so many seconds, `runs` on each side, whose rates differ from run to run by the relative deviation
    `between`; `slower` is by how much the second side is."""

    seconds: int
    noise: float
    memory: float
    between: float = 0.0
    runs: int = 1
    slower: float = 0.0
    seed: int = 0

    def verdict(self) -> Verdict:
        rng = np.random.default_rng(self.seed)
        sides = [
            [
                simulated(
                    self.seconds, 1 - (1 - slower) * (1 + rng.normal(0, self.between)), self.noise, self.memory, rng
                )
                for _ in range(self.runs)
            ]
            for slower in (0.0, self.slower)
        ]
        return overall(compare(*sides))


TRIALS = (
    Trial(60, 0.03, 0.5),
    Trial(120, 0.03, 0.7),
    Trial(300, 0.05, 0.8),
    Trial(600, 0.05, 0.8),
    Trial(60, 0.01, 0.5, between=0.005),
    Trial(300, 0.02, 0.8, between=0.005),
    Trial(60, 0.01, 0.5, between=0.01, runs=3),
    Trial(60, 0.01, 0.5, between=0.02, runs=6),
)


def simulate(pairs: int, seed: int) -> None:
    print("seconds  noise  memory  between  runs a side  identical: no difference  5 % slower: worse")
    with ProcessPoolExecutor() as pool:
        for trial in TRIALS:
            same, slow = (
                list(pool.map(Trial.verdict, [replace(trial, slower=slower, seed=first + n) for n in range(pairs)]))
                for slower, first in ((0.0, seed + 1000), (SLOWER, seed + 2000))
            )
            found = f"{same.count(Verdict.SAME)} of {pairs}", f"{slow.count(Verdict.WORSE)} of {pairs}"
            print(
                f"{trial.seconds:7d}  {trial.noise:5.0%}  {trial.memory:6.1f}  {trial.between:7.1%}  {trial.runs:11d}"
                f"  {found[0]:>24s}  {found[1]:>17s}",
                flush=True,
            )


def real(root: Path, port: int, seconds: int) -> LoadedRun:
    """A run against the server at a port, with its results in `root`."""
    config = root / "bench.yaml"
    config.write_text(CONFIG.format(port=port, seconds=seconds))
    command = [sys.executable, "-m", "sai3tui", "--batch", str(config), "--json", "--no-preflight"]
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "none")
    with tempfile.TemporaryDirectory(dir=root.parent) as data:
        done = subprocess.run(
            [*command, "--results", str(root)],
            capture_output=True,
            env={**os.environ, **keys, "XDG_DATA_HOME": data},
            timeout=seconds + LONGEST_RUN_S,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return load_for_comparison(Path(json.loads(done.stdout.splitlines()[-1])["results"]))


def real_pairs(count: int, seconds: int, runs: int) -> None:
    found: dict[str, list[Verdict]] = {"identical": [], "5 % slower": []}
    print("number  pair        earlier  verdict            ops/s              p50                p99", flush=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        null_sink(DELAY_S) as usual,
        null_sink(DELAY_S * (1 + SLOWER)) as slow,
    ):
        roots = [Path(directory) / name for name in ("usual", "slow")]
        for root in roots:
            root.mkdir()
        for number in range(1, count + 1):
            kinds = [("first", roots[0], usual), ("identical", roots[0], usual), ("5 % slower", roots[1], slow)]
            made: dict[str, list[LoadedRun]] = {name: [] for name, *_ in kinds}
            for turn in range(runs):
                for name, root, port in kinds[:: 1 if (number + turn) % 2 else -1]:
                    made[name].append(real(root, port, seconds))
            before = earlier_runs([run for side in made.values() for run in side])
            for name, verdicts in found.items():
                comparison = compare_runs(made["first"], made[name], before)
                # Preparing 64 objects is too short for a verdict.
                told = [d for row in comparison.rows if "execute" in row.stage for d in row.differences]
                verdicts.append(overall(told))
                shares = {d.metric: f"{d.share:+.1%} ({d.low:+.1%} .. {d.high:+.1%})" for d in told}
                cells = "  ".join(shares.get(metric, "").ljust(24) for metric in ("ops_per_s", "p50", "p99"))
                print(f"{number:6d}  {name:10s}  {len(before):7d}  {verdicts[-1].value:17s}  {cells}", flush=True)
    same, worse = found["identical"].count(Verdict.SAME), found["5 % slower"].count(Verdict.WORSE)
    print(
        f"\n{runs} run{'s' * (runs > 1)} of {seconds} s a side\n"
        f"identical, no difference: {same} of {count} (19 of 20 are asked for)\n"
        f"5 % slower, worse:        {worse} of {count} (18 of 20 are asked for)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="other pairs than those the rules were found with")
    parser.add_argument("--real", type=int, metavar="N", help="N pairs of real runs of each kind, instead")
    parser.add_argument("--seconds", type=int, default=20, help="of each real run")
    parser.add_argument("--runs", type=int, default=1, help="real runs on each side")
    options = parser.parse_args()
    if options.real:
        real_pairs(options.real, options.seconds, options.runs)
    else:
        simulate(options.pairs, options.seed)


if __name__ == "__main__":
    main()
