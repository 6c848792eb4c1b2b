"""Roll-ups: histograms of a long run at a resolution that grows with its age, counts always of every interval."""

from __future__ import annotations

from dataclasses import replace

from sai3tui.events import EndpointStats, OpStats, Report
from sai3tui.metrics.histogram import COARSE, Histogram
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.figures import EndpointTable, OpTable

SECOND_NS = 1_000_000_000
STEPS = ((600.0, 1.0), (7200.0, 10.0))
"""Up to which age of the run, in seconds, histograms have which resolution, in seconds."""
COARSEST_S = 60.0


def resolution_s(age_s: float) -> float:
    """How many seconds of a run that is `age_s` old share one histogram."""
    return next((step for until, step in STEPS if age_s < until), COARSEST_S)


class Block:
    """Reports of one agent, stage and kind (warm-up or not) that share one set of histograms."""

    def __init__(self, first: Report) -> None:
        self.last = first
        self._start_ns = first.start_ns
        self._ops = OpTable()
        self._endpoints = EndpointTable()
        self._take(first)

    def takes(self, report: Report) -> bool:
        return (report.stage_index, report.warmup) == (self.last.stage_index, self.last.warmup)

    def add(self, report: Report) -> None:
        self.last = report
        self._take(report)

    @property
    def seconds(self) -> float:
        return (self.last.end_ns - self._start_ns) / SECOND_NS

    def histograms(self) -> Report:
        """A report of no time and no operations, only the block's histograms; it stands before the last one."""
        return replace(
            self.last,
            end_ns=self.last.start_ns,
            ops=tuple(
                OpStats(s.op, s.bucket, service=s.service, scheduled=s.scheduled, ttfb=s.ttfb) for s in self._ops.rows()
            ),
            endpoints=tuple(
                EndpointStats(s.endpoint, s.uri, s.op, service=s.service)
                for per_op in self._endpoints.by_uri().values()
                for s in per_op.values()
            ),
            failed_attempts=(),
            wire=None,
        )

    def _take(self, report: Report) -> None:
        self._ops.add(report.ops)
        self._endpoints.add(report.endpoints)


def without_histograms(report: Report) -> Report:
    """Its counts alone."""
    return replace(
        report,
        ops=tuple(replace(s, service=Histogram(), scheduled=Histogram(), ttfb=Histogram()) for s in report.ops),
        endpoints=tuple(replace(s, service=Histogram(COARSE)) for s in report.endpoints),
        wire=_counts_alone(report.wire) if report.wire is not None else None,
    )


def _counts_alone(wire: pb.Report) -> pb.Report:
    made = pb.Report()
    made.CopyFrom(wire)
    for stats in made.ops:
        for kind in ("service", "scheduled", "ttfb"):
            stats.ClearField(kind)
    for endpoint in made.endpoints:
        endpoint.ClearField("service")
    return made


class RollUp:
    """What to store of each report. Sums of all that is stored are sums of all that was given, after `flush`."""

    def __init__(self, began_ns: int = 0) -> None:
        """`began_ns`: when the run's first interval began, if that was before."""
        self._began_ns = began_ns
        self._blocks: dict[str, Block] = {}

    def add(self, report: Report) -> list[Report]:
        self._began_ns = self._began_ns or report.start_ns
        stored = []
        block = self._blocks.get(report.agent)
        if block is not None and not block.takes(report):
            stored.append(self._blocks.pop(report.agent).histograms())
            block = None
        resolution = resolution_s((report.end_ns - self._began_ns) / SECOND_NS)
        if block is None and resolution <= 1.0:
            return [*stored, report]
        if block is None:
            block = self._blocks[report.agent] = Block(report)
        else:
            block.add(report)
        if block.seconds >= resolution - 0.5:
            stored.append(self._blocks.pop(report.agent).histograms())
        return [*stored, without_histograms(report)]

    def flush(self) -> list[Report]:
        """The blocks that have begun, however short."""
        blocks, self._blocks = self._blocks, {}
        return [block.histograms() for block in blocks.values()]
