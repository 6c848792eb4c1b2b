"""Roll-ups: histograms of a long run at a resolution that grows with its age, counts always of every interval."""

from __future__ import annotations

from sai3tui.config.ops import Op
from sai3tui.event_codec import objects_to_proto, report_to_proto, vitals_to_proto
from sai3tui.events import Report
from sai3tui.metrics.histogram import COARSE, FINE, Histogram
from sai3tui.metrics.histogram_sums import HistogramSums, Workspace
from sai3tui.metrics.histogram_wire import packed
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.stats_codec import put_histograms

SECOND_NS = 1_000_000_000
STEPS = ((600.0, 1.0), (7200.0, 10.0))
"""Up to which age of the run, in seconds, histograms have which resolution, in seconds."""
COARSEST_S = 60.0
MOST_WAITING = 5
"""Reports of an agent that are held to be added up together: with their histograms they take some 40 KiB each."""
Stored = tuple[str, bytes]
"""An agent, and a `Report` message of it."""


def resolution_s(age_s: float) -> float:
    """How many seconds of a run that is `age_s` old share one histogram."""
    return next((step for until, step in STEPS if age_s < until), COARSEST_S)


class Block:
    """Reports of one agent, stage and kind (warm-up or not) that share one set of histograms."""

    def __init__(self, first: Report, workspace: Workspace) -> None:
        self.last = first
        self._start_ns = first.start_ns
        self._waiting = [(first.ops, first.endpoints)]
        self._sums = HistogramSums(workspace)
        self._ops: dict[tuple[Op, int], int] = {}
        self._endpoints: dict[tuple[str, Op], tuple[int, int]] = {}

    def takes(self, report: Report) -> bool:
        return (report.stage_index, report.warmup) == (self.last.stage_index, self.last.warmup)

    def add(self, report: Report) -> None:
        self.last = report
        self._waiting.append((report.ops, report.endpoints))
        if len(self._waiting) >= MOST_WAITING:
            self._sum_up()

    @property
    def seconds(self) -> float:
        return (self.last.end_ns - self._start_ns) / SECOND_NS

    def histograms(self) -> pb.Report:
        """A report of no time and no operations, only the block's histograms; it stands before the last one."""
        self._sum_up()
        made = _around(self.last)
        made.end_ns = self.last.start_ns
        into: dict[int, pb.Histogram] = {}
        for (op, bucket), at in sorted(self._ops.items()):
            m = made.ops.add(op=int(op), size_bucket=bucket)
            into |= {at: m.service, at + 1: m.scheduled, at + 2: m.ttfb}
        for (uri, each), (at, endpoint) in sorted(self._endpoints.items()):
            into[at] = made.endpoints.add(endpoint=endpoint, uri=uri, op=int(each)).service
        put_histograms([into[at] for at in range(len(into))], packed(self._sums.sums()))
        return made

    def _sum_up(self) -> None:
        numbers: list[int] = []
        histograms: list[Histogram] = []
        begun: list[int] = []
        for ops, endpoints in self._waiting:
            for s in ops:
                first = self._ops.get((s.op, s.bucket))
                if first is None:
                    first = self._ops[s.op, s.bucket] = self._sums.count + len(begun)
                    begun += (FINE, FINE, FINE)
                numbers += (first, first + 1, first + 2)
                histograms += (s.service, s.scheduled, s.ttfb)
            for e in endpoints:
                known = self._endpoints.get((e.uri, e.op))
                if known is None:
                    known = self._endpoints[e.uri, e.op] = self._sums.count + len(begun), e.endpoint
                    begun.append(COARSE)
                numbers.append(known[0])
                histograms.append(e.service)
        self._waiting.clear()
        if begun:
            self._sums.begin(begun)
        if histograms:
            self._sums.add(numbers, histograms)


class RollUp:
    """What to store of each report: messages on our clock, each with the agent that it is of. Sums of all that is
    stored are sums of all that was given, after `flush`."""

    def __init__(self, began_ns: int = 0) -> None:
        """`began_ns`: when the run's first interval began, if that was before."""
        self._began_ns = began_ns
        self._blocks: dict[str, Block] = {}
        self._workspace = Workspace()

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
            block = self._blocks[report.agent] = Block(report, self._workspace)
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
    return _on_our_clock(report, wire) if wire is not None else report_to_proto(report).SerializeToString()


def _counts(report: Report) -> bytes:
    """All of it but its histograms, which are cleared in the message that came: a copy costs more than all else."""
    wire = report.wire if report.wire is not None else report_to_proto(report)
    for s in wire.ops:
        s.ClearField("service")
        s.ClearField("scheduled")
        s.ClearField("ttfb")
    for e in wire.endpoints:
        e.ClearField("service")
    return _on_our_clock(report, wire)


def _on_our_clock(report: Report, wire: pb.Report) -> bytes:
    """Times are changed in place and changed back: a copy costs more than all else."""
    offset_ns = report.start_ns - wire.start_ns
    _move(wire, offset_ns)
    wire.sequence = report.sequence
    try:
        return wire.SerializeToString()
    finally:
        _move(wire, -offset_ns)


def _move(wire: pb.Report, offset_ns: int) -> None:
    if not offset_ns:
        return
    wire.start_ns += offset_ns
    wire.end_ns += offset_ns
    for attempts in wire.failed_attempts:
        if attempts.first_ns:
            attempts.first_ns += offset_ns
        if attempts.last_ns:
            attempts.last_ns += offset_ns


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
