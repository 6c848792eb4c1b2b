"""Comparisons of made-up runs, as the comparison screen shows them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sai3tui.config.ops import Op
from sai3tui.results.compare import Difference, Verdict
from sai3tui.results.compared import Comparison, StageComparison
from sai3tui.results.metadata import RunMeta
from sai3tui.results.reader import RunRecord
from tests import canned_runs as canned

DAY_NS = 86_400 * 10**9


def _record(days: int, faster: float) -> RunRecord:
    snapshot = canned.finished()
    series = replace(
        snapshot.series,
        get_bytes=tuple(value * faster for value in snapshot.series.get_bytes),
        p99_us=tuple(value / faster for value in snapshot.series.p99_us),
    )
    started = canned.START_NS + days * DAY_NS
    meta = RunMeta(
        run_id=f"01JDEMO{days}",
        config_name="4node-mixed.yaml",
        config_path="configs/4node-mixed.yaml",
        layout_hash="e21cacae9dd35284",
        started_ns=started,
        version="0.1.0",
        hostname="control01",
        agents=(),
        stages=(),
        preflight=True,
        distributed=True,
        command_line=(),
        notices=(),
        perf_interval_s=1.0,
    )
    path = Path(f"/srv/bench/results/sai3-2025112{4 + days}-160000-4node-mixed")
    return RunRecord(path, meta, snapshot.outcome, started, snapshot.stages, {}, series, (), (), "", ())


def _differences(share: float, verdict: Verdict) -> tuple[Difference, ...]:
    figures = (("ops_per_s", 13_540.0), ("bytes_per_s", 820.0 * 2**20), ("p50", 1_900.0), ("p99", 8_400.0))
    found = []
    for metric, first in figures:
        change = share if metric.endswith("_s") else -share
        found.append(Difference(metric, first, first * (1 + change), change, change - 0.021, change + 0.019, verdict))
    return tuple(found)


def comparisons() -> tuple[Comparison, ...]:
    """Two runs against a first one: a better one that was made with another configuration, and one like it."""
    first, better, like = _record(0, 1.0), _record(1, 1.12), _record(2, 1.01)
    return (
        Comparison(
            first,
            better,
            (
                StageComparison("3 execute", Op.GET, _differences(0.12, Verdict.BETTER)),
                StageComparison("3 execute", Op.PUT, _differences(0.004, Verdict.SAME)),
            ),
            ("the runs were made with different configurations",),
            ("--- first", "+++ second", "-concurrency: 64", "+concurrency: 96"),
            (("kernel", "6.8.0-45", "6.8.0-48"),),
        ),
        Comparison(first, like, (StageComparison("3 execute", Op.GET, _differences(0.006, Verdict.SAME)),), (), (), ()),
    )
