"""`totals.zst` and `seconds.zst`: what a run comes to, so that it need not be added up from its reports again.

`seconds.zst` grows by one `StoredSecond` for each second of the fleet, without histograms if the run is older than ten
minutes: those of a block (results/rollup.py) follow it, as a second that spans no time. `totals.zst` is one
`RunTotals`, replaced as a whole: every agent's figures so far, and up to which byte of `metrics.zst` and `seconds.zst`
they go. What came after that is read from `metrics.zst`. A reader that finds none of it reads all reports.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard
from google.protobuf.message import DecodeError

from sai3tui.event_codec import (
    attempts_from_proto,
    attempts_to_proto,
    objects_from_proto,
    objects_to_proto,
    vitals_from_proto,
    vitals_to_proto,
)
from sai3tui.events import Level, OpStats
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.results.attribution_facts import AgentSums
from sai3tui.results.figures import OpTable
from sai3tui.results.files import OnError, write_whole
from sai3tui.results.record_file import LONGEST, RecordFile, compressed, read_records, whole_frames
from sai3tui.results.rollup import resolution_s
from sai3tui.results.seconds import SECOND_NS, FleetSecond
from sai3tui.results.stage_tally import AgentStage, StageTally
from sai3tui.results.tally import Tally
from sai3tui.results.views import LogLine
from sai3tui.stats_codec import endpoints_from_proto, ops_from_proto, put_endpoints, put_ops

SECONDS = "seconds.zst"
TOTALS = "totals.zst"
SECONDS_MAGIC = b"sai3tui-seconds-2\n"
TOTALS_MAGIC = b"sai3tui-totals-1\n"
LONGEST_TOTALS = 16 * LONGEST
PUT_TOGETHER = 16
"""Agents whose histograms are written at once."""


class TotalsLog:
    """Writes both, from scratch: whoever goes on with a run has its seconds replayed."""

    def __init__(self, directory: Path, on_error: OnError, started_ns: int) -> None:
        self._path = directory / TOTALS
        self._on_error = on_error
        self._started_ns = started_ns
        self._block: tuple[int, bool, int, OpTable] | None = None
        if self._path.exists():
            self._path.unlink()
        self._file = RecordFile(
            directory / SECONDS, on_error, SECONDS_MAGIC, iter(()) if (directory / SECONDS).exists() else None
        )

    def second(self, second: FleetSecond) -> None:
        resolution = resolution_s((second.end_ns - self._started_ns) / SECOND_NS)
        block = self._block
        if block is not None and block[:2] != (second.stage_index, second.warmup):
            self._end_block()
            block = None
        if block is None and resolution <= 1.0:
            self._file.add(_second_bytes(second, second.ops.rows()))
            return
        if block is None:
            block = self._block = second.stage_index, second.warmup, second.start_ns, OpTable()
        block[3].add(second.ops.rows())
        counts = [OpStats(s.op, s.bucket, s.ops, s.bytes, s.errors, s.attempts) for s in second.ops.rows()]
        self._file.add(_second_bytes(second, counts))
        if (second.end_ns - block[2]) / SECOND_NS >= resolution - 0.5:
            self._end_block()

    def flush(self) -> None:
        self._file.flush()

    def checkpoint(self, tally: Tally, metrics_bytes: int) -> None:
        """Everything in the tally is in metrics.zst up to this byte."""
        self._end_block()
        totals = pb.RunTotals(metrics_bytes=metrics_bytes, seconds_bytes=self._file.end_frame())
        totals.stages.extend(_stage(tally, stage) for stage in tally.stages.values() if stage.agents)
        write_whole(self._path, compressed(TOTALS_MAGIC + totals.SerializeToString()), self._on_error)

    def close(self) -> None:
        """Idempotent."""
        self._end_block()
        self._file.close()

    def _end_block(self) -> None:
        """The histograms of a block, as a second of no time and no operations."""
        block, self._block = self._block, None
        if block is None:
            return
        index, warmup, start_ns, table = block
        rows = [OpStats(s.op, s.bucket, service=s.service, scheduled=s.scheduled, ttfb=s.ttfb) for s in table.rows()]
        self._file.add(_second_bytes(FleetSecond(index, 0, start_ns, start_ns, warmup=warmup), rows))


class RunTotalsFile:
    """What the files of a directory hold; `metrics_bytes` is where the reports begin that are not in them."""

    def __init__(self, directory: Path, totals: pb.RunTotals) -> None:
        self.metrics_bytes: int = totals.metrics_bytes
        self._directory = directory
        self._seconds_bytes: int = totals.seconds_bytes
        self._stages = {stage.stage_index: stage for stage in totals.stages}

    @property
    def waiting(self) -> tuple[int, ...]:
        """Stages that were not restored yet."""
        return tuple(self._stages)

    def restore(self, tally: Tally, index: int) -> Iterator[FleetSecond]:
        """Put a stage, which has begun or is begun by this, where it was; gives its seconds."""
        stored = self._stages.pop(index)
        stage = tally.stages[index]
        if not stage.start_ns:
            stage.begin(stored.start_ns, tuple(stored.reported_to_ns))
        for known in stored.agents:
            part, sums = _agent_from(known)
            stage.restore_agent(known.agent, part)
            tally.facts.restore(index, known.agent, sums)
            if known.limited_told:
                tally.tell_limited(
                    index, LogLine(known.limited_told_ns, Level.WARNING, known.agent, known.limited_told)
                )
        stage.endpoints.add(endpoints_from_proto(stored.endpoints))
        stage.restore_open(
            [_second_from(each) for each in stored.open], dict(stored.reported_to_ns), stored.next_second
        )
        for second in self._seconds(index):
            tally.restore_second(second)
            yield second

    def _seconds(self, index: int) -> Iterator[FleetSecond]:
        """Of one stage; histograms of a block come with its last second."""
        last: FleetSecond | None = None
        for record in read_records(self._directory / SECONDS, SECONDS_MAGIC, 0, self._seconds_bytes):
            stored = pb.StoredSecond.FromString(record)
            if stored.stage_index != index:
                continue
            second = _second_from(stored)
            if second.end_ns == second.start_ns and last is not None:
                last.ops.add(second.ops.rows())
                continue
            if last is not None:
                yield last
            last = second
        if last is not None:
            yield last


def read_totals(directory: Path) -> RunTotalsFile | None:
    """None if there are none that can be used: a run that never came so far, or files that do not belong together."""
    totals = _read(directory)
    if totals is None:
        return None
    try:
        enough = whole_frames(directory / SECONDS, totals.seconds_bytes)
        enough = enough and (directory / "metrics.zst").stat().st_size >= totals.metrics_bytes
    except OSError:
        return None
    return RunTotalsFile(directory, totals) if enough else None


@dataclass(frozen=True, slots=True)
class StoredUntil:
    """How far these files go: bytes of metrics.zst that were there, and when the last second of the fleet ended."""

    metrics_bytes: int = 0
    last_ns: int = 0


def stored_until(directory: Path) -> StoredUntil:
    """As far as they can be read; zeros if they cannot."""
    totals = _read(directory)
    metrics_bytes, start = (totals.metrics_bytes, totals.seconds_bytes) if totals is not None else (0, 0)
    last_ns = 0
    try:
        if (directory / SECONDS).stat().st_size < start:
            start = 0
        for record in read_records(directory / SECONDS, SECONDS_MAGIC, start):
            last_ns = max(last_ns, pb.StoredSecond.FromString(record).end_ns)
    except (OSError, ValueError, DecodeError):
        # It says nothing then, and no figure is taken from it either.
        return StoredUntil(metrics_bytes)
    return StoredUntil(metrics_bytes, last_ns)


def _read(directory: Path) -> pb.RunTotals | None:
    try:
        data = zstandard.ZstdDecompressor().decompress(
            (directory / TOTALS).read_bytes(), max_output_size=LONGEST_TOTALS
        )
        return pb.RunTotals.FromString(data[len(TOTALS_MAGIC) :]) if data.startswith(TOTALS_MAGIC) else None
    except (OSError, zstandard.ZstdError, DecodeError):
        return None


def _stage(tally: Tally, stage: StageTally) -> pb.StageTotals:
    seconds, reported_to, following = stage.open_seconds()
    made = pb.StageTotals(stage_index=stage.info.index, start_ns=stage.start_ns, next_second=following)
    agents = sorted(stage.agents.items())
    for begin in range(0, len(agents), PUT_TOGETHER):
        tables = []
        for agent, part in agents[begin : begin + PUT_TOGETHER]:
            known = made.agents.add()
            _put_agent(known, agent, part, tally.facts.sums(stage.info.index, agent))
            tables.append((known.ops, part.ops.rows()))
            told = tally.told_limited.get((stage.info.index, agent))
            if told is not None:
                known.limited_told_ns, known.limited_told = told.time_ns, told.text
        put_ops(*tables)
    by_uri = stage.endpoints.by_uri()
    put_endpoints(made.endpoints, (stats for per_op in by_uri.values() for stats in per_op.values()))
    made.open.extend(_second(second, second.ops.rows(), whole=True) for second in seconds)
    made.reported_to_ns.update(reported_to)
    return made


def _put_agent(into: pb.AgentTotals, name: str, part: AgentStage, sums: AgentSums) -> None:
    """All but its operations."""
    into.agent = name
    for uri, (ops, sum_us, size) in sums.cells.items():
        into.endpoints.add(uri=uri, ops=ops, sum_us=sum_us, bytes=size)
    into.failed_attempts.extend(attempts_to_proto(stats) for stats in part.attempts)
    into.objects.CopyFrom(objects_to_proto(part.told))
    into.vitals.CopyFrom(vitals_to_proto(part.vitals))
    into.reported_ns = part.reported_ns
    into.warmed_ns = part.warmed_ns
    into.limited = part.limited
    into.limited_intervals = part.limited_intervals
    into.seconds = sums.seconds
    into.limited_s = sums.limited_s
    into.nic_s = sums.nic_s
    into.nic_pct_s = sums.nic_pct_s
    if sums.retransmits is not None:
        into.tcp_retransmits = sums.retransmits
    into.rates = sums.rates.tobytes()


def _agent_from(m: pb.AgentTotals) -> tuple[AgentStage, AgentSums]:
    part = AgentStage(
        told=objects_from_proto(m.objects),
        vitals=vitals_from_proto(m.vitals),
        reported_ns=m.reported_ns,
        warmed_ns=m.warmed_ns,
        attempts=[attempts_from_proto(stats) for stats in m.failed_attempts],
        limited=m.limited,
        limited_intervals=m.limited_intervals,
    )
    part.ops.add(ops_from_proto(m.ops))
    sums = AgentSums(
        {each.uri: [each.ops, each.sum_us, each.bytes] for each in m.endpoints},
        m.nic_s,
        m.nic_pct_s,
        m.tcp_retransmits if m.HasField("tcp_retransmits") else None,
        m.seconds,
        m.limited_s,
        array("f", m.rates),
    )
    return part, sums


def _second(second: FleetSecond, rows: list[OpStats], *, whole: bool = False) -> pb.StoredSecond:
    made = pb.StoredSecond(
        stage_index=second.stage_index,
        number=second.number,
        start_ns=second.start_ns,
        end_ns=second.end_ns,
        warmup=second.warmup,
    )
    put_ops((made.ops, rows))
    made.covered_ns.update(second.covered_ns if whole else {"": max(second.covered_ns.values(), default=0)})
    return made


def _second_bytes(second: FleetSecond, rows: list[OpStats]) -> bytes:
    return _second(second, rows).SerializeToString()


def _second_from(m: pb.StoredSecond) -> FleetSecond:
    made = FleetSecond(m.stage_index, m.number, m.start_ns, m.end_ns, warmup=m.warmup)
    made.ops.add(ops_from_proto(m.ops))
    made.covered_ns = dict(m.covered_ns)
    return made
