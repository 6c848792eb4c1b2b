"""The run log's vocabulary to and from the wire: every `*_to_proto` has a `*_from_proto` that gives the same back.

Times of an agent's clock become the controller's by the `offset_ns` that the readers take.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from sai3tui.config.ops import Op
from sai3tui.errors import ErrorContext, ErrorKind, Failure
from sai3tui.events import (
    AgentState,
    AttemptStats,
    BarrierArrived,
    Event,
    FailureSeen,
    Finding,
    Lateness,
    LeaderTold,
    Level,
    Note,
    Objects,
    ReleaseSeen,
    Report,
    StageBegan,
    StageStarted,
    StageSummary,
    StateChanged,
    StorageSurveyed,
    Vitals,
    WorkAssigned,
)
from sai3tui.proto import sai3tui_pb2 as pb
from sai3tui.stats_codec import put_stats, stats_from_proto

REFUSAL = "sai3tui-failure-bin"
"""The name of a call's trailing metadata that has the failure with which an agent refuses it."""
MAX_REFUSAL = 4000
"""Bytes. gRPC takes 8 KiB of metadata in all, in a form that is a third longer."""


def refusal_of(failure: Failure) -> bytes:
    """What goes into `REFUSAL`: with as much of its message, then as many of its causes, as there is room for; empty
    if there is none at all."""
    message = failure.message.encode()[: MAX_REFUSAL // 2].decode(errors="ignore")
    if message != failure.message:
        message += " ..."
    for count in range(len(failure.causes), -1, -1):
        told = replace(failure, message=message, causes=failure.causes[:count])
        data = failure_to_proto(told).SerializeToString()
        if len(data) <= MAX_REFUSAL:
            return data
    return b""


def failure_to_proto(failure: Failure) -> pb.Failure:
    c = failure.context
    return pb.Failure(
        kind=pb.ErrorKind.ValueType(int(failure.kind)),
        message=failure.message,
        causes=failure.causes,
        hint=failure.hint,
        uri=c.uri,
        endpoint=c.endpoint,
        object_index=c.object_index,
        stage=c.stage,
        agent=c.agent,
        op=c.op,
        subclass=c.subclass,
        http_status=c.http_status,
        request_id=c.request_id,
    )


def failure_from_proto(m: pb.Failure) -> Failure:
    known = {int(kind) for kind in ErrorKind}
    return Failure(
        ErrorKind(m.kind) if m.kind in known else ErrorKind.INTERNAL,
        m.message,
        tuple(m.causes),
        ErrorContext(
            m.uri, m.endpoint, m.object_index, m.stage, m.agent, m.op, m.subclass, m.http_status, m.request_id
        ),
        m.hint,
    )


def attempts_to_proto(stats: AttemptStats) -> pb.AttemptStats:
    return pb.AttemptStats(
        kind=pb.ErrorKind.ValueType(int(stats.kind)),
        subclass=stats.subclass,
        endpoint=stats.endpoint,
        uri=stats.uri,
        op=int(stats.op),
        count=stats.count,
        retried=stats.retried,
        first_ns=stats.first_ns,
        last_ns=stats.last_ns,
        request_id=stats.request_id,
        message=stats.message,
    )


def attempts_from_proto(m: pb.AttemptStats, offset_ns: int = 0) -> AttemptStats:
    known = {int(kind) for kind in ErrorKind}
    return AttemptStats(
        ErrorKind(m.kind) if m.kind in known else ErrorKind.INTERNAL,
        m.subclass,
        m.endpoint,
        m.uri,
        Op(m.op),
        m.count,
        m.retried,
        m.first_ns + offset_ns if m.first_ns else 0,
        m.last_ns + offset_ns if m.last_ns else 0,
        m.request_id,
        m.message,
    )


def vitals_to_proto(vitals: Vitals) -> pb.Vitals:
    return pb.Vitals(**dataclasses.asdict(vitals))


def vitals_from_proto(m: pb.Vitals) -> Vitals:
    """What is absent there is None here."""
    present = {
        name: getattr(m, name)
        for name in (
            "worker_lag_p99_us",
            "worker_lag_max_us",
            "nic_bytes_per_s",
            "nic_pct",
            "tcp_retransmits",
            "softirq_pct",
            "steal_pct",
        )
        if m.HasField(name)
    }
    return Vitals(
        m.cpu_user_pct, m.cpu_system_pct, m.cpu_iowait_pct, m.worker_cpu_pct, m.rss_bytes, m.workers, **present
    )


def objects_to_proto(objects: Objects) -> pb.Objects:
    return pb.Objects(**dataclasses.asdict(objects))


def objects_from_proto(m: pb.Objects) -> Objects:
    return Objects(m.planned, m.done, m.existed, m.failed, m.bytes, m.generation, m.repeated_puts)


def report_to_proto(report: Report) -> pb.Report:
    made = pb.Report(
        stage_index=report.stage_index,
        start_ns=report.start_ns,
        end_ns=report.end_ns,
        objects=objects_to_proto(report.objects),
        vitals=vitals_to_proto(report.vitals),
        warmup=report.warmup,
        failed_attempts=[attempts_to_proto(s) for s in report.failed_attempts],
        client_limited_reason=report.client_limited_reason,
        sequence=report.sequence,
    )
    put_stats(made, report.ops, report.endpoints)
    return made


def report_from_proto(
    m: pb.Report, agent: str, offset_ns: int = 0, *, sequence: int | None = None, kept: bool = False
) -> Report:
    """`offset_ns` is what to add to the agent's clock to get the controller's; `sequence` the number of the message
    that it came in, if that has one. `kept`: the message stays with it, as its `wire`."""
    ops, endpoints = stats_from_proto(m.ops, m.endpoints)
    return Report(
        agent,
        m.stage_index,
        m.start_ns + offset_ns,
        m.end_ns + offset_ns,
        ops,
        endpoints,
        objects_from_proto(m.objects),
        vitals_from_proto(m.vitals),
        m.warmup,
        tuple(attempts_from_proto(s, offset_ns) for s in m.failed_attempts),
        m.client_limited_reason,
        m if kept else None,
        sequence=m.sequence if sequence is None else sequence,
    )


def summary_to_proto(s: StageSummary) -> pb.StageSummary:
    made = pb.StageSummary(
        stage_index=s.stage_index,
        stage_name=s.stage_name,
        stage_type=s.stage_type,
        seconds=s.seconds,
        failed=s.failed,
        failure=failure_to_proto(s.failure) if s.failure else None,
        objects=objects_to_proto(s.objects),
        errors=s.errors,
        attempts=s.attempts,
        start_ns=s.start_ns,
        end_ns=s.end_ns,
        client_limited=s.client_limited,
        client_limited_reason=s.client_limited_reason,
        failed_attempts=[attempts_to_proto(a) for a in s.failed_attempts],
        lateness=lateness_to_proto(s.lateness) if s.lateness is not None else None,
    )
    put_stats(made, s.ops, s.endpoints)
    return made


def lateness_to_proto(late: Lateness) -> pb.Lateness:
    return pb.Lateness(begun=late.begun, late_ns=late.late_ns, latest_ns=late.latest_ns, behind_ns=late.behind_ns)


def lateness_from_proto(m: pb.Lateness) -> Lateness:
    return Lateness(m.begun, m.late_ns, m.latest_ns, m.behind_ns)


def summary_from_proto(m: pb.StageSummary, offset_ns: int = 0) -> StageSummary:
    ops, endpoints = stats_from_proto(m.ops, m.endpoints)
    return StageSummary(
        m.stage_index,
        m.stage_name,
        m.stage_type,
        m.seconds,
        ops,
        endpoints,
        objects_from_proto(m.objects),
        m.errors,
        m.attempts,
        m.start_ns + offset_ns if m.start_ns else 0,
        m.end_ns + offset_ns if m.end_ns else 0,
        failure_from_proto(m.failure) if m.HasField("failure") else None,
        m.client_limited,
        m.client_limited_reason,
        tuple(attempts_from_proto(a, offset_ns) for a in m.failed_attempts),
        lateness_from_proto(m.lateness) if m.HasField("lateness") else None,
    )


def finding_to_proto(f: Finding) -> pb.Finding:
    return pb.Finding(
        check=f.check,
        subject=f.subject,
        level=pb.Level.ValueType(int(f.level)),
        message=f.message,
        evidence=f.evidence,
        advice=f.advice,
        took_ms=f.took_ms,
        failure=failure_to_proto(f.failure) if f.failure else None,
        agent=f.agent,
        shows=f.shows,
    )


def finding_from_proto(m: pb.Finding, agent: str, time_ns: int) -> Finding:
    return Finding(
        time_ns,
        agent,
        m.check,
        m.subject,
        Level(m.level),
        m.message,
        m.evidence,
        m.advice,
        m.took_ms,
        failure_from_proto(m.failure) if m.HasField("failure") else None,
        tuple(m.shows),
    )


def agent_event_from_proto(m: pb.AgentMessage, agent: str, offset_ns: int) -> Event | Report | None:
    """What an agent said, on the controller's clock. None for messages that are no part of the run log (pong)."""
    body = m.WhichOneof("body")
    if body == "report":
        return report_from_proto(m.report, agent, offset_ns, sequence=m.sequence, kept=True)
    found = _event(m, body, agent, offset_ns)
    return None if found is None else dataclasses.replace(found, sequence=m.sequence)


def _event(m: pb.AgentMessage, body: str | None, agent: str, offset_ns: int) -> Event | None:
    now = m.agent_time_ns + offset_ns
    if body == "state":
        s = m.state
        failure = failure_from_proto(s.failure) if s.HasField("failure") else None
        return StateChanged(now, agent, AgentState(s.state), s.stage_index, s.reason, failure)
    if body == "arrived":
        summary = summary_from_proto(m.arrived.summary, offset_ns) if m.arrived.HasField("summary") else None
        return BarrierArrived(now, agent, m.arrived.stage_index, summary)
    if body == "stage_started":
        planned = m.stage_started.planned_start_ns
        return StageStarted(
            now,
            agent,
            m.stage_started.stage_index,
            m.stage_started.stage_name,
            planned + offset_ns if planned else 0,
        )
    if body == "finding":
        return finding_from_proto(m.finding, agent, now)
    if body == "failure":
        return FailureSeen(now, agent, m.failure.stage_index, m.failure.count, failure_from_proto(m.failure.sample))
    if body == "released":
        r = m.released
        return ReleaseSeen(
            now, agent, r.stage_index, r.start_time_ns + offset_ns, tuple(r.arrived), tuple(r.missing), r.reason
        )
    if body == "assigned":
        return WorkAssigned(now, agent, m.assigned.stage_index, m.assigned.epoch, m.assigned.added)
    if body == "surveyed":
        return StorageSurveyed(now, agent, m.surveyed.stage_index, m.surveyed.epoch)
    if body == "began":
        planned = m.began.planned_start_ns
        return StageBegan(
            now, agent, m.began.stage_index, planned + offset_ns if planned else 0, m.began.began_ns + offset_ns
        )
    if body == "told":
        line = m.told.event.decode(errors="replace")
        return LeaderTold(m.told.at_ns + offset_ns, agent, m.told.by, m.told.said_ns, line)
    if body == "note":
        return Note(now, agent, Level(m.note.level), m.note.text, m.note.code)
    return None
