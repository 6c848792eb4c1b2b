"""Reads `thresholds:` and checks that each can be judged: a known metric, a bound in its unit, a stage of the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sai3tui.config.fields import Block
from sai3tui.config.metric_names import LatencyKind, Metric, Quantity, parse_metric
from sai3tui.config.model import Config, WorkloadOp
from sai3tui.config.ops import Op
from sai3tui.config.problems import ProblemList
from sai3tui.config.thresholds import Bound, Threshold, ThresholdScope, Unit
from sai3tui.config.units import UnitError

_UNITS = {
    Quantity.THROUGHPUT: (Unit.BYTES_PER_SECOND, Unit.NONE),
    Quantity.OPS: (Unit.NONE,),
    Quantity.ERRORS: (Unit.NONE,),
    Quantity.ERROR_RATE: (Unit.SHARE,),
    Quantity.LATENCY: (Unit.SECONDS,),
    Quantity.COVERAGE: (Unit.SHARE,),
}
_EXAMPLES = {Unit.SECONDS: "50ms", Unit.BYTES_PER_SECOND: "2GiB/s", Unit.SHARE: "0.1%", Unit.NONE: "5000"}


def read_thresholds(top: Block) -> tuple[Threshold, ...]:
    found = []
    for block in top.blocks("thresholds"):
        named = block.require("metric")
        threshold = Threshold(
            block.text("metric", default="") if named else "",
            block.bound("min"),
            block.bound("max"),
            block.text("stage", default=""),
            block.seconds("window", default=None),
            block.choice("scope", of=ThresholdScope, default=ThresholdScope.FLEET),
            block.boolean("abort", default=False),
            block.seconds("grace", default=0.0),
            block.at,
        )
        block.require("min", "max")
        block.finish()
        if named:
            _check(threshold, block)
        found.append(threshold)
    return tuple(found)


def check_threshold_stages(config: Config, problems: ProblemList) -> None:
    """What of a threshold depends on the rest of the file."""
    names = [stage.name for stage in config.stages]
    used = _operations(config)
    for threshold in config.thresholds:
        if threshold.stage and threshold.stage not in names:
            hint = f"the stages are {', '.join(names)}"
            problems.error(threshold.at, "stage", f"there is no stage {threshold.stage!r} for a threshold", hint)
        try:
            metric = parse_metric(threshold.metric)
        except UnitError:
            continue
        if metric.operation and not any(metric.covers(op) for op in used):
            message = f"{threshold.metric} is never measured: no {metric.operation} in the workload"
            problems.warning(threshold.at, "threshold", message, "a threshold that was not measured is not met")


def _operations(config: Config) -> set[Op]:
    workloads: Iterable[Sequence[WorkloadOp]] = [config.workload, *(s.workload or () for s in config.stages)]
    used = {entry.op for workload in workloads for entry in workload}
    kinds = {stage.type.value for stage in config.stages}
    return used | ({Op.PUT} if "prepare" in kinds else set()) | ({Op.DELETE} if "cleanup" in kinds else set())


def _check(threshold: Threshold, block: Block) -> None:
    at = block.position_of("metric")
    try:
        metric = parse_metric(threshold.metric)
    except UnitError as error:
        block.error(at, "metric", error.message, error.hint)
        return
    units = (Unit.SHARE,) if metric.against_baseline else _UNITS[metric.quantity]
    for name, bound in (("min", threshold.minimum), ("max", threshold.maximum)):
        if bound is not None and bound.unit not in units:
            message = f"{name} of {threshold.metric} is {_told(bound)}"
            block.error(block.position_of(name), "unit", message, f"write it such as {_EXAMPLES[units[0]]}")
    low, high = threshold.minimum, threshold.maximum
    if low is not None and high is not None and low.value > high.value:
        block.error(block.position_of("min"), "range", f"min of {threshold.metric} is more than its max")
    if threshold.scope is not ThresholdScope.FLEET and (why := _only_fleet(metric, threshold.scope)):
        block.error(block.position_of("scope"), "scope", f"{threshold.metric} is {why}", "leave the scope out")
    if threshold.window is not None and metric.quantity is Quantity.COVERAGE:
        block.error(block.position_of("window"), "range", "coverage has no window: it counts from moment to moment")
    elif threshold.window is not None and threshold.window < 1:
        block.error(block.position_of("window"), "range", "a window is one second or more")


def _only_fleet(metric: Metric, scope: ThresholdScope) -> str:
    """Why the figure is not known for each agent or endpoint; empty if it is."""
    if metric.quantity is Quantity.COVERAGE:
        return "a figure of the fleet"
    if metric.against_baseline:
        return "compared for the fleet only: runs may have other agents and endpoints"
    if scope is ThresholdScope.ENDPOINT and metric.kind is not LatencyKind.SERVICE:
        return "not measured for each endpoint: only service time is"
    return ""


def _told(bound: Bound) -> str:
    words = {Unit.NONE: "a plain number", Unit.SECONDS: "a time", Unit.SHARE: "a share"}
    return words.get(bound.unit, "a rate of bytes")
