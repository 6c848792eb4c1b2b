"""Roll-ups: histograms of a long run at a resolution that grows with its age, counts always of every interval."""

from __future__ import annotations

from sai3tui.event_codec import (
    attempts_to_proto,
    endpoint_stats_to_proto,
    objects_to_proto,
    op_stats_to_proto,
    report_to_proto,
    vitals_to_proto,
)
from sai3tui.events import EndpointStats, OpStats, Report
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.figures import EndpointTable, OpTable

SECOND_NS = 1_000_000_000
STEPS = ((600.0, 1.0), (7200.0, 10.0))
"""Up to which age of the run, in seconds, histograms have which resolution, in seconds."""
COARSEST_S = 60.0
Stored = tuple[str, bytes]
"""An agent, and a `Report` message of it."""


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

    def histograms(self) -> pb.Report:
        """A report of no time and no operations, only the block's histograms; it stands before the last one."""
        made = _around(self.last)
        made.end_ns = self.last.start_ns
        for s in self._ops.rows():
            part = OpStats(s.op, s.bucket, service=s.service, scheduled=s.scheduled, ttfb=s.ttfb)
            made.ops.append(op_stats_to_proto(part))
        for per_op in self._endpoints.by_uri().values():
            for e in per_op.values():
                made.endpoints.append(
                    endpoint_stats_to_proto(EndpointStats(e.endpoint, e.uri, e.op, service=e.service))
                )
        return made

    def _take(self, report: Report) -> None:
        self._ops.add(report.ops)
        self._endpoints.add(report.endpoints)


class RollUp:
    """What to store of each report: messages on our clock, each with the agent that it is of. Sums of all that is
    stored are sums of all that was given, after `flush`."""

    def __init__(self, began_ns: int = 0) -> None:
        """`began_ns`: when the run's first interval began, if that was before."""
        self._began_ns = began_ns
        self._blocks: dict[str, Block] = {}

    def add(self, report: Report) -> list[Stored]:
        self._began_ns = self._began_ns or report.start_ns
        stored: list[Stored] = []
        block = self._blocks.get(report.agent)
        if block is not None and not block.takes(report):
            stored.append(self._end(report.agent))
            block = None
        resolution = resolution_s((report.end_ns - self._began_ns) / SECOND_NS)
        if block is None and resolution <= 1.0:
            return [*stored, (report.agent, _whole(report))]
        if block is None:
            block = self._blocks[report.agent] = Block(report)
        else:
            block.add(report)
        if block.seconds >= resolution - 0.5:
            stored.append(self._end(report.agent))
        return [*stored, (report.agent, _counts(report))]

    def flush(self) -> list[Stored]:
        """The blocks that have begun, however short."""
        return [self._end(agent) for agent in list(self._blocks)]

    def _end(self, agent: str) -> Stored:
        return agent, self._blocks.pop(agent).histograms().SerializeToString()


def _whole(report: Report) -> bytes:
    """The message as it came, on our clock: making it anew out of histograms costs ten times as much."""
    wire = report.wire
    if wire is None:
        return report_to_proto(report).SerializeToString()
    offset_ns = report.start_ns - wire.start_ns
    _move(wire, offset_ns)
    wire.sequence = report.sequence
    try:
        return wire.SerializeToString()
    finally:
        _move(wire, -offset_ns)


def _move(wire: pb.Report, offset_ns: int) -> None:
    """To another clock, in place: a copy costs more than all else."""
    if not offset_ns:
        return
    wire.start_ns += offset_ns
    wire.end_ns += offset_ns
    for attempts in wire.failed_attempts:
        if attempts.first_ns:
            attempts.first_ns += offset_ns
        if attempts.last_ns:
            attempts.last_ns += offset_ns


def _counts(report: Report) -> bytes:
    """All of it but its histograms."""
    made = _around(report)
    made.failed_attempts.extend(attempts_to_proto(stats) for stats in report.failed_attempts)
    for s in report.ops:
        made.ops.add(op=s.op, size_bucket=s.bucket, ops=s.ops, bytes=s.bytes, errors=s.errors, attempts=s.attempts)
    for e in report.endpoints:
        made.endpoints.add(
            endpoint=e.endpoint, uri=e.uri, op=e.op, ops=e.ops, bytes=e.bytes, errors=e.errors, attempts=e.attempts
        )
    return made.SerializeToString()


def _around(report: Report) -> pb.Report:
    """What a report says besides its figures."""
    wire = report.wire
    return pb.Report(
        stage_index=report.stage_index,
        start_ns=report.start_ns,
        end_ns=report.end_ns,
        objects=wire.objects if wire is not None else objects_to_proto(report.objects),
        vitals=wire.vitals if wire is not None else vitals_to_proto(report.vitals),
        warmup=report.warmup,
        client_limited_reason=report.client_limited_reason,
        sequence=report.sequence,
    )
