"""An earlier run as a measure for a live one: its band under the curves, and differences while they happen.

Stages are matched by name and type and aligned at their start, so that the tenth second of a stage is compared with the
tenth second of the same stage then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sai3tui.config.metric_names import parse_metric
from sai3tui.config.ops import GROUPS
from sai3tui.config.thresholds import Threshold
from sai3tui.results.bands import BAND_NAMES, Band, StageBand
from sai3tui.results.figures import Figures, OpTable, by_group, per_second, rates_of
from sai3tui.results.reader import load_run
from sai3tui.results.seconds import FleetSecond
from sai3tui.results.thresholds import BaselineFigure, figure, plain_name
from sai3tui.results.views import Rates, StageInfo, StageStatus, StageView

Floats = npt.NDArray[np.float64]

MOST_POINTS = 600
"""Of a band: a screen has fewer columns."""
HALF_WINDOW = 5
BAND = (5.0, 95.0)
"""Percentiles of the seconds around each moment that a band spans."""
SHORTEST_S = 3.0
"""Differences are told from this time of a stage on."""


@dataclass(frozen=True, slots=True)
class LiveDifference:
    """One figure of a stage so far, and that of the baseline after the same time. `group`: get, put or meta; `metric`:
    ops_per_s, bytes_per_s, p50_us or p99_us; `share` is (now - then) / then."""

    stage_index: int
    stage: str
    group: str
    metric: str
    now: float
    then: float

    @property
    def share(self) -> float:
        return (self.now - self.then) / self.then


@dataclass(frozen=True, slots=True)
class BaselineView:
    """What is shown of the baseline. `differences` are those of the stages that have begun."""

    name: str
    run_id: str
    started_ns: int
    bands: tuple[StageBand, ...] = ()
    differences: tuple[LiveDifference, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(slots=True)
class _Stage:
    """A stage of the baseline: rates second by second, and what it came to up to each."""

    at_s: list[float] = field(default_factory=list)
    rates: list[Rates] = field(default_factory=list)
    sums: list[dict[str, tuple[float, float, float, float]]] = field(default_factory=list)
    """Per group: operations and bytes per second, p50 and p99 in µs, of the stage so far."""
    table: OpTable = field(default_factory=OpTable)
    groups: dict[str, Figures] = field(default_factory=lambda: {name: Figures() for name in GROUPS})
    measured_s: float = 0.0

    def take(self, second: FleetSecond) -> None:
        rows = second.ops.rows()
        self.table.add(rows)
        self.measured_s += second.seconds
        for name, figures in by_group(rows).items():
            known = self.groups[name]
            known.ops += figures.ops
            known.bytes += figures.bytes
            known.service.merge(figures.service)
        if not second.has_rate:
            return
        self.at_s.append(second.number + second.seconds)
        self.rates.append(rates_of(rows, second.seconds))
        self.sums.append(
            {
                name: (
                    per_second(known.ops, self.measured_s),
                    per_second(known.bytes, self.measured_s),
                    known.percentile_us(0.5),
                    known.percentile_us(0.99),
                )
                for name, known in self.groups.items()
                if known.ops
            }
        )


class Baseline:
    """A finished run, ready to be compared with a live one."""

    def __init__(
        self,
        name: str,
        run_id: str,
        started_ns: int,
        layout_hash: str,
        agents: int,
        connections: int,
        doubts: tuple[str, ...] = (),
    ) -> None:
        """`doubts`: why its own figures may be wrong."""
        self.name = name
        self._doubts = doubts
        self.run_id = run_id
        self._started_ns = started_ns
        self._layout_hash = layout_hash
        self._agents = agents
        self._connections = connections
        self._stages: dict[tuple[str, str], _Stage] = {}
        self._seconds: dict[tuple[str, str], float] = {}

    def add_stage(self, view: StageView, stage: _Stage) -> None:
        self._stages[view.name, view.type] = stage
        self._seconds[view.name, view.type] = view.elapsed_s

    def figures(self, thresholds: Iterable[Threshold]) -> BaselineFigure:
        """What `vs_baseline` thresholds are taken from: the whole stage then."""
        made = {}
        for threshold in thresholds:
            metric = parse_metric(threshold.metric)
            for (name, kind), stage in self._stages.items() if metric.against_baseline else ():
                value = figure(metric, stage.table.rows(), self._seconds[name, kind], named=False)
                if value is not None:
                    made[plain_name(threshold), name, kind] = value
        return made

    def view(self, stages: Sequence[StageInfo], layout_hash: str, agents: int, connections: int) -> BaselineView:
        """What does not change while the run goes on."""
        caveats = [f"the baseline is damaged: {doubt}" for doubt in self._doubts]
        if layout_hash != self._layout_hash:
            caveats.append("the objects differ from the baseline's (another tree, other sizes, seed or place)")
        if agents != self._agents:
            caveats.append(f"{agents} agents, the baseline had {self._agents}")
        if connections != self._connections:
            caveats.append(f"{connections} connections, the baseline had {self._connections}")
        missing = [info.name for info in stages if info.type != "validation" and not self._measured(info)]
        caveats += [f"the baseline measured nothing in a stage {name}" for name in missing]
        bands = tuple(_band(info.index, self._stages[info.name, info.type]) for info in stages if self._measured(info))
        return BaselineView(self.name, self.run_id, self._started_ns, bands, (), tuple(caveats))

    def differences(self, stages: Iterable[StageView]) -> tuple[LiveDifference, ...]:
        """Of the stages that have measured for a while, against the same time of the same stage then."""
        found: list[LiveDifference] = []
        for stage in stages:
            known = self._stages.get((stage.name, stage.type))
            if known is None or not known.sums or not stage.total_ops or stage.elapsed_s < SHORTEST_S:
                continue
            running = stage.status is StageStatus.RUNNING
            place = bisect_right(known.at_s, stage.elapsed_s + 0.5) if running else len(known.at_s)
            if not place:
                continue
            for group, then in known.sums[place - 1].items():
                found += _differences(stage, group, then)
        return tuple(found)

    def _measured(self, info: StageInfo) -> bool:
        stage = self._stages.get((info.name, info.type))
        return stage is not None and bool(stage.at_s)


def load_baseline(path: Path) -> Baseline:
    """Raises Sai3Error if the directory cannot be read as a run."""
    collected: dict[int, _Stage] = {}

    def take(second: FleetSecond) -> None:
        if not second.warmup:
            collected.setdefault(second.stage_index, _Stage()).take(second)

    record = load_run(path, take)
    agents = record.meta.agents
    baseline = Baseline(
        record.path.resolve().name,
        record.meta.run_id,
        record.meta.started_ns,
        record.meta.layout_hash,
        len(agents),
        sum(agent.concurrency for agent in agents),
        record.doubts,
    )
    for view in record.stages:
        if view.index in collected:
            baseline.add_stage(view, collected[view.index])
    return baseline


def difference_lines(view: BaselineView) -> list[str]:
    """The differences in words, a line for each stage and group."""
    rows: dict[tuple[int, str, str], list[str]] = {}
    words = {"ops_per_s": "ops/s", "bytes_per_s": "MiB/s", "p50_us": "p50", "p99_us": "p99"}
    for each in view.differences:
        line = rows.setdefault((each.stage_index, each.stage, each.group), [])
        line.append(f"{words[each.metric]} {each.share:+.1%}")
    lines = [f"{stage} {group}: {', '.join(parts)}" for (_, stage, group), parts in rows.items()]
    return [f"against {view.name}:", *(f"  {line}" for line in [*lines, *view.caveats])]


def baseline_json(view: BaselineView) -> dict[str, Any]:
    """What was compared and how it differs; shares are fractions."""
    return {
        "directory": view.name,
        "run_id": view.run_id,
        "caveats": list(view.caveats),
        "differences": [{**asdict(each), "share": round(each.share, 6)} for each in view.differences],
    }


def _differences(stage: StageView, group: str, then: tuple[float, float, float, float]) -> list[LiveDifference]:
    rates = stage.rates
    now: Mapping[str, tuple[float, float, float, float]] = {
        "get": (rates.get_ops, rates.get_bytes, rates.get_p50_us, rates.get_p99_us),
        "put": (rates.put_ops, rates.put_bytes, rates.put_p50_us, rates.put_p99_us),
        "meta": (rates.meta_ops, 0.0, rates.meta_p50_us, rates.meta_p99_us),
    }
    metrics = ("ops_per_s", "bytes_per_s", "p50_us", "p99_us")
    return [
        LiveDifference(stage.index, stage.name, group, metric, value, before)
        for metric, value, before in zip(metrics, now[group], then, strict=True)
        if before > 0
    ]


def _band(index: int, stage: _Stage) -> StageBand:
    at = np.array(stage.at_s)
    step = -(-len(at) // MOST_POINTS)
    columns = {
        "get_bytes": [rates.get_bytes for rates in stage.rates],
        "put_bytes": [rates.put_bytes for rates in stage.rates],
        "ops": [rates.ops for rates in stage.rates],
        "p99_us": [rates.p99_us for rates in stage.rates],
    }
    bands = {name: _spread(np.array(columns[name]), max(HALF_WINDOW, step), step) for name in BAND_NAMES}
    return StageBand(index, tuple(at[::step].tolist()), **bands)


def _spread(values: Floats, half: int, step: int) -> Band:
    padded = np.pad(values, half, mode="reflect" if len(values) > half else "edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)[::step]
    low, high = np.percentile(around, BAND, axis=1)
    return Band(tuple(low.tolist()), tuple(high.tolist()))
