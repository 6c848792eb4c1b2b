"""`perf_ext.tsv`: what an interval of the fleet has beyond perf_log.tsv's columns, row by row beside it."""

from __future__ import annotations

from sai3tui.config.ops import GROUPS
from sai3tui.metrics.histogram import Histogram
from sai3tui.results.perf_log import plain
from sai3tui.results.seconds import SECOND_NS, FleetSecond

QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))


def _group_columns(group: str) -> tuple[str, ...]:
    latencies = tuple(
        f"{group}_{kind}_{name}_us"
        for kind in ("service", "scheduled", "ttfb")
        for name in (*(name for name, _ in QUANTILES), "max")
    )
    return (f"{group}_attempts", f"{group}_errors", *latencies)


COLUMNS = (
    "timestamp_epoch_ms",
    "elapsed_s",
    "stage_index",
    "stage",
    "interval_s",
    "agents",
    *(column for group in GROUPS for column in _group_columns(group)),
    "is_warmup",
)
HEADER = "\t".join(COLUMNS) + "\n"


class _Group:
    __slots__ = ("attempts", "errors", "kinds")

    def __init__(self) -> None:
        self.attempts = self.errors = 0
        self.kinds = (Histogram(), Histogram(), Histogram())


def row(second: FleetSecond, stage: str) -> str:
    """One interval of all agents. Latencies are whole microseconds, 0 where nothing was measured."""
    groups = {name: _Group() for name in GROUPS}
    for stats in second.ops.rows():
        group = groups[stats.op.group]
        group.attempts += stats.attempts
        group.errors += stats.errors
        for into, part in zip(group.kinds, (stats.service, stats.scheduled, stats.ttfb), strict=True):
            into.merge(part)
    fields = [
        str(second.end_ns // 1_000_000),
        f"{(second.end_ns - second.start_ns) / SECOND_NS + second.number:.3f}",
        str(second.stage_index),
        plain(stage),
        f"{second.seconds:.6f}",
        str(len(second.covered_ns)),
    ]
    for group in groups.values():
        fields += [str(group.attempts), str(group.errors)]
        for histogram in group.kinds:
            fields += [str(round(value)) for value in histogram.percentiles_us([q for _, q in QUANTILES])]
            fields.append(str(histogram.max_us))
    return "\t".join([*fields, "1" if second.warmup else "0"]) + "\n"
